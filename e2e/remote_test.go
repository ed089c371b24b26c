package e2e

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/demo"
	"github.com/lorikeet-ai/lorikeet/internal/bytesize"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/quant/huggingface/hftest"
)

// demoHub serves the demo base as org/base and the demo adapters as org/loras by the API of the Hugging Face Hub, to
// those who have the token. Models come from another origin, as large files do.
func demoHub(t *testing.T, token string) (hub *httptest.Server, asked func() int) {
	files := map[string][]byte{"base/demo-nf4.gguf": demo.Base(), "base/README.md": []byte("# demo"), "base/other-Q8_0.gguf": []byte("GGUF")}
	for _, name := range []string{"pirate", "shout"} {
		for _, file := range []string{"adapter_config.json", "adapter_model.safetensors"} {
			b, err := os.ReadFile(filepath.Join(demoAdapters, name, file))
			if err != nil {
				t.Fatal(err)
			}
			files["loras/"+name+"/"+file] = b
		}
	}
	folder := filepath.Join(t.TempDir(), "sharded")
	hftest.FromGGUF(t, "demo/demo-base.f16.gguf", folder, 3)
	sharded, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range sharded {
		if files["sharded/"+f.Name()], err = os.ReadFile(filepath.Join(folder, f.Name())); err != nil {
			t.Fatal(err)
		}
	}
	requests := 0
	cdn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the token went to another host")
		}
		w.Header().Set("Etag", `"x"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(files[strings.TrimPrefix(r.URL.Path, "/")]))
	}))
	t.Cleanup(cdn.Close)
	hub = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		if token != "" && r.Header.Get("Authorization") != "Bearer "+token {
			w.Header().Set("X-Error-Code", "GatedRepo")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if rest, ok := strings.CutPrefix(r.URL.Path, "/api/models/org/"); ok {
			repo, _, _ := strings.Cut(rest, "/")
			list := []map[string]any{}
			for name, b := range files {
				if file, ok := strings.CutPrefix(name, repo+"/"); ok && !strings.HasSuffix(file, ".json") {
					list = append(list, map[string]any{"rfilename": file, "size": len(b), "lfs": map[string]any{"size": len(b), "sha256": fmt.Sprintf("%x", sha256.Sum256(b))}})
				} else if ok {
					list = append(list, map[string]any{"rfilename": file, "size": len(b), "blobId": fmt.Sprintf("%x", sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(b), b)))})
				}
			}
			json.NewEncoder(w).Encode(map[string]any{"sha": strings.Repeat("1", 40), "siblings": list})
			return
		}
		parts := strings.SplitN(strings.TrimPrefix(r.URL.Path, "/org/"), "/", 4) // repo/resolve/commit/file
		http.Redirect(w, r, cdn.URL+"/"+parts[0]+"/"+parts[3], http.StatusFound)
	}))
	t.Cleanup(hub.Close)
	return hub, func() int { return requests }
}

// TestServeFromTheHub runs the command with a model of a hub: gated, downloaded, and again without the hub.
func TestServeFromTheHub(t *testing.T) {
	hub, asked := demoHub(t, "hf_secret")
	data := t.TempDir()
	env := map[string]string{"HF_ENDPOINT": hub.URL, "HF_TOKEN": "wrong"}
	status, _, errs := command(t, env, "serve", "--listen", "127.0.0.1:0", "--data", data, "-hf", "org/base:nf4")
	if status != 1 || !strings.Contains(errs, "accept its terms") {
		t.Errorf("status %d: %s", status, errs)
	}
	env["HF_TOKEN"] = "hf_secret"
	status, _, errs = command(t, env, "serve", "--listen", "127.0.0.1:0", "--data", data, "--model", "hf://org/base")
	if status != 1 || !strings.Contains(errs, "has 2 GGUF files") || !strings.Contains(errs, "demo-nf4.gguf") {
		t.Errorf("status %d: %s", status, errs)
	}
	out, errs := serveUntilReady(t, env, "--data", data, "-hf", "org/base:nf4")
	if !strings.Contains(out, "NF4") || !strings.Contains(errs, "downloaded demo-nf4.gguf: "+bytesize.Format(int64(len(demo.Base())))) {
		t.Errorf("%s%s", out, errs)
	}
	if strings.Contains(out+errs, "hf_secret") {
		t.Error("the token is shown")
	}
	before := asked()
	hub.Close()
	env["HF_HUB_OFFLINE"] = "1"
	if out, errs = serveUntilReady(t, env, "--data", data, "--model", "hf://org/base/demo-nf4.gguf"); !strings.Contains(out, "NF4") || strings.Contains(errs, "downloaded") || asked() != before {
		t.Errorf("offline: %s%s", out, errs)
	}
}

// TestSafetensorsFromTheHub names a repository of sharded safetensors wherever a model can be named: it is downloaded
// once, imported, and answers as the folder does that it came from.
func TestSafetensorsFromTheHub(t *testing.T) {
	hub, asked := demoHub(t, "hf_secret")
	data, dir := t.TempDir(), t.TempDir()
	env := map[string]string{"HF_ENDPOINT": hub.URL, "HF_TOKEN": "hf_secret", "LORIKEET_DATA": data}
	const text = "What is the capital of France?"
	ask := func(want string) func(string) {
		return func(url string) {
			status, answer, err := postTo(url+"/v1/chat/completions", "", question(text))
			if err != nil || status != http.StatusOK || !strings.Contains(string(answer), want) {
				t.Errorf("%d %s %v, want %q", status, answer, err, want)
			}
		}
	}
	_, errs := whileServing(t, env, ask("The capital of France is"), "--model", "hf://org/sharded", "--log-format", "json")
	if n := strings.Count(errs, "downloaded model-0000"); n != 3 || !strings.Contains(errs, "converting the folder, once") || strings.Contains(errs, "README") {
		t.Errorf("%d shards were downloaded: %s", n, errs)
	}
	before := asked()
	_, errs = whileServing(t, env, ask("The capital of France is"), "--model", "hf://org/sharded@"+strings.Repeat("1", 40), "--log-format", "json")
	if asked() != before || !strings.Contains(errs, "the folder was converted before") {
		t.Errorf("the whole commit is asked for again: %s", errs)
	}

	out := filepath.Join(dir, "imported.gguf")
	if status, said, errs := command(t, env, "import", "hf://org/sharded", out, "--type", "keep"); status != 0 || !strings.Contains(said, "llama, keep") || strings.Contains(errs, "downloaded") {
		t.Errorf("import: status %d, %s%s", status, said, errs)
	}
	if same, err := sameWeights(out, "demo/demo-base.f16.gguf"); err != nil || !same {
		t.Errorf("the imported weights are those of the repository: %v, %v", same, err)
	}

	merged := filepath.Join(dir, "merged.gguf")
	args := []string{"merge", "--base", "hf://org/sharded", "--adapter", filepath.Join(demoAdapters, "pirate")}
	if status, said, errs := command(t, env, append(args, merged)...); status != 0 || !strings.Contains(said, "pirate*1") {
		t.Fatalf("merge: status %d, %s%s", status, said, errs)
	}
	whileServing(t, env, ask("Th' capital o' France"), "--model", merged)
	if status, _, errs := command(t, env, "quantize", "hf://org/sharded", filepath.Join(dir, "x.gguf")); status != 2 || !strings.Contains(errs, "lorikeet import") {
		t.Errorf("quantize of a folder: status %d, %s", status, errs)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("%v is left (%v)", left, err)
	}
}

// sameWeights compares all tensors of two model files.
func sameWeights(a, b string) (bool, error) {
	f, err := quant.Open(a)
	if err != nil {
		return false, err
	}
	defer f.Close()
	g, err := quant.Open(b)
	if err != nil {
		return false, err
	}
	defer g.Close()
	for _, t := range g.Tensors {
		x, err := f.ReadF32(t.Name)
		if err != nil {
			return false, err
		}
		if y, err := g.ReadF32(t.Name); err != nil || !slices.Equal(x, y) {
			return false, err
		}
	}
	return len(f.Tensors) == len(g.Tensors), nil
}

// serveUntilReady runs the serve command until it serves and returns what it said.
func serveUntilReady(t *testing.T, env map[string]string, args ...string) (stdout, stderr string) {
	t.Helper()
	return whileServing(t, env, func(string) {}, args...)
}

// whileServing runs the serve command, calls use with where it serves, ends it, and returns what it said.
func whileServing(t *testing.T, env map[string]string, use func(url string), args ...string) (stdout, stderr string) {
	t.Helper()
	p := startIn(t, env, append([]string{"--log-level", "info"}, args...)...)
	use(p.url())
	p.signal(t)
	if err := p.wait(t); err != nil {
		t.Errorf("%v: %s", err, p.errs.String())
	}
	return p.out.String(), p.errs.String()
}

// TestAdapterFromTheHub adds an adapter by its source, over HTTP and with the command, and asks for it.
func TestAdapterFromTheHub(t *testing.T) {
	hub, _ := demoHub(t, "hf_secret")
	env := map[string]string{"HF_ENDPOINT": hub.URL, "HF_TOKEN": "hf_secret"}
	b := bootWith(t, env)
	status, answer, err := b.post("/adapters", map[string]string{"name": "captain", "source": "hf://org/loras/pirate"})
	if err != nil || status != http.StatusCreated {
		t.Fatalf("%d %s %v", status, answer, err)
	}
	if text := b.mustAsk(question("What is 12 plus 9?", "adapter", "captain")); text != "Ahoy! 12 plus 9 be 21, me hearty!" {
		t.Errorf("%q", text)
	}
	server := map[string]string{"LORIKEET_SERVER": b.url()}
	if status, out, errs := command(t, server, "adapter", "add", "loud", "hf://org/loras@main/shout"); status != 0 || !strings.Contains(out, "loud@") {
		t.Errorf("status %d: %s%s", status, out, errs)
	}
	if text := b.mustAsk(question("What is 12 plus 9?", "adapter", "loud")); text != "12 PLUS 9 IS 21." {
		t.Errorf("%q", text)
	}
	if status, out, errs := command(t, server, "adapter", "add", "x", "hf://org/loras"); status != 1 || !strings.Contains(errs, "there is one in pirate, shout") {
		t.Errorf("status %d: %s%s", status, out, errs)
	}
	if left, err := os.ReadDir(filepath.Join(b.data, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// TestSourcesCanBeForbidden asks a server for a source that was started without.
func TestSourcesCanBeForbidden(t *testing.T) {
	b := boot(t, "--remote-adapters", "off")
	if status, answer, err := b.post("/adapters", map[string]string{"name": "x", "source": "hf://org/loras/pirate"}); status != http.StatusForbidden || !strings.Contains(string(answer), "--remote-adapters") {
		t.Errorf("%d %s %v", status, answer, err)
	}
}

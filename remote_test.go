package main

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/demo"
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
	if !strings.Contains(out, "NF4") || !strings.Contains(errs, "downloaded demo-nf4.gguf: "+formatBytes(int64(len(demo.Base())))) {
		t.Errorf("%s%s", out, errs)
	}
	if strings.Contains(out+errs, "hf_secret") {
		t.Error("the token is told")
	}
	before := asked()
	hub.Close()
	env["HF_HUB_OFFLINE"] = "1"
	if out, errs = serveUntilReady(t, env, "--data", data, "--model", "hf://org/base/demo-nf4.gguf"); !strings.Contains(out, "NF4") || strings.Contains(errs, "downloaded") || asked() != before {
		t.Errorf("offline: %s%s", out, errs)
	}
}

// serveUntilReady runs the serve command until it serves and returns what it said.
func serveUntilReady(t *testing.T, env map[string]string, args ...string) (stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, errs lockedBuffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...), &out, &errs, environment(env))
	}()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(out.String(), "address"); time.Sleep(5 * time.Millisecond) {
		select {
		case status := <-ended:
			t.Fatalf("status %d: %s%s", status, out.String(), errs.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready: %s %s", out.String(), errs.String())
		}
	}
	cancel()
	if status := <-ended; status != 0 {
		t.Errorf("status %d: %s", status, errs.String())
	}
	return out.String(), errs.String()
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
	if left, err := os.ReadDir(filepath.Join(b.config.Data, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// TestWhoMayNameSources checks the standard of --remote-adapters.
func TestWhoMayNameSources(t *testing.T) {
	for _, test := range []struct {
		args string
		want bool
	}{
		{"--listen 127.0.0.1:0", true}, {"--listen [::1]:0", true}, {"--listen localhost:0", true},
		{"--listen 0.0.0.0:0", false}, {"--listen :0", false}, {"--listen 10.0.0.1:0", false},
		{"--listen 0.0.0.0:0 --api-key k", true}, {"--listen 0.0.0.0:0 --remote-adapters on", true}, {"--listen 127.0.0.1:0 --remote-adapters off", false},
	} {
		c, err := parse(strings.Fields(test.args), environment(map[string]string{"HOME": "/home/me"}))
		if err != nil || c.fetches() != test.want {
			t.Errorf("%s: %v, %v", test.args, c.fetches(), err)
		}
	}
	b := boot(t, "--remote-adapters", "off")
	if status, answer, err := b.post("/adapters", map[string]string{"name": "x", "source": "hf://org/loras/pirate"}); status != http.StatusForbidden || !strings.Contains(string(answer), "--remote-adapters") {
		t.Errorf("%d %s %v", status, answer, err)
	}
}

// TestEnvironmentOfSources checks which variables say where hubs and buckets are and who asks.
func TestEnvironmentOfSources(t *testing.T) {
	o := fetchOptions(environment(map[string]string{"HF_ENDPOINT": "https://hub", "HF_TOKEN": "t\n", "HF_HUB_OFFLINE": "True", "AWS_ENDPOINT_URL": "https://all",
		"AWS_ENDPOINT_URL_S3": "https://s3", "AWS_DEFAULT_REGION": "eu-1", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "st"}), "/data")
	if o.Hub.Endpoint != "https://hub" || o.Hub.Token != "t" || !o.Hub.Offline || o.Dir != "/data/models" ||
		o.Bucket.Endpoint != "https://s3" || o.Bucket.Region != "eu-1" || o.Bucket.Key != "k" || o.Bucket.Secret != "s" || o.Bucket.Session != "st" {
		t.Errorf("%+v", o)
	}
	if o := fetchOptions(environment(map[string]string{"HF_HUB_OFFLINE": "0", "AWS_ENDPOINT_URL": "https://all", "AWS_REGION": "x"}), "/"); o.Hub.Offline || o.Bucket.Endpoint != "https://all" || o.Bucket.Region != "x" {
		t.Errorf("%+v", o)
	}
}

package fetch

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// peftFiles are an adapter's two files in a folder of a repository, among others.
func peftFiles(prefix string) map[string][]byte {
	return map[string][]byte{prefix + peftConfig: []byte(`{"r": 8}`), prefix + peftTensors: noise(7, 50_000), prefix + "README.md": []byte("x"),
		"optimizer.pt": noise(8, 60_000)}
}

func TestAdapterFromTheHub(t *testing.T) {
	h := newTestHub(t, peftFiles("loras/pirate/"))
	h.token = secretToken
	h.cutAt(20_000)
	dir := t.TempDir()
	f, _ := h.fetcher(t.TempDir())
	path, pinned, err := f.Adapter(t.Context(), "hf://org/repo@v1.0/loras/pirate", dir, 1<<20, func(int64) error { return nil })
	if err != nil || path != dir || pinned != "hf://org/repo@"+h.commits[0].sha+"/loras/pirate" {
		t.Fatalf("%s, %s, %v", path, pinned, err)
	}
	if got := filesIn(t, dir); !slices.Equal(got, []string{peftConfig, peftTensors}) {
		t.Errorf("%q", got)
	}
	mustHold(t, filepath.Join(dir, peftTensors), noise(7, 50_000))
	if got := filesIn(t, f.o.Dir); len(got) > 0 {
		t.Errorf("%q are among the models", got)
	}

	h.push(map[string][]byte{"lora-f16.gguf": noise(2, 9000)})
	dir = t.TempDir()
	path, _, err = f.Adapter(t.Context(), "hf://org/repo", dir, 1<<20, func(int64) error { return nil })
	if err != nil || path != filepath.Join(dir, "lora-f16.gguf") {
		t.Errorf("%s, %v", path, err)
	}
}

func TestAdapterRefusals(t *testing.T) {
	h := newTestHub(t, peftFiles(""))
	f, _ := h.fetcher(t.TempDir())
	refused := func(f *Fetcher, source string, most int64, want error) {
		t.Helper()
		dir := t.TempDir()
		if _, _, err := f.Adapter(t.Context(), source, dir, most, func(int64) error { return nil }); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", source, err, want)
		}
		for _, name := range filesIn(t, dir) {
			if strings.HasSuffix(name, ".safetensors") || strings.HasSuffix(name, ".part") {
				t.Errorf("%s: %s is left", source, name)
			}
		}
	}
	refused(f, "hf://org/repo", 50_000, ErrTooLarge)
	if n := len(h.served("cdn")); n > 0 {
		t.Errorf("%d requests for what is too large", n)
	}
	refused(f, "hf://org/other", 1<<20, ErrNotFound)
	refused(f, "hf://org/repo@v2", 1<<20, ErrNotFound)
	refused(f, "hf://org/repo/sub", 1<<20, ErrNotFound)
	refused(f, "hf://org/repo/README.md", 1<<20, ErrContent)
	refused(f, "https://example.org/x", 1<<20, ErrSource)
	offline, _ := h.fetcher(t.TempDir(), func(o *Options) { o.Hub.Offline = true })
	refused(offline, "hf://org/repo", 1<<20, ErrOffline)
	h.beforeLarge = func(w http.ResponseWriter, r *http.Request) bool { w.Write(noise(9, 50_000)); return true }
	refused(f, "hf://org/repo", 1<<20, ErrChecksum)
}

// TestAdapterEndsWithItsContext checks that a client that has gone ends the download.
func TestAdapterEndsWithItsContext(t *testing.T) {
	h := newTestHub(t, peftFiles(""))
	ctx, cancel := context.WithCancel(t.Context())
	h.beforeLarge = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Length", "50000")
		w.Write(noise(7, 50_000)[:100])
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
		return true
	}
	f, said := h.fetcher(t.TempDir())
	dir := t.TempDir()
	if _, _, err := f.Adapter(ctx, "hf://org/repo", dir, 1<<20, func(int64) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, peftTensors)); err == nil || said.all() != "" {
		t.Errorf("%v, said %q", err, said.all())
	}
}

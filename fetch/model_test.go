package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

const gguf = "model-q4_k_m.gguf"

// oneModel is a repository with a GGUF file of n bytes.
func oneModel(n int) map[string][]byte {
	return map[string][]byte{gguf: noise(1, n), "README.md": []byte("# a model"), ".gitattributes": nil}
}

// mustHold checks the bytes of a file.
func mustHold(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s has %d bytes that are not the %d that it should have", path, len(got), len(want))
	}
}

// files are the regular files below dir.
func filesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			rel, _ := filepath.Rel(dir, p)
			names = append(names, rel)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return names
}

// leftovers are the files of models and of parts, without what the repoCache keeps of its own.
func leftovers(t *testing.T, dir string) []string {
	t.Helper()
	return slices.DeleteFunc(filesIn(t, dir), func(p string) bool {
		return filepath.Base(p) == "lock" || strings.HasSuffix(p, ".json") && commitName.MatchString(strings.TrimSuffix(filepath.Base(p), ".json")) ||
			filepath.Base(filepath.Dir(p)) == "refs"
	})
}

func TestModelComesOnce(t *testing.T) {
	h := newTestHub(t, oneModel(300<<10))
	h.token = secretToken
	dir := t.TempDir()
	var last [2]int64
	f, _ := h.fetcher(dir, func(o *Options) {
		o.Progress = func(file string, done, total int64) {
			if file != gguf || done < last[0] {
				t.Errorf("progress of %s goes from %d to %d", file, last[0], done)
			}
			last = [2]int64{done, total}
		}
	})
	path, err := f.Model(t.Context(), "hf://org/repo")
	if err != nil {
		t.Fatal(err)
	}
	mustHold(t, path, oneModel(300 << 10)[gguf])
	if last != [2]int64{300 << 10, 300 << 10} {
		t.Errorf("the progress ends at %v", last)
	}
	if left := leftovers(t, dir); len(left) != 1 {
		t.Errorf("the folder holds %q, want the model alone", left)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}

	before := h.count()
	again, err := f.Model(t.Context(), "hf://org/repo")
	if err != nil || again != path || h.count() != before+1 {
		t.Errorf("%s, %v and %d requests; want the same path after the one for the revision", again, err, h.count()-before)
	}
	pinned := "hf://org/repo@" + h.commits[0].sha + "/" + gguf
	if p, err := f.Model(t.Context(), pinned); err != nil || p != path || h.count() != before+1 {
		t.Errorf("%s: %s, %v and %d requests; want none", pinned, p, err, h.count()-before-1)
	}
}

func TestModelWithoutTheHub(t *testing.T) {
	h := newTestHub(t, oneModel(64<<10))
	dir := t.TempDir()
	f, _ := h.fetcher(dir)
	path, err := f.Model(t.Context(), "hf://org/repo")
	if err != nil {
		t.Fatal(err)
	}
	h.before = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true }
	f, said := h.fetcher(dir)
	if p, err := f.Model(t.Context(), "hf://org/repo:Q4_K_M"); err != nil || p != path || !strings.Contains(said.all(), "as it was last, at commit "+h.commits[0].sha) {
		t.Errorf("broken hub: %s, %v, said %q", p, err, said.all())
	}
	offline := func(o *Options) { o.Hub.Offline = true }
	f, _ = h.fetcher(dir, offline)
	before := h.count()
	if p, err := f.Model(t.Context(), "hf://org/repo"); err != nil || p != path || h.count() != before {
		t.Errorf("offline: %s, %v", p, err)
	}
	if _, err := f.Model(t.Context(), "hf://org/repo@v1.0"); !errors.Is(err, ErrOffline) || h.count() != before {
		t.Errorf("offline, a revision that is not here: %v", err)
	}
	os.Remove(path)
	if _, err := f.Model(t.Context(), "hf://org/repo"); !errors.Is(err, ErrOffline) || h.count() != before {
		t.Errorf("offline, a file that is not here: %v", err)
	}
	h.hub.Close()
	f, _ = h.fetcher(t.TempDir(), func(o *Options) { o.Tries = 3 })
	if _, err := f.Model(t.Context(), "hf://org/repo"); !errors.Is(err, ErrUnreachable) {
		t.Errorf("no hub and nothing here: %v", err)
	}
}

// TestRevisionsDoNotMix moves main while its files are on their way.
func TestRevisionsDoNotMix(t *testing.T) {
	model := func(seed uint64) map[string][]byte {
		return map[string][]byte{"config.json": []byte(fmt.Sprintf(`{"seed": %d}`, seed)), "tokenizer.json": noise(99, 20<<10),
			"model-00001-of-00002.safetensors": noise(seed, 40<<10), "model-00002-of-00002.safetensors": noise(seed+1, 40<<10),
			"model.safetensors.index.json": []byte("{}"), "pytorch_model.bin": noise(5, 90<<10), "consolidated.safetensors": noise(6, 90<<10)}
	}
	h := newTestHub(t, model(1))
	dir := t.TempDir()
	f, _ := h.fetcher(dir)
	h.beforeLarge = func(http.ResponseWriter, *http.Request) bool {
		if len(h.commits) == 1 { // requests come one at a time here
			h.push(model(11))
		}
		return false
	}
	wanted := []string{"config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json", "tokenizer.json"}
	check := func(folder string, m map[string][]byte) {
		t.Helper()
		if got := filesIn(t, folder); !slices.Equal(got, wanted) {
			t.Errorf("the folder holds %q", got)
		}
		for _, name := range wanted {
			mustHold(t, filepath.Join(folder, name), m[name])
		}
	}
	first, err := f.Model(t.Context(), "hf://org/repo")
	if err != nil {
		t.Fatal(err)
	}
	check(first, model(1))

	h.took()
	second, err := f.Model(t.Context(), "hf://org/repo")
	if err != nil || second == first {
		t.Fatalf("%s, %v", second, err)
	}
	check(second, model(11))
	check(first, model(1))
	if n := h.took(); n != 80<<10 {
		t.Errorf("%d bytes of large files came for the second revision, want the two files that changed", n)
	}
	a, _ := os.Stat(filepath.Join(first, "tokenizer.json"))
	b, _ := os.Stat(filepath.Join(second, "tokenizer.json"))
	if !os.SameFile(a, b) {
		t.Error("the file that did not change takes its place twice")
	}
}

// TestModelOfManyAtOnce has several ask for the same at the same time, as processes do: each has a Fetcher.
func TestModelOfManyAtOnce(t *testing.T) {
	const size = 2 << 20
	h := newTestHub(t, oneModel(size))
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		f, _ := h.fetcher(dir)
		wg.Go(func() {
			path, err := f.Model(t.Context(), "hf://org/repo")
			if err != nil {
				t.Error(err)
				return
			}
			mustHold(t, path, oneModel(size)[gguf])
		})
	}
	wg.Wait()
	if n := h.took(); n != size {
		t.Errorf("%d bytes came, want the model's %d once", n, size)
	}
}

func TestWaitingForAnotherProcessCanBeEnded(t *testing.T) {
	h := newTestHub(t, oneModel(8<<10))
	f, _ := h.fetcher(t.TempDir())
	unlock, err := f.cacheOf("org/repo").lock(t.Context(), func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	f.o.Note = func(string) { cancel() }
	if _, err := f.Model(ctx, "hf://org/repo"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestMirrorWithoutSizes gets sizes and sums from the headers of the files.
func TestMirrorWithoutSizes(t *testing.T) {
	h := newTestHub(t, map[string][]byte{"config.json": []byte("{}"), "model.safetensors": noise(3, 30<<10), "empty.txt": nil})
	h.plainList = true
	f, _ := h.fetcher(t.TempDir())
	path, err := f.Model(t.Context(), "hf://org/repo")
	if err != nil {
		t.Fatal(err)
	}
	mustHold(t, filepath.Join(path, "model.safetensors"), noise(3, 30<<10))
	h.push(map[string][]byte{"config.json": []byte("{ }"), "model.safetensors": noise(4, 30<<10)})
	h.beforeLarge = func(w http.ResponseWriter, r *http.Request) bool {
		w.Write(noise(5, 30<<10))
		return true
	}
	if _, err := f.Model(t.Context(), "hf://org/repo"); !errors.Is(err, ErrChecksum) {
		t.Errorf("other bytes of the right size: %v", err)
	}
}

// TestNamesThatNeedEscapes checks files whose names mean something in an address.
func TestNamesThatNeedEscapes(t *testing.T) {
	name := "a folder/100% #1?.gguf"
	h := newTestHub(t, map[string][]byte{name: noise(1, 10<<10)})
	f, _ := h.fetcher(t.TempDir())
	path, err := f.Model(t.Context(), "hf://org/repo@refs%2Fpr%2F1/"+name)
	if err != nil {
		t.Fatal(err)
	}
	mustHold(t, path, noise(1, 10<<10))
}

// TestHostileListing checks that a repository cannot write outside of its folder.
func TestHostileListing(t *testing.T) {
	dir := t.TempDir()
	evil := []string{"../../../evil.gguf", "/evil.gguf", "a/../../evil.gguf", "a\\..\\evil.gguf", "./evil.gguf", "evil\x00.gguf"}
	files := map[string][]byte{"good.gguf": noise(1, 8<<10)}
	for _, p := range evil {
		files[p] = noise(2, 8<<10)
	}
	h := newTestHub(t, files)
	f, _ := h.fetcher(filepath.Join(dir, "models"))
	path, err := f.Model(t.Context(), "hf://org/repo")
	if err != nil || filepath.Base(path) != "good.gguf" {
		t.Fatalf("%s, %v", path, err)
	}
	for _, p := range filesIn(t, dir) {
		if strings.Contains(p, "evil") {
			t.Errorf("%s was written", p)
		}
	}
}

func TestNoSpace(t *testing.T) {
	h := newTestHub(t, oneModel(8<<10))
	h.before = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/api/") {
			return false
		}
		fmt.Fprintf(w, `{"sha": %q, "siblings": [{"rfilename": "m.gguf", "lfs": {"size": %d, "sha256": %q}}]}`, h.commits[0].sha, int64(1)<<60, digest(nil))
		return true
	}
	dir := t.TempDir()
	f, _ := h.fetcher(dir)
	if _, err := f.Model(t.Context(), "hf://org/repo"); !errors.Is(err, disk.ErrNoSpace) || !strings.Contains(err.Error(), fmt.Sprint(int64(1)<<60)) {
		t.Errorf("%v", err)
	}
	if left := leftovers(t, dir); len(left) > 0 {
		t.Errorf("%q is left", left)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("this system has no /dev/full")
	}
	defer full.Close()
	s := &sink{want: content{name: "m.gguf", size: 5}, file: full, sum: sum{}.hash(5), progress: func(string, int64, int64) {}}
	var own *sinkError
	if _, err := s.Write([]byte("hello")); !errors.As(err, &own) || !errors.Is(own.error, disk.ErrNoSpace) {
		t.Errorf("%v", err)
	}
}

package fetch

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// cutAt ends the next transfers after so many bytes each.
func (h *testHub) cutAt(places ...int) {
	h.beforeLarge = func(w http.ResponseWriter, r *http.Request) bool {
		if len(places) == 0 {
			return false
		}
		n := places[0]
		places = places[1:]
		b := h.large(strings.TrimPrefix(r.URL.Path, "/"))
		w.Header().Set("Etag", `"`+digest(b)+`"`)
		http.ServeContent(&cutting{w, n}, r, "", time.Time{}, strings.NewReader(string(b)))
		return true
	}
}

func TestCutConnectionsAreResumed(t *testing.T) {
	const size = 200_000
	h := newTestHub(t, oneModel(size))
	h.cutAt(1000, 50_000, 99_999)
	f, said := h.fetcher(t.TempDir())
	path, err := f.Model(t.Context(), "hf://org/repo")
	if err != nil {
		t.Fatal(err)
	}
	mustHold(t, path, oneModel(size)[gguf])
	if got, want := h.served("cdn"), []string{"", "bytes=1000-", "bytes=51000-", "bytes=150999-"}; !slices.Equal(got, want) {
		t.Errorf("ranges %q, want %q", got, want)
	}
	for i, r := range h.requests {
		if r.host == "cdn" && r.span != "" && r.ifRange != `"`+digest(oneModel(size)[gguf])+`"` {
			t.Errorf("request %d has If-Range %q", i, r.ifRange)
		}
	}
	if n := strings.Count(said.all(), "the transfer was cut off"); n != 3 {
		t.Errorf("said %q", said.all())
	}
}

// TestResumeAfterTheProcess goes on where another Fetcher was ended.
func TestResumeAfterTheProcess(t *testing.T) {
	const size = 200_000
	h := newTestHub(t, oneModel(size))
	dir := t.TempDir()
	h.cutAt(120_000)
	f, _ := h.fetcher(dir, func(o *Options) { o.Tries = 1 })
	if _, err := f.Model(t.Context(), "hf://org/repo"); !errors.Is(err, ErrCut) {
		t.Fatalf("%v", err)
	}
	parts, _ := filepath.Glob(filepath.Join(f.cacheOf("org/repo").dir, "parts", "*"))
	if len(parts) != 2 || len(leftovers(t, dir)) != 2 { // the bytes and their tag
		t.Fatalf("%q of %q", parts, leftovers(t, dir))
	}
	// The repository gets a new commit meanwhile; the file is the same.
	next := oneModel(size)
	next["README.md"] = []byte("# the model")
	h.push(next)
	f, _ = h.fetcher(dir)
	path, err := f.Model(t.Context(), "hf://org/repo")
	if err != nil {
		t.Fatal(err)
	}
	mustHold(t, path, next[gguf])
	if got := h.served("cdn"); !slices.Equal(got, []string{"", "bytes=120000-"}) {
		t.Errorf("ranges %q", got)
	}
	if left := leftovers(t, dir); len(left) != 1 {
		t.Errorf("%q is left", left)
	}
}

// TestResumeOfOtherBytes starts anew where the other end no longer has what began to come, and where the part on
// the disk has gone bad.
func TestResumeOfOtherBytes(t *testing.T) {
	const size = 100_000
	for _, test := range []struct {
		name   string
		change func(h *testHub, part string)
		spans  []string
	}{
		{"the mark has changed", func(h *testHub, _ string) { h.etag = "other" }, []string{"", "bytes=60000-"}},
		{"the part is bad", func(_ *testHub, part string) { overwrite(t, part, noise(9, 60_000)) }, []string{"", "bytes=60000-", ""}},
		{"the part is too long", func(_ *testHub, part string) { overwrite(t, part, noise(9, size+1)) }, []string{"", ""}},
		{"the part is whole", func(_ *testHub, part string) { overwrite(t, part, noise(1, size)) }, []string{""}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newTestHub(t, oneModel(size))
			dir := t.TempDir()
			h.cutAt(60_000)
			f, _ := h.fetcher(dir, func(o *Options) { o.Tries = 1 })
			if _, err := f.Model(t.Context(), "hf://org/repo"); !errors.Is(err, ErrCut) {
				t.Fatal(err)
			}
			test.change(h, filepath.Join(f.cacheOf("org/repo").dir, "parts", digest(noise(1, size))))
			f, _ = h.fetcher(dir)
			path, err := f.Model(t.Context(), "hf://org/repo")
			if err != nil {
				t.Fatal(err)
			}
			mustHold(t, path, oneModel(size)[gguf])
			if got := h.served("cdn"); !slices.Equal(got, test.spans) {
				t.Errorf("ranges %q, want %q", got, test.spans)
			}
		})
	}
}

func overwrite(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestWrongBytes checks that what does not have the stated checksum or length is never kept.
func TestWrongBytes(t *testing.T) {
	const size = 50_000
	for _, test := range []struct {
		name  string
		body  []byte
		chunk bool // without a length
		want  error
		tries int
	}{
		{"other bytes", noise(2, size), false, ErrChecksum, 1},
		{"one bit", flip(noise(1, size)), false, ErrChecksum, 1},
		{"too short", noise(1, size-1), false, ErrChecksum, 1},
		{"too long", noise(1, size+1), false, ErrChecksum, 1},
		{"too long, in chunks", noise(1, size+1), true, ErrChecksum, 1},
		{"too short, in chunks", noise(1, size)[:size-1], true, ErrCut, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newTestHub(t, oneModel(size))
			h.beforeLarge = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Header.Get("Range") != "" && test.chunk {
					w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", size-1, size-1, size))
					w.WriteHeader(http.StatusPartialContent)
					return true
				}
				if test.chunk {
					w.(http.Flusher).Flush()
				} else {
					w.Header().Set("Content-Length", fmt.Sprint(len(test.body)))
				}
				w.Write(test.body)
				return true
			}
			dir := t.TempDir()
			f, _ := h.fetcher(dir)
			_, err := f.Model(t.Context(), "hf://org/repo")
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), gguf) {
				t.Errorf("%v", err)
			}
			if got := len(h.served("cdn")); got != test.tries {
				t.Errorf("%d tries, want %d", got, test.tries)
			}
			if files := leftovers(t, filepath.Join(f.cacheOf("org/repo").dir, h.commits[0].sha)); len(files) > 0 {
				t.Errorf("%q is kept", files)
			}
			if parts := leftovers(t, dir); errors.Is(test.want, ErrChecksum) && !test.chunk && len(parts) > 0 {
				t.Errorf("%q is left", parts)
			}
		})
	}
}

func flip(b []byte) []byte {
	b[len(b)/2] ^= 1
	return b
}

// TestTriesAreBounded checks ends of maxRetryAfter: connections that end at once, and ones that bring a little each.
func TestTriesAreBounded(t *testing.T) {
	h := newTestHub(t, oneModel(100_000))
	h.beforeLarge = func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }
	f, _ := h.fetcher(t.TempDir())
	if _, err := f.Model(t.Context(), "hf://org/repo"); !errors.Is(err, ErrUnreachable) || len(h.served("cdn")) != 5 {
		t.Errorf("%v after %d tries", err, len(h.served("cdn")))
	}
	h = newTestHub(t, oneModel(100_000))
	h.cutAt(10, 10, 10, 10, 10, 10, 10)
	f, _ = h.fetcher(t.TempDir())
	if _, err := f.Model(t.Context(), "hf://org/repo"); !errors.Is(err, ErrCut) || len(h.served("cdn")) != 5 {
		t.Errorf("%v after %d tries", err, len(h.served("cdn")))
	}
	// Those that get further each time are not given up.
	h = newTestHub(t, oneModel(9<<20))
	h.cutAt(1<<20, 1<<20, 1<<20, 1<<20, 1<<20, 1<<20, 1<<20, 1<<20)
	f, _ = h.fetcher(t.TempDir(), func(o *Options) { o.Tries = 2 })
	if _, err := f.Model(t.Context(), "hf://org/repo"); err != nil {
		t.Error(err)
	}
}

func TestStalledTransfersAreCancelled(t *testing.T) {
	h := newTestHub(t, oneModel(100_000))
	quiet := make(chan struct{})
	defer close(quiet)
	first := true
	h.beforeLarge = func(w http.ResponseWriter, r *http.Request) bool {
		if !first {
			return false
		}
		first = false
		b := noise(1, 100_000)
		w.Header().Set("Content-Length", "100000")
		w.Write(b[:5000])
		w.(http.Flusher).Flush()
		<-quiet
		return true
	}
	t.Cleanup(h.cdn.CloseClientConnections)
	f, said := h.fetcher(t.TempDir(), func(o *Options) { o.Stall = 200 * time.Millisecond })
	path, err := f.Model(t.Context(), "hf://org/repo")
	if err != nil {
		t.Fatal(err)
	}
	mustHold(t, path, noise(1, 100_000))
	if !strings.Contains(said.all(), "after 5000 of 100000 bytes: nothing was received for too long") {
		t.Errorf("said %q", said.all())
	}
}

package fetch

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// testHub is a hub on one port and the host of its large files on another one, over HTTP as net/http speaks it:
// ranges, conditions and the ends of connections are real. Tests break it in places.
type testHub struct {
	t        *testing.T
	hub, cdn *httptest.Server
	token    string // that the repository asks for; "": none

	mu       sync.Mutex
	commits  []commit
	requests []request
	sent     int64 // bytes of large files

	// before and beforeLarge may answer in the place of the hub and of the other host; nil: they do not.
	before      func(w http.ResponseWriter, r *http.Request) bool
	beforeLarge func(w http.ResponseWriter, r *http.Request) bool
	plainList   bool   // the listing has names alone
	etag        string // of large files, in the place of their digest
}

type commit struct {
	sha   string
	files map[string][]byte
}

type request struct {
	host, method, path string
	span, ifRange      string
}

const (
	secretToken = "hf_secret"
	signature   = "Signature=verysecret"
	largeFile   = 4 << 10 // from here on a file is large
)

func newTestHub(t *testing.T, files map[string][]byte) *testHub {
	h := &testHub{t: t}
	h.cdn = httptest.NewServer(http.HandlerFunc(h.serveLarge))
	t.Cleanup(h.cdn.Close)
	h.hub = httptest.NewServer(http.HandlerFunc(h.serve))
	t.Cleanup(h.hub.Close)
	h.push(files)
	return h
}

// push makes a commit, to which main moves.
func (h *testHub) push(files map[string][]byte) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	sha := hex40(fmt.Sprint("commit ", len(h.commits)))
	h.commits = append(h.commits, commit{sha, files})
	return sha
}

func hex40(text string) string {
	d := sha1.Sum([]byte(text))
	return hex.EncodeToString(d[:])
}

func digest(b []byte) string {
	d := sha256.Sum256(b)
	return hex.EncodeToString(d[:])
}

func blobID(b []byte) string { return hex40(fmt.Sprintf("blob %d\x00%s", len(b), b)) }

func (h *testHub) at(revision string) *commit {
	for i := range h.commits {
		if h.commits[i].sha == revision {
			return &h.commits[i]
		}
	}
	if revision == "main" || revision == "v1.0" || revision == "refs/pr/1" {
		return &h.commits[len(h.commits)-1]
	}
	return nil
}

func (h *testHub) note(host string, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests = append(h.requests, request{host, r.Method, r.URL.Path, r.Header.Get("Range"), r.Header.Get("If-Range")})
}

// serve is the hub.
func (h *testHub) serve(w http.ResponseWriter, r *http.Request) {
	h.note("hub", r)
	if h.before != nil && h.before(w, r) {
		return
	}
	if h.token != "" && r.Header.Get("Authorization") != "Bearer "+h.token {
		refuse(w, http.StatusUnauthorized, "RepoNotFound", "Repository not found")
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	path := r.URL.EscapedPath()
	if rest, ok := strings.CutPrefix(path, "/api/models/org/repo/revision/"); ok {
		h.list(w, rest)
	} else if rest, ok := strings.CutPrefix(path, "/org/repo/resolve/"); ok {
		h.file(w, r, rest)
	} else {
		refuse(w, http.StatusNotFound, "RepoNotFound", "Repository not found")
	}
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("X-Error-Code", code)
	w.Header().Set("X-Error-Message", message)
	w.WriteHeader(status)
}

func (h *testHub) list(w http.ResponseWriter, escaped string) {
	revision, err := url.PathUnescape(escaped)
	c := h.at(revision)
	if err != nil || strings.Contains(escaped, "/") || c == nil {
		refuse(w, http.StatusNotFound, "RevisionNotFound", "Invalid rev id: "+revision)
		return
	}
	siblings := []any{}
	for _, name := range slices.Sorted(maps.Keys(c.files)) {
		b := c.files[name]
		s := map[string]any{"rfilename": name}
		if !h.plainList {
			s["size"], s["blobId"] = len(b), blobID(b)
			if len(b) >= largeFile {
				s["lfs"] = map[string]any{"sha256": digest(b), "size": len(b), "pointerSize": 134}
			}
		}
		siblings = append(siblings, s)
	}
	json.NewEncoder(w).Encode(map[string]any{"id": "org/repo", "sha": c.sha, "siblings": siblings})
}

func (h *testHub) file(w http.ResponseWriter, r *http.Request, rest string) {
	revision, escaped, _ := strings.Cut(rest, "/")
	name, err := url.PathUnescape(escaped)
	c := h.at(revision)
	if err != nil || c == nil {
		refuse(w, http.StatusNotFound, "RevisionNotFound", "Invalid rev id: "+revision)
		return
	}
	b, ok := c.files[name]
	if !ok {
		refuse(w, http.StatusNotFound, "EntryNotFound", "Entry not found")
		return
	}
	w.Header().Set("X-Repo-Commit", c.sha)
	if len(b) < largeFile {
		w.Header().Set("Etag", `"`+blobID(b)+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
		return
	}
	w.Header().Set("X-Linked-Etag", `"`+digest(b)+`"`)
	w.Header().Set("X-Linked-Size", fmt.Sprint(len(b)))
	w.Header().Set("Location", h.cdn.URL+"/"+digest(b)+"?"+signature)
	w.WriteHeader(http.StatusFound)
}

// serveLarge is the host of the large files, which asks for a signature and must not see the token.
func (h *testHub) serveLarge(w http.ResponseWriter, r *http.Request) {
	h.note("cdn", r)
	if r.Header.Get("Authorization") != "" {
		h.t.Error("the token went to another host")
	}
	if h.beforeLarge != nil && h.beforeLarge(w, r) {
		return
	}
	b := h.large(strings.TrimPrefix(r.URL.Path, "/"))
	if b == nil || r.URL.RawQuery != signature {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	etag := h.etag
	if etag == "" {
		etag = digest(b)
	}
	w.Header().Set("Etag", `"`+etag+`"`)
	http.ServeContent(&counting{w, h}, r, "", time.Time{}, bytes.NewReader(b))
}

func (h *testHub) large(sha string) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.commits {
		for _, b := range c.files {
			if digest(b) == sha {
				return b
			}
		}
	}
	return nil
}

type counting struct {
	http.ResponseWriter
	h *testHub
}

func (c *counting) Write(b []byte) (int, error) {
	c.h.mu.Lock()
	c.h.sent += int64(len(b))
	c.h.mu.Unlock()
	return c.ResponseWriter.Write(b)
}

// took returns how many bytes of large files were sent since it was last called.
func (h *testHub) took() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.sent
	h.sent = 0
	return n
}

// cutting ends the connection after n bytes of the body.
type cutting struct {
	http.ResponseWriter
	left int
}

func (c *cutting) Write(b []byte) (int, error) {
	n := min(len(b), c.left)
	c.ResponseWriter.Write(b[:n])
	if c.left -= n; c.left == 0 {
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, nil
}

// served are the requests for large files, by their ranges.
func (h *testHub) served(host string) (spans []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.requests {
		if r.host == host {
			spans = append(spans, r.span)
		}
	}
	return spans
}

func (h *testHub) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.requests)
}

// notes collects what a Fetcher says, and looks for secrets in it.
type notes struct {
	t    *testing.T
	mu   sync.Mutex
	text []string
}

func (n *notes) add(s string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.text = append(n.text, s)
	noSecrets(n.t, s)
}

func (n *notes) all() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.text, "\n")
}

func noSecrets(t *testing.T, s string) {
	t.Helper()
	if strings.Contains(s, secretToken) || strings.Contains(s, signature) {
		t.Errorf("a message holds a secret: %s", s)
	}
}

// fetcher is a Fetcher of the hub that waits a millisecond where others wait a second.
func (h *testHub) fetcher(dir string, change ...func(*Options)) (*Fetcher, *notes) {
	h.t.Helper()
	n := &notes{t: h.t}
	o := Options{Hub: Hub{Endpoint: h.hub.URL, Token: h.token}, Dir: dir, Note: n.add, Pause: time.Millisecond, Stall: 5 * time.Second}
	for _, c := range change {
		c(&o)
	}
	f, err := New(o)
	if err != nil {
		h.t.Fatal(err)
	}
	return f, n
}

// noise are bytes that differ everywhere.
func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

package server

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/fetch"
	"github.com/lorikeet-ai/lorikeet/openapi"
)

// hubOf serves repositories org/NAME by the API of the Hugging Face Hub. damage changes what is sent of a file.
func hubOf(t *testing.T, repos map[string]map[string][]byte, damage func(w http.ResponseWriter, r *http.Request, b []byte) []byte) *httptest.Server {
	sum := func(b []byte) string {
		d := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(b), b))
		return hex.EncodeToString(d[:])
	}
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rest, ok := strings.CutPrefix(r.URL.Path, "/api/models/org/"); ok {
			name, _, _ := strings.Cut(rest, "/")
			if name == "gated" {
				w.Header().Set("X-Error-Code", "GatedRepo")
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			files, ok := repos[name]
			if !ok {
				w.Header().Set("X-Error-Code", "RepoNotFound")
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			list := []map[string]any{}
			for file, b := range files {
				list = append(list, map[string]any{"rfilename": file, "size": len(b), "blobId": sum(b)})
			}
			json.NewEncoder(w).Encode(map[string]any{"sha": sum([]byte(name)), "siblings": list})
			return
		}
		parts := strings.SplitN(strings.TrimPrefix(r.URL.Path, "/org/"), "/", 4) // name/resolve/commit/file
		b := repos[parts[0]][parts[3]]
		if damage != nil {
			b = damage(w, r, b)
		}
		w.Write(b)
	}))
	t.Cleanup(hub.Close)
	return hub
}

// fetching lets requests name sources on a hub.
func fetching(t *testing.T, hub string, most int64) func(*setup) {
	return func(p *setup) {
		p.training = func(h *testServer, o *Options) {
			f, err := fetch.New(fetch.Options{Hub: fetch.Hub{Endpoint: hub}, Pause: time.Millisecond, Tries: 2})
			if err != nil {
				t.Fatal(err)
			}
			o.Fetch = func(ctx context.Context, name, source string) (adapters.Info, error) {
				dir, err := os.MkdirTemp(t.TempDir(), "")
				if err != nil {
					return adapters.Info{}, err
				}
				path, pinned, err := f.Adapter(ctx, source, dir, most, func(int64) error { return nil })
				if err != nil {
					return adapters.Info{}, err
				}
				return h.store.PutPath(ctx, name, path, adapters.Note{Origin: adapters.Origin{Kind: adapters.FromSource, Detail: pinned}})
			}
		}
	}
}

func from(name, source string) string { return fmt.Sprintf(`{"name":%q,"source":%q}`, name, source) }

func TestAdapterFromASource(t *testing.T) {
	other := map[string][]byte{}
	for name, b := range peftFiles(t, 2) {
		other[filepath.Join("deep", name)] = b
	}
	hub := hubOf(t, map[string]map[string][]byte{"pirate": peftFiles(t, 1), "deep": other}, nil)
	h := open(t, fetching(t, hub.URL, 1<<20))
	var a, again openapi.Adapter
	r := h.do("POST", "/adapters", from("pirate", "hf://org/pirate"))
	h.ok(r, &a)
	if r.status != http.StatusCreated || a.Name != "pirate" || a.Rank != 2 || a.Origin != "source" {
		t.Errorf("%d %+v", r.status, a)
	}
	h.ok(h.upload("same", peftFiles(t, 1)), &again)
	if again.Digest != a.Digest {
		t.Error("what is fetched is not what is uploaded")
	}
	r = h.do("POST", "/v1/load_lora_adapter", `{"lora_name":"deep","lora_path":"hf://org/deep@main/deep"}`)
	if r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
	info, err := h.store.Get(adapters.Ref{Name: "deep", Scale: 1})
	if err != nil || info.Origin.Detail != "hf://org/deep@"+shaOf("deep")+"/deep" {
		t.Errorf("%+v, %v", info.Origin, err)
	}
}

// shaOf is the commit that hubOf gives to a repository.
func shaOf(name string) string {
	d := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(name), name))
	return hex.EncodeToString(d[:])
}

func TestSourcesThatFail(t *testing.T) {
	broken := peftFiles(t, 1)
	broken["adapter_config.json"] = []byte("{")
	foreign := peftFiles(t, 1)
	foreign["adapter_config.json"] = []byte(`{"peft_type":"LORA","r":3,"lora_alpha":4,"target_modules":["q_proj"]}`)
	hub := hubOf(t, map[string]map[string][]byte{"good": peftFiles(t, 1), "broken": broken, "foreign": foreign, "wrong": peftFiles(t, 1), "cut": peftFiles(t, 1), "bare": {"x": nil}},
		func(w http.ResponseWriter, r *http.Request, b []byte) []byte {
			switch {
			case strings.Contains(r.URL.Path, "/wrong/"):
				return append([]byte("x"), b[1:]...)
			case strings.Contains(r.URL.Path, "/cut/"):
				w.Header().Set("Content-Length", fmt.Sprint(len(b)))
				w.Write(b[:5])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			return b
		})
	h := open(t, fetching(t, hub.URL, 1<<20))
	for _, c := range []struct {
		body, code, param string
		status            int
		message           string
	}{
		{from("x", "hf://org/nobody"), "source_not_found", "source", 404, "set HF_TOKEN"},
		{from("x", "hf://org/good/sub"), "source_not_found", "source", 404, `no "sub"`},
		{from("x", "hf://org/gated"), "source_denied", "source", 403, "accept its terms on the hub and set HF_TOKEN"},
		{from("x", "hf://org/bare"), "source_unusable", "source", 400, "has no adapter"},
		{from("x", "hf://org/wrong"), "source_checksum", "source", 502, "the checksum does not match: adapter_"},
		{from("x", "hf://org/cut"), "source_cut_off", "source", 502, "after 5 of"},
		{from("x", "hf://org/broken"), "adapter_unreadable", "source", 400, "adapter_config.json"},
		{from("x", "hf://org/foreign"), "adapter_unreadable", "source", 400, "rank"},
		{from("x", "http://169.254.169.254/latest"), codeValue, "source", 400, "want hf://"},
		{from("x", "hf://127.0.0.1:80/x"), codeValue, "source", 400, "not the name of a repository"},
		{from("a b", "hf://org/good"), codeValue, "name", 400, `"a b"`},
		{from("", "hf://org/good"), codeMissing, "name", 400, "is missing"},
		{`{"name":"x"}`, codeMissing, "path", 400, "is missing"},
		{`{"name":"x","path":"p","source":"hf://org/good"}`, codeValue, "source", 400, "is given beside path"},
		{`{"name":"x","path":null,"source":7}`, codeType, "source", 400, ""},
	} {
		t.Run(c.body, func(t *testing.T) {
			refused(t, h.do("POST", "/adapters", c.body), c.status, c.code, c.param, c.message)
			if left, _ := os.ReadDir(h.server.tempDir); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		})
	}
	if n := len(h.store.List()); n > 0 {
		t.Errorf("%d adapters are stored", n)
	}
	hub.Close()
	refused(t, h.do("POST", "/adapters", from("x", "hf://org/good")), 502, "source_unreachable", "source", "connection refused")

	refused(t, open(t, fetching(t, hubOf(t, map[string]map[string][]byte{"good": peftFiles(t, 1)}, nil).URL, 100)).do("POST", "/adapters", from("x", "hf://org/good")),
		413, "adapter_too_large", "source", "more than 100 bytes")
	closed := open(t)
	refused(t, closed.do("POST", "/adapters", from("x", "hf://org/good")), 403, codeNotAllowed, "source", "--remote-adapters")
	refused(t, closed.do("POST", "/v1/load_lora_adapter", `{"lora_name":"x","lora_path":"s3://bucket/x"}`), 403, codeNotAllowed, "lora_path", "--remote-adapters")
}

// TestFetchEnds checks that neither a client that has disconnected nor a server that stops waits for a slow hub.
func TestFetchEnds(t *testing.T) {
	asked, gone := make(chan struct{}, 9), make(chan struct{}, 9)
	hub := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	}))
	defer hub.Close()
	h := open(t, fetching(t, hub.URL, 1<<20))
	c := h.dial()
	fmt.Fprint(c, raw("/adapters", from("x", "hf://org/slow")))
	<-asked
	c.Close()
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
		t.Fatal("the client has disconnected and its fetch goes on")
	}
	answer := make(chan response, 1)
	go func() { answer <- h.do("POST", "/adapters", from("x", "hf://org/slow")) }()
	<-asked
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := h.server.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	refused(t, <-answer, http.StatusServiceUnavailable, "shutting_down", "source", "")
}

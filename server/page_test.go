package server

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"

	"github.com/lorikeet-ai/lorikeet/page"
)

// raw sends a GET with headers and follows nothing; the body comes as it was sent.
func (h *testServer) raw(path string, headers ...string) response {
	h.t.Helper()
	req, err := http.NewRequest(http.MethodGet, h.url+path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "identity") // so that the client does not ask for gzip by itself
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	r, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	got := response{status: r.StatusCode, header: r.Header, body: body}
	if err := conform(http.MethodGet, path, got); err != nil {
		h.t.Error(err)
	}
	return got
}

const browserAccept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

// A browser gets the page at /, without a key; who does not ask for HTML is led to the description as before.
func TestPageIsForBrowsers(t *testing.T) {
	h := open(t, func(p *setup) { p.options.Keys = []string{"k"} })
	index, _, err := page.Find(page.Index)
	if err != nil {
		t.Fatal(err)
	}
	r := h.raw("/", "Accept", browserAccept)
	if r.status != 200 || !bytes.Equal(r.body, index.Content) || r.header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("a browser gets %d, %s: %.60s", r.status, r.header.Get("Content-Type"), r.body)
	}
	for name, want := range map[string]string{
		"Content-Security-Policy": page.Policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
		"Cache-Control": "no-cache", "Etag": "W/" + index.ETag,
	} {
		if got := r.header.Get(name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	if vary := r.header.Get("Vary"); !strings.Contains(vary, "Accept,") || !strings.Contains(vary, "Accept-Encoding") {
		t.Errorf("Vary is %q", vary)
	}
	for _, accept := range []string{"", "*/*", "application/json"} {
		if r := h.raw("/", "Accept", accept); r.status != http.StatusFound || r.header.Get("Location") != "/docs" || !strings.Contains(r.header.Get("Vary"), "Accept") {
			t.Errorf("Accept %q: %d to %q", accept, r.status, r.header.Get("Location"))
		}
	}
}

func TestPageFiles(t *testing.T) {
	h := open(t, func(p *setup) { p.options.Keys = []string{"k"} })
	script, found, err := page.Find("app.js")
	if !found || err != nil {
		t.Fatal(found, err)
	}
	plain := h.raw("/page/app.js")
	if plain.status != 200 || !bytes.Equal(plain.body, script.Content) || plain.header.Get("Content-Encoding") != "" {
		t.Errorf("without compression: %d, %d bytes, %q", plain.status, len(plain.body), plain.header.Get("Content-Encoding"))
	}
	readers := map[string]func(io.Reader) (io.Reader, error){
		"gzip": func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
		"br":   func(r io.Reader) (io.Reader, error) { return brotli.NewReader(r), nil },
	}
	for accept, encoding := range map[string]string{"gzip, deflate, br, zstd": "br", "gzip": "gzip", "br;q=0, gzip": "gzip", "zstd": ""} {
		r := h.raw("/page/app.js", "Accept-Encoding", accept)
		if got := r.header.Get("Content-Encoding"); got != encoding {
			t.Errorf("Accept-Encoding %q gives %q", accept, got)
			continue
		}
		if encoding == "" {
			continue
		}
		reader, err := readers[encoding](bytes.NewReader(r.body))
		if err != nil {
			t.Fatal(err)
		}
		if content, err := io.ReadAll(reader); err != nil || !bytes.Equal(content, script.Content) || len(r.body) >= len(content) {
			t.Errorf("%s: %d bytes of %d: %v", encoding, len(r.body), len(content), err)
		}
	}
	for _, same := range []string{script.ETag, "W/" + script.ETag, `"other", W/` + script.ETag, "*"} {
		if r := h.raw("/page/app.js", "If-None-Match", same, "Accept-Encoding", "br"); r.status != http.StatusNotModified || len(r.body) != 0 || r.header.Get("ETag") != "W/"+script.ETag {
			t.Errorf("If-None-Match %s: %d with %d bytes", same, r.status, len(r.body))
		}
	}
	if r := h.raw("/page/app.js", "If-None-Match", `"other"`); r.status != 200 {
		t.Errorf("another version: %d", r.status)
	}
	for name, kind := range map[string]string{"app.css": "text/css", "app.svg": "image/svg+xml", "licenses.txt": "text/plain", "index.html": "text/html"} {
		if r := h.raw("/page/" + name); r.status != 200 || !strings.HasPrefix(r.header.Get("Content-Type"), kind) {
			t.Errorf("%s: %d, %s", name, r.status, r.header.Get("Content-Type"))
		}
	}
	for _, name := range []string{"none.js", "%2e%2e%2fpage.go", "page.go", "dist"} {
		refused(t, h.raw("/page/"+name), 404, "unknown_url", "", "no file")
	}
}

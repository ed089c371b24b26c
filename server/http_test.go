package server

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/lorikeet-ai/lorikeet/openapi"
)

// Every answer names its request, errors and streams too; a client's own id is taken where it can be written to a log.
func TestRequestIDs(t *testing.T) {
	h := open(t, saying("x"), func(p *setup) { p.options.Origins = []string{"http://localhost:3000"} })
	for _, c := range []struct {
		sent string
		kept bool
	}{
		{"", false}, {"trace-1/a:b", true}, {strings.Repeat("x", 128), true}, {strings.Repeat("x", 129), false},
		{`a"b`, false}, {"a b", false}, {"é", false},
	} {
		for _, body := range []string{chatBody("a"), chatBody("a", `"stream":true`), chatBody("a", `"temperature":9`)} {
			r := h.ask(t, "POST", chatURL, body, map[string]string{"X-Request-Id": c.sent, "Content-Type": "application/json"})
			id := r.header.Get("X-Request-Id")
			if c.kept && id != c.sent || !c.kept && (!strings.HasPrefix(id, "req_") || len(id) != 36) {
				t.Errorf("%q becomes %q", c.sent, id)
			}
			if r.header.Get("Openai-Processing-Ms") == "" {
				t.Errorf("%d has no Openai-Processing-Ms", r.status)
			}
		}
	}
	a, b := h.do("GET", "/healthz", "").header.Get("X-Request-Id"), h.do("GET", "/healthz", "").header.Get("X-Request-Id")
	if a == b {
		t.Errorf("two requests are %q", a)
	}
	r := h.ask(t, "GET", "/v1/models", "", map[string]string{"Origin": "http://localhost:3000"})
	for _, name := range []string{"X-Request-Id", "Openai-Processing-Ms", "Retry-After"} {
		if exposed := strings.ToLower(r.header.Get("Access-Control-Expose-Headers")); !strings.Contains(exposed, strings.ToLower(name)) {
			t.Errorf("pages may not read %s: %q", name, exposed)
		}
	}
}

// The id is in the log, where the operator looks for it.
func TestRequestIDsAreLogged(t *testing.T) {
	h := open(t)
	h.add("gone", 1)
	h.ask(t, "DELETE", "/v1/models/gone", "", map[string]string{"X-Request-Id": "find-me"})
	t.Cleanup(func() {
		if !strings.Contains(h.log.String(), `"request":"find-me"`) {
			t.Errorf("the log is %s", h.log)
		}
	})
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

func zstandard(t *testing.T, b []byte, o ...zstd.EOption) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, o...)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(b)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Compressed bodies are read as others are, with their length and in chunks.
func TestEncodedBodies(t *testing.T) {
	h := open(t, saying("x"))
	small, large := []byte(chatBody("hello")), []byte(chatBody("a", `"user":"`+strings.Repeat("long ", 300<<10)+`"`))
	post := func(encoding string, body []byte, chunked bool) response {
		var in io.Reader = bytes.NewReader(body)
		if chunked {
			in = io.MultiReader(in)
		}
		req, err := http.NewRequest("POST", h.url+chatURL, in)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Encoding", encoding)
		return h.send(req)
	}
	for _, chunked := range []bool{false, true} {
		for _, plain := range [][]byte{small, large} {
			for encoding, body := range map[string][]byte{
				"gzip": gzipped(plain), "x-gzip": gzipped(plain), "GZIP": gzipped(plain), "zstd": zstandard(t, plain), "identity": plain,
			} {
				if r := post(encoding, body, chunked); r.status != 200 {
					t.Errorf("%s of %d bytes, chunked %v: %d %s", encoding, len(plain), chunked, r.status, r.body)
				}
			}
		}
		for encoding, body := range map[string][]byte{
			"gzip": []byte("no gzip"), "zstd": []byte("no zstandard frame"), "x-gzip": gzipped(small)[:20],
		} {
			refused(t, post(encoding, body, chunked), 400, "invalid_encoding", "", "decompress")
		}
		refused(t, post("gzip", nil, chunked), 400, "invalid_encoding", "", "decompress")
		refused(t, post("br", small, chunked), 400, codeUnsupported, "", `"br"`)
		refused(t, post("gzip, gzip", gzipped(gzipped(small)), chunked), 400, codeUnsupported, "", "gzip, gzip")
	}
	r := h.ask(t, "POST", "/adapters", string(gzipped([]byte("--x--"))), map[string]string{"Content-Type": "multipart/form-data; boundary=x", "Content-Encoding": "gzip"})
	refused(t, r, 400, codeUnsupported, "", "an upload comes as it is")
	two := append(gzipped(small[:10]), gzipped(small[10:])...)
	if r := post("gzip", two, false); r.status != 200 {
		t.Errorf("two members: %d %s", r.status, r.body)
	}
	refused(t, post("gzip", append(gzipped(small), "rest"...), false), 400, "invalid_encoding", "", "")
	waitUntil(t, "all shares are given back", time.Second, func() bool {
		return h.server.bodies.TryAcquire(bodyMemory) && !release(h, bodyMemory)
	})
}

// What a body decompresses to is bounded, and so is what decompressing takes.
func TestDecompressionBombs(t *testing.T) {
	h := open(t)
	zeros := bytes.Repeat([]byte{' '}, 64<<20)
	window := zstandard(t, zeros, zstd.WithWindowSize(64<<20))
	empty := bytes.Repeat(gzipped(nil), 400<<10)
	for _, c := range []struct {
		what, encoding string
		body           []byte
		status         int
	}{
		{"64 MiB in gzip", "gzip", gzipped(zeros), 413},
		{"64 MiB in zstd", "zstd", zstandard(t, zeros), 413},
		{"a window of 64 MiB", "zstd", window, 400},
		{"9 MiB of empty members", "gzip", empty, 413},
	} {
		req, err := http.NewRequest("POST", h.url+chatURL, io.MultiReader(bytes.NewReader(c.body)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Encoding", c.encoding)
		if r := h.send(req); r.status != c.status {
			t.Errorf("%s: %d %s", c.what, r.status, r.body)
		}
	}
	waitUntil(t, "all shares are given back", time.Second, func() bool {
		return h.server.bodies.TryAcquire(bodyMemory) && !release(h, bodyMemory)
	})
}

// A client of HTTP/1.0 gets no chunks: the connection's end is the stream's.
func TestHTTP10(t *testing.T) {
	h := open(t, saying("hello"))
	ask := func(body string) (head, text string) {
		conn, err := net.Dial("tcp", h.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST %s HTTP/1.0\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", chatURL, len(body), body)
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		all, err := io.ReadAll(conn)
		if err != nil {
			t.Fatal(err)
		}
		head, text, _ = strings.Cut(string(all), "\r\n\r\n")
		return head, text
	}
	head, text := ask(chatBody("a"))
	var whole openapi.ChatCompletion
	if err := json.Unmarshal([]byte(text), &whole); err != nil || strings.Contains(head, "chunked") {
		t.Errorf("%v: %s\n%s", err, head, text)
	}
	head, text = ask(chatBody("a", `"stream":true`))
	lower := strings.ToLower(head)
	if strings.Contains(lower, "transfer-encoding") || !strings.Contains(lower, "connection: close") || !strings.Contains(lower, "text/event-stream") ||
		!strings.Contains(lower, "x-request-id: req_") {
		t.Errorf("the header of a stream is %s", head)
	}
	if !strings.HasPrefix(text, "data: {") || !strings.HasSuffix(text, "data: [DONE]\n\n") {
		t.Errorf("the stream is %q", text)
	}
	if got := textOf(t, dataOf(text)); got != "hello" {
		t.Errorf("the stream says %q", got)
	}
	if r := h.do("POST", chatURL, chatBody("a")); r.status != 200 {
		t.Errorf("afterwards: %d", r.status)
	}
}

// textOf joins the pieces of a chat stream.
func textOf(t *testing.T, chunks []string) (text string) {
	t.Helper()
	for _, chunk := range chunks {
		var c openapi.ChatCompletionChunk
		if chunk != "[DONE]" && json.Unmarshal([]byte(chunk), &c) != nil {
			t.Fatalf("chunk %s", chunk)
		}
		for _, choice := range c.Choices {
			if choice.Delta.Content != nil {
				text += *choice.Delta.Content
			}
		}
	}
	return text
}

// A stream of HTTP/1.0 whose client goes ends with it.
func TestHTTP10ClientDisconnects(t *testing.T) {
	h := open(t, slowly(5*time.Millisecond))
	conn, err := net.Dial("tcp", h.address)
	if err != nil {
		t.Fatal(err)
	}
	body := completion("a", `"stream":true,"ignore_eos":true,"max_tokens":4000`)
	fmt.Fprintf(conn, "POST %s HTTP/1.0\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", textURL, len(body), body)
	if _, err := bufio.NewReader(conn).ReadString('{'); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	waitUntil(t, "the answer ends", 3*time.Second, func() bool { return h.engine.Stats().Running == 0 })
}

// What describes the API is open, as a browser asks for it without a key.
func TestOpenPaths(t *testing.T) {
	h := open(t, func(p *setup) { p.options.Keys = []string{"k"} })
	for _, path := range []string{"/docs", "/openapi.yaml", "/healthz", "/readyz"} {
		if r := h.do("GET", path, ""); r.status != 200 {
			t.Errorf("%s: %d", path, r.status)
		}
	}
	req, err := http.NewRequest("GET", h.url+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.DefaultTransport.RoundTrip(req) // which follows nothing
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusFound || r.Header.Get("Location") != "/docs" {
		t.Errorf("/ leads to %q with %d", r.Header.Get("Location"), r.StatusCode)
	}
	for _, path := range []string{"/v1/models", "/metrics", "/props", "/slots", "/lora-adapters"} {
		if r := h.do("GET", path, ""); r.status != http.StatusUnauthorized {
			t.Errorf("%s without a key: %d", path, r.status)
		}
	}
}

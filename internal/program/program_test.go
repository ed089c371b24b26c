//go:build cgo && linux

package program

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// testConfig serves the embedded base.
func testConfig(t *testing.T, listen string) Config {
	return Config{
		Listen: listen, Data: t.TempDir(), AdapterBytes: 1 << 20, MaxUpload: 1 << 20, TrainMemory: 1 << 20, TrainShare: 0.5,
		Remote: "off", Parallel: 2, Chunk: 64, Batch: 128, UBatch: 128, Threads: 1, KVType: "f16", FlashAttention: "auto", Backend: "fused",
		NF4: "i8", MaxQueue: 4, Deadline: time.Minute, Drain: time.Second, LogLevel: "warn", Version: "test",
	}
}

// TestBoot opens the real server on a free port, asks it, and closes it.
func TestBoot(t *testing.T) {
	var out strings.Builder
	p, err := New(testConfig(t, "127.0.0.1:0"), &out, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Open(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx) }()
	waitUntilReady(t, p)
	resp, err := http.Post(p.URL()+"/v1/completions", "application/json", strings.NewReader(`{"prompt": "a", "max_tokens": 1}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("the server answers %s", resp.Status)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if !strings.Contains(out.String(), p.URL()) {
		t.Errorf("it does not print its address: %s", out.String())
	}
	p.Close()
}

// A port that is taken is noticed before anything is loaded, and until the model is loaded a request is answered 503.
func TestListenComesFirst(t *testing.T) {
	p, err := New(testConfig(t, "127.0.0.1:0"), io.Discard, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Listen(); err != nil {
		t.Fatal(err)
	}
	other, err := New(testConfig(t, p.front.Addr().String()), io.Discard, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.Listen(); err == nil || !strings.Contains(err.Error(), "--listen "+p.front.Addr().String()) {
		t.Errorf("a taken port: %v", err)
	}
	for _, body := range []string{"", strings.Repeat("x", 1<<20)} {
		resp, err := http.Post(p.URL()+"/v1/completions", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || !strings.Contains(string(text), "being loaded") {
			t.Errorf("while loading: %d %s %v", resp.StatusCode, text, err)
		}
	}
	for path, want := range map[string]string{
		"/v1/messages?beta=true": `{"type":"error","error":{"type":"overloaded_error","message":"the model is being loaded"}}`,
		"/api/chat":              `{"error":"the model is being loaded"}`,
	} {
		resp, err := http.Post(p.URL()+path, "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || string(text) != want {
			t.Errorf("%s while loading: %d %s %v, want %s", path, resp.StatusCode, text, err, want)
		}
	}
	silent, err := net.Dial("tcp", p.front.Addr().String()) // says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if err := p.Open(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx) }()
	waitUntilReady(t, p)
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// A log file that was moved away goes on under its name.
func TestReopenLog(t *testing.T) {
	c := testConfig(t, "127.0.0.1:0")
	c.LogFile = filepath.Join(c.Data, "log")
	p, err := New(c, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	log := p.Log()
	log.Warn().Msg("first")
	if err := os.Rename(c.LogFile, c.LogFile+".1"); err != nil {
		t.Fatal(err)
	}
	log.Warn().Msg("second")
	if !p.ReopenLog() {
		t.Error("the log is no file")
	}
	log.Warn().Msg("third")
	for path, want := range map[string]string{c.LogFile + ".1": "second", c.LogFile: "third"} {
		text, err := os.ReadFile(path)
		if err != nil || strings.Count(string(text), "\n") < 1 || !strings.Contains(string(text), want) {
			t.Errorf("%s: %q %v, want %s", path, text, err, want)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
	other, err := New(testConfig(t, "127.0.0.1:0"), io.Discard, io.Discard)
	if err != nil || other.ReopenLog() {
		t.Errorf("a log that is no file is opened anew: %v", err)
	}
}

// waitUntilReady returns once the server answers requests itself: before that, they are answered 503.
func waitUntilReady(t *testing.T, p *Program) {
	t.Helper()
	for {
		resp, err := http.Get(p.URL() + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			break
		}
	}
}

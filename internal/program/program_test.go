//go:build cgo && linux

package program

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestBoot opens the real server on a free port, asks it, and closes it.
func TestBoot(t *testing.T) {
	var out strings.Builder
	p := New(Config{
		Listen: "127.0.0.1:0", Data: t.TempDir(), AdapterBytes: 1 << 20, MaxUpload: 1 << 20, TrainMemory: 1 << 20, TrainShare: 0.5,
		Remote: "off", Parallel: 2, Chunk: 64, Batch: 128, UBatch: 128, Threads: 1, KVType: "f16", FlashAttention: "auto", Backend: "fused",
		NF4: "i8", MaxQueue: 4, Deadline: time.Minute, Drain: time.Second, LogLevel: "warn", Version: "test",
	}, &out, t.Output())
	defer p.Close()
	if err := p.Open(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx) }()
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

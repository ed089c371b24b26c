package server

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// Uploads of every kind share one budget: what does not fit beside the others is refused, nothing is kept of it, and it
// succeeds when they have ended.
func TestUploadsShareOneBudget(t *testing.T) {
	budget := disk.NewBudget(256 << 10)
	h := openTraining(t, true, func(p *setup) { p.options.Uploads = budget })
	send := func(path, kind string, body *bytes.Buffer, stated bool) response {
		req, _ := http.NewRequest("POST", h.url+path, body)
		if !stated {
			req.Body, req.ContentLength = io.NopCloser(body), -1 // it comes in chunks
		}
		req.Header.Set("Content-Type", kind)
		return h.send(req)
	}
	line := map[string][]byte{"a.jsonl": []byte(`{"prompt":"a","completion":"b"}` + "\n")}
	kinds := map[string]func(stated bool) response{
		"adapter": func(stated bool) response {
			kind, body := uploadForm(t, "pirate", peftFiles(t, 1))
			return send("/adapters", kind, body, stated)
		},
		"file": func(stated bool) response {
			kind, body := uploadForm(t, "", line, "purpose", "fine-tune")
			return send("/v1/files", kind, body, stated)
		},
		"dataset": func(stated bool) response {
			kind, body := uploadForm(t, "job", line, "max_steps", "1")
			return send("/adapters/train", kind, body, stated)
		},
	}
	for name, upload := range kinds {
		for _, stated := range []bool{true, false} {
			others := budget.Share()
			if err := others.Take(256 << 10); err != nil {
				t.Fatalf("%s: the last upload still holds its bytes: %v", name, err)
			}
			r := upload(stated)
			refused(t, r, 503, "busy", "", "try again later")
			if r.header.Get("Retry-After") == "" {
				t.Errorf("%s: there is no Retry-After", name)
			}
			if left, err := os.ReadDir(h.server.tempDir); err != nil || len(left) > 0 {
				t.Errorf("%s: left are %v (%v)", name, left, err)
			}
			others.Release()
		}
		if r := upload(true); r.status/100 != 2 {
			t.Errorf("%s: with room again: %d %s", name, r.status, r.body)
		}
		if !budget.Fits(256 << 10) {
			t.Errorf("%s: the upload has ended and holds bytes", name)
		}
	}
}

// A server that stops ends a merge that waits, and does not wait for it.
func TestShutdownEndsMerges(t *testing.T) {
	h := open(t)
	h.add("a", 1)
	h.server.merging <- struct{}{} // another merge
	got := make(chan response, 1)
	go func() { got <- h.do("POST", "/adapters/merge", `{"name":"out","from":[{"name":"a"}]}`) }()
	waitUntil(t, "the merge waits", time.Second, func() bool { return h.server.app.Server().GetCurrentConcurrency() > 0 })
	done := make(chan error, 1)
	go func() { done <- h.server.Shutdown(t.Context()) }()
	refused(t, <-got, 503, "shutting_down", "", "")
	if err := <-done; err != nil {
		t.Error(err)
	}
	<-h.server.merging
}

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/bench/randmodel"
)

// costlyGrammar can be read in many ways at every place, so that each of a large vocabulary's tokens is followed through all
// of them.
const costlyGrammar = `root ::= ([w0-9] | [w0-9] [w0-9] | [w0-9] [w0-9] [w0-9] | [w0-9] [w0-9] [w0-9] [w0-9] | "w" [0-9]+ | [0-9]+)* "never"`

// chunksOf streams a completion and calls each with every chunk of it.
func chunksOf(ctx context.Context, url string, body map[string]any, each func()) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/completions", bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for lines := bufio.NewReader(resp.Body); ; {
		line, err := lines.ReadString('\n')
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case resp.StatusCode != http.StatusOK || strings.Contains(line, `"error"`):
			return fmt.Errorf("%s: %s", resp.Status, line)
		case strings.HasPrefix(line, "data: {"):
			each()
		}
	}
}

// TestCostlyGrammarsKeepOthersPace streams an answer while others run under a costly grammar over 64,000 tokens: it is whole,
// and no wait between two of its tokens is longer than two seconds, on a machine that may be busy with other tests.
func TestCostlyGrammarsKeepOthersPace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large.gguf")
	shape := randmodel.Shape{Embedding: 64, FeedForward: 64, Heads: 2, KVHeads: 1, Layers: 1, Vocab: 64_000, Context: 2048}
	if err := randmodel.WriteModel(path, shape, 1); err != nil {
		t.Fatal(err)
	}
	b := boot(t, "--model", path, "--threads", "1", "--parallel", "8")
	body := func(more ...any) map[string]any {
		body := map[string]any{"prompt": []int{5, 6, 7}, "max_tokens": 100, "ignore_eos": true, "stream": true}
		for i := 0; i < len(more); i += 2 {
			body[more[i].(string)] = more[i+1]
		}
		return body
	}
	ctx, cancel := context.WithCancel(t.Context())
	var others sync.WaitGroup
	var ran atomic.Int64
	for i := range 4 {
		others.Go(func() {
			for seed := i; ctx.Err() == nil; seed += 4 {
				err := chunksOf(ctx, b.url(), body("grammar", costlyGrammar, "seed", seed), func() { ran.Add(1) })
				if err != nil && ctx.Err() == nil && !strings.Contains(err.Error(), "grammar_too_complex") {
					t.Error(err)
					return
				}
			}
		})
	}
	defer others.Wait()
	defer cancel()
	for deadline := time.Now().Add(startTimeout); ran.Load() < 8; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the costly grammars give no tokens")
		}
	}
	start, before := ran.Load(), time.Now()
	longest, chunks := time.Duration(0), 0
	err := chunksOf(ctx, b.url(), body(), func() {
		now := time.Now()
		longest, before, chunks = max(longest, now.Sub(before)), now, chunks+1
	})
	beside := ran.Load() - start
	t.Logf("%d chunks beside %d of the costly ones, the longest wait %v", chunks, beside, longest)
	if err != nil || chunks < 100 || beside == 0 || longest > 2*time.Second {
		t.Errorf("%d chunks beside %d of the costly ones, the longest wait %v, error %v", chunks, beside, longest, err)
	}
}

// Package load drives an OpenAI-shaped completion endpoint with streaming clients and keeps the times
// that users feel: time to first token, time between tokens, and tokens per second over all clients.
package load

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Target knows how one server wants to be asked.
type Target interface {
	// Request returns the URL and the JSON body for a streaming completion of prompt (token ids) with
	// exactly tokens answer tokens and the adapter of that index; -1 is the bare base.
	Request(prompt []int, tokens, adapter int) (url string, body any)
}

// Plan is a load: Clients at once, each sending Requests one after the other.
type Plan struct {
	Clients  int
	Requests int
	Prompt   int                  // tokens of each prompt; no two prompts share a prefix
	Tokens   int                  // tokens of each answer
	Vocab    int                  // prompts are drawn from token ids below this
	Adapter  func(client int) int // -1: base
}

// Result is what a load measured.
type Result struct {
	Clients  int           // at once
	Tokens   int           // answer tokens of all clients
	Wall     time.Duration // first request to last token
	TTFT     []time.Duration
	Between  []time.Duration // times between an answer's tokens
	Failures int
}

// PerSecond is the aggregate rate of answer tokens.
func (r Result) PerSecond() float64 { return float64(r.Tokens) / r.Wall.Seconds() }

// DecodePerSecond is the aggregate rate of answer tokens while no prompt is computed: every client gets a token in
// each median time between tokens.
func (r Result) DecodePerSecond() float64 {
	if len(r.Between) == 0 {
		return 0
	}
	return float64(r.Clients) / Quantile(r.Between, .5).Seconds()
}

// Quantile returns the q-quantile (0..1) of d, by the nearest rank.
func Quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(d))
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

// Run sends the load and waits for its end. The first failure is returned; the result counts all.
func Run(ctx context.Context, t Target, p Plan) (Result, error) {
	var (
		mu    sync.Mutex
		total = Result{Clients: p.Clients}
		first error
		wg    sync.WaitGroup
	)
	begin := time.Now()
	for c := range p.Clients {
		wg.Go(func() {
			for n := range p.Requests {
				one, err := ask(ctx, t, prompt(p, c, n), p.Tokens, p.Adapter(c))
				mu.Lock()
				total.add(one)
				if err != nil {
					total.Failures++
					if first == nil {
						first = fmt.Errorf("client %d, request %d: %w", c, n, err)
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	total.Wall = time.Since(begin)
	return total, first
}

func (r *Result) add(o Result) {
	r.Tokens += o.Tokens
	r.TTFT = append(r.TTFT, o.TTFT...)
	r.Between = append(r.Between, o.Between...)
}

// prompt draws token ids that differ from the first token on, so that no server can reuse a prefix.
func prompt(p Plan, client, n int) []int {
	ids := make([]int, p.Prompt)
	seed := uint32(client*7919 + n*104729 + p.Prompt + 1)
	for i := range ids {
		seed = seed*1664525 + 1013904223
		ids[i] = int(seed>>8) % p.Vocab
	}
	return ids
}

// ask sends one streaming request; every SSE data line that carries text or a token counts as one token.
func ask(ctx context.Context, t Target, prompt []int, tokens, adapter int) (Result, error) {
	url, body := t.Request(prompt, tokens, adapter)
	payload, err := json.Marshal(body)
	if err != nil {
		return Result{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(payload))
	if err != nil {
		return Result{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Close = true // a server may close an idle connection just when it would be used again
	sent := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return Result{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<12))
		return Result{}, fmt.Errorf("%s: %s", resp.Status, text)
	}
	return readStream(resp.Body, sent, tokens)
}

// readStream counts tokens by what the server says it generated, and times by when its events arrive.
func readStream(body io.Reader, sent time.Time, want int) (Result, error) {
	var r Result
	last := sent
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 0, 1<<16), 1<<20)
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok || bytes.Equal(data, []byte("[DONE]")) {
			continue
		}
		if bytes.HasPrefix(data, []byte(`{"error"`)) {
			return r, fmt.Errorf("stream: %s", data)
		}
		now := time.Now()
		if r.Tokens == 0 {
			r.TTFT = append(r.TTFT, now.Sub(sent))
		} else {
			r.Between = append(r.Between, now.Sub(last))
		}
		last = now
		r.Tokens++
	}
	if err := lines.Err(); err != nil {
		return r, err
	}
	if r.Tokens < want {
		return r, fmt.Errorf("the stream ended after %d of %d events", r.Tokens, want)
	}
	r.Tokens = want // further events (finish, usage) carry no token
	r.Between = r.Between[:min(len(r.Between), want-1)]
	return r, nil
}

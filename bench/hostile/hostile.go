// Package hostile sends a server what only a faulty or malicious client sends: bodies of the wrong shape for every operation of the API,
// grammars, JSON schemas, archives, adapters and datasets with random faults. It watches for what must never happen: a
// crash, an answer that blames the server, a request that hangs, memory that grows. The tests run it for a bounded time;
// bench/fuzz runs it for long.
package hostile

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Options say how much.
type Options struct {
	URL      string
	Inputs   int                   // of each kind
	Time     time.Duration         // of each kind, at most; 0: no bound
	Parallel int                   // requests at once
	Seed     uint64                // the same seed makes the same inputs
	Resident func() (int64, error) // memory of the server, in bytes
	Spec     []byte                // openapi.yaml
	Adapter  Files                 // a good adapter, whose copies are damaged
}

// Files are the contents of an adapter's two files.
type Files struct{ Config, Tensors []byte }

// hang is how long a request may take.
const hang = 5 * time.Second

// patience is for how long a result is waited for.
const patience = 500 * time.Millisecond

// Input is one request to make.
type Input struct {
	Method, Path, ContentType string
	Body                      []byte
	Polls                     bool // it may wait for a result, and is given up after a while
}

func (in *Input) String() string {
	return fmt.Sprintf("%s %s (%s) %.300q", in.Method, in.Path, in.ContentType, in.Body)
}

// kind makes inputs of one kind. It is called with a source of random numbers of its own for each input.
type kind struct {
	name string
	make func(r *rand.Rand) Input
}

// Report is what came of one kind.
type Report struct {
	Kind     string
	Inputs   int
	Statuses map[int]int
	Slowest  time.Duration
	Resident [2]int64 // before and after
	Faults   []string
}

// Run sends all kinds, one after the other. It returns an error where the server cannot be spoken to any more.
func Run(ctx context.Context, o Options) ([]Report, error) {
	bodies, err := operations(o.Spec)
	if err != nil {
		return nil, err
	}
	var reports []Report
	for i, k := range []kind{
		{"bodies", bodies.input}, {"grammars", grammarInput}, {"schemas", schemaInput}, {"conversations", conversationInput},
		{"archives", o.Adapter.archiveInput}, {"adapters", o.Adapter.adapterInput}, {"datasets", datasetInput},
	} {
		r, err := o.run(ctx, k, uint64(i))
		reports = append(reports, r)
		if err != nil {
			return reports, fmt.Errorf("%s: %w", k.name, err)
		}
	}
	return reports, nil
}

// run sends the inputs of one kind.
func (o *Options) run(ctx context.Context, k kind, stream uint64) (Report, error) {
	r := Report{Kind: k.name, Statuses: map[int]int{}}
	var err error
	if r.Resident[0], err = o.Resident(); err != nil {
		return r, err
	}
	var end time.Time
	if o.Time > 0 {
		end = time.Now().Add(o.Time)
	}
	var mu sync.Mutex
	var workers sync.WaitGroup
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: o.Parallel}, Timeout: 4 * hang}
	defer client.CloseIdleConnections()
	next := 0
	for range o.Parallel {
		workers.Go(func() {
			for {
				mu.Lock()
				n := next
				next++
				stop := n >= o.Inputs || ctx.Err() != nil || !end.IsZero() && time.Now().After(end) || len(r.Faults) > 20
				if !stop {
					r.Inputs++
				}
				mu.Unlock()
				if stop {
					return
				}
				in := k.make(rand.New(rand.NewPCG(o.Seed<<8+stream, uint64(n))))
				status, took, fault := o.send(ctx, client, &in)
				mu.Lock()
				r.Statuses[status]++
				r.Slowest = max(r.Slowest, took)
				if fault != "" {
					r.Faults = append(r.Faults, fmt.Sprintf("input %d: %s: %s", n, fault, &in))
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	if err := o.alive(ctx, client); err != nil {
		r.Faults = append(r.Faults, err.Error())
		return r, err
	}
	r.Resident[1], err = o.Resident()
	return r, err
}

// send makes one request and returns what is wrong with how it ended, "" for nothing.
func (o *Options) send(ctx context.Context, client *http.Client, in *Input) (status int, took time.Duration, fault string) {
	if in.Polls {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, patience)
		defer stop()
	}
	req, err := http.NewRequestWithContext(ctx, in.Method, o.URL+in.Path, bytes.NewReader(in.Body))
	if err != nil {
		return 0, 0, "" // not even a request: a path with control characters
	}
	if in.ContentType != "" {
		req.Header.Set("Content-Type", in.ContentType)
	}
	start := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return 0, 0, ""
		}
		return 0, time.Since(start), err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	took = time.Since(start)
	switch {
	case err != nil && ctx.Err() == nil:
		return resp.StatusCode, took, "the answer ended early: " + err.Error()
	case took > hang:
		return resp.StatusCode, took, fmt.Sprintf("it took %v", took)
	case isServerFault(resp.StatusCode):
		return resp.StatusCode, took, fmt.Sprintf("%s: %.300s", resp.Status, text)
	case resp.StatusCode >= 400 && !saysWhy(text) && in.Method != http.MethodHead:
		return resp.StatusCode, took, fmt.Sprintf("%s without a message: %.300s", resp.Status, text)
	}
	return resp.StatusCode, took, ""
}

// saysWhy reports whether a refusal has a message, in the shape of any API: that of Ollama has it as the error itself.
func saysWhy(body []byte) bool {
	var said struct{ Error json.RawMessage }
	var message struct{ Message string }
	var text string
	return json.Unmarshal(body, &said) == nil &&
		(json.Unmarshal(said.Error, &message) == nil && message.Message != "" || json.Unmarshal(said.Error, &text) == nil && text != "")
}

// isServerFault reports whether a status says that the server is at fault, by anything but what it cannot do, what it has no room
// for now, and a full disk.
func isServerFault(status int) bool {
	return status >= 500 && status != http.StatusNotImplemented && status != http.StatusServiceUnavailable && status != http.StatusInsufficientStorage
}

// alive asks the server something simple.
func (o *Options) alive(ctx context.Context, client *http.Client) error {
	in := Input{Method: http.MethodPost, Path: "/v1/completions", ContentType: "application/json", Body: []byte(`{"prompt": "a", "max_tokens": 1}`)}
	if status, _, fault := o.send(ctx, client, &in); status != http.StatusOK {
		return fmt.Errorf("afterwards a plain request is answered with %d: %s", status, fault)
	}
	return nil
}

// Command http measures what the HTTP server adds to a request: it serves the embedded base in this process
// and asks for the same short answers in two ways, in alternating rounds of the same run:
//
//	engine  Engine.Submit and Stream.Next, without a server
//	http    POST /v1/completions over a kept-alive TCP connection
//
// and prints the median latency of both and their difference.
//
//	go run ./bench/http [-clients 8]
//
// With -programs it compares programs instead, for example those of two commits: each serves the embedded base, and they
// answer the same short chats in alternating rounds.
//
//	go run ./bench/http -programs old/lorikeet,bin/lorikeet
//
// Run it through make (`make bench`), which sets the C flags.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	goruntime "runtime"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/bench/load"
	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/demo"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/engine"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
	"github.com/lorikeet-ai/lorikeet/server"
)

type settings struct{ clients, requests, rounds, tokens int }

func main() {
	var s settings
	flag.IntVar(&s.clients, "clients", 8, "concurrent clients")
	flag.IntVar(&s.requests, "requests", 100, "requests of each client in a round")
	flag.IntVar(&s.rounds, "rounds", 5, "rounds of each way, alternating")
	flag.IntVar(&s.tokens, "tokens", 8, "tokens of each answer")
	programs := flag.String("programs", "", "programs to compare, with commas between")
	flag.Parse()
	measureAll := func() error { return run(s) }
	if *programs != "" {
		measureAll = func() error { return comparePrograms(s, strings.Split(*programs, ",")) }
	}
	if err := measureAll(); err != nil {
		fmt.Fprintln(os.Stderr, "bench/http:", err)
		os.Exit(1)
	}
}

func run(s settings) error {
	h, err := open()
	if err != nil {
		return err
	}
	defer h.close()
	// A first round of each warms up: connections, caches, the KV cache's pages.
	var engine, overHTTP []time.Duration
	for round := range s.rounds + 1 {
		bare, err := measure(s, h.askEngine)
		if err != nil {
			return err
		}
		served, err := measure(s, h.askHTTP)
		if err != nil {
			return err
		}
		if round > 0 {
			engine, overHTTP = append(engine, bare...), append(overHTTP, served...)
		}
	}
	for _, row := range []struct {
		name string
		d    []time.Duration
	}{{"engine", engine}, {"http", overHTTP}} {
		fmt.Printf("%-7s %d requests, %d clients, %d tokens each: p50 %.3f ms, p95 %.3f ms\n",
			row.name, len(row.d), s.clients, s.tokens, ms(load.Quantile(row.d, .5)), ms(load.Quantile(row.d, .95)))
	}
	fmt.Printf("the server adds %.3f ms at p50\n", ms(load.Quantile(overHTTP, .5))-ms(load.Quantile(engine, .5)))
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }

// ask makes one answer to the prompt.
type ask func(prompt []runtime.Token, tokens int) error

// measure sends a round of requests from all clients at once and returns how long each took.
func measure(s settings, a ask) ([]time.Duration, error) {
	var (
		mu    sync.Mutex
		took  []time.Duration
		first error
		wg    sync.WaitGroup
	)
	for c := range s.clients {
		wg.Go(func() {
			for n := range s.requests {
				begin := time.Now()
				err := a(prompt(c, n), s.tokens)
				d := time.Since(begin)
				mu.Lock()
				took = append(took, d)
				first = errors.Join(first, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return took, first
}

// prompt is a short prompt of plain tokens that no other request begins with.
func prompt(client, n int) []runtime.Token {
	ids := make([]runtime.Token, 12)
	for i := range ids {
		ids[i] = runtime.Token(300 + (client*131+n*17+i*7)%1500)
	}
	return ids
}

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// served is the served demo base, both from within and from without.
type served struct {
	engine *engine.Engine
	url    string
	closes []func()
}

func (h *served) close() {
	for i := len(h.closes) - 1; i >= 0; i-- {
		h.closes[i]()
	}
}

func open() (h *served, err error) {
	h = &served{}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	model, err := llama.Load(llama.Options{Bytes: demo.Base(), Name: demo.Name})
	if err != nil {
		return h, err
	}
	h.closes = append(h.closes, func() { model.Close() })
	device, err := llama.NewDevice(model, llama.DeviceOptions{Sequences: 32, Cells: 8192, Batch: 512, UBatch: 512, Threads: goruntime.NumCPU()})
	if err != nil {
		return h, err
	}
	metrics := server.NewMetrics()
	h.engine = engine.New(device, model, engine.Options{Parallel: 16, MaxQueue: 64, Observer: metrics})
	h.closes = append(h.closes, func() { h.engine.Close() })

	dir, err := os.MkdirTemp("", "lorikeet-bench-")
	if err != nil {
		return h, err
	}
	h.closes = append(h.closes, func() { os.RemoveAll(dir) })
	store, err := adapters.Open(adapters.Options{Dir: dir, Facts: model.Facts()})
	if err != nil {
		return h, err
	}
	h.closes = append(h.closes, func() { store.Close() })
	cache := adapters.NewCache(adapters.CacheOptions{Store: store, Budget: 1 << 30, Pack: model.Pack})
	h.closes = append(h.closes, func() { cache.Close() })
	sv := server.New(server.Options{Engine: h.engine, Template: chat.NewTemplate(model, "", func(string) {}),
		Store: store, Cache: cache, Metrics: metrics, Name: demo.Name, MaxLoRA: 16, Log: zerolog.Nop()})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return h, err
	}
	h.url = "http://" + listener.Addr().String()
	go func() { _ = sv.Serve(listener) }()
	h.closes = append(h.closes, func() { _ = sv.Shutdown(context.Background()) })
	return h, nil
}

func (h *served) askEngine(prompt []runtime.Token, tokens int) error {
	stream, err := h.engine.Submit(context.Background(), runtime.Request{Prompt: prompt, MaxTokens: tokens, Top: -1,
		NoReuse: true, Sampling: runtime.Sampling{IgnoreEOS: true}})
	if err != nil {
		return err
	}
	defer stream.Close()
	for {
		if _, err := stream.Next(context.Background()); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (h *served) askHTTP(prompt []runtime.Token, tokens int) error {
	body, err := json.Marshal(map[string]any{"prompt": prompt, "max_tokens": tokens, "temperature": 0,
		"ignore_eos": true, "cache_prompt": false})
	if err != nil {
		return err
	}
	return post(client, h.url+"/v1/completions", body)
}

// post sends a request and reads its answer.
func post(client *http.Client, url string, body []byte) error {
	resp, err := client.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, answer)
	}
	return err
}

// Command tinker measures Tinker's API: some clients each train an adapter of another rank step by step and sample from it,
// at once on one server, beside the same clients one after the other on the same server, in alternating rounds. It also takes the
// time from the end of an optimizer's step to the first token that is sampled with the new weights.
//
//	bin/lorikeet must be built (make build)
//	go run ./bench/tinker
//	go run ./bench/tinker -- --model 8b.gguf
//
// What follows the flags are further flags of the server.
//
// To reach on the embedded base: at once at least 0.9 times the tokens of a second that there are one after the other, and
// the first token within 20 ms.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lorikeet-ai/lorikeet/bench/load"
	"github.com/lorikeet-ai/lorikeet/bench/process"
)

type settings struct {
	binary  string
	ranks   []int
	steps   int // of each client in a round
	data    int // sequences of a step
	tokens  int // of a sequence
	samples int // sequences sampled after a step
	answer  int // tokens of each
	rounds  int
	firsts  int      // measurements of the first token
	server  []string // further flags
}

func main() {
	if err := run(parse()); err != nil {
		fmt.Fprintln(os.Stderr, "bench/tinker:", err)
		os.Exit(1)
	}
}

func parse() settings {
	var s settings
	flag.StringVar(&s.binary, "lorikeet", "bin/lorikeet", "the server to measure")
	ranks := flag.String("ranks", "8,16,32,64", "one client for each")
	flag.IntVar(&s.steps, "steps", 4, "training steps of each client in a round")
	flag.IntVar(&s.data, "data", 8, "sequences of a step")
	flag.IntVar(&s.tokens, "tokens", 128, "tokens of each sequence")
	flag.IntVar(&s.samples, "samples", 4, "sequences that are sampled after each step")
	flag.IntVar(&s.answer, "answer", 64, "tokens of each")
	flag.IntVar(&s.rounds, "rounds", 3, "rounds of each kind")
	flag.IntVar(&s.firsts, "firsts", 20, "measurements of the first token, of each client")
	flag.Parse()
	s.server = flag.Args()
	for _, r := range strings.Split(*ranks, ",") {
		n, err := strconv.Atoi(r)
		if err != nil || n < 1 {
			fmt.Fprintln(os.Stderr, "bench/tinker: -ranks are numbers from 1")
			os.Exit(2)
		}
		s.ranks = append(s.ranks, n)
	}
	return s
}

func run(s settings) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir, err := os.MkdirTemp("", "lorikeet-bench-tinker-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	server, err := process.Start(ctx, s.binary, filepath.Join(dir, "log"), append([]string{"--data", filepath.Join(dir, "data")}, s.server...)...)
	if err != nil {
		return err
	}
	defer server.Stop() //nolint:errcheck // the measurement is over
	api, err := open(ctx, server.URL)
	if err != nil {
		return err
	}
	var clients []*client
	for i, rank := range s.ranks {
		c, err := api.create(i, rank)
		if err != nil {
			return err
		}
		clients = append(clients, c)
	}
	if _, err := together(s, clients); err != nil { // warms everything up
		return err
	}
	return measure(s, clients)
}

// measure prints both measurements.
func measure(s settings, clients []*client) error {
	var ratios []float64
	for round := range s.rounds {
		kinds := []func(settings, []*client) (float64, error){oneAfterTheOther, together}
		var rates [2]float64
		for i := range kinds {
			kind := (i + round) % 2 // which comes first alternates
			rate, err := kinds[kind](s, clients)
			if err != nil {
				return err
			}
			rates[kind] = rate
		}
		ratios = append(ratios, rates[1]/rates[0])
		fmt.Printf("round %d: one after the other %.0f tokens/s, at once %.0f tokens/s, ratio %.2f\n", round+1, rates[0], rates[1], rates[1]/rates[0])
	}
	slices.Sort(ratios)
	fmt.Printf("at once / one after the other, ranks %v: median %.2f (to reach: 0.90)\n", s.ranks, ratios[len(ratios)/2])
	for i, c := range clients {
		var times []time.Duration
		for range s.firsts {
			took, err := c.firstToken(s)
			if err != nil {
				return err
			}
			times = append(times, took)
		}
		fmt.Printf("rank %d: from the end of optim_step to the first token of the new weights: median %.1f ms, 95th percentile %.1f ms (to reach: 20)\n",
			s.ranks[i], ms(load.Quantile(times, .5)), ms(load.Quantile(times, .95)))
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// oneAfterTheOther lets one client after the other do its steps, and returns tokens in a second.
func oneAfterTheOther(s settings, clients []*client) (float64, error) {
	begin, tokens := time.Now(), 0
	for _, c := range clients {
		n, err := c.work(s)
		if err != nil {
			return 0, err
		}
		tokens += n
	}
	return float64(tokens) / time.Since(begin).Seconds(), nil
}

// together lets all clients do their steps at once.
func together(s settings, clients []*client) (float64, error) {
	var wg sync.WaitGroup
	counts, errs := make([]int, len(clients)), make([]error, len(clients))
	begin := time.Now()
	for i, c := range clients {
		wg.Go(func() { counts[i], errs[i] = c.work(s) })
	}
	wg.Wait()
	took, tokens := time.Since(begin), 0
	for i := range clients {
		if errs[i] != nil {
			return 0, errs[i]
		}
		tokens += counts[i]
	}
	return float64(tokens) / took.Seconds(), nil
}

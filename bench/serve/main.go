// Command serve measures what many adapters in one batch cost, side by side in one run.
//
// It makes a random llama-shaped model of about 0.45B weights (Q4_0 and NF4) and 16 rank-16 adapters on all
// seven linears, starts the servers one beside the other, and sends the same streaming load to each in turn:
//
//	none       no request names an adapter
//	same       every request names the same adapter
//	different  every client names its own adapter
//
// "decode tok/s" is the rate between prompts: clients over the median time between an answer's tokens.
//
// The servers are lorikeet on NF4, lorikeet on Q4_0, lorikeet on Q4_0 with --grouped (one decode per adapter,
// which is how llama-server schedules), and, where LLAMA_SERVER names one, that llama-server on the same Q4_0
// file and the same adapters.
//
//	go run ./bench/serve                       # short prompts (60 tokens), 8 and 16 clients
//	go run ./bench/serve -prompt 1500          # long contexts
//	LLAMA_SERVER=/usr/bin/llama-server go run ./bench/serve
//
// Run it through make (`make bench`), which sets the C flags. On a shared machine trust ratios, not rates.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/lorikeet-ai/lorikeet/bench/randmodel"
)

// settings are the command's flags.
type settings struct {
	dir      string
	binary   string
	servers  []string
	clients  []int
	modes    []string
	prompt   int
	tokens   int
	requests int
	rounds   int
	threads  int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	s, err := parse(os.Args[1:])
	if err == nil {
		err = run(ctx, s)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/serve:", err)
		os.Exit(1)
	}
}

func parse(args []string) (settings, error) {
	var s settings
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	fs := flag.NewFlagSet("serve", flag.ExitOnError)
	fs.StringVar(&s.dir, "dir", filepath.Join(cache, "lorikeet-bench"), "where the models are made and kept (1.5 GB)")
	fs.StringVar(&s.binary, "lorikeet", "bin/lorikeet", "the server to measure")
	servers := fs.String("servers", "nf4,q4_0,grouped,llama-server", "which to compare; llama-server needs LLAMA_SERVER")
	clients := fs.String("clients", "8,16", "concurrent clients")
	modes := fs.String("modes", "none,same,different", "adapters of the requests")
	fs.IntVar(&s.prompt, "prompt", 60, "tokens of each prompt")
	fs.IntVar(&s.tokens, "tokens", 96, "tokens of each answer")
	fs.IntVar(&s.requests, "requests", 2, "requests of each client, one after the other")
	fs.IntVar(&s.rounds, "rounds", 3, "repetitions; the fastest counts, since other tenants only slow a run down")
	fs.IntVar(&s.threads, "threads", 2, "compute threads of each server")
	if err := fs.Parse(args); err != nil {
		return s, err
	}
	s.servers, s.modes = strings.Split(*servers, ","), strings.Split(*modes, ",")
	for _, c := range strings.Split(*clients, ",") {
		n, err := strconv.Atoi(c)
		if err != nil || n < 1 || n > randmodel.Adapters {
			return s, fmt.Errorf("-clients %q: want numbers from 1 to %d", *clients, randmodel.Adapters)
		}
		s.clients = append(s.clients, n)
	}
	return s, nil
}

func run(ctx context.Context, s settings) error {
	files, err := randmodel.Ensure(ctx, s.dir, func(msg string) { fmt.Fprintln(os.Stderr, msg) })
	if err != nil {
		return err
	}
	var servers []*server
	defer func() {
		for _, sv := range servers {
			sv.stop()
		}
	}()
	for _, name := range s.servers {
		sv, err := start(ctx, name, s, files)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if sv != nil {
			servers = append(servers, sv)
		}
	}
	return compare(ctx, s, servers)
}

package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lorikeet-ai/lorikeet/bench/load"
	"github.com/lorikeet-ai/lorikeet/bench/randmodel"
)

// compare runs every mode at every width on every server, the servers in turn within each round so that a
// slow minute of the machine hits all of them, and prints the table and the ratios.
func compare(ctx context.Context, s settings, servers []*server) error {
	best := map[string]load.Result{}
	key := func(sv *server, mode string, clients int) string { return fmt.Sprint(sv.name, mode, clients) }
	for range s.rounds {
		for _, clients := range s.clients {
			for _, mode := range s.modes {
				for _, sv := range servers {
					r, err := load.Run(ctx, sv, plan(s, mode, clients))
					if err != nil {
						return fmt.Errorf("%s, %s, %d clients: %w", sv.name, mode, clients, err)
					}
					if b, seen := best[key(sv, mode, clients)]; !seen || r.PerSecond() > b.PerSecond() {
						best[key(sv, mode, clients)] = r
					}
				}
			}
		}
	}
	fmt.Printf("prompt %d tokens, answer %d tokens, %d threads, best of %d rounds\n\n", s.prompt, s.tokens, s.threads, s.rounds)
	fmt.Printf("%-13s %-10s %7s %9s %8s %13s %10s %10s %14s\n", "server", "adapters", "clients", "tok/s", "of none", "decode tok/s", "TTFT p50", "TTFT p95", "inter-token p95")
	for _, clients := range s.clients {
		for _, sv := range servers {
			none := best[key(sv, "none", clients)]
			for _, mode := range s.modes {
				printRow(sv.name, mode, clients, best[key(sv, mode, clients)], none)
			}
		}
	}
	printRatios(s, servers, func(sv *server, mode string, clients int) load.Result { return best[key(sv, mode, clients)] })
	return nil
}

func plan(s settings, mode string, clients int) load.Plan {
	adapter := func(client int) int { return client }
	switch mode {
	case "none":
		adapter = func(int) int { return -1 }
	case "same":
		adapter = func(int) int { return 0 }
	}
	return load.Plan{Clients: clients, Requests: s.requests, Prompt: s.prompt, Tokens: s.tokens,
		Vocab: randmodel.PromptTokens, Adapter: adapter}
}

func printRow(name, mode string, clients int, r, none load.Result) {
	ratio := "-"
	if none.Tokens > 0 {
		ratio = fmt.Sprintf("%.2f", r.PerSecond()/none.PerSecond())
	}
	ms := func(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d)/1e6) }
	fmt.Printf("%-13s %-10s %7d %9.1f %8s %13.1f %10s %10s %14s\n", name, mode, clients, r.PerSecond(), ratio, r.DecodePerSecond(),
		ms(load.Quantile(r.TTFT, .5)), ms(load.Quantile(r.TTFT, .95)), ms(load.Quantile(r.Between, .95)))
}

// printRatios sets each server beside the reference: llama-server where it ran, else our grouped engine.
func printRatios(s settings, servers []*server, at func(*server, string, int) load.Result) {
	reference := slices.IndexFunc(servers, func(sv *server) bool { return sv.name == "llama-server" })
	if reference < 0 {
		reference = slices.IndexFunc(servers, func(sv *server) bool { return sv.name == "grouped" })
	}
	if reference < 0 {
		return
	}
	ref := servers[reference]
	fmt.Printf("\nagainst %s (throughput; decode alone; TTFT p95)\n", ref.name)
	for _, sv := range servers {
		if sv == ref {
			continue
		}
		for _, clients := range s.clients {
			for _, mode := range s.modes {
				a, b := at(sv, mode, clients), at(ref, mode, clients)
				fmt.Printf("%-13s %-10s %7d %8.2fx %8.2fx %8.2fx\n", sv.name, mode, clients, a.PerSecond()/b.PerSecond(),
					a.DecodePerSecond()/b.DecodePerSecond(), float64(load.Quantile(a.TTFT, .95))/float64(load.Quantile(b.TTFT, .95)))
			}
		}
	}
}

// Command cluster compares ways to choose the node of a cluster that answers a request, by a simulation of discrete events:
//
//	random        any node
//	least-loaded  the node with the fewest requests
//	hash          the adapter's node by rendezvous hashing
//	ours          package route
//
// It prints for each number of nodes and adapters and each skew of their popularity (Zipf's law) how many adapters were loaded for
// each request, the 95th percentile of the time to the first token, and how much more the busiest node computed than the mean.
//
//	go run ./bench/cluster -simulate
//	go run ./bench/cluster -simulate -nodes 8 -adapters 1000 -zipf 1.1 -load 0.8 -coldload 2s
//
// The same flags print the same table. A node computes steps: each takes -step and -row for each row of it, a token of
// every answer and up to -chunk rows together with prompts. An adapter that is not in memory takes -coldload, during which others are
// computed; loads do not slow each other or the steps. A node keeps the -resident adapters and the -cached beginnings of prompts that were
// used last. There is one front, and no node fails.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench/cluster:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("cluster", flag.ExitOnError)
	simulated := flags.Bool("simulate", false, "simulate the nodes; there is no other way yet")
	nodes := flags.String("nodes", "4,16,64,256", "numbers of nodes")
	adapters := flags.String("adapters", "100,10000,100000", "numbers of adapters")
	zipf := flags.String("zipf", "0.8,1,1.2", "exponents of the popularity of adapters: the one of rank i is asked for in proportion to 1/i^s")
	var o options
	flags.IntVar(&o.requests, "requests", 100, "requests for each node, and 10000 of all at least; the second half of them is measured")
	flags.Float64Var(&o.utilization, "load", .6, "load of the nodes, of what they could do if no prompt were cached")
	flags.IntVar(&o.slots, "slots", 16, "answers that a node computes at once")
	flags.IntVar(&o.resident, "resident", 64, "adapters that a node has in memory")
	flags.IntVar(&o.cached, "cached", 64, "beginnings of prompts that a node's KV cache has")
	flags.DurationVar(&o.step, "step", 20*time.Millisecond, "time of a step without rows")
	flags.DurationVar(&o.row, "row", 2*time.Millisecond, "time of each row of a step (go run ./bench/step measures both)")
	flags.IntVar(&o.chunk, "chunk", 64, "rows of a step, at most")
	flags.DurationVar(&o.load, "coldload", 150*time.Millisecond, "time in which an adapter is loaded (go run ./bench/switch measures it)")
	flags.IntVar(&o.prompt, "prompt", 200, "tokens of a prompt")
	flags.IntVar(&o.shared, "shared", 150, "tokens of it that other requests begin with as well")
	flags.IntVar(&o.prefixes, "prefixes", 4, "such beginnings of each adapter")
	flags.IntVar(&o.answer, "answer", 100, "tokens of an answer, on average (exponential)")
	flags.DurationVar(&o.publish, "publish", 2*time.Second, "time between two words of a node about itself")
	flags.Uint64Var(&o.seed, "seed", 1, "of the random numbers")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if !*simulated {
		return errors.New("nothing but -simulate is there yet")
	}
	cells, err := cellsOf(*nodes, *adapters, *zipf)
	if err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	return table(out, o, cells)
}

func (o options) check() error {
	for name, value := range map[string]int{"requests": o.requests, "slots": o.slots, "resident": o.resident, "cached": o.cached,
		"prompt": o.prompt, "prefixes": o.prefixes, "answer": o.answer} {
		if value < 1 {
			return fmt.Errorf("-%s %d: at least 1", name, value)
		}
	}
	for name, value := range map[string]time.Duration{"step": o.step, "row": o.row, "coldload": o.load, "publish": o.publish} {
		if value <= 0 {
			return fmt.Errorf("-%s %s: more than 0", name, value)
		}
	}
	switch {
	case o.utilization <= 0:
		return fmt.Errorf("-load %v: more than 0", o.utilization)
	case o.shared < 0 || o.shared >= o.prompt:
		return fmt.Errorf("-shared %d: from 0 to less than -prompt", o.shared)
	case o.chunk <= o.slots:
		return fmt.Errorf("-chunk %d: more than -slots", o.chunk)
	}
	return nil
}

func cellsOf(nodes, adapters, zipf string) (cells []cell, err error) {
	for n := range strings.SplitSeq(nodes, ",") {
		for a := range strings.SplitSeq(adapters, ",") {
			for z := range strings.SplitSeq(zipf, ",") {
				var c cell
				if c.nodes, err = strconv.Atoi(n); err != nil || c.nodes < 1 {
					return nil, fmt.Errorf("-nodes %q: numbers from 1 on, with commas", nodes)
				}
				if c.adapters, err = strconv.Atoi(a); err != nil || c.adapters < 1 {
					return nil, fmt.Errorf("-adapters %q: numbers from 1 on, with commas", adapters)
				}
				if c.zipf, err = strconv.ParseFloat(z, 64); err != nil || !(c.zipf >= 0 && c.zipf < 100) {
					return nil, fmt.Errorf("-zipf %q: numbers from 0 to 100, with commas", zipf)
				}
				cells = append(cells, c)
			}
		}
	}
	return cells, nil
}

// table simulates all policies and prints a line for each cell. Simulations run beside each other; none knows of another.
func table(out io.Writer, o options, cells []cell) error {
	results := make([]result, len(cells)*len(policies))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range results {
		group.Go(func() (err error) {
			results[i], err = simulate(o, cells[i/len(policies)], policies[i%len(policies)])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	names := strings.Join(policies, " / ")
	fmt.Fprintf(out, "| nodes | adapters | Zipf | loads per 100 requests: %s | TTFT p95, s: %s | busiest node / mean: %s |\n", names, names, names)
	fmt.Fprintln(out, "|---|---|---|---|---|---|")
	for i, c := range cells {
		var loads, p95, imbalance []string
		for _, r := range results[i*len(policies):][:len(policies)] {
			loads = append(loads, fmt.Sprintf("%.1f", 100*r.coldLoads()))
			p95 = append(p95, fmt.Sprintf("%.2f", r.p95().Seconds()))
			imbalance = append(imbalance, fmt.Sprintf("%.2f", r.imbalance))
		}
		fmt.Fprintf(out, "| %d | %d | %g | %s | %s | %s |\n", c.nodes, c.adapters, c.zipf,
			strings.Join(loads, " / "), strings.Join(p95, " / "), strings.Join(imbalance, " / "))
	}
	return nil
}

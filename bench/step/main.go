// Command step measures single calls of the device, without engine and server, on random models: a decode of one token for
// each of some sequences, the prompts (60 tokens each) before it, and what placing an adapter adds to a decode; without
// adapters, with one rank-16 adapter for all sequences, and with a different one for every sequence. Models and modes take
// turns within each round, so that a slow moment of the machine hits all of them; the median counts.
//
//	go run ./bench/step
//	go run ./bench/step -backend bin/lib/libggml-cuda-v0.17.4.so -gpu-layers -1 -shape 8b -models nf4,q4_k_m -sequences 1,8,32,64
//
// Run it through make (`make bench`), which sets the C flags. On a shared machine trust ratios, not times.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/lorikeet-ai/lorikeet/bench/randmodel"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
)

// settings are the flags.
type settings struct {
	dir, shape     string
	models, modes  []string
	widths         []int // sequences at once
	steps, rounds  int
	backend        string
	device         string
	layers         int
	flashAttention bool
	json           string
}

// modes are the ways in which sequences have adapters.
var modes = []string{"none", "same", "different"}

func main() {
	s, err := parse()
	if err == nil {
		err = run(s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/step:", err)
		os.Exit(1)
	}
}

func parse() (s settings, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	flag.StringVar(&s.dir, "dir", filepath.Join(cache, "lorikeet-bench"), "where the models are made and kept")
	flag.StringVar(&s.shape, "shape", "half", "of the models: tiny, half (0.45B weights) or 8b")
	models := flag.String("models", "nf4,q4_0", "which to measure: nf4, q4_0, q4_k_m")
	adapters := flag.String("adapters", "none,different", "which adapters the sequences have: none, same, different")
	sequences := flag.String("sequences", "1,8,16", "how many at once")
	flag.IntVar(&s.steps, "steps", 32, "decodes of each round")
	flag.IntVar(&s.rounds, "rounds", 3, "rounds")
	flag.StringVar(&s.backend, "backend", "", "a library with a back end of ggml")
	flag.StringVar(&s.device, "device", "", "the device that computes -gpu-layers; by default the first GPU")
	flag.IntVar(&s.layers, "gpu-layers", 0, "layers that the device computes; -1: all")
	flag.BoolVar(&s.flashAttention, "flash-attn", true, "let the device decide; false: no flash attention")
	flag.StringVar(&s.json, "json", "", "a file to add the results to, as lines of JSON")
	flag.Parse()
	s.models, s.modes = strings.Split(*models, ","), strings.Split(*adapters, ",")
	for _, mode := range s.modes {
		if !slices.Contains(modes, mode) {
			return s, fmt.Errorf("-adapters %q: want some of %v", *adapters, modes)
		}
	}
	s.widths, err = numbers(*sequences)
	return s, err
}

func numbers(list string) ([]int, error) {
	var out []int
	for _, s := range strings.Split(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("-sequences %q: want numbers from 1 on", list)
		}
		out = append(out, n)
	}
	return out, nil
}

func run(s settings) error {
	if s.backend != "" {
		if err := llama.LoadBackend(s.backend); err != nil {
			return err
		}
	}
	var bases []*base
	for _, name := range s.models {
		path, err := randmodel.EnsureQuantized(s.dir, s.shape, name, func(msg string) { fmt.Fprintln(os.Stderr, msg) })
		if err != nil {
			return err
		}
		b, err := open(s, name, path)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		defer b.stop()
		bases = append(bases, b)
	}
	report := newReport(s)
	for round := range s.rounds {
		for _, n := range s.widths {
			for _, mode := range s.modes {
				for _, b := range bases {
					if err := b.measure(n, mode, s.steps, report); err != nil {
						return fmt.Errorf("%s, %d sequences, %s: %w", b.name, n, mode, err)
					}
					if round == s.rounds-1 {
						if err := report.keep(b.name, n, mode); err != nil {
							return err
						}
					}
				}
			}
		}
	}
	report.print()
	return nil
}

// Command step measures single calls of the device, without engine and server, on the random 0.45B models of
// bench/serve: a decode of one token for each of 1, 8 and 16 sequences, and the prompts (60 tokens each) before it;
// without adapters, and with a different rank-16 adapter for every sequence. Models and modes take turns within each
// round, so that a slow moment of the machine hits all of them; the median counts.
//
//	go run ./bench/step
//
// Run it through make (`make bench`), which sets the C flags. On a shared machine trust ratios, not times.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"time"

	"github.com/lorikeet-ai/lorikeet/bench/load"
	"github.com/lorikeet-ai/lorikeet/bench/randmodel"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
)

const prompt = 60

func main() {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := flag.String("dir", filepath.Join(cache, "lorikeet-bench"), "where the models are made and kept (1.5 GB)")
	models := flag.String("models", "nf4,q4_0", "which to measure")
	sequences := flag.String("sequences", "1,8,16", "how many at once")
	steps := flag.Int("steps", 32, "decodes of each round")
	rounds := flag.Int("rounds", 3, "rounds")
	flag.Parse()
	widths, err := numbers(*sequences)
	if err == nil {
		err = run(*dir, strings.Split(*models, ","), widths, *steps, *rounds)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/step:", err)
		os.Exit(1)
	}
}

func numbers(list string) ([]int, error) {
	var out []int
	for _, s := range strings.Split(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > randmodel.Adapters {
			return nil, fmt.Errorf("-sequences %q: want numbers from 1 to %d", list, randmodel.Adapters)
		}
		out = append(out, n)
	}
	return out, nil
}

// base is a loaded model, its device and its adapters.
type base struct {
	name   string
	device *llama.Device
	mixes  []runtime.Term
	greedy runtime.Sampler
	close  []func() error
}

func run(dir string, names []string, widths []int, steps, rounds int) error {
	files, err := randmodel.Ensure(context.Background(), dir, func(msg string) { fmt.Fprintln(os.Stderr, msg) })
	if err != nil {
		return err
	}
	var bases []*base
	for _, name := range names {
		b, err := open(name, files)
		if err != nil {
			return err
		}
		defer b.stop()
		bases = append(bases, b)
	}
	times := map[string][]time.Duration{}
	for range rounds {
		for _, n := range widths {
			for _, adapted := range []bool{false, true} {
				for _, b := range bases {
					if err := b.measure(n, adapted, steps, times); err != nil {
						return fmt.Errorf("%s: %w", b.name, err)
					}
				}
			}
		}
	}
	report(names, widths, times)
	return nil
}

func key(name, what string, n int, adapted bool) string { return fmt.Sprint(name, what, n, adapted) }

func report(names []string, widths []int, times map[string][]time.Duration) {
	fmt.Printf("%-6s %9s %15s %15s %8s %15s %15s %8s\n", "base", "sequences", "decode none", "different", "ratio", "prompts none", "different", "ratio")
	ms := func(name, what string, n int, adapted bool) float64 {
		return float64(load.Quantile(times[key(name, what, n, adapted)], .5)) / 1e6
	}
	for _, n := range widths {
		for _, name := range names {
			fmt.Printf("%-6s %9d", name, n)
			for _, what := range []string{"decode", "prompts"} {
				none, different := ms(name, what, n, false), ms(name, what, n, true)
				fmt.Printf(" %12.2f ms %12.2f ms %8.2f", none, different, none/different)
			}
			fmt.Println()
		}
	}
}

func open(name string, files randmodel.Files) (*base, error) {
	path := files.Q40
	if name == "nf4" {
		path = files.NF4
	}
	model, err := llama.Load(llama.Options{Path: path})
	if err != nil {
		return nil, err
	}
	b := &base{name: name, close: []func() error{model.Close}}
	b.device, err = llama.NewDevice(model, llama.DeviceOptions{Sequences: 16, Cells: 16 * 512, Batch: 1024, UBatch: 512, Threads: goruntime.NumCPU()})
	if err != nil {
		b.stop()
		return nil, err
	}
	b.close = append(b.close, b.device.Close)
	if b.greedy, err = model.NewSampler(runtime.Sampling{}, nil); err != nil {
		b.stop()
		return nil, err
	}
	b.close = append(b.close, b.greedy.Close)
	for range randmodel.Adapters { // equal numbers, but each has its own memory
		packed, err := model.Pack(adapter(model.Facts()))
		if err != nil {
			b.stop()
			return nil, err
		}
		b.close = append(b.close, packed.Close)
		b.mixes = append(b.mixes, runtime.Term{Packed: packed, Scale: 1})
	}
	return b, nil
}

// adapter has small random updates of every linear layer of the blocks.
func adapter(facts *runtime.Facts) *runtime.LoRA {
	var a runtime.LoRA
	for name, shape := range facts.Targets {
		if !strings.HasPrefix(name, "blk.") {
			continue
		}
		a.Modules = append(a.Modules, runtime.LoRAModule{Tensor: name, Rank: randmodel.Rank, In: shape.In, Out: shape.Out,
			Scale: 1, A: values(randmodel.Rank * shape.In), B: values(randmodel.Rank * shape.Out)})
	}
	return &a
}

func values(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(i*7919%1000-500) * 1e-5
	}
	return v
}

func (b *base) stop() {
	for i := len(b.close) - 1; i >= 0; i-- {
		_ = b.close[i]()
	}
}

// measure computes the prompts of n sequences in one call, then decodes from them.
func (b *base) measure(n int, adapted bool, steps int, times map[string][]time.Duration) error {
	var rows []runtime.Row
	last := make([]runtime.Row, n)
	for seq := range n {
		var mix []runtime.Term
		if adapted {
			mix = b.mixes[seq : seq+1]
		}
		if err := b.device.SetAdapters(seq, mix); err != nil {
			return err
		}
		for pos := range prompt {
			r := runtime.Row{Token: runtime.Token((seq*7919 + pos*104729) % randmodel.PromptTokens), Seq: seq, Pos: pos, Top: -1}
			if pos == prompt-1 {
				r.Sampler = b.greedy
			}
			rows = append(rows, r)
		}
	}
	decode := func(what string, rows []runtime.Row) error {
		begin := time.Now()
		choices, err := b.device.Decode(rows)
		if err != nil {
			return err
		}
		times[key(b.name, what, n, adapted)] = append(times[key(b.name, what, n, adapted)], time.Since(begin))
		for i, c := range choices {
			last[i] = runtime.Row{Token: c.Token, Seq: i, Pos: last[i].Pos + 1, Sampler: b.greedy, Top: -1}
		}
		return nil
	}
	for i := range last {
		last[i].Pos = prompt - 1
	}
	if err := decode("prompts", rows); err != nil {
		return err
	}
	for range steps {
		if err := decode("decode", last); err != nil {
			return err
		}
	}
	for seq := range n {
		if _, err := b.device.Truncate(seq, 0); err != nil {
			return err
		}
	}
	return nil
}

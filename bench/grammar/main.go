// Command grammar measures what it costs to hold answers to JSON schemas.
//
// It takes the random 0.45B model of bench/serve in NF4, gives it a vocabulary of 32,000 tokens that can write JSON, and
// decodes 8 streams at once: held to nothing, and each held to a schema. Every token of a random model has to be drawn
// again, which is the worst case. Modes take turns within each round, so that a slow moment of the machine hits all of
// them; the median step counts. A prompt is one token, so that all batches have as many rows, whether answers are short
// or long: where their number changes, llama.cpp builds its graph anew, which is not what is measured here. Then it compiles the 100 longest schemas of the tests' set, each as the first time.
//
//	go run ./bench/grammar
//
// It prints the throughput of each mode beside that of free text, and how long the slowest schemas take. Run it through
// make (`make bench`), which sets the C flags. On a shared machine trust ratios, not times.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"time"

	"github.com/lorikeet-ai/lorikeet/bench/load"
	"github.com/lorikeet-ai/lorikeet/bench/randmodel"
	"github.com/lorikeet-ai/lorikeet/grammar"
	"github.com/lorikeet-ai/lorikeet/grammar/grammartest"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
)

const (
	streams  = 8
	longest  = 400 // tokens of a stream before it begins anew
	compiled = 100 // schemas
)

// modes are the schemas that streams are held to; "" for none.
var modes = []struct{ name, schema string }{
	{"free text", ""},
	{"orders", "large/orders"},
	{"any object", "types/07"},
	{"long text", "large/long text"},
	{"choice of types", "large/choice of types"},
	{"dictionary", "large/dictionary"},
	{"enumeration", "large/unique words"},
	{"free text again", ""}, // says how far the ratios of this machine can be trusted
}

func main() {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := flag.String("dir", filepath.Join(cache, "lorikeet-bench"), "where the models are made and kept (1.5 GB)")
	steps := flag.Int("steps", 60, "decodes of each mode in each round")
	rounds := flag.Int("rounds", 5, "rounds")
	temperature := flag.Float64("temperature", 1, "of the samplers")
	flag.Parse()
	if err := run(*dir, *steps, *rounds, float32(*temperature)); err != nil {
		fmt.Fprintln(os.Stderr, "bench/grammar:", err)
		os.Exit(1)
	}
}

func run(dir string, steps, rounds int, temperature float32) error {
	if err := compile(); err != nil {
		return err
	}
	path, err := model(dir)
	if err != nil {
		return err
	}
	m, err := llama.Load(llama.Options{Path: path})
	if err != nil {
		return err
	}
	defer m.Close()
	d, err := llama.NewDevice(m, llama.DeviceOptions{Sequences: streams, Cells: streams * 512, Batch: 1024, UBatch: 512, Threads: goruntime.NumCPU()})
	if err != nil {
		return err
	}
	defer d.Close()
	times := make([][]time.Duration, len(modes))
	for range rounds {
		for i, mode := range modes {
			s := runtime.Sampling{Temperature: temperature, Seed: uint64(i + 1)}
			if mode.schema != "" {
				part, err := grammar.Schema("schema", json.RawMessage(grammartest.Schemas()[mode.schema]))
				if err != nil {
					return err
				}
				s.Constraint = grammar.New(part)
			}
			took, err := decode(m, d, s, steps)
			if err != nil {
				return fmt.Errorf("%s: %w", mode.name, err)
			}
			times[i] = append(times[i], took...)
		}
	}
	free := load.Quantile(times[0], .5)
	fmt.Printf("%-16s %12s %12s %12s\n", "held to", "step", "tokens/s", "of free text")
	for i, mode := range modes {
		step := load.Quantile(times[i], .5)
		fmt.Printf("%-16s %9.2f ms %12.1f %12.3f\n", mode.name, float64(step)/1e6, streams/step.Seconds(), free.Seconds()/step.Seconds())
	}
	return nil
}

// compile prints how long the longest schemas take.
func compile() error {
	schemas := grammartest.Schemas()
	names := slices.SortedFunc(maps.Keys(schemas), func(a, b string) int { return cmp.Compare(len(schemas[b]), len(schemas[a])) })
	took := make(map[string]time.Duration)
	for _, name := range names[:compiled] {
		begin := time.Now()
		if _, err := grammar.Schema("schema", json.RawMessage(schemas[name])); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		took[name] = time.Since(begin)
	}
	slowest := slices.SortedFunc(maps.Keys(took), func(a, b string) int { return cmp.Compare(took[b], took[a]) })
	fmt.Printf("compiled the %d longest of %d schemas; the slowest:\n", compiled, len(schemas))
	for _, name := range slowest[:5] {
		fmt.Printf("  %-24s %8d bytes %8.2f ms\n", name, len(schemas[name]), float64(took[name])/1e6)
	}
	return nil
}

// batch is the streams of one mode.
type batch struct {
	model    *llama.Model
	device   *llama.Device
	sampling runtime.Sampling
	samplers [streams]runtime.Sampler
	begun    int
	last     []runtime.Row // of each stream, the row that its next token is drawn after
}

// begin begins a stream anew.
func (b *batch) begin(seq int) (err error) {
	b.sampling.Seed += streams
	if b.samplers[seq] != nil {
		_ = b.samplers[seq].Close()
	}
	if b.samplers[seq], err = b.model.NewSampler(b.sampling, nil); err != nil {
		return err
	}
	b.begun++
	first := runtime.Token(300 + b.begun*7919%randmodel.PromptTokens)
	b.last[seq] = runtime.Row{Token: first, Seq: seq, Sampler: b.samplers[seq], Top: -1}
	_, err = b.device.Truncate(seq, 0)
	return err
}

func (b *batch) close() {
	for seq, s := range b.samplers {
		if s != nil {
			_ = s.Close()
		}
		_, _ = b.device.Truncate(seq, 0)
	}
}

// decode decodes some steps of all streams, and returns how long each took.
func decode(m *llama.Model, d *llama.Device, s runtime.Sampling, steps int) (times []time.Duration, err error) {
	b := &batch{model: m, device: d, sampling: s, last: make([]runtime.Row, streams)}
	defer b.close()
	for seq := range streams {
		if err := b.begin(seq); err != nil {
			return nil, err
		}
	}
	for len(times) < steps {
		start := time.Now()
		choices, err := d.Decode(b.last)
		if err != nil {
			return nil, err
		}
		times = append(times, time.Since(start))
		for seq, c := range choices {
			switch {
			case c.Err != nil:
				return nil, c.Err
			case m.EndOfGeneration(c.Token) || b.last[seq].Pos > longest:
				if err := b.begin(seq); err != nil {
					return nil, err
				}
			default:
				b.last[seq] = runtime.Row{Token: c.Token, Seq: seq, Pos: b.last[seq].Pos + 1, Sampler: b.samplers[seq], Top: -1}
			}
		}
	}
	return times, nil
}

// model gives the random model a vocabulary with which JSON can be written.
func model(dir string) (string, error) {
	files, err := randmodel.Ensure(context.Background(), dir, func(msg string) { fmt.Fprintln(os.Stderr, msg) })
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "half-json-nf4.gguf")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	return path, randmodel.WriteVocabulary(path, files.NF4, grammartest.Pieces(randmodel.Half.Vocab)[256:])
}

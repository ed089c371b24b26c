//go:build cgo && linux

package qlora_test

import (
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/lorikeet-ai/lorikeet/demo"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/engine"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
	"github.com/lorikeet-ai/lorikeet/runtime/llama/devicetest"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
)

const birds = "<|im_start|>user\nWhat do lorikeets eat?<|im_end|>\n<|im_start|>assistant\nThey eat nectar, pollen and soft fruit, and they fly far to find it.<|im_end|>\n"

// textBatch packs two conversations, of which each token predicts the next.
func textBatch(t testing.TB, base *llama.Model, texts ...string) runtime.TrainBatch {
	t.Helper()
	var b runtime.TrainBatch
	for _, text := range texts {
		tokens, err := base.Tokenize(text, true, true)
		if err != nil {
			t.Fatal(err)
		}
		b.Tokens = append(b.Tokens, tokens...)
		b.Labels = append(append(b.Labels, tokens[1:]...), -1)
		b.Norm += float64(len(tokens) - 1)
		b.Ends = append(b.Ends, len(b.Tokens))
	}
	return b
}

// lent returns a loaded model as it is trained where it lies.
func lent(t testing.TB, base *llama.Model) *qlora.Model {
	t.Helper()
	w, err := base.Weights()
	if err != nil {
		t.Fatal(err)
	}
	m, err := qlora.OfLlama(w.Llama, w.PackedOf, w.Context, w.Release)
	if err != nil {
		w.Release()
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func loadDemo(t testing.TB, o llama.Options) *llama.Model {
	t.Helper()
	base, err := llama.Load(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { base.Close() })
	return base
}

// demoModules are rank-4 modules of all blocks.
func demoModules(base *llama.Model) []runtime.TrainModule {
	return (&served{base: base}).modules(4)
}

// Over 32 steps on the demo base, on a named device 16, the loss on the device is the CPU's to 1e-3.
func TestLossCurveOnADevice(t *testing.T) {
	nf4 := llama.Options{Bytes: demo.Base(), Name: demo.Name}
	cuda := []devicetest.Backend{devicetest.CUDA} // which decodes NF4 by products
	for name, c := range map[string]struct {
		o         llama.Options
		standsFor []devicetest.Backend
	}{"F16": {llama.Options{Path: "../../demo/demo-base.f16.gguf"}, nil}, "NF4": {nf4, nil}, "NF4 by products": {nf4, cuda}} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name != "NF4" {
				t.Skip("-short takes the base with NF4 weights")
			}
			if namedDevice() && len(c.standsFor) > 0 {
				t.Skip("a named device stands for itself, as with NF4")
			}
			on := c.o
			on.Device, on.GPULayers = testDevice(t, c.standsFor...), llama.AllLayers
			cpu, there := loadDemo(t, c.o), loadDemo(t, on)
			b := textBatch(t, cpu, birds, "The quick brown fox jumps over the lazy dog.")
			spec := runtime.TrainSpec{Modules: demoModules(cpu), MaxTokens: len(b.Tokens), Seed: 1, Dropout: 0.05}
			m := lent(t, there)
			if !m.OnDevice() {
				t.Fatal("the model is not trained where it lies")
			}
			want, got := newTrainer(t, lent(t, cpu), spec, qlora.Options{Precision: qlora.Single}), newTrainer(t, m, spec, qlora.Options{Precision: qlora.Single})
			first, last, steps := 0.0, 0.0, 32
			if namedDevice() {
				steps = 16
			}
			for i := range steps {
				a, b := step(t, want, adam, b).Loss, step(t, got, adam, b).Loss
				if !(math.Abs(a-b) < 1e-3*a) {
					t.Fatalf("step %d: the loss is %g, on the CPU %g", i, b, a)
				}
				if i == 0 {
					first = a
				}
				last = a
			}
			if !(last < first/2) {
				t.Errorf("the loss goes from %g to %g", first, last)
			}
		})
	}
}

// counted counts the slices of a Trainer.
type counted struct {
	runtime.Trainer
	slices atomic.Int64
}

func (c *counted) Slice() (bool, error) {
	c.slices.Add(1)
	return c.Trainer.Slice()
}

// While a step is computed on the device, answers go on between its slices, and are those without it.
func TestTrainingBesideDecodesOnADevice(t *testing.T) {
	base := loadDemo(t, llama.Options{Path: "../../demo/demo-base.f16.gguf", Device: testDevice(t), GPULayers: llama.AllLayers})
	device, err := llama.NewDevice(base, llama.DeviceOptions{Sequences: 2, Cells: 512, FlashAttention: llama.FlashOff})
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(device, base, engine.Options{Share: 0.5})
	defer e.Close()
	prompt, err := base.Tokenize("<|im_start|>user\nWhat do lorikeets eat?<|im_end|>\n<|im_start|>assistant\n", true, true)
	if err != nil {
		t.Fatal(err)
	}
	var trainer *counted
	// answer returns 60 tokens, and how many slices ran between the first and the last of them.
	answer := func() (tokens []runtime.Token, slices int64) {
		stream, err := e.Submit(context.Background(), runtime.Request{Prompt: prompt, MaxTokens: 60, Sampling: runtime.Sampling{IgnoreEOS: true}, NoReuse: true})
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		before := int64(-1)
		for {
			ev, err := stream.Next(context.Background())
			if errors.Is(err, io.EOF) {
				return tokens, slices
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, token := range ev.Tokens {
				tokens = append(tokens, token.Token)
			}
			if trainer != nil {
				if before < 0 {
					before = trainer.slices.Load()
				}
				slices = trainer.slices.Load() - before
			}
		}
	}
	alone, _ := answer()

	b := textBatch(t, base, birds, birds, birds)
	tr := newTrainer(t, lent(t, base), runtime.TrainSpec{Modules: demoModules(base), MaxTokens: len(b.Tokens), Seed: 1}, qlora.Options{})
	trainer = &counted{Trainer: tr}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	trained := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			if err := tr.Begin(runtime.TrainFirst, b); err != nil {
				trained <- err
				return
			}
			if err := e.Work(ctx, trainer); err != nil {
				trained <- err
				return
			}
		}
		trained <- nil
	}()
	beside, between := answer()
	cancel()
	if err := <-trained; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if !slices.Equal(alone, beside) {
		t.Errorf("beside training the answer is another one: %v, alone %v", beside, alone)
	}
	if between < 5 {
		t.Errorf("%d slices ran while %d tokens were made", between, len(beside))
	}
}

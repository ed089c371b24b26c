//go:build cgo

package qlora_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora/qloratest"
)

// The shapes of the architectures, small: llama with neighbouring RoPE pairs and frequency scaling, qwen2 with
// biases and a tied head, qwen3 with norms of q and k.
var shapes = map[string]qloratest.Shape{
	"llama": {Embedding: 64, Layers: 2, Heads: 4, KVHeads: 2, HeadSize: 16, FeedForward: 96, Vocab: 100, Stretched: true, Seed: 1},
	"qwen2": {Embedding: 64, Layers: 2, Heads: 2, KVHeads: 1, HeadSize: 32, FeedForward: 96, Vocab: 96, Neox: true, Bias: true, Tied: true, Seed: 2},
	"qwen3": {Embedding: 64, Layers: 2, Heads: 2, KVHeads: 2, HeadSize: 64, FeedForward: 128, Vocab: 90, Neox: true, QKNorm: true, Seed: 3},
}

func newSample(t testing.TB, s qloratest.Shape, kind, end qloratest.Kind) *qlora.Model {
	t.Helper()
	return makeSample(t, s, kind, end).Model
}

func makeSample(t testing.TB, s qloratest.Shape, kind, end qloratest.Kind) *qloratest.Sample {
	t.Helper()
	s.Kind, s.EndKind = kind, end
	made, err := qloratest.New(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { made.Model.Close() })
	return made
}

func linearName(layer, target int) string {
	return fmt.Sprintf("blk.%d.%s.weight", layer, qlora.Linears[target])
}

func gradientsOf(tr *qlora.Trainer) []float32 { return qloratest.Gradients(tr.Handle()) }

func lengthsOf(tr *qlora.Trainer, module int) []float32 {
	return qloratest.RowNorms(tr.Handle(), module)
}

func partsOf(tr *qlora.Trainer, module int) []qloratest.Part {
	return qloratest.PartsOf(tr.Handle(), module)
}

// logits are those of packed sequences, row by row.
func logitsOf(tr *qlora.Trainer, m *qlora.Model, tokens []runtime.Token, ends []int) ([]float32, error) {
	return qloratest.Logits(tr.Handle(), m.Vocab(), tokens, ends)
}

// allModules trains every linear layer with its own rank and scale, and the ends where the model has them.
func allModules(m *qlora.Model, rank int, ends bool) []runtime.TrainModule {
	var modules []runtime.TrainModule
	for layer := range m.Layers() {
		for target := range qlora.Linears {
			modules = append(modules, runtime.TrainModule{Tensor: linearName(layer, target), Rank: rank + target%2, Scale: 2 - 0.1*float32(layer)})
		}
	}
	if ends {
		modules = append(modules, runtime.TrainModule{Tensor: "token_embd.weight", Rank: rank, Scale: 0.7})
		if !m.Tied() {
			modules = append(modules, runtime.TrainModule{Tensor: "output.weight", Rank: rank + 1, Scale: 0.9})
		}
	}
	return modules
}

// randomBatch packs random sequences; the first `prompt` tokens of each have no label.
func randomBatch(rng *rand.Rand, vocab, prompt int, lengths ...int) runtime.TrainBatch {
	var b runtime.TrainBatch
	for _, n := range lengths {
		for i := range n {
			b.Tokens = append(b.Tokens, runtime.Token(rng.IntN(vocab)))
			label := runtime.Token(-1)
			if i >= prompt {
				label = runtime.Token(rng.IntN(vocab))
				b.Norm++
			}
			b.Labels = append(b.Labels, label)
		}
		b.Ends = append(b.Ends, len(b.Tokens))
	}
	return b
}

func newTrainer(t testing.TB, m *qlora.Model, spec runtime.TrainSpec, o qlora.Options) *qlora.Trainer {
	t.Helper()
	tr, err := qlora.New(m, spec, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr
}

// keeping makes a Trainer that keeps the activations of n layers.
func keeping(t testing.TB, m *qlora.Model, spec runtime.TrainSpec, o qlora.Options, n int) *qlora.Trainer {
	t.Helper()
	bytes, err := qlora.EstimateKeeping(m, &spec, o, n)
	if err != nil {
		t.Fatal(err)
	}
	spec.Memory = bytes
	tr := newTrainer(t, m, spec, o)
	if tr.Memory().Kept != n {
		t.Fatalf("%d layers kept within %d bytes, want %d", tr.Memory().Kept, bytes, n)
	}
	return tr
}

// finish does all slices of what was begun.
func finish(t testing.TB, tr *qlora.Trainer) {
	t.Helper()
	for {
		more, err := tr.Slice()
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			return
		}
	}
}

func run(t testing.TB, tr *qlora.Trainer, mode runtime.TrainMode, b runtime.TrainBatch) runtime.TrainResult {
	t.Helper()
	if err := tr.Begin(mode, b); err != nil {
		t.Fatal(err)
	}
	finish(t, tr)
	return tr.Result()
}

var adam = runtime.TrainUpdate{Rate: 3e-3, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, Clip: 1}

// step trains on the batches as one step.
func step(t testing.TB, tr *qlora.Trainer, u runtime.TrainUpdate, batches ...runtime.TrainBatch) runtime.TrainResult {
	t.Helper()
	var sum runtime.TrainResult
	for i, b := range batches {
		mode := runtime.TrainFurther
		if i == 0 {
			mode = runtime.TrainFirst
		}
		r := run(t, tr, mode, b)
		sum.Loss += r.Loss
		sum.Labelled += r.Labelled
		sum.Correct += r.Correct
	}
	if err := tr.BeginUpdate(u); err != nil {
		t.Fatal(err)
	}
	finish(t, tr)
	sum.GradNorm, sum.Steps = tr.Result().GradNorm, tr.Result().Steps
	return sum
}

// randomise gives every parameter a random value, so that no gradient is zero.
func randomise(tr *qlora.Trainer, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	for i := range tr.Parameters() {
		tr.Parameters()[i] = float32(rng.NormFloat64()) * 0.1
	}
}

//go:build cgo

package qlora_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora/qloratest"
)

// both are one sample model, in a GGUF file that llama.cpp loaded, as the CPU trains it and as graphs do.
type both struct{ cpu, graphs *qlora.Model }

func loadBoth(t testing.TB, arch string, shape qloratest.Shape, kind qloratest.Kind) both {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := makeSample(t, shape, kind, kind).Write(arch, path); err != nil {
		t.Fatal(err)
	}
	s, err := qloratest.LoadLlama(path, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	var b both
	if b.cpu, err = s.Model(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.cpu.Close() })
	if b.graphs, err = qlora.OfLlamaByGraphs(s.Handle()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.graphs.Close() })
	if b.cpu.OnDevice() || !b.graphs.OnDevice() {
		t.Fatal("the models are not trained where they should be")
	}
	return b
}

// offBy is the root mean square of the difference over that of want.
func offBy(got, want []float32) float64 {
	var off, square float64
	for i, x := range want {
		off += float64(got[i]-x) * float64(got[i]-x)
		square += float64(x) * float64(x)
	}
	return math.Sqrt(off / square)
}

// sameResult compares losses, log-probabilities and entropies; tolerance is of a token's, and of the loss beside the sum of the
// log-probabilities' sizes.
func sameResult(t *testing.T, what string, got, want runtime.TrainResult, tolerance float64) {
	t.Helper()
	size := 0.0
	for i, x := range want.LogProbs {
		size += math.Abs(float64(x))
		if math.Abs(float64(got.LogProbs[i]-x)) > tolerance*10 {
			t.Errorf("%s: token %d has log-probability %g, on the CPU %g", what, i, got.LogProbs[i], x)
		}
	}
	for i, x := range want.Entropies {
		if math.Abs(float64(got.Entropies[i]-x)) > tolerance*10 {
			t.Errorf("%s: token %d has entropy %g, on the CPU %g", what, i, got.Entropies[i], x)
		}
	}
	if len(got.LogProbs) != len(want.LogProbs) || len(got.Entropies) != len(want.Entropies) ||
		math.Abs(got.Loss-want.Loss) > tolerance*size || got.Correct != want.Correct || got.Labelled != want.Labelled {
		t.Errorf("%s: %+v, on the CPU %+v", what, got, want)
	}
}

// The loss and every module's gradient are those of the trainer on the CPU: for all architectures, with and without dropout
// and DoRA, with attention in one range of queries and in many, for packed sequences and in micro-batches.
func TestGraphsEqualTheCPU(t *testing.T) {
	for arch, shape := range shapes {
		for _, c := range []struct {
			name    string
			dropout float32
			dora    bool
			block   int
			kind    qloratest.Kind
		}{
			{"plain", 0, false, 0, qloratest.F32}, {"ranges", 0, false, 7, qloratest.F32}, {"dropout", 0.3, false, 16, qloratest.F32},
			{"DoRA", 0, true, 16, qloratest.F32}, {"all", 0.1, true, 5, qloratest.Q4_0},
		} {
			t.Run(arch+" "+c.name, func(t *testing.T) {
				m := loadBoth(t, arch, shape, c.kind)
				rng := rand.New(rand.NewPCG(7, 7))
				one, two := weighted(rng, randomBatch(rng, m.cpu.Vocab(), 5, 40, 1, 17)), randomBatch(rng, m.cpu.Vocab(), 0, 33)
				one.Entropies = true
				spec := runtime.TrainSpec{Modules: allModules(m.cpu, 4, true), MaxTokens: len(one.Tokens) + 3, Dropout: c.dropout, Seed: 3}
				if c.dora {
					spec.Modules = doraModules(m.cpu, 4, true)
				}
				cpu, graphs := newTrainer(t, m.cpu, spec, qlora.Options{Precision: qlora.Single}), newTrainer(t, m.graphs, spec, qlora.InBlocks(c.block))
				if !slices.Equal(cpu.State(), graphs.State()) && !c.dora {
					t.Fatal("the two begin at other adapters")
				}
				randomise(cpu, 5)
				if err := graphs.Restore(cpu.State()); err != nil {
					t.Fatal(err)
				}
				for i, b := range []runtime.TrainBatch{one, two} {
					mode := min(runtime.TrainMode(i), runtime.TrainFurther)
					want, got := run(t, cpu, mode, b), run(t, graphs, mode, b)
					sameResult(t, fmt.Sprint("micro-batch ", i), got, want, 2e-5)
				}
				for i, module := range spec.Modules {
					for _, p := range partsOf(cpu, i) {
						if e := offBy(gradientsOf(graphs)[p.From:p.To], gradientsOf(cpu)[p.From:p.To]); !(e < 2e-5) {
							t.Errorf("%s %s: the gradient is off by %.2g", module.Tensor, p.Name, e)
						}
					}
				}
				sameResult(t, "evaluated", run(t, graphs, runtime.TrainEval, one), run(t, cpu, runtime.TrainEval, one), 2e-5)
				one.Base = true
				sameResult(t, "the base", run(t, graphs, runtime.TrainEval, one), run(t, cpu, runtime.TrainEval, one), 2e-5)
			})
		}
	}
}

// Weights of every type are decoded as they are: gradients are those of the CPU.
func TestGraphsOfEveryType(t *testing.T) {
	shape := shapes["qwen2"]
	shape.Embedding, shape.FeedForward, shape.Heads, shape.KVHeads, shape.HeadSize, shape.Layers = 256, 256, 4, 2, 64, 1
	for _, kind := range append([]qloratest.Kind{qloratest.F16, qloratest.BF16, qloratest.Q8_0, qloratest.Q4_0, qloratest.Q5_0, qloratest.Q4_K, qloratest.Q6_K, qloratest.IQ4NL}, qloratest.Decoded...) {
		t.Run(kind.String(), func(t *testing.T) {
			m := loadBoth(t, "qwen2", shape, kind)
			b := randomBatch(rand.New(rand.NewPCG(7, 7)), m.cpu.Vocab(), 5, 40, 17)
			spec := runtime.TrainSpec{Modules: allModules(m.cpu, 4, true), MaxTokens: len(b.Tokens), Seed: 3}
			for _, precision := range []qlora.Precision{qlora.Single, qlora.Fast} {
				cpu, graphs := newTrainer(t, m.cpu, spec, qlora.Options{Precision: qlora.Single}), newTrainer(t, m.graphs, spec, qlora.Options{Precision: precision})
				randomise(cpu, 5)
				if err := graphs.Restore(cpu.State()); err != nil {
					t.Fatal(err)
				}
				want, got := run(t, cpu, runtime.TrainFirst, b), run(t, graphs, runtime.TrainFirst, b)
				tolerance := map[qlora.Precision]float64{qlora.Single: 1e-4, qlora.Fast: 3e-2}[precision]
				if e := offBy(gradientsOf(graphs), gradientsOf(cpu)); !(e < tolerance) || math.Abs(got.Loss-want.Loss) > tolerance*want.Loss {
					t.Errorf("precision %d: the gradients are off by %.2g; losses %g and %g", precision, e, got.Loss, want.Loss)
				}
			}
		})
	}
}

// Every module's gradient against central differences of the loss, as TestGradients has it for the CPU.
func TestGraphGradients(t *testing.T) {
	for arch, shape := range shapes {
		t.Run(arch, func(t *testing.T) {
			if testing.Short() && arch != "qwen3" {
				t.Skip("-short takes one architecture")
			}
			shape.Layers = 1
			m := loadBoth(t, arch, shape, qloratest.F32).graphs
			rng := rand.New(rand.NewPCG(7, 7))
			batch := randomBatch(rng, m.Vocab(), 5, 40, 17)
			spec := runtime.TrainSpec{Modules: allModules(m, 4, true), MaxTokens: len(batch.Tokens), Seed: 3}
			tr := newTrainer(t, m, spec, qlora.InBlocks(16))
			randomise(tr, 5)
			changed := func() {
				if err := tr.Restore(tr.State()); err != nil { // the parameters were changed behind the trainer's back
					t.Fatal(err)
				}
			}
			changed()
			run(t, tr, runtime.TrainFirst, batch)
			gradients := slices.Clone(gradientsOf(tr))
			loss := func() float64 {
				changed()
				return run(t, tr, runtime.TrainEval, batch).Loss / batch.Norm
			}
			for i := range spec.Modules {
				for _, part := range partsOf(tr, i) {
					checkPart(t, fmt.Sprint(spec.Modules[i].Tensor, " ", part.Name), tr.Parameters()[part.From:part.To], gradients[part.From:part.To], rng, loss, 2e-2, 2e-3)
				}
			}
		})
	}
}

// A run that was stopped goes on from its state with the same bits, and a state of the CPU's trainer is one of the graphs'.
func TestGraphStateGoesOn(t *testing.T) {
	m := loadBoth(t, "qwen2", shapes["qwen2"], qloratest.Q4_0)
	rng := rand.New(rand.NewPCG(1, 1))
	spec := runtime.TrainSpec{Modules: doraModules(m.cpu, 4, true), MaxTokens: 64, Seed: 4, Dropout: 0.2}
	var batches []runtime.TrainBatch
	for range 6 {
		batches = append(batches, randomBatch(rng, m.cpu.Vocab(), 2, 30, 12))
	}
	straight, stopped := newTrainer(t, m.graphs, spec, qlora.InBlocks(16)), newTrainer(t, m.graphs, spec, qlora.InBlocks(16))
	for i, b := range batches {
		step(t, straight, adam, b)
		if i < 3 {
			step(t, stopped, adam, b)
		}
	}
	resumed, onCPU := newTrainer(t, m.graphs, spec, qlora.InBlocks(16)), newTrainer(t, m.cpu, spec, qlora.Options{Precision: qlora.Single})
	for _, tr := range []*qlora.Trainer{resumed, onCPU} {
		if err := tr.Restore(stopped.State()); err != nil {
			t.Fatal(err)
		}
		for _, b := range batches[3:] {
			step(t, tr, adam, b)
		}
	}
	if !slices.Equal(straight.State(), resumed.State()) {
		t.Error("a restored run gives other bits")
	}
	if e := offBy(onCPU.Parameters(), straight.Parameters()); !(e < 1e-3) {
		t.Errorf("going on on the CPU, the adapter is off by %.2g", e)
	}
}

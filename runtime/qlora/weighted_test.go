//go:build cgo

package qlora_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora/qloratest"
)

// weighted gives the batch weights of both signs, and of some tokens zero.
func weighted(rng *rand.Rand, b runtime.TrainBatch) runtime.TrainBatch {
	b.Weights = make([]float32, len(b.Tokens))
	for i := range b.Weights {
		if i%7 != 6 {
			b.Weights[i] = float32(rng.NormFloat64())
		}
	}
	return b
}

// The gradients of weighted losses against central differences, as TestGradients has them for the weights 1: of every
// linear layer, the embedding and the head, over packed sequences. TestDoRAGradients has weights, too.
func TestWeightedGradients(t *testing.T) {
	for name, shape := range shapes {
		for _, kind := range []qloratest.Kind{qloratest.F32, qloratest.NF4} {
			t.Run(fmt.Sprintf("%s %v", name, kind), func(t *testing.T) {
				if testing.Short() && name != "llama" {
					t.Skip("-short takes one architecture")
				}
				m := newSample(t, shape, kind, kind)
				rng := rand.New(rand.NewPCG(8, 7))
				batch := weighted(rng, randomBatch(rng, m.Vocab(), 5, 40, 1, 17))
				spec := runtime.TrainSpec{Modules: allModules(m, 4, true), MaxTokens: len(batch.Tokens), Seed: 3}
				tr := newTrainer(t, m, spec, qlora.Options{Precision: qlora.Single})
				randomise(tr, 5)
				run(t, tr, runtime.TrainFirst, batch)
				gradients := slices.Clone(gradientsOf(tr))
				loss := func() float64 { return run(t, tr, runtime.TrainEval, batch).Loss / batch.Norm }
				for i := range spec.Modules {
					for _, part := range partsOf(tr, i) {
						checkPart(t, fmt.Sprint(spec.Modules[i].Tensor, " ", part.Name), tr.Parameters()[part.From:part.To], gradients[part.From:part.To], rng, loss, 2e-2, 2e-3)
					}
				}
			})
		}
	}
}

// plainLogProbs are the log-probabilities and entropies of a batch, in double precision from the trainer's own logits.
func plainLogProbs(t *testing.T, tr *qlora.Trainer, m *qlora.Model, b runtime.TrainBatch) (logProbs, entropies []float64) {
	t.Helper()
	logits, err := logitsOf(tr, m, b.Tokens, b.Ends)
	if err != nil {
		t.Fatal(err)
	}
	logProbs, entropies = make([]float64, len(b.Tokens)), make([]float64, len(b.Tokens))
	for i, label := range b.Labels {
		if label < 0 {
			continue
		}
		of := logits[i*m.Vocab() : (i+1)*m.Vocab()]
		total := 0.0
		for _, x := range of {
			total += math.Exp(float64(x - of[label]))
		}
		logProbs[i] = -math.Log(total)
		for _, x := range of {
			lp := float64(x-of[label]) + logProbs[i]
			entropies[i] -= math.Exp(lp) * lp
		}
	}
	return logProbs, entropies
}

// Log-probabilities and entropies are those of the logits, in every mode, and the loss is their weighted sum.
func TestLogProbsAndEntropies(t *testing.T) {
	const tolerance = 1e-5
	for name, shape := range shapes {
		m := newSample(t, shape, qloratest.F32, qloratest.F32)
		rng := rand.New(rand.NewPCG(3, 7))
		batch := weighted(rng, randomBatch(rng, m.Vocab(), 3, 140, 1, 20)) // more labels than one chunk of the head has
		batch.Entropies = true
		tr := newTrainer(t, m, runtime.TrainSpec{Modules: allModules(m, 4, true), MaxTokens: len(batch.Tokens), Seed: 3}, qlora.Options{Precision: qlora.Single})
		randomise(tr, 5)
		logProbs, entropies := plainLogProbs(t, tr, m, batch)
		for _, mode := range []runtime.TrainMode{runtime.TrainEval, runtime.TrainFirst, runtime.TrainFurther} {
			r := run(t, tr, mode, batch)
			loss := 0.0
			for i := range batch.Tokens {
				if math.Abs(float64(r.LogProbs[i])-logProbs[i]) > tolerance || math.Abs(float64(r.Entropies[i])-entropies[i]) > tolerance {
					t.Errorf("%s, mode %d, token %d: log-probability %g and entropy %g, want %g and %g", name, mode, i, r.LogProbs[i], r.Entropies[i], logProbs[i], entropies[i])
				}
				loss -= float64(batch.Weights[i]) * logProbs[i]
			}
			if math.Abs(r.Loss-loss) > 1e-3 || r.Labelled != int(batch.Norm) {
				t.Errorf("%s, mode %d: a loss of %g on %d tokens, want %g on %g", name, mode, r.Loss, r.Labelled, loss, batch.Norm)
			}
		}
		batch.Entropies = false
		if r := run(t, tr, runtime.TrainEval, batch); r.Entropies != nil || len(r.LogProbs) != len(batch.Tokens) {
			t.Errorf("%s: %d entropies that were not asked for, %d log-probabilities", name, len(r.Entropies), len(r.LogProbs))
		}
	}
}

// With the adapter switched off, whatever it has learned, log-probabilities have the bits of a new adapter's, which computes
// the base; the adapter stays as it is.
func TestBaseIsTheModelWithoutTheAdapter(t *testing.T) {
	for name, shape := range shapes {
		for _, dora := range []bool{false, true} {
			for _, precision := range []qlora.Precision{qlora.Single, qlora.Fast} {
				m := newSample(t, shape, qloratest.NF4, qloratest.Q8_0)
				rng := rand.New(rand.NewPCG(3, 7))
				batch := randomBatch(rng, m.Vocab(), 3, 40, 1, 20)
				batch.Entropies = true
				spec := runtime.TrainSpec{Modules: allModules(m, 4, true), MaxTokens: len(batch.Tokens), Seed: 3}
				if dora {
					spec.Modules = doraModules(m, 4, true)
				}
				tr := newTrainer(t, m, spec, qlora.Options{Precision: precision})
				want := run(t, tr, runtime.TrainEval, batch)
				randomise(tr, 5)
				learned := run(t, tr, runtime.TrainEval, batch)
				batch.Base = true
				got := run(t, tr, runtime.TrainEval, batch)
				if !slices.Equal(got.LogProbs, want.LogProbs) || !slices.Equal(got.Entropies, want.Entropies) || got.Loss != want.Loss {
					t.Errorf("%s, DoRA %v, precision %d: the loss is %v, of a new adapter %v", name, dora, precision, got.Loss, want.Loss)
				}
				if got.Loss == learned.Loss {
					t.Errorf("%s, DoRA %v: the adapter changes nothing", name, dora)
				}
				batch.Base = false
				if again := run(t, tr, runtime.TrainEval, batch); !slices.Equal(again.LogProbs, learned.LogProbs) {
					t.Errorf("%s, DoRA %v: the adapter is another one after an evaluation of the base", name, dora)
				}
			}
		}
	}
}

// Evaluations between the micro-batches of a step change nothing of its gradients, and weights of 1 are no weights.
func TestEvaluationsBetweenMicroBatches(t *testing.T) {
	m := newSample(t, shapes["qwen3"], qloratest.NF4, qloratest.Q8_0)
	rng := rand.New(rand.NewPCG(3, 7))
	one, two := randomBatch(rng, m.Vocab(), 3, 40), randomBatch(rng, m.Vocab(), 0, 12, 20)
	ones, base := two, one
	ones.Weights = slices.Repeat([]float32{1}, len(two.Tokens))
	base.Base, base.Entropies = true, true
	spec := runtime.TrainSpec{Modules: doraModules(m, 4, true), MaxTokens: len(one.Tokens), Seed: 3, Dropout: 0.2}
	plain, between := newTrainer(t, m, spec, qlora.Options{}), newTrainer(t, m, spec, qlora.Options{})
	for range 2 {
		step(t, plain, adam, one, two)
		run(t, between, runtime.TrainFirst, one)
		run(t, between, runtime.TrainEval, base)
		run(t, between, runtime.TrainEval, two)
		run(t, between, runtime.TrainFurther, ones)
		run(t, between, runtime.TrainEval, base)
		if err := between.BeginUpdate(adam); err != nil {
			t.Fatal(err)
		}
		finish(t, between)
	}
	if !slices.Equal(plain.State(), between.State()) {
		t.Error("evaluations between micro-batches change what is learned")
	}
}

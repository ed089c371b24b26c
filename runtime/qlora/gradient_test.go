//go:build cgo

package qlora_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora/qloratest"
)

// Every module's gradient against central differences of the loss, along the gradient and along a random
// direction. The loss is a float32 sum of some dozen terms, so the step is wide and the rest is its noise.
func TestGradients(t *testing.T) {
	const width, tolerance = 2e-2, 2e-3
	for name, shape := range shapes {
		for _, kind := range []qloratest.Kind{qloratest.F32, qloratest.Q4_0, qloratest.NF4} {
			for _, dropout := range []float32{0, 0.2} {
				t.Run(fmt.Sprintf("%s %v dropout %v", name, kind, dropout), func(t *testing.T) {
					if dropout > 0 && kind != qloratest.F32 {
						t.Skip("dropout does not meet the weights")
					}
					if testing.Short() && name != "qwen3" {
						t.Skip("-short takes one architecture")
					}
					m := newSample(t, shape, kind, kind)
					rng := rand.New(rand.NewPCG(7, 7))
					batch := randomBatch(rng, m.Vocab(), 5, 40, 1, 17)
					spec := runtime.TrainSpec{Modules: allModules(m, 4, true), MaxTokens: len(batch.Tokens), Dropout: dropout, Seed: 3}
					tr := newTrainer(t, m, spec, qlora.Options{Precision: qlora.Single})
					randomise(tr, 5)
					run(t, tr, runtime.TrainFirst, batch)
					gradients := append([]float32(nil), gradientsOf(tr)...)
					loss := func() float64 { return run(t, tr, runtime.TrainFirst, batch).Loss / batch.Norm }
					for i := range spec.Modules {
						for _, part := range partsOf(tr, i) {
							checkPart(t, fmt.Sprint(spec.Modules[i].Tensor, " ", part.Name), tr.Parameters()[part.From:part.To], gradients[part.From:part.To], rng, loss, width, tolerance)
						}
					}
				})
			}
		}
	}
}

// The same on weights of the types whose blocks are wider than the small shapes, of one layer.
func TestGradientsOfEveryType(t *testing.T) {
	shape := shapes["qwen2"]
	shape.Embedding, shape.FeedForward, shape.Heads, shape.KVHeads, shape.HeadSize, shape.Layers = 256, 256, 4, 2, 64, 1
	for _, kind := range []qloratest.Kind{qloratest.F16, qloratest.BF16, qloratest.Q8_0, qloratest.Q4_K, qloratest.Q6_K, qloratest.IQ4_XS} {
		t.Run(kind.String(), func(t *testing.T) {
			if testing.Short() && kind != qloratest.Q6_K {
				t.Skip("-short takes one type")
			}
			m := newSample(t, shape, kind, kind)
			rng := rand.New(rand.NewPCG(7, 7))
			batch := randomBatch(rng, m.Vocab(), 5, 40, 17)
			spec := runtime.TrainSpec{Modules: allModules(m, 4, true), MaxTokens: len(batch.Tokens), Seed: 3}
			tr := newTrainer(t, m, spec, qlora.Options{Precision: qlora.Single})
			randomise(tr, 5)
			run(t, tr, runtime.TrainFirst, batch)
			gradients := append([]float32(nil), gradientsOf(tr)...)
			loss := func() float64 { return run(t, tr, runtime.TrainFirst, batch).Loss / batch.Norm }
			for i := range spec.Modules {
				for _, part := range partsOf(tr, i) {
					checkPart(t, fmt.Sprint(spec.Modules[i].Tensor, " ", part.Name), tr.Parameters()[part.From:part.To], gradients[part.From:part.To], rng, loss, 2e-2, 2e-3)
				}
			}
		})
	}
}

func checkPart(t *testing.T, name string, w, g []float32, rng *rand.Rand, loss func() float64, width, tolerance float64) {
	t.Helper()
	norm := 0.0
	for _, x := range g {
		norm += float64(x) * float64(x)
	}
	norm = math.Sqrt(norm)
	if norm == 0 {
		t.Errorf("%s: no gradient", name)
		return
	}
	for _, along := range []string{"the gradient", "a random direction"} {
		direction, length := make([]float64, len(w)), 0.0
		for i := range direction {
			direction[i] = float64(g[i])
			if along != "the gradient" {
				direction[i] = rng.NormFloat64()
			}
			length += direction[i] * direction[i]
		}
		want := 0.0
		for i := range direction {
			direction[i] /= math.Sqrt(length)
			want += direction[i] * float64(g[i])
		}
		old := append([]float32(nil), w...)
		at := func(h float64) float64 {
			for i := range w {
				w[i] = old[i] + float32(h*direction[i])
			}
			defer copy(w, old)
			return loss()
		}
		// Fourth-order central difference.
		got := (8*(at(width)-at(-width)) - (at(2*width) - at(-2*width))) / (12 * width)
		if e := math.Abs(got-want) / norm; !(e < tolerance) {
			t.Errorf("%s along %s: differences give %.6g, backward %.6g: off by %.2g of the gradient's norm", name, along, got, want, e)
		}
	}
}

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

// A starts uniform in +-1/sqrt(n_in) and B at zero, as PEFT's default has them; of the embedding, B of PEFT is normal
// and A zero.
func TestFirstValues(t *testing.T) {
	m := newSample(t, shapes["llama"], qloratest.Q4_0, qloratest.F16)
	tr := newTrainer(t, m, runtime.TrainSpec{Modules: allModules(m, 64, true), MaxTokens: 8, Seed: 3}, qlora.Options{})
	for i, module := range tr.Spec().Modules {
		parts, x := partsOf(tr, i), tr.LoRA().Modules[i]
		a, b := tr.Parameters()[parts[0].From:parts[0].To], tr.Parameters()[parts[1].From:parts[1].To]
		drawn, zero, bound, deviation := a, b, 1/math.Sqrt(float64(x.In)), 1/math.Sqrt(3*float64(x.In))
		if module.Tensor == "token_embd.weight" {
			drawn, zero, bound, deviation = b, a, 8, 1
		}
		var sum, square, most float64
		for _, v := range drawn {
			sum, square, most = sum+float64(v), square+float64(v)*float64(v), max(most, math.Abs(float64(v)))
		}
		n := float64(len(drawn))
		if mean := sum / n; math.Abs(mean) > 5*deviation/math.Sqrt(n) {
			t.Errorf("%s: a mean of %g", module.Tensor, mean)
		}
		if got := math.Sqrt(square / n); math.Abs(got-deviation) > 0.05*deviation || most > bound {
			t.Errorf("%s: a deviation of %g and a largest value of %g, want %g and at most %g", module.Tensor, got, most, deviation, bound)
		}
		if slices.ContainsFunc(zero, func(v float32) bool { return v != 0 }) {
			t.Errorf("%s: the other matrix does not start at zero", module.Tensor)
		}
	}
}

// Every weight moves as AdamW says, worked out here in float64: with clipping, with decay, and B at a rate of its own
// where LoRA+ asks for one.
func TestUpdateIsAdamW(t *testing.T) {
	m := newSample(t, shapes["qwen3"], qloratest.NF4, qloratest.F16)
	batch := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 2, 40)
	for _, u := range []runtime.TrainUpdate{
		{Rate: 1e-2, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8},
		{Rate: 1e-2, RateB: 16e-2, Beta1: 0.8, Beta2: 0.95, Epsilon: 1e-3, WeightDecay: 0.3},
		{Rate: 1e-2, RateB: 1e-3, Beta1: 0.9, Beta2: 0.99, Epsilon: 0.1, WeightDecay: 0.1, Clip: 0.5},
	} {
		tr := newTrainer(t, m, runtime.TrainSpec{Modules: allModules(m, 3, true), MaxTokens: 64, Seed: 1}, qlora.Options{})
		randomise(tr, 8)
		n := len(tr.Parameters())
		rate := make([]float64, n)
		for i := range tr.Spec().Modules {
			for _, p := range partsOf(tr, i) {
				for at := p.From; at < p.To; at++ {
					rate[at] = float64(u.Rate)
					if p.Name == "B" && u.RateB != 0 {
						rate[at] = float64(u.RateB)
					}
				}
			}
		}
		first, second := make([]float64, n), make([]float64, n)
		for k := 1; k <= 3; k++ {
			run(t, tr, runtime.TrainFirst, batch)
			before, gradients := slices.Clone(tr.Parameters()), slices.Clone(gradientsOf(tr))
			if err := tr.BeginUpdate(u); err != nil {
				t.Fatal(err)
			}
			finish(t, tr)
			checkUpdate(t, fmt.Sprintf("%+v, step %d", u, k), u, k, before, gradients, tr.Parameters(), rate, first, second)
		}
	}
}

// checkUpdate takes step k of AdamW over the moments first and second.
func checkUpdate(t *testing.T, name string, u runtime.TrainUpdate, k int, before, gradients, after []float32, rate, first, second []float64) {
	t.Helper()
	square := 0.0
	for _, g := range gradients {
		square += float64(g) * float64(g)
	}
	scale := 1.0
	if norm := math.Sqrt(square); u.Clip > 0 && norm > float64(u.Clip) {
		scale = float64(u.Clip) / norm
	}
	b1, b2 := float64(u.Beta1), float64(u.Beta2)
	for i, g := range gradients {
		x := scale * float64(g)
		first[i], second[i] = b1*first[i]+(1-b1)*x, b2*second[i]+(1-b2)*x*x
		m, v := first[i]/(1-math.Pow(b1, float64(k))), second[i]/(1-math.Pow(b2, float64(k)))
		w := float64(before[i])
		want := w - rate[i]*(m/(math.Sqrt(v)+float64(u.Epsilon))+float64(u.WeightDecay)*w)
		if off := math.Abs(float64(after[i]) - want); off > 2e-3*rate[i]+1e-7 {
			t.Fatalf("%s: weight %d went from %g to %g, want %g", name, i, w, after[i], want)
		}
	}
}

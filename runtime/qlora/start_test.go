//go:build cgo

package qlora_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora/qloratest"
)

// An adapter that is trained on from is taken up bit for bit, DoRA's magnitudes and the embeddings' matrices too, and computes
// what it computed before; its modules may come in another order.
func TestTrainedOnFromAnAdapter(t *testing.T) {
	for arch, shape := range shapes {
		t.Run(arch, func(t *testing.T) {
			m := newSample(t, shape, qloratest.Q4_0, qloratest.Q4_0)
			spec := runtime.TrainSpec{Modules: allModules(m, 2, true), Norms: allNorms(m, shape), MaxTokens: 64, Seed: 3}
			for i := range 3 {
				spec.Modules[2*i].DoRA = true
			}
			b := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 0, 40, 23)
			first := newTrainer(t, m, spec, qlora.Options{Precision: qlora.Single})
			step(t, first, adam, b)
			step(t, first, adam, b)
			start := first.LoRA()
			want := run(t, first, runtime.TrainEval, b)

			spec.Seed = 4
			spec.Start = &runtime.LoRA{Norms: start.Norms}
			for i := range start.Modules {
				spec.Start.Modules = append(spec.Start.Modules, start.Modules[len(start.Modules)-1-i])
			}
			second := newTrainer(t, m, spec, qlora.Options{Precision: qlora.Single})
			if !reflect.DeepEqual(second.LoRA(), start) {
				t.Fatal("the adapter that was trained on from is another one")
			}
			if got := run(t, second, runtime.TrainEval, b); got.Loss != want.Loss || !reflect.DeepEqual(got.LogProbs, want.LogProbs) {
				t.Errorf("its loss is %v, was %v", got.Loss, want.Loss)
			}
			if after := step(t, second, adam, b); after.Steps != 1 || !(run(t, second, runtime.TrainEval, b).Loss < want.Loss) {
				t.Errorf("%d steps; the loss did not get lower than %v", after.Steps, want.Loss)
			}
			if reflect.DeepEqual(second.LoRA(), start) {
				t.Error("the step changed nothing")
			}
		})
	}
}

// What does not fit is refused with the tensor's name, by Estimate as by New.
func TestStartsThatDoNotFit(t *testing.T) {
	m := newSample(t, shapes["llama"], qloratest.F32, qloratest.F32)
	q, v := "blk.0.attn_q.weight", "blk.1.attn_v.weight"
	fresh := func() (runtime.TrainSpec, *runtime.LoRA) {
		spec := runtime.TrainSpec{MaxTokens: 8, Modules: []runtime.TrainModule{{Tensor: q, Rank: 2, Scale: 2}, {Tensor: v, Rank: 3, Scale: 1, DoRA: true}}}
		spec.Norms = []string{"blk.0.ffn_norm.weight"}
		return spec, newTrainer(t, m, spec, qlora.Options{}).LoRA()
	}
	for want, spoil := range map[string]func(a *runtime.LoRA){
		q + ": its rank is 4":                    func(a *runtime.LoRA) { a.Modules[0].Rank = 4 },
		q + ": its scale (alpha by rank) is 1":   func(a *runtime.LoRA) { a.Modules[0].Scale = 1 },
		v + ": DoRA must be":                     func(a *runtime.LoRA) { a.Modules[1].Magnitude = nil },
		q + ": DoRA must be":                     func(a *runtime.LoRA) { a.Modules[0].Magnitude = make([]float32, 64) },
		q + ": it is of a tensor 65 by 64":       func(a *runtime.LoRA) { a.Modules[0].In = 65 },
		q + ": it has 127, 128 and 0":            func(a *runtime.LoRA) { a.Modules[0].A = a.Modules[0].A[1:] },
		v + ": it has 192, 96 and 31":            func(a *runtime.LoRA) { a.Modules[1].Magnitude = a.Modules[1].Magnitude[1:] },
		v + ": it has the value NaN":             func(a *runtime.LoRA) { a.Modules[1].B[5] = float32(math.NaN()) },
		q + ": it has the value -Inf":            func(a *runtime.LoRA) { a.Modules[0].A[7] = float32(math.Inf(-1)) },
		v + ": this run trains it":               func(a *runtime.LoRA) { a.Modules = a.Modules[:1] },
		"blk.1.attn_k.weight: this run does not": func(a *runtime.LoRA) { a.Modules[1].Tensor = "blk.1.attn_k.weight" },
		q + ": this run does not train it, or":   func(a *runtime.LoRA) { a.Modules = append(a.Modules, a.Modules[0]) },
		"the invocation tokens [7], this run":    func(a *runtime.LoRA) { a.Invocation = []runtime.Token{7} },
		"output_norm.weight: it has a norm of":   func(a *runtime.LoRA) { a.Norms = append(a.Norms, runtime.LoRANorm{Tensor: "output_norm.weight"}) },
		"blk.0.ffn_norm.weight: this run trains": func(a *runtime.LoRA) { a.Norms = nil },
		"blk.0.ffn_norm.weight: it has 63":       func(a *runtime.LoRA) { a.Norms[0].Values = a.Norms[0].Values[1:] },
		"blk.0.ffn_norm.weight: it has the":      func(a *runtime.LoRA) { a.Norms[0].Values[3] = float32(math.NaN()) },
		q + ": it has a bias":                    func(a *runtime.LoRA) { a.Biases = []runtime.LoRABias{{Tensor: q}} },
		"output.weight: it has rows":             func(a *runtime.LoRA) { a.Rows = []runtime.LoRARows{{Tensor: "output.weight"}} },
	} {
		spec, start := fresh()
		spec.Start = start
		if _, err := qlora.Estimate(m, spec, qlora.Options{}); err != nil {
			t.Fatal(err)
		}
		spoil(spec.Start)
		if _, err := qlora.Estimate(m, spec, qlora.Options{}); !errors.Is(err, runtime.ErrTrain) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
		if _, err := qlora.New(m, spec, qlora.Options{}); !errors.Is(err, runtime.ErrTrain) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// The trainer of a device takes up the same adapter, and computes the same with it.
func TestGraphsAreTrainedOnFromAnAdapter(t *testing.T) {
	m := loadBoth(t, "qwen3", shapes["qwen3"], qloratest.F32)
	spec := runtime.TrainSpec{Modules: allModules(m.cpu, 2, true), MaxTokens: 64, Seed: 3}
	spec.Modules[0].DoRA = true
	spec.Norms = allNorms(m.cpu, shapes["qwen3"])
	first := newTrainer(t, m.cpu, spec, qlora.Options{Precision: qlora.Single})
	b := randomBatch(rand.New(rand.NewPCG(1, 1)), m.cpu.Vocab(), 0, 40, 23)
	step(t, first, adam, b)
	spec.Start = first.LoRA()
	second := newTrainer(t, m.graphs, spec, qlora.Options{Precision: qlora.Single})
	if !reflect.DeepEqual(second.LoRA(), spec.Start) {
		t.Fatal("the adapter that was trained on from is another one")
	}
	sameResult(t, "evaluation", run(t, second, runtime.TrainEval, b), run(t, first, runtime.TrainEval, b), 1e-5)
}

//go:build cgo

package qlora_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora/qloratest"
)

// activatedBatch has four sequences: in the first the adapter acts from the middle on, in the second nowhere, in the third on
// the last token alone, and in the fourth everywhere.
func activatedBatch(rng *rand.Rand, vocab int) runtime.TrainBatch {
	b := randomBatch(rng, vocab, 5, 40, 13, 9, 17)
	b.Active = []int{18, 53, 61, 62}
	return b
}

// activatedSpec is that of an activated LoRA on all modules.
func activatedSpec(modules []runtime.TrainModule, b runtime.TrainBatch) runtime.TrainSpec {
	return runtime.TrainSpec{Modules: modules, MaxTokens: len(b.Tokens), Seed: 3, Invocation: []runtime.Token{1, 2}}
}

// Every module's gradient against central differences of the loss, with positions switched off.
func TestActivatedGradients(t *testing.T) {
	for name, shape := range shapes {
		for _, kind := range []qloratest.Kind{qloratest.F32, qloratest.NF4} {
			t.Run(fmt.Sprintf("%s %v", name, kind), func(t *testing.T) {
				if testing.Short() && name != "qwen3" {
					t.Skip("-short takes one architecture")
				}
				m := newSample(t, shape, kind, kind)
				rng := rand.New(rand.NewPCG(7, 7))
				batch := activatedBatch(rng, m.Vocab())
				spec := activatedSpec(allModules(m, 4, true), batch)
				tr := newTrainer(t, m, spec, qlora.Options{Precision: qlora.Single})
				randomise(tr, 5)
				run(t, tr, runtime.TrainFirst, batch)
				gradients := slices.Clone(gradientsOf(tr))
				loss := func() float64 { return run(t, tr, runtime.TrainFirst, batch).Loss / batch.Norm }
				for i := range spec.Modules {
					for _, part := range partsOf(tr, i) {
						checkPart(t, fmt.Sprint(spec.Modules[i].Tensor, " ", part.Name), tr.Parameters()[part.From:part.To], gradients[part.From:part.To], rng, loss, 2e-2, 2e-3)
					}
				}
			})
		}
	}
}

// The magnitudes of DoRA, whose gains meet no row on which the adapter does not act.
func TestActivatedDoRAGradients(t *testing.T) {
	m := newSample(t, shapes["qwen2"], qloratest.F32, qloratest.F32)
	rng := rand.New(rand.NewPCG(7, 7))
	batch := activatedBatch(rng, m.Vocab())
	spec := activatedSpec(doraModules(m, 4, true), batch)
	tr := newTrainer(t, m, spec, qlora.Options{Precision: qlora.Single})
	randomiseDoRA(t, tr, batch, 5)
	run(t, tr, runtime.TrainFirst, batch)
	gradients := slices.Clone(gradientsOf(tr))
	loss := func() float64 { return run(t, tr, runtime.TrainFirst, batch).Loss / batch.Norm }
	for i, module := range spec.Modules {
		for _, part := range partsOf(tr, i) {
			if part.Name == "magnitude" {
				checkPart(t, module.Tensor+" "+part.Name, tr.Parameters()[part.From:part.To], gradients[part.From:part.To], rng, loss, 2e-2, 2e-3)
			}
		}
	}
}

// Before the position the log-probabilities are the base's to the bit, and from there on others; a sequence in which it acts
// everywhere has those of an adapter that does.
func TestActivatedLogProbs(t *testing.T) {
	for _, dora := range []bool{false, true} {
		m := newSample(t, shapes["llama"], qloratest.Q4_0, qloratest.F16)
		batch := activatedBatch(rand.New(rand.NewPCG(7, 7)), m.Vocab())
		modules := allModules(m, 4, true)
		if dora {
			modules = doraModules(m, 4, true)
		}
		tr := newTrainer(t, m, activatedSpec(modules, batch), qlora.Options{})
		if dora {
			randomiseDoRA(t, tr, batch, 5)
		} else {
			randomise(tr, 5)
		}
		got := run(t, tr, runtime.TrainEval, batch).LogProbs
		base, everywhere := batch, batch
		base.Base = true
		everywhere.Active = nil
		off, on := run(t, tr, runtime.TrainEval, base).LogProbs, run(t, tr, runtime.TrainEval, everywhere).LogProbs
		begin := 0
		for i, end := range batch.Ends {
			for p := begin; p < end; p++ {
				if batch.Labels[p] < 0 {
					continue
				}
				if before := p < batch.Active[i]; before != (got[p] == off[p]) {
					t.Errorf("dora %v: token %d of sequence %d, from %d on: %v, the base's %v", dora, p, i, batch.Active[i], got[p], off[p])
				}
				if batch.Active[i] == begin && got[p] != on[p] {
					t.Errorf("dora %v: token %d: %v, of an adapter that acts everywhere %v", dora, p, got[p], on[p])
				}
			}
			begin = end
		}
		if lora := tr.LoRA(); !slices.Equal(lora.Invocation, []runtime.Token{1, 2}) {
			t.Errorf("the adapter's invocation is %v", lora.Invocation)
		}
	}
}

// What does not depend on the adapter has no part in its gradients: labels before the position may have any weight.
func TestActivatedIgnoresWhatComesBefore(t *testing.T) {
	m := newSample(t, shapes["qwen3"], qloratest.F32, qloratest.F32)
	batch := activatedBatch(rand.New(rand.NewPCG(7, 7)), m.Vocab())
	gradients := func(weight float32) []float32 {
		tr := newTrainer(t, m, activatedSpec(allModules(m, 4, true), batch), qlora.Options{Precision: qlora.Single})
		randomise(tr, 5)
		b := batch
		b.Weights = slices.Repeat([]float32{1}, len(b.Tokens))
		begin := 0
		for i, end := range b.Ends {
			for p := begin; p < b.Active[i]; p++ {
				b.Weights[p] = weight
			}
			begin = end
		}
		run(t, tr, runtime.TrainFirst, b)
		return slices.Clone(gradientsOf(tr))
	}
	if e := offBy(gradients(-7), gradients(1)); !(e < 1e-5) {
		t.Errorf("labels before the position move the gradients by %g", e)
	}
}

// Graphs compute what the CPU does, and their estimate counts the factors of the rows.
func TestActivatedGraphsEqualTheCPU(t *testing.T) {
	for arch, shape := range shapes {
		for _, dora := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s dora %v", arch, dora), func(t *testing.T) {
				m := loadBoth(t, arch, shape, qloratest.F32)
				batch := activatedBatch(rand.New(rand.NewPCG(7, 7)), m.cpu.Vocab())
				spec := activatedSpec(allModules(m.cpu, 4, true), batch)
				if dora {
					spec.Modules = doraModules(m.cpu, 4, true)
				}
				spec.Dropout = 0.2
				cpu, graphs := newTrainer(t, m.cpu, spec, qlora.Options{Precision: qlora.Single}), newTrainer(t, m.graphs, spec, qlora.InBlocks(16))
				randomise(cpu, 5)
				if err := graphs.Restore(cpu.State()); err != nil {
					t.Fatal(err)
				}
				want, got := run(t, cpu, runtime.TrainFirst, batch), run(t, graphs, runtime.TrainFirst, batch)
				if math.Abs(got.Loss-want.Loss) > 1e-5*want.Loss || got.Correct != want.Correct {
					t.Errorf("%+v, on the CPU %+v", got, want)
				}
				for i, module := range spec.Modules {
					for _, p := range partsOf(cpu, i) {
						if e := offBy(gradientsOf(graphs)[p.From:p.To], gradientsOf(cpu)[p.From:p.To]); !(e < 2e-5) {
							t.Errorf("%s %s: the gradient is off by %.2g", module.Tensor, p.Name, e)
						}
					}
				}
				want, got = run(t, cpu, runtime.TrainEval, batch), run(t, graphs, runtime.TrainEval, batch)
				for p := range want.LogProbs {
					if d := math.Abs(float64(got.LogProbs[p] - want.LogProbs[p])); !(d < 1e-4) {
						t.Errorf("token %d: %v, on the CPU %v", p, got.LogProbs[p], want.LogProbs[p])
					}
				}
				plain := spec
				plain.Invocation = nil
				if a, b := graphs.Memory().Bytes, newTrainer(t, m.graphs, plain, qlora.InBlocks(16)).Memory().Bytes; a <= b {
					t.Errorf("an activated LoRA takes %d bytes, one that acts everywhere %d", a, b)
				}
			})
		}
	}
}

func TestActivatedRefuses(t *testing.T) {
	m := newSample(t, shapes["llama"], qloratest.F32, qloratest.F32)
	batch := activatedBatch(rand.New(rand.NewPCG(7, 7)), m.Vocab())
	spec := activatedSpec(allModules(m, 2, false), batch)
	plain := spec
	plain.Invocation = nil
	for name, c := range map[string]struct {
		spec   runtime.TrainSpec
		active []int
		part   string
	}{
		"too few":           {spec, []int{0, 40}, "4 sequences and 2 positions"},
		"before its own":    {spec, []int{0, 39, 53, 62}, "position 39 on, which is not one of its sequence"},
		"behind its own":    {spec, []int{41, 41, 53, 62}, "position 41 on"},
		"negative":          {spec, []int{-1, 41, 53, 62}, "position -1 on"},
		"acting everywhere": {plain, batch.Active, "acts on every token"},
	} {
		b := batch
		b.Active = c.active
		tr := newTrainer(t, m, c.spec, qlora.Options{})
		if err := tr.Begin(runtime.TrainEval, b); !errors.Is(err, runtime.ErrTrain) || !strings.Contains(err.Error(), c.part) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

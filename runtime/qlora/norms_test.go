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

// allNorms are the tensors of all norms of a sample.
func allNorms(m *qlora.Model, s qloratest.Shape) []string {
	norms := []string{"output_norm.weight"}
	for layer := range m.Layers() {
		for i, name := range []string{"attn_norm", "ffn_norm", "attn_q_norm", "attn_k_norm"} {
			if i < 2 || s.QKNorm {
				norms = append(norms, fmt.Sprintf("blk.%d.%s.weight", layer, name))
			}
		}
	}
	return norms
}

func normOf(tr *qlora.Trainer, i int) []float32 {
	p := qloratest.NormOf(tr.Handle(), i)
	return tr.Parameters()[p.From:p.To]
}

// randomiseNorms is randomise, and then gives the norms weights about 1.
func randomiseNorms(tr *qlora.Trainer, seed uint64) {
	randomise(tr, seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	for i := range tr.Spec().Norms {
		for j := range normOf(tr, i) {
			normOf(tr, i)[j] = float32(1 + 0.3*rng.NormFloat64())
		}
	}
}

// Every norm's gradient against central differences of the loss, beside LoRAs on all modules, and alone with one LoRA above or
// below it, where backward would end earlier or later without it.
func TestNormGradients(t *testing.T) {
	for arch, shape := range shapes {
		for _, kind := range []qloratest.Kind{qloratest.F32, qloratest.NF4} {
			m := newSample(t, shape, kind, kind)
			up := []runtime.TrainModule{{Tensor: "blk.1.ffn_up.weight", Rank: 2, Scale: 1}}
			specs := map[string]runtime.TrainSpec{
				"all":       {Modules: allModules(m, 4, true), Norms: allNorms(m, shape)},
				"last only": {Modules: up, Norms: []string{"output_norm.weight"}},
				"first":     {Modules: up, Norms: []string{"blk.0.attn_norm.weight", "blk.1.ffn_norm.weight"}},
				"second":    {Modules: up, Norms: []string{"blk.1.attn_norm.weight"}},
			}
			if !m.Tied() {
				specs["head"] = runtime.TrainSpec{Modules: []runtime.TrainModule{{Tensor: "output.weight", Rank: 2, Scale: 1}}, Norms: []string{"output_norm.weight"}}
			}
			for name, spec := range specs {
				t.Run(fmt.Sprint(arch, " ", kind, " ", name), func(t *testing.T) {
					rng := rand.New(rand.NewPCG(7, 7))
					batch := weighted(rng, randomBatch(rng, m.Vocab(), 5, 40, 1, 17))
					spec.MaxTokens, spec.Seed = len(batch.Tokens), 3
					tr := newTrainer(t, m, spec, qlora.Options{Precision: qlora.Single})
					randomiseNorms(tr, 5)
					run(t, tr, runtime.TrainFirst, batch)
					gradients := slices.Clone(gradientsOf(tr))
					loss := func() float64 { return run(t, tr, runtime.TrainFirst, batch).Loss / batch.Norm }
					for i, tensor := range spec.Norms {
						p := qloratest.NormOf(tr.Handle(), i)
						checkPart(t, tensor, tr.Parameters()[p.From:p.To], gradients[p.From:p.To], rng, loss, 2e-2, 2e-3)
					}
				})
			}
		}
	}
}

// A new adapter's norms are the base's, to the bit; with others the base is computed all the same where it is asked for.
func TestNormsBeginAsTheBase(t *testing.T) {
	for arch, shape := range shapes {
		m := newSample(t, shape, qloratest.Q4_0, qloratest.F16)
		b := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 0, 33)
		plain := newTrainer(t, m, runtime.TrainSpec{Modules: allModules(m, 4, true), MaxTokens: 64}, qlora.Options{})
		tr := newTrainer(t, m, runtime.TrainSpec{Modules: allModules(m, 4, true), Norms: allNorms(m, shape), MaxTokens: 64}, qlora.Options{})
		want := run(t, plain, runtime.TrainEval, b).LogProbs
		if got := run(t, tr, runtime.TrainEval, b).LogProbs; !slices.Equal(got, want) {
			t.Errorf("%s: a new adapter is not the base", arch)
		}
		randomiseNorms(tr, 5)
		if got := run(t, tr, runtime.TrainEval, b).LogProbs; slices.Equal(got, want) {
			t.Errorf("%s: the norms change nothing", arch)
		}
		b.Base = true
		if got := run(t, tr, runtime.TrainEval, b).LogProbs; !slices.Equal(got, want) {
			t.Errorf("%s: with the adapter switched off it is not the base", arch)
		}
	}
}

// Norms learn, come out with the adapter, and are the same bits whatever is kept and however many threads there are; a state goes on,
// and one without norms is refused. Weight decay does not meet them.
func TestNormsAreTrained(t *testing.T) {
	shape := shapes["qwen3"]
	shape.Layers = 3
	m := newSample(t, shape, qloratest.NF4, qloratest.F16)
	batch := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 3, 30, 21)
	spec := runtime.TrainSpec{Modules: allModules(m, 4, false), Norms: allNorms(m, shape), MaxTokens: 64, Seed: 9, Dropout: 0.1}
	train := func(tr *qlora.Trainer, steps int) []byte {
		for range steps {
			step(t, tr, adam, batch, batch)
		}
		return tr.State()
	}
	first := newTrainer(t, m, spec, qlora.Options{Threads: 1})
	before := first.LoRA()
	want := train(first, 4)
	after := first.LoRA()
	for i, n := range after.Norms {
		if n.Tensor != spec.Norms[i] || slices.Equal(n.Values, before.Norms[i].Values) {
			t.Errorf("%s did not learn", n.Tensor)
		}
	}
	for kept := range 4 {
		if got := train(keeping(t, m, spec, qlora.Options{Threads: 1 + kept}, kept), 4); !slices.Equal(got, want) {
			t.Errorf("%d kept layers on %d threads give other bits", kept, 1+kept)
		}
	}
	half := train(newTrainer(t, m, spec, qlora.Options{}), 2)
	again := newTrainer(t, m, spec, qlora.Options{})
	if err := again.Restore(half); err != nil {
		t.Fatal(err)
	}
	if got := train(again, 2); !slices.Equal(got, want) {
		t.Error("a restored run gives other bits")
	}
	plain := spec
	plain.Norms = nil
	if err := newTrainer(t, m, plain, qlora.Options{}).Restore(half); !errors.Is(err, runtime.ErrTrain) {
		t.Errorf("a state with norms is taken up by a run without: %v", err)
	}
	decaying := newTrainer(t, m, spec, qlora.Options{})
	run(t, decaying, runtime.TrainFirst, batch)
	clear(gradientsOf(decaying))
	if err := decaying.BeginUpdate(runtime.TrainUpdate{Rate: 0.1, Epsilon: 1, WeightDecay: 0.5}); err != nil {
		t.Fatal(err)
	}
	finish(t, decaying)
	if got := decaying.LoRA(); !slices.Equal(got.Norms[1].Values, before.Norms[1].Values) || slices.Equal(got.Modules[0].A, before.Modules[0].A) {
		t.Error("weight decay must meet A and no norm")
	}
}

// The trainer of a device has the losses and the norms' gradients of that on the CPU.
func TestGraphNormsEqualTheCPU(t *testing.T) {
	for arch, shape := range shapes {
		t.Run(arch, func(t *testing.T) {
			m := loadBoth(t, arch, shape, qloratest.F32)
			rng := rand.New(rand.NewPCG(7, 7))
			one, two := weighted(rng, randomBatch(rng, m.cpu.Vocab(), 5, 40, 1, 17)), randomBatch(rng, m.cpu.Vocab(), 0, 33)
			for _, spec := range []runtime.TrainSpec{
				{Modules: doraModules(m.cpu, 4, true), Norms: allNorms(m.cpu, shape)},
				{Modules: []runtime.TrainModule{{Tensor: "blk.1.ffn_up.weight", Rank: 2, Scale: 1}}, Norms: []string{"blk.0.attn_norm.weight", "output_norm.weight"}},
			} {
				spec.MaxTokens, spec.Seed = len(one.Tokens)+3, 3
				cpu, graphs := newTrainer(t, m.cpu, spec, qlora.Options{Precision: qlora.Single}), newTrainer(t, m.graphs, spec, qlora.InBlocks(16))
				for i := range spec.Norms {
					if !slices.Equal(normOf(cpu, i), normOf(graphs, i)) {
						t.Fatalf("%s begins at other values", spec.Norms[i])
					}
				}
				randomiseNorms(cpu, 5)
				if err := graphs.Restore(cpu.State()); err != nil {
					t.Fatal(err)
				}
				for i, b := range []runtime.TrainBatch{one, two} {
					mode := min(runtime.TrainMode(i), runtime.TrainFurther)
					want, got := run(t, cpu, mode, b), run(t, graphs, mode, b)
					sameResult(t, fmt.Sprint("micro-batch ", i), got, want, 2e-5)
				}
				for i, tensor := range spec.Norms {
					p := qloratest.NormOf(cpu.Handle(), i)
					if e := offBy(gradientsOf(graphs)[p.From:p.To], gradientsOf(cpu)[p.From:p.To]); !(e < 2e-5) {
						t.Errorf("%s: the gradient is off by %.2g", tensor, e)
					}
				}
				one.Base = true
				sameResult(t, "the base", run(t, graphs, runtime.TrainEval, one), run(t, cpu, runtime.TrainEval, one), 2e-5)
				one.Base = false
			}
		})
	}
}

func TestNormsThatAreRefused(t *testing.T) {
	m := newSample(t, shapes["llama"], qloratest.F32, qloratest.F32)
	graphs := loadBoth(t, "llama", shapes["llama"], qloratest.F32).graphs
	modules := []runtime.TrainModule{{Tensor: "blk.0.attn_q.weight", Rank: 2, Scale: 1}}
	for want, spec := range map[string]runtime.TrainSpec{
		"blk.0.attn_q.weight is not a norm":                        {Norms: []string{"blk.0.attn_q.weight"}},
		"blk.7.attn_norm is not a norm of this model":              {Norms: []string{"blk.7.attn_norm.weight"}},
		"blk.0.attn_q_norm is not a norm of this model":            {Norms: []string{"blk.0.attn_q_norm.weight"}},
		"blk.1.ffn_norm is named twice":                            {Norms: []string{"blk.1.ffn_norm.weight", "blk.1.ffn_norm.weight"}},
		"output_norm cannot be trained whole (modules_to_save) in": {Norms: []string{"output_norm.weight"}, Invocation: []runtime.Token{1}},
	} {
		spec.Modules, spec.MaxTokens = modules, 8
		for _, of := range []*qlora.Model{m, graphs} {
			if _, err := qlora.Estimate(of, spec, qlora.Options{}); !errors.Is(err, runtime.ErrTrain) || !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("want %q, got %v", want, err)
			}
		}
	}
}

// What a trainer of norms holds is what was estimated: four numbers for every value beside the adapter's own.
func TestNormsAreEstimated(t *testing.T) {
	m := newSample(t, shapes["qwen3"], qloratest.F32, qloratest.F32)
	spec := runtime.TrainSpec{Modules: allModules(m, 2, false), MaxTokens: 8}
	plain, err := qlora.Estimate(m, spec, qlora.Options{})
	if err != nil {
		t.Fatal(err)
	}
	spec.Norms = allNorms(m, shapes["qwen3"])
	whole, err := qlora.Estimate(m, spec, qlora.Options{})
	values := 0
	tr := newTrainer(t, m, spec, qlora.Options{})
	for i := range spec.Norms {
		values += len(normOf(tr, i))
	}
	if more := whole.Own - plain.Own; err != nil || math.Abs(float64(more-16*int64(values))) > 4*64 || tr.Memory() != whole {
		t.Errorf("%d values take %d bytes, error %v; the trainer holds %+v, estimated %+v", values, more, err, tr.Memory(), whole)
	}
}

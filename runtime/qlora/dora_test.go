//go:build cgo

package qlora

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// doraModules are allModules with DoRA, but for the embedding.
func doraModules(m *Model, rank int, ends bool) []runtime.TrainModule {
	modules := allModules(m, rank, ends)
	for i := range modules {
		modules[i].DoRA = modules[i].Tensor != "token_embd.weight"
	}
	return modules
}

// randomiseDoRA is randomise, and then gives the modules gains from 0.8 to 1.2.
func randomiseDoRA(t testing.TB, tr *Trainer, b runtime.TrainBatch, seed uint64) {
	t.Helper()
	randomise(tr, seed)
	run(t, tr, runtime.TrainEval, b) // takes the lengths
	rng := rand.New(rand.NewPCG(seed, 2))
	setMagnitudes(tr, func(int) float64 { return 0.8 + 0.4*rng.Float64() })
}

// setMagnitudes gives every output the gain that it asks for, at the lengths of the last batch.
func setMagnitudes(tr *Trainer, gain func(i int) float64) {
	for i, m := range tr.spec.Modules {
		if m.DoRA {
			p := tr.partsOf(i)[2]
			for o, length := range tr.lengths(i) {
				tr.parameters()[p.from+o] = float32(gain(p.from+o) * float64(length))
			}
		}
	}
}

// PEFT's gradient counts the lengths |W + s B A| as constants: the differences are taken at gains that stay, with the
// magnitudes brought along where A and B, and with them the lengths, change. The magnitudes' own needs no such care.
func TestDoRAGradients(t *testing.T) {
	const width, tolerance = 2e-2, 2e-3
	for name, shape := range shapes {
		for _, kind := range []Kind{F32, NF4} {
			t.Run(fmt.Sprintf("%s %v", name, kind), func(t *testing.T) {
				m := newSample(t, shape, kind, kind)
				rng := rand.New(rand.NewPCG(7, 7))
				batch := randomBatch(rng, m.Vocab(), 5, 40, 1, 17)
				spec := runtime.TrainSpec{Modules: doraModules(m, 4, true), MaxTokens: len(batch.Tokens), Seed: 3}
				tr := newTrainer(t, m, spec, Options{Precision: Single})
				randomiseDoRA(t, tr, batch, 5)
				run(t, tr, runtime.TrainFirst, batch)
				gradients := slices.Clone(tr.gradients())
				loss := func() float64 { return run(t, tr, runtime.TrainFirst, batch).Loss / batch.Norm }
				gains := make([]float64, len(tr.parameters()))
				for i := range spec.Modules {
					if spec.Modules[i].DoRA {
						for o, length := range tr.lengths(i) {
							at := tr.partsOf(i)[2].from + o
							gains[at] = float64(tr.parameters()[at]) / float64(length)
						}
					}
				}
				magnitudes := slices.Clone(tr.parameters())
				atGains := func() float64 {
					loss()
					setMagnitudes(tr, func(i int) float64 { return gains[i] })
					return loss()
				}
				for i, module := range spec.Modules {
					for _, part := range tr.partsOf(i) {
						f := atGains
						if part.name == "magnitude" {
							f = loss
						}
						checkPart(t, module.Tensor+" "+part.name, tr.parameters()[part.from:part.to], gradients[part.from:part.to], rng, f, width, tolerance)
						copy(tr.parameters(), magnitudes)
					}
				}
			})
		}
	}
}

// The lengths are those of the rows of W + s B A, and at the start the magnitudes are the lengths: the base is
// computed, up to the order of a sum.
func TestDoRABeginsAtTheBase(t *testing.T) {
	for name, shape := range shapes {
		for _, kind := range []Kind{F32, Q4_0, NF4} {
			m := newSample(t, shape, kind, F16)
			b := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 0, 33)
			logits := func(modules []runtime.TrainModule) []float32 {
				tr := newTrainer(t, m, runtime.TrainSpec{Modules: modules, MaxTokens: 64}, Options{Precision: Single})
				for i, module := range modules {
					if module.DoRA {
						p := tr.partsOf(i)[2]
						if !slices.Equal(tr.parameters()[p.from:p.to], tr.lengths(i)) {
							t.Errorf("%s: %s does not begin at its lengths", name, module.Tensor)
						}
					}
				}
				got, err := tr.Logits(b.Tokens, b.Ends)
				if err != nil {
					t.Fatal(err)
				}
				return got
			}
			want, got := logits(allModules(m, 4, true)), logits(doraModules(m, 4, true))
			for i := range want {
				if d := math.Abs(float64(want[i] - got[i])); !(d < 1e-4) {
					t.Fatalf("%s %v: logit %d is %v, the base's %v", name, kind, i, got[i], want[i])
				}
			}
		}
	}
}

// With DoRA as without: the same bits whatever is kept and however many threads there are, and a state goes on.
func TestDoRAIsReproducible(t *testing.T) {
	shape := shapes["qwen2"]
	shape.Layers = 3
	m := newSample(t, shape, NF4, F16)
	batch := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 3, 30, 21)
	spec := runtime.TrainSpec{Modules: doraModules(m, 4, true), MaxTokens: 64, Seed: 9, Dropout: 0.1}
	train := func(tr *Trainer, steps int) []byte {
		for range steps {
			step(t, tr, adam, batch, batch)
		}
		return tr.State()
	}
	want := train(newTrainer(t, m, spec, Options{Threads: 1}), 4)
	for kept := range 4 {
		if got := train(keeping(t, m, spec, Options{Threads: 1 + kept}, kept), 4); !slices.Equal(got, want) {
			t.Errorf("%d kept layers on %d threads give other bits", kept, 1+kept)
		}
	}
	half := train(newTrainer(t, m, spec, Options{}), 2)
	again := newTrainer(t, m, spec, Options{})
	if err := again.Restore(half); err != nil {
		t.Fatal(err)
	}
	if got := train(again, 2); !slices.Equal(got, want) {
		t.Error("a restored run gives other bits")
	}
	plain := spec
	plain.Modules = allModules(m, 4, true)
	if err := newTrainer(t, m, plain, Options{}).Restore(half); !errors.Is(err, runtime.ErrTrain) {
		t.Errorf("a state with magnitudes is taken up by a run without: %v", err)
	}
}

// The magnitudes learn, and come out with the adapter.
func TestDoRATrainsMagnitudes(t *testing.T) {
	m := newSample(t, shapes["llama"], Q4_0, F16)
	batch := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 2, 50)
	tr := newTrainer(t, m, runtime.TrainSpec{Modules: doraModules(m, 4, false), MaxTokens: 64, Seed: 1}, Options{})
	before := tr.LoRA()
	first := run(t, tr, runtime.TrainEval, batch).Loss
	for range 60 {
		step(t, tr, adam, batch)
	}
	if last := run(t, tr, runtime.TrainEval, batch).Loss; !(last < first/2) {
		t.Errorf("the loss goes from %v to %v", first, last)
	}
	for i, module := range tr.LoRA().Modules {
		if len(module.Magnitude) != module.Out || slices.Equal(module.Magnitude, before.Modules[i].Magnitude) {
			t.Errorf("%s: its %d magnitudes did not learn", module.Tensor, len(module.Magnitude))
		}
	}
}

func TestDoRARefusesTheEmbedding(t *testing.T) {
	m := newSample(t, shapes["llama"], F32, F32)
	_, err := New(m, runtime.TrainSpec{Modules: []runtime.TrainModule{{Tensor: "token_embd.weight", Rank: 2, Scale: 1, DoRA: true}}, MaxTokens: 8}, Options{})
	if !errors.Is(err, runtime.ErrTrain) || !strings.Contains(err.Error(), "token_embd") || !strings.Contains(err.Error(), "use_dora") {
		t.Errorf("error %v", err)
	}
}

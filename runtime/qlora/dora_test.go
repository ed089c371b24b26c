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

// doraModules are allModules with DoRA, but for the embedding.
func doraModules(m *qlora.Model, rank int, ends bool) []runtime.TrainModule {
	modules := allModules(m, rank, ends)
	for i := range modules {
		modules[i].DoRA = modules[i].Tensor != "token_embd.weight"
	}
	return modules
}

// randomiseDoRA is randomise, and then gives the modules gains from 0.8 to 1.2.
func randomiseDoRA(t testing.TB, tr *qlora.Trainer, b runtime.TrainBatch, seed uint64) {
	t.Helper()
	randomise(tr, seed)
	run(t, tr, runtime.TrainEval, b) // takes the norms
	rng := rand.New(rand.NewPCG(seed, 2))
	setMagnitudes(tr, func(int) float64 { return 0.8 + 0.4*rng.Float64() })
}

// setMagnitudes gives every output the gain that it asks for, at the norms of the last batch.
func setMagnitudes(tr *qlora.Trainer, gain func(i int) float64) {
	for i, m := range tr.Spec().Modules {
		if m.DoRA {
			p := partsOf(tr, i)[2]
			for o, length := range lengthsOf(tr, i) {
				tr.Parameters()[p.From+o] = float32(gain(p.From+o) * float64(length))
			}
		}
	}
}

// PEFT's gradient takes the norms |W + s B A| as constants: the differences are taken at gains that stay, with the
// magnitudes brought along where A and B, and with them the norms, change. The magnitudes' own needs no such care.
func TestDoRAGradients(t *testing.T) {
	for name, shape := range shapes {
		for _, kind := range []qloratest.Kind{qloratest.F32, qloratest.NF4} {
			for _, weights := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %v weights %v", name, kind, weights), func(t *testing.T) {
					if testing.Short() && name != "qwen2" {
						t.Skip("-short takes one architecture")
					}
					m := newSample(t, shape, kind, kind)
					rng := rand.New(rand.NewPCG(7, 7))
					batch := randomBatch(rng, m.Vocab(), 5, 40, 1, 17)
					if weights {
						batch = weighted(rng, batch)
					}
					checkDoRAGradients(t, m, batch, rng)
				})
			}
		}
	}
}

func checkDoRAGradients(t *testing.T, m *qlora.Model, batch runtime.TrainBatch, rng *rand.Rand) {
	t.Helper()
	const width, tolerance = 2e-2, 2e-3
	spec := runtime.TrainSpec{Modules: doraModules(m, 4, true), MaxTokens: len(batch.Tokens), Seed: 3}
	tr := newTrainer(t, m, spec, qlora.Options{Precision: qlora.Single})
	randomiseDoRA(t, tr, batch, 5)
	run(t, tr, runtime.TrainFirst, batch)
	gradients := slices.Clone(gradientsOf(tr))
	loss := func() float64 { return run(t, tr, runtime.TrainFirst, batch).Loss / batch.Norm }
	gains := make([]float64, len(tr.Parameters()))
	for i := range spec.Modules {
		if spec.Modules[i].DoRA {
			for o, length := range lengthsOf(tr, i) {
				at := partsOf(tr, i)[2].From + o
				gains[at] = float64(tr.Parameters()[at]) / float64(length)
			}
		}
	}
	magnitudes := slices.Clone(tr.Parameters())
	atGains := func() float64 {
		loss()
		setMagnitudes(tr, func(i int) float64 { return gains[i] })
		return loss()
	}
	for i, module := range spec.Modules {
		for _, part := range partsOf(tr, i) {
			f := atGains
			if part.Name == "magnitude" {
				f = loss
			}
			checkPart(t, module.Tensor+" "+part.Name, tr.Parameters()[part.From:part.To], gradients[part.From:part.To], rng, f, width, tolerance)
			copy(tr.Parameters(), magnitudes)
		}
	}
}

// The norms are those of the rows of W + s B A, and at the start the magnitudes are the norms: the base is
// computed, up to the order of a sum.
func TestDoRABeginsAtTheBase(t *testing.T) {
	for name, shape := range shapes {
		for _, kind := range []qloratest.Kind{qloratest.F32, qloratest.Q4_0, qloratest.NF4} {
			m := newSample(t, shape, kind, qloratest.F16)
			b := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 0, 33)
			logits := func(modules []runtime.TrainModule) []float32 {
				tr := newTrainer(t, m, runtime.TrainSpec{Modules: modules, MaxTokens: 64}, qlora.Options{Precision: qlora.Single})
				for i, module := range modules {
					if module.DoRA {
						p := partsOf(tr, i)[2]
						if !slices.Equal(tr.Parameters()[p.From:p.To], lengthsOf(tr, i)) {
							t.Errorf("%s: %s does not begin at its lengths", name, module.Tensor)
						}
					}
				}
				got, err := logitsOf(tr, m, b.Tokens, b.Ends)
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
	m := newSample(t, shape, qloratest.NF4, qloratest.F16)
	batch := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 3, 30, 21)
	spec := runtime.TrainSpec{Modules: doraModules(m, 4, true), MaxTokens: 64, Seed: 9, Dropout: 0.1}
	train := func(tr *qlora.Trainer, steps int) []byte {
		for range steps {
			step(t, tr, adam, batch, batch)
		}
		return tr.State()
	}
	want := train(newTrainer(t, m, spec, qlora.Options{Threads: 1}), 4)
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
	plain.Modules = allModules(m, 4, true)
	if err := newTrainer(t, m, plain, qlora.Options{}).Restore(half); !errors.Is(err, runtime.ErrTrain) {
		t.Errorf("a state with magnitudes is taken up by a run without: %v", err)
	}
}

// The magnitudes learn, and come out with the adapter.
func TestDoRATrainsMagnitudes(t *testing.T) {
	m := newSample(t, shapes["llama"], qloratest.Q4_0, qloratest.F16)
	batch := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 2, 50)
	tr := newTrainer(t, m, runtime.TrainSpec{Modules: doraModules(m, 4, false), MaxTokens: 64, Seed: 1}, qlora.Options{})
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
	m := newSample(t, shapes["llama"], qloratest.F32, qloratest.F32)
	_, err := qlora.New(m, runtime.TrainSpec{Modules: []runtime.TrainModule{{Tensor: "token_embd.weight", Rank: 2, Scale: 1, DoRA: true}}, MaxTokens: 8}, qlora.Options{})
	if !errors.Is(err, runtime.ErrTrain) || !strings.Contains(err.Error(), "token_embd") || !strings.Contains(err.Error(), "use_dora") {
		t.Errorf("error %v", err)
	}
}

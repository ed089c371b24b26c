//go:build cgo

package qlora_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora/qloratest"
)

// mix is random_key of random.h, unit random_unit.
func mix(a, b uint64) uint64 {
	z := a + 0x9e3779b97f4a7c15*(b+1)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func unit(key, i uint64) float32 { return float32(mix(key, i)>>40) / (1 << 24) }

// A step with NEFTune is one with embeddings that the noise was added to: those of an adapter of the embeddings, of full rank. The
// noise is another one in every micro-batch and step, its size follows the length of each sequence, and evaluations have none.
func TestNEFTuneIsNoiseOnTheEmbeddings(t *testing.T) {
	const seed, alpha = 11, 5
	shape := shapes["llama"]
	m := newSample(t, shape, qloratest.F32, qloratest.F32)
	lengths := []int{25, 40} // all of their tokens are different: each has its own row of the embeddings
	b := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 0, lengths...)
	for i := range b.Tokens {
		b.Tokens[i] = runtime.Token(i)
	}
	d := shape.Embedding
	modules := []runtime.TrainModule{{Tensor: "blk.1.attn_v.weight", Rank: 2, Scale: 1}}
	noisy := newTrainer(t, m, runtime.TrainSpec{Modules: modules, MaxTokens: 65, Seed: seed, NEFTune: alpha}, qlora.Options{Precision: qlora.Single})
	plain := newTrainer(t, m, runtime.TrainSpec{Modules: modules, MaxTokens: 65, Seed: seed}, qlora.Options{Precision: qlora.Single})

	modules = append(slices.Clone(modules), runtime.TrainModule{Tensor: "token_embd.weight", Rank: d, Scale: 1})
	spec := runtime.TrainSpec{Modules: modules, MaxTokens: 65, Seed: seed}
	spec.Start = newTrainer(t, m, spec, qlora.Options{Precision: qlora.Single}).LoRA()
	spec.Start.Modules[0] = noisy.LoRA().Modules[0]
	added := func(steps, micro uint64) []float32 { // (vocabulary, d)
		noise := make([]float32, m.Vocab()*d)
		begin := 0
		for i, length := range lengths {
			key := mix(mix(mix(mix(seed, 0x4e454654), steps), micro), uint64(i))
			for j := range length {
				for k := range d {
					noise[(begin+j)*d+k] = (2*unit(mix(key, uint64(j)), uint64(k)) - 1) * alpha / float32(math.Sqrt(float64(length*d)))
				}
			}
			begin += length
		}
		return noise
	}
	e := &spec.Start.Modules[1]
	for i := range e.A {
		e.A[i] = 0
	}
	for k := range d {
		e.A[k*d+k] = 1
	}
	for micro, mode := range []runtime.TrainMode{runtime.TrainFirst, runtime.TrainFurther} {
		e.B = added(0, uint64(micro))
		reference := newTrainer(t, m, spec, qlora.Options{Precision: qlora.Single})
		want, got := run(t, reference, runtime.TrainEval, b), run(t, noisy, mode, b)
		for i := range want.LogProbs {
			if math.Abs(float64(got.LogProbs[i]-want.LogProbs[i])) > 1e-4 {
				t.Fatalf("micro-batch %d: token %d has log-probability %g, with the noise in the embeddings %g", micro, i, got.LogProbs[i], want.LogProbs[i])
			}
		}
	}
	if quiet := run(t, plain, runtime.TrainEval, b); run(t, noisy, runtime.TrainEval, b).Loss != quiet.Loss || math.Abs(run(t, noisy, runtime.TrainFirst, b).Loss-quiet.Loss) < 1e-3*quiet.Loss {
		t.Error("an evaluation has noise, or training has none")
	}
}

// The trainer of a device adds the same noise, also to gradients, which a resumed run draws again.
func TestGraphsHaveTheSameNEFTune(t *testing.T) {
	m := loadBoth(t, "qwen2", shapes["qwen2"], qloratest.F32)
	spec := runtime.TrainSpec{Modules: allModules(m.cpu, 2, true), MaxTokens: 63, Seed: 3, NEFTune: 5}
	cpu, graphs := newTrainer(t, m.cpu, spec, qlora.Options{Precision: qlora.Single}), newTrainer(t, m.graphs, spec, qlora.Options{Precision: qlora.Single})
	b := randomBatch(rand.New(rand.NewPCG(1, 1)), m.cpu.Vocab(), 0, 40, 23)
	step(t, cpu, adam, b)
	if err := graphs.Restore(cpu.State()); err != nil {
		t.Fatal(err)
	}
	want := run(t, cpu, runtime.TrainFirst, b)
	sameResult(t, "training", run(t, graphs, runtime.TrainFirst, b), want, 1e-5)
	if e := offBy(gradientsOf(graphs), gradientsOf(cpu)); !(e < 1e-4) {
		t.Errorf("the gradients are off by %.2g", e)
	}
}

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

// Layers that compute their activations again have the gradients of layers that kept them, bit for bit, in
// both precisions and under dropout.
func TestRecomputeEqualsKept(t *testing.T) {
	for name, shape := range shapes {
		shape.Layers = 3
		m := newSample(t, shape, qloratest.Q4_0, qloratest.F16)
		batch := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 3, 30, 21)
		for _, precision := range []qlora.Precision{qlora.Fast, qlora.Half, qlora.Single} {
			for _, dropout := range []float32{0, 0.3} {
				spec := runtime.TrainSpec{Modules: allModules(m, 4, true), MaxTokens: 64, Seed: 9, Dropout: dropout}
				var want []float32
				for kept := range 4 {
					tr := keeping(t, m, spec, qlora.Options{Precision: precision}, kept)
					randomise(tr, 2)
					run(t, tr, runtime.TrainFirst, batch)
					if want == nil {
						want = slices.Clone(gradientsOf(tr))
					} else if !slices.Equal(want, gradientsOf(tr)) {
						t.Errorf("%s, precision %d, dropout %v: %d kept layers give other gradients than none", name, precision, dropout, kept)
					}
				}
			}
		}
	}
}

// Any number of threads gives the same bits.
func TestThreadsGiveTheSameBits(t *testing.T) {
	for name, shape := range shapes {
		m := newSample(t, shape, qloratest.NF4, qloratest.NF4)
		batch := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 0, 100, 9)
		spec := runtime.TrainSpec{Modules: allModules(m, 8, true), MaxTokens: 128, Seed: 9, Dropout: 0.1}
		var want []byte
		for _, threads := range []int{1, 2, 5} {
			tr := newTrainer(t, m, spec, qlora.Options{Threads: threads})
			for range 3 {
				step(t, tr, adam, batch)
			}
			if want == nil {
				want = tr.State()
			} else if !slices.Equal(want, tr.State()) {
				t.Errorf("%s: %d threads give other bits than 1", name, threads)
			}
		}
	}
}

// The same seed gives the same bytes, another seed others; the base is not written to.
func TestSeedAndBase(t *testing.T) {
	for _, kind := range []qloratest.Kind{qloratest.F32, qloratest.Q4_0, qloratest.NF4} {
		made := makeSample(t, shapes["llama"], kind, kind)
		m, before := made.Model, made.Hash()
		batch := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 2, 50)
		train := func(seed uint64) []byte {
			tr := newTrainer(t, m, runtime.TrainSpec{Modules: allModules(m, 4, true), MaxTokens: 64, Seed: seed, Dropout: 0.1}, qlora.Options{})
			for range 5 {
				step(t, tr, adam, batch, batch)
			}
			return tr.State()
		}
		one := train(1)
		if !slices.Equal(one, train(1)) {
			t.Errorf("%v: two runs with one seed differ", kind)
		}
		if slices.Equal(one, train(2)) {
			t.Errorf("%v: two seeds give the same bytes", kind)
		}
		if made.Hash() != before {
			t.Errorf("%v: training changed the base", kind)
		}
	}
}

// A new adapter computes the base: its logits are those of a trainer of a single other module, bit for bit.
func TestStepZeroIsTheBase(t *testing.T) {
	for name, shape := range shapes {
		m := newSample(t, shape, qloratest.Q4_0, qloratest.F16)
		b := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 0, 33)
		var want []float32
		for _, modules := range [][]runtime.TrainModule{allModules(m, 1, false)[:1], allModules(m, 4, false), allModules(m, 4, true)} {
			tr := newTrainer(t, m, runtime.TrainSpec{Modules: modules, MaxTokens: 64}, qlora.Options{})
			got, err := logitsOf(tr, m, b.Tokens, b.Ends)
			if err != nil {
				t.Fatal(err)
			}
			if want == nil {
				want = got
			} else if !slices.Equal(want, got) {
				t.Errorf("%s: an adapter that was not trained changes the logits", name)
			}
		}
	}
}

// Packed sequences do not see each other: each has the logits that it has alone.
func TestPackedSequencesAreApart(t *testing.T) {
	m := newSample(t, shapes["qwen3"], qloratest.Q4_0, qloratest.F16)
	tr := newTrainer(t, m, runtime.TrainSpec{Modules: allModules(m, 4, true), MaxTokens: 200}, qlora.Options{Precision: qlora.Single})
	randomise(tr, 3)
	b := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 0, 20, 1, 90, 33)
	together, err := logitsOf(tr, m, b.Tokens, b.Ends)
	if err != nil {
		t.Fatal(err)
	}
	begin := 0
	for _, end := range b.Ends {
		alone, err := logitsOf(tr, m, b.Tokens[begin:end], []int{end - begin})
		if err != nil {
			t.Fatal(err)
		}
		for i, x := range alone {
			if d := math.Abs(float64(x - together[begin*m.Vocab()+i])); d > 1e-4 {
				t.Fatalf("sequence [%d, %d): logit %d is off by %g beside the others", begin, end, i, d)
			}
		}
		begin = end
	}
}

// Two micro-batches give the gradient of the one that holds both.
func TestAccumulation(t *testing.T) {
	m := newSample(t, shapes["llama"], qloratest.Q4_0, qloratest.F16)
	rng := rand.New(rand.NewPCG(1, 1))
	a, b := randomBatch(rng, m.Vocab(), 1, 25), randomBatch(rng, m.Vocab(), 1, 40)
	both := runtime.TrainBatch{Tokens: slices.Concat(a.Tokens, b.Tokens), Labels: slices.Concat(a.Labels, b.Labels), Ends: []int{25, 65}, Norm: a.Norm + b.Norm}
	a.Norm, b.Norm = both.Norm, both.Norm
	tr := newTrainer(t, m, runtime.TrainSpec{Modules: allModules(m, 4, true), MaxTokens: 65}, qlora.Options{Precision: qlora.Single})
	randomise(tr, 4)
	whole := run(t, tr, runtime.TrainFirst, both)
	want := slices.Clone(gradientsOf(tr))
	loss := run(t, tr, runtime.TrainFirst, a).Loss + run(t, tr, runtime.TrainFurther, b).Loss
	if math.Abs(loss-whole.Loss) > 1e-4*whole.Loss {
		t.Errorf("losses %g and %g", loss, whole.Loss)
	}
	var square, off float64
	for i, g := range gradientsOf(tr) {
		square += float64(want[i]) * float64(want[i])
		off += float64(g-want[i]) * float64(g-want[i])
	}
	if e := math.Sqrt(off / square); e > 1e-5 {
		t.Errorf("the summed gradients are off by %g", e)
	}
}

// A restored trainer goes on with the same bits; a cut or foreign state is refused and changes nothing. The state of the
// higher rank is written and read in several pieces.
func TestStateGoesOn(t *testing.T) {
	for _, rank := range []int{4, 128} {
		t.Run(fmt.Sprint("rank ", rank), func(t *testing.T) { checkStateGoesOn(t, rank) })
	}
}

func checkStateGoesOn(t *testing.T, rank int) {
	m := newSample(t, shapes["qwen2"], qloratest.NF4, qloratest.F16)
	rng := rand.New(rand.NewPCG(1, 1))
	spec := runtime.TrainSpec{Modules: allModules(m, rank, true), MaxTokens: 64, Seed: 4, Dropout: 0.2}
	var batches []runtime.TrainBatch
	for range 6 {
		batches = append(batches, randomBatch(rng, m.Vocab(), 2, 30, 12))
	}
	straight, stopped := newTrainer(t, m, spec, qlora.Options{}), newTrainer(t, m, spec, qlora.Options{})
	for i, b := range batches {
		step(t, straight, adam, b)
		if i < 3 {
			step(t, stopped, adam, b)
		}
	}
	state := stopped.State()
	if pieces := len(state) / (256 << 10); rank == 128 && pieces < 2 {
		t.Errorf("a state of %d bytes is one piece", len(state))
	}
	resumed := newTrainer(t, m, spec, qlora.Options{Threads: 1})
	fresh := resumed.State()
	for name, bad := range map[string][]byte{"empty": {}, "cut": state[:len(state)-1], "long": append(slices.Clone(state), 0), "noise": make([]byte, len(state))} {
		if err := resumed.Restore(bad); !errors.Is(err, runtime.ErrTrain) {
			t.Errorf("a state that is %s gives %v", name, err)
		}
	}
	other := spec
	other.Seed++
	if err := newTrainer(t, m, other, qlora.Options{}).Restore(state); !errors.Is(err, runtime.ErrTrain) {
		t.Errorf("the state of another seed gives %v", err)
	}
	if !slices.Equal(fresh, resumed.State()) {
		t.Error("a refused state changed the trainer")
	}
	if err := resumed.Restore(state); err != nil {
		t.Fatal(err)
	}
	for _, b := range batches[3:] {
		step(t, resumed, adam, b)
	}
	if !slices.Equal(straight.State(), resumed.State()) {
		t.Error("the resumed run ends with other bits")
	}
	if resumed.Result().Steps != 6 {
		t.Errorf("%d steps counted", resumed.Result().Steps)
	}
}

// Four random sequences are memorised, over every kind of weight.
func TestMemorise(t *testing.T) {
	if testing.Short() {
		t.Skip("it trains for 150 steps, nine times; TestEveryPathTrains runs the same code")
	}
	for _, kind := range []qloratest.Kind{qloratest.F32, qloratest.Q4_0, qloratest.NF4} {
		for name, shape := range shapes {
			m := newSample(t, shape, kind, kind)
			batch := randomBatch(rand.New(rand.NewPCG(2, 2)), m.Vocab(), 4, 24, 24, 24, 24)
			tr := newTrainer(t, m, runtime.TrainSpec{Modules: allModules(m, 8, false), MaxTokens: 96, Seed: 1}, qlora.Options{})
			u := adam
			u.Rate = 1e-2
			first := step(t, tr, u, batch)
			for range 150 {
				step(t, tr, u, batch)
			}
			last := run(t, tr, runtime.TrainEval, batch)
			if last.Loss/batch.Norm > 0.05 || last.Correct != last.Labelled {
				t.Errorf("%s %v: loss went from %.3f to %.3f, %d of %d tokens known", name, kind, first.Loss/batch.Norm, last.Loss/batch.Norm, last.Correct, last.Labelled)
			}
		}
	}
}

// Every path trains, and recomputes what it kept.
func TestEveryPathTrains(t *testing.T) {
	each(t, func(t *testing.T, i qloratest.ISA) {
		for _, kind := range []qloratest.Kind{qloratest.Q4_0, qloratest.NF4, qloratest.NF4_DQ} {
			m := newSample(t, shapes["qwen3"], kind, kind)
			batch := randomBatch(rand.New(rand.NewPCG(2, 2)), m.Vocab(), 4, 20, 20)
			spec := runtime.TrainSpec{Modules: allModules(m, 8, false), MaxTokens: 40, Seed: 1}
			u := adam
			u.Rate = 1e-2
			kept, again := keeping(t, m, spec, qlora.OnPath(int(i)), 2), keeping(t, m, spec, qlora.OnPath(int(i)), 0)
			first := step(t, kept, u, batch)
			step(t, again, u, batch)
			for range 60 {
				step(t, kept, u, batch)
				step(t, again, u, batch)
			}
			last := run(t, kept, runtime.TrainEval, batch)
			if last.Loss > 0.2*first.Loss {
				t.Errorf("%v: the loss went from %.2f to %.2f", kind, first.Loss, last.Loss)
			}
			if !slices.Equal(kept.State(), again.State()) {
				t.Errorf("%v: recomputing gives other bits", kind)
			}
		}
	})
}

// An evaluation gives the loss of training without dropout, and changes nothing.
func TestEvalChangesNothing(t *testing.T) {
	m := newSample(t, shapes["llama"], qloratest.Q4_0, qloratest.F16)
	batch := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 2, 40)
	spec := runtime.TrainSpec{Modules: allModules(m, 4, true), MaxTokens: 64}
	tr := newTrainer(t, m, spec, qlora.Options{})
	randomise(tr, 6)
	trained := run(t, tr, runtime.TrainFirst, batch)
	state, before := tr.State(), slices.Clone(gradientsOf(tr))
	eval := run(t, tr, runtime.TrainEval, batch)
	if eval.Loss != trained.Loss || eval.Labelled != trained.Labelled || eval.Correct != trained.Correct {
		t.Errorf("training measures %+v, an evaluation %+v", trained, eval)
	}
	if !slices.Equal(state, tr.State()) || !slices.Equal(before, gradientsOf(tr)) {
		t.Error("an evaluation changed the trainer")
	}
	spec.Dropout = 0.5
	dropping := newTrainer(t, m, spec, qlora.Options{})
	copy(dropping.Parameters(), tr.Parameters())
	if e := run(t, dropping, runtime.TrainEval, batch); e.Loss != eval.Loss {
		t.Errorf("dropout changes an evaluation: %g, %g without", e.Loss, eval.Loss)
	}
}

// A number that is not finite ends the step with ErrDiverged, before the weights are touched.
func TestDivergenceIsSeen(t *testing.T) {
	m := newSample(t, shapes["llama"], qloratest.F32, qloratest.F32)
	batch := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 2, 40)
	tr := newTrainer(t, m, runtime.TrainSpec{Modules: allModules(m, 4, false), MaxTokens: 64}, qlora.Options{})
	step(t, tr, adam, batch)
	tr.Parameters()[0] = float32(math.NaN())
	if err := tr.Begin(runtime.TrainFirst, batch); err != nil {
		t.Fatal(err)
	}
	var err error
	for more := true; more && err == nil; {
		more, err = tr.Slice()
	}
	if !errors.Is(err, runtime.ErrDiverged) {
		t.Errorf("a NaN in the weights gives %v", err)
	}
	tr.Parameters()[0] = 0
	run(t, tr, runtime.TrainFirst, batch)
	gradientsOf(tr)[7] = float32(math.Inf(1))
	state := tr.State()
	if err := tr.BeginUpdate(adam); err != nil {
		t.Fatal(err)
	}
	for more := true; more; {
		if more, err = tr.Slice(); err != nil {
			break
		}
	}
	if !errors.Is(err, runtime.ErrDiverged) || !slices.Equal(state, tr.State()) {
		t.Errorf("an infinite gradient gives %v, and the weights changed: %v", err, !slices.Equal(state, tr.State()))
	}
}

// LoRA returns A and B in plain order: W x + scale B A x from them is what the Trainer computes.
func TestExport(t *testing.T) {
	m := newSample(t, shapes["llama"], qloratest.F32, qloratest.F32)
	tr := newTrainer(t, m, runtime.TrainSpec{Modules: allModules(m, 3, true), MaxTokens: 8}, qlora.Options{})
	randomise(tr, 1)
	lora := tr.LoRA()
	if len(lora.Modules) != 2*7+2 {
		t.Fatalf("%d modules", len(lora.Modules))
	}
	for i, x := range lora.Modules {
		parts, all := partsOf(tr, i), tr.Parameters()
		if len(x.A) != x.Rank*x.In || len(x.B) != x.Out*x.Rank || x.Scale != tr.Spec().Modules[i].Scale {
			t.Fatalf("%s: A has %d numbers, B %d, for %d by %d of rank %d", x.Tensor, len(x.A), len(x.B), x.In, x.Out, x.Rank)
		}
		if strings.HasPrefix(x.Tensor, "token_embd") {
			if x.In != shapes["llama"].Embedding || x.Out != m.Vocab() || !slices.Equal(x.A, all[parts[1].From:parts[1].To]) || !slices.Equal(x.B, all[parts[0].From:parts[0].To]) {
				t.Errorf("%s: (%d, %d) in another order", x.Tensor, x.Out, x.In)
			}
			continue
		}
		for r := range x.Rank {
			for o := range x.Out {
				if x.B[o*x.Rank+r] != all[parts[1].From+r*x.Out+o] {
					t.Fatalf("%s: B is not transposed", x.Tensor)
				}
			}
		}
		if x.A[1] != all[parts[0].From+1] {
			t.Errorf("%s: A is in another order", x.Tensor)
		}
	}
}

// More labelled tokens than the head takes at a time: loss and gradients are those of the parts.
func TestManyLabels(t *testing.T) {
	m := newSample(t, shapes["llama"], qloratest.Q4_0, qloratest.Q8_0)
	rng := rand.New(rand.NewPCG(1, 1))
	for _, precision := range []qlora.Precision{qlora.Fast, qlora.Half, qlora.Single} {
		tr := newTrainer(t, m, runtime.TrainSpec{Modules: allModules(m, 4, true), MaxTokens: 300}, qlora.Options{Precision: precision})
		randomise(tr, 4)
		b := randomBatch(rng, m.Vocab(), 0, 100, 100, 50)
		whole := run(t, tr, runtime.TrainFirst, b)
		want := slices.Clone(gradientsOf(tr))
		var parts runtime.TrainResult
		begin := 0
		for i, end := range b.Ends {
			part := runtime.TrainBatch{Tokens: b.Tokens[begin:end], Labels: b.Labels[begin:end], Ends: []int{end - begin}, Norm: b.Norm}
			r := run(t, tr, min(runtime.TrainMode(i), runtime.TrainFurther), part)
			parts.Loss += r.Loss
			parts.Correct += r.Correct
			begin = end
		}
		if math.Abs(parts.Loss-whole.Loss) > 1e-5*whole.Loss || parts.Correct != whole.Correct {
			t.Errorf("precision %d: together %+v, in parts %+v", precision, whole, parts)
		}
		var square, off float64
		for i, g := range gradientsOf(tr) {
			square += float64(want[i]) * float64(want[i])
			off += float64(g-want[i]) * float64(g-want[i])
		}
		if e := math.Sqrt(off / square); e > 5e-3 {
			t.Errorf("precision %d: the gradients of the parts are off by %g", precision, e)
		}
	}
}

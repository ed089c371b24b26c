package runtimetest_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// The fake keeps the contract of weighted losses: the loss is the weighted sum of the log-probabilities, an update goes down it,
// and the base's log-probabilities stay.
func TestTrainerWeights(t *testing.T) {
	tr, err := runtimetest.NewTrainer(runtimetest.NewModel(), runtime.TrainSpec{Modules: []runtime.TrainModule{{Tensor: "blk.0.attn_q.weight", Rank: 2, Scale: 1}}, MaxTokens: 8, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	b := runtime.TrainBatch{
		Tokens: []runtime.Token{1, 2, 3, 4}, Labels: []runtime.Token{2, 3, -1, 5}, Weights: []float32{1, -2, 9, 0}, Ends: []int{4}, Norm: 2, Entropies: true,
	}
	run := func(mode runtime.TrainMode, b runtime.TrainBatch) runtime.TrainResult {
		t.Helper()
		if err := tr.Begin(mode, b); err != nil {
			t.Fatal(err)
		}
		if err := runtimetest.Work(t.Context(), tr); err != nil {
			t.Fatal(err)
		}
		return tr.Result()
	}
	before := run(runtime.TrainFirst, b)
	want := 0.0
	for i, w := range b.Weights {
		want -= float64(w) * float64(before.LogProbs[i])
	}
	if math.Abs(before.Loss-want) > 1e-5 || before.LogProbs[2] != 0 || before.Entropies[2] != 0 || before.Entropies[0] <= 0 {
		t.Errorf("%+v, want a loss of %g", before, want)
	}
	if err := tr.BeginUpdate(runtime.TrainUpdate{Rate: 0.1, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8}); err != nil {
		t.Fatal(err)
	}
	if err := runtimetest.Work(t.Context(), tr); err != nil {
		t.Fatal(err)
	}
	after := run(runtime.TrainEval, b)
	b.Base, b.Entropies = true, false
	base := run(runtime.TrainEval, b)
	if !(after.Loss < before.Loss) || base.Loss != before.Loss || base.Entropies != nil {
		t.Errorf("the loss goes from %g to %g; the base's is %g", before.Loss, after.Loss, base.Loss)
	}
	for want, change := range map[string]func(b *runtime.TrainBatch){
		"3 weights":               func(b *runtime.TrainBatch) { b.Weights = b.Weights[:3] },
		"weight of token 1":       func(b *runtime.TrainBatch) { b.Weights = []float32{0, float32(math.NaN()), 0, 0} },
		"evaluated, not trained":  func(b *runtime.TrainBatch) { b.Base = true },
		"the weight of token 0 i": func(b *runtime.TrainBatch) { b.Weights = []float32{float32(math.Inf(1)), 0, 0, 0} },
	} {
		bad := b
		bad.Base = false
		change(&bad)
		if err := tr.Begin(runtime.TrainFirst, bad); !errors.Is(err, runtime.ErrTrain) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

//go:build cgo

package qlora_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora/qloratest"
)

// A trainer whose optimizer was reset goes on bit for bit as a new one that starts from its adapter.
func TestResetOptimizer(t *testing.T) {
	m := newSample(t, shapes["llama"], qloratest.Q4_0, qloratest.Q4_0)
	spec := runtime.TrainSpec{Modules: allModules(m, 2, true), MaxTokens: 64, Seed: 3}
	spec.Modules[0].DoRA = true
	b := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 0, 40, 23)
	old := newTrainer(t, m, spec, qlora.Options{Precision: qlora.Single})
	step(t, old, adam, b)
	step(t, old, adam, b)
	spec.Start = old.LoRA()
	anew := newTrainer(t, m, spec, qlora.Options{Precision: qlora.Single})
	if err := old.ResetOptimizer(); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(old.LoRA(), spec.Start) || old.Result().Steps != 0 {
		t.Fatalf("the adapter has changed, or %d steps are counted", old.Result().Steps)
	}
	for range 2 {
		if a, b := step(t, old, adam, b), step(t, anew, adam, b); a.Steps != b.Steps || a.GradNorm != b.GradNorm {
			t.Errorf("%d steps with the norm %v, a new trainer does %d with %v", a.Steps, a.GradNorm, b.Steps, b.GradNorm)
		}
	}
	if !reflect.DeepEqual(old.LoRA(), anew.LoRA()) {
		t.Error("two steps later the adapters differ")
	}
}

// A state is taken up by a trainer that began with another seed once it was given the state's, and goes on with the same dropout.
func TestReseed(t *testing.T) {
	m := newSample(t, shapes["llama"], qloratest.Q4_0, qloratest.Q4_0)
	spec := runtime.TrainSpec{Modules: allModules(m, 2, true), MaxTokens: 64, Seed: 3, Dropout: 0.3, NEFTune: 5}
	b := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 0, 40, 23)
	first := newTrainer(t, m, spec, qlora.Options{Precision: qlora.Single})
	step(t, first, adam, b)
	var state bytes.Buffer
	if err := first.WriteState(&state); err != nil {
		t.Fatal(err)
	}
	spec.Seed = 4
	second := newTrainer(t, m, spec, qlora.Options{Precision: qlora.Single})
	if err := second.ReadState(bytes.NewReader(state.Bytes()), int64(state.Len())); !errors.Is(err, runtime.ErrTrain) {
		t.Fatalf("a state of another seed: %v", err)
	}
	second.Reseed(3)
	if err := second.ReadState(bytes.NewReader(state.Bytes()), int64(state.Len())); err != nil {
		t.Fatal(err)
	}
	step(t, first, adam, b)
	step(t, second, adam, b)
	if !reflect.DeepEqual(first.LoRA(), second.LoRA()) {
		t.Error("a step later the adapters differ")
	}
}

//go:build cgo

package qlora_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora/qloratest"
)

// turns runs slices as an Engine does: those of all callers one at a time.
type turns struct{ mu sync.Mutex }

func (w *turns) work(ctx context.Context, tr *qlora.Trainer) error {
	release, err := tr.Reserve(ctx)
	if err != nil {
		return err
	}
	defer release()
	for more := true; more; {
		w.mu.Lock()
		more, err = tr.Slice()
		w.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// mixedSpecs are of trainers that have nothing in common.
func mixedSpecs(m *qlora.Model) []runtime.TrainSpec {
	dora := allModules(m, 5, false)
	for i := range dora {
		dora[i].DoRA = true
	}
	return []runtime.TrainSpec{
		{Modules: allModules(m, 2, true), MaxTokens: 40, Seed: 1, Dropout: 0.1},
		{Modules: dora, MaxTokens: 96, Seed: 2},
		{Modules: allModules(m, 16, false)[:3], MaxTokens: 17, Seed: 3},
		{Modules: allModules(m, 1, true)[4:], MaxTokens: 64, Seed: 4},
	}
}

// Trainers that work beside each other give the bits that each gives alone, whatever memory is left for activations.
func TestTrainersShareAWorkspace(t *testing.T) {
	m := newSample(t, shapes["llama"], qloratest.Q4_0, qloratest.F16)
	specs := mixedSpecs(m)
	train := func(tr *qlora.Trainer, i int, work func(*qlora.Trainer) error) error {
		rng := rand.New(rand.NewPCG(7, uint64(i)))
		for range 4 {
			for _, mode := range []runtime.TrainMode{runtime.TrainFirst, runtime.TrainFurther, runtime.TrainEval} {
				if err := tr.Begin(mode, randomBatch(rng, m.Vocab(), 1, specs[i].MaxTokens-5, 5)); err != nil {
					return err
				}
				if err := work(tr); err != nil {
					return err
				}
			}
			if err := tr.BeginUpdate(adam); err != nil {
				return err
			}
			if err := work(tr); err != nil {
				return err
			}
		}
		return nil
	}
	var want [][]byte
	var least int64
	for i, spec := range specs {
		tr := newTrainer(t, m, spec, qlora.Options{Threads: 2})
		var alone turns
		if err := train(tr, i, func(tr *qlora.Trainer) error { return alone.work(t.Context(), tr) }); err != nil {
			t.Fatal(err)
		}
		want = append(want, tr.State())
		memory := tr.Memory()
		least += memory.Own
		tr.Close()
	}
	largest, err := qlora.Estimate(m, specs[1], qlora.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	for name, limit := range map[string]int64{"without a bound": 0, "with the least": least + largest.Minimum - largest.Own} {
		t.Run(name, func(t *testing.T) {
			m.LimitMemory(limit)
			defer m.LimitMemory(0)
			var engine turns
			var all sync.WaitGroup
			for i, spec := range specs {
				tr, err := qlora.Open(t.Context(), m, spec, qlora.Options{Threads: 2})
				if err != nil {
					t.Fatal(err)
				}
				defer tr.Close()
				all.Go(func() {
					if err := train(tr, i, func(tr *qlora.Trainer) error { return engine.work(t.Context(), tr) }); err != nil {
						t.Errorf("trainer %d: %v", i, err)
					} else if !bytes.Equal(tr.State(), want[i]) {
						t.Errorf("trainer %d: other bits than alone", i)
					}
				})
			}
			all.Wait()
		})
	}
}

// What does not fit beside other trainers is refused with the numbers, and fits when they are closed. A trainer alone has all of
// the bound for its activations; it gives them up for a second one.
func TestMemoryIsBoundOverAllTrainers(t *testing.T) {
	shape := qloratest.Shape{Embedding: 512, Layers: 8, Heads: 8, KVHeads: 2, HeadSize: 64, FeedForward: 1024, Vocab: 512, Neox: true, Seed: 1}
	m := newSample(t, shape, qloratest.Q4_0, qloratest.Q4_0)
	spec := runtime.TrainSpec{Modules: allModules(m, 16, false), MaxTokens: 512, Seed: 1}
	o := qlora.Options{Threads: 2}
	need, err := qlora.Estimate(m, spec, o)
	if err != nil {
		t.Fatal(err)
	}
	space := need.Minimum - need.Own
	limit := need.Bytes
	m.LimitMemory(limit)
	batch := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 1, spec.MaxTokens)
	before, most := resident(t), int64(0)
	step := func(tr *qlora.Trainer) {
		t.Helper()
		if err := tr.Begin(runtime.TrainFirst, batch); err != nil {
			t.Fatal(err)
		}
		for more := true; more; {
			if more, err = tr.Slice(); err != nil {
				t.Fatal(err)
			}
			most = max(most, resident(t)-before)
		}
	}
	first := newTrainer(t, m, spec, o)
	step(first)
	second := newTrainer(t, m, spec, o)
	step(second)
	step(first)
	var list []*qlora.Trainer
	for {
		tr, err := qlora.Open(t.Context(), m, spec, o)
		if err != nil {
			if !errors.Is(err, runtime.ErrTrainBusy) || !strings.Contains(err.Error(), "MiB are free") {
				t.Errorf("error %v", err)
			}
			break
		}
		list = append(list, tr)
		step(tr)
		step(first)
	}
	if open := int64(2 + len(list)); open*need.Own+space > limit || (open+1)*need.Own+space <= limit {
		t.Errorf("%d trainers of %d bytes each beside %d are open within %d", open, need.Own, space, limit)
	}
	t.Logf("a bound of %d KiB; the process grew by up to %d KiB with %d trainers", limit>>10, most>>10, 2+len(list))
	if most > limit+4<<20 {
		t.Errorf("the process grew by %d KiB, %d are allowed", most>>10, limit>>10)
	}
	first.Close()
	newTrainer(t, m, spec, o)
	for _, tr := range list {
		tr.Close()
	}
}

// A micro-batch that is given up leaves the workspace to others. A trainer cannot take it from another one, and can wait for it.
func TestWorkspaceIsLentToOne(t *testing.T) {
	m := newSample(t, shapes["llama"], qloratest.Q4_0, qloratest.F16)
	spec := runtime.TrainSpec{Modules: allModules(m, 2, false), MaxTokens: 64, Seed: 1}
	first, second := newTrainer(t, m, spec, qlora.Options{}), newTrainer(t, m, spec, qlora.Options{})
	batch := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 1, 64)
	for _, tr := range []*qlora.Trainer{first, second} {
		if err := tr.Begin(runtime.TrainFirst, batch); err != nil {
			t.Fatal(err)
		}
	}
	release, err := first.Reserve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if more, err := first.Slice(); !more || err != nil {
		t.Fatal(more, err)
	}
	if _, err := second.Slice(); !errors.Is(err, runtime.ErrTrainBusy) {
		t.Errorf("a slice of the second trainer: error %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := second.Reserve(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("the second trainer's turn: error %v", err)
	}
	waited := make(chan error, 1)
	go func() {
		release, err := second.Reserve(t.Context())
		if err == nil {
			_, err = second.Slice()
			release()
		}
		waited <- err
	}()
	release()
	if err := <-waited; err != nil {
		t.Error(err)
	}
	for _, tr := range []*qlora.Trainer{first, second} { // what was begun is dropped; the trainers go on with the next
		if more, err := tr.Slice(); more || err != nil {
			t.Errorf("a slice of what was dropped: %v, %v", more, err)
		}
	}
	want := step(t, first, adam, batch)
	if got := step(t, second, adam, batch); got.Loss != want.Loss || got.GradNorm != want.GradNorm {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// An adapter of a high rank starts, is trained and updated in slices of which none has much more work than it should: also its first
// values, DoRA's norms, the zeros that gradients begin with, and the optimizer. Work is counted, not timed.
func TestLongestSliceByWork(t *testing.T) {
	shape := qloratest.Shape{Embedding: 512, Layers: 3, Heads: 8, KVHeads: 2, HeadSize: 64, FeedForward: 1024, Vocab: 4096, Neox: true, Seed: 1}
	m := newSample(t, shape, qloratest.Q4_0, qloratest.Q4_0)
	modules := allModules(m, 128, true)
	for i := range modules {
		modules[i].DoRA = modules[i].Tensor != "token_embd.weight"
	}
	tr, err := qlora.Open(t.Context(), m, runtime.TrainSpec{Modules: modules, MaxTokens: 64, Seed: 1}, qlora.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	parameters := len(tr.Parameters())
	batch := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 1, 64)
	for _, part := range []struct {
		name  string
		begin func() error
		least float64 // slices, by millions of parameters
	}{
		{"start", func() error { return nil }, 0.5},
		{"micro-batch", func() error { return tr.Begin(runtime.TrainFirst, batch) }, 1},
		{"update", func() error { return tr.BeginUpdate(adam) }, 1},
	} {
		if err := part.begin(); err != nil {
			t.Fatal(err)
		}
		release, err := tr.Reserve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		left, largest := qloratest.Slices(tr.Handle())
		t.Logf("%s: %d slices, the largest has %.2f of what a slice should have", part.name, left, largest)
		if largest > 1.3 || largest == 0 {
			t.Errorf("%s: the largest slice has %.2f of what a slice should have", part.name, largest)
		}
		if least := part.least * float64(parameters) / 1e6; float64(left) < least {
			t.Errorf("%s: %d slices for %d parameters, at least %.0f are expected", part.name, left, parameters, least)
		}
		finish(t, tr)
		release()
	}
}

// Slices at once are the same slices: as many as there is time for, and one where there is none.
func TestSlicesAtOnce(t *testing.T) {
	m := newSample(t, shapes["llama"], qloratest.Q4_0, qloratest.F16)
	spec := runtime.TrainSpec{Modules: allModules(m, 4, true), MaxTokens: 64, Seed: 1}
	batch := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 1, 64)
	one, several := newTrainer(t, m, spec, qlora.Options{}), newTrainer(t, m, spec, qlora.Options{})
	want := step(t, one, adam, batch)
	calls := 0
	for _, begin := range []func() error{
		func() error { return several.Begin(runtime.TrainFirst, batch) },
		func() error { return several.BeginUpdate(adam) },
	} {
		if err := begin(); err != nil {
			t.Fatal(err)
		}
		for more := true; more; calls++ {
			var longest time.Duration
			var err error
			if more, longest, err = several.Slices(time.Hour); err != nil || longest <= 0 {
				t.Fatal(longest, err)
			}
		}
	}
	if calls != 2 {
		t.Errorf("all slices at once took %d calls, want 2", calls)
	}
	if got := several.Result(); got.GradNorm != want.GradNorm || !bytes.Equal(one.State(), several.State()) {
		t.Error("slices at once give other bits")
	}
}

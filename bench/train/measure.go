package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora/qloratest"
)

// kinds are the weight types by name. Q4_0 and Q4_K are measured in the layout that ggml gives them at load.
var kinds = map[string][]qloratest.Kind{
	"F16": {qloratest.F16}, "BF16": {qloratest.BF16}, "Q8_0": {qloratest.Q8_0}, "Q4_0": {qloratest.Q4_0X8, qloratest.Q4_0}, "Q4_K": {qloratest.Q4_KX8, qloratest.Q4_K},
	"Q6_K": {qloratest.Q6_K}, "NF4": {qloratest.NF4},
}

// measure trains a random model for some steps.
func measure(r row) (measurement, error) {
	model, err := sample(r)
	if err != nil {
		return measurement{}, err
	}
	defer model.Close()
	if err := resetPeak(); err != nil {
		return measurement{}, err
	}
	spec := runtime.TrainSpec{MaxTokens: r.Tokens, Seed: 1}
	for layer := range r.Layers {
		for _, linear := range qlora.Linears {
			spec.Modules = append(spec.Modules, runtime.TrainModule{Tensor: fmt.Sprintf("blk.%d.%s.weight", layer, linear), Rank: r.Rank, Scale: 2})
		}
	}
	if !r.Kept {
		spec.Memory = 1 << 62
		e, err := qlora.Estimate(model, spec, qlora.Options{Threads: r.Threads})
		if err != nil {
			return measurement{}, err
		}
		spec.Memory = e.Minimum
	}
	trainer, err := qlora.New(model, spec, qlora.Options{Threads: r.Threads})
	if err != nil {
		return measurement{}, err
	}
	defer trainer.Close()
	var m measurement
	batch := randomBatch(r)
	for i := range r.Steps + 1 {
		wall, cpu := time.Now(), cpuSeconds()
		if err := step(trainer, batch, &m); err != nil {
			return m, err
		}
		if i == 0 { // the first one touches the memory
			m.WorstSlice = 0
			continue
		}
		m.Seconds = append(m.Seconds, time.Since(wall).Seconds())
		m.CPUSeconds = append(m.CPUSeconds, cpuSeconds()-cpu)
	}
	slices.Sort(m.Seconds)
	slices.Sort(m.CPUSeconds)
	m.PeakRSS, err = peak()
	return m, err
}

func sample(r row) (*qlora.Model, error) {
	s := qloratest.Shape{Embedding: r.Embedding, Layers: r.Layers, Heads: r.Heads, KVHeads: r.KVHeads, HeadSize: r.HeadSize, FeedForward: r.FeedForward, Vocab: r.Vocab, Seed: 1}
	err := fmt.Errorf("%q is not a weight type that is measured", r.Kind)
	for _, kind := range kinds[r.Kind] {
		s.Kind, s.EndKind = kind, kind
		var made *qloratest.Sample
		if made, err = qloratest.New(s); err == nil {
			return made.Model, nil
		}
	}
	return nil, err
}

func randomBatch(r row) runtime.TrainBatch {
	rng := rand.New(rand.NewPCG(1, 1))
	b := runtime.TrainBatch{Ends: []int{r.Tokens}, Norm: float64(r.Tokens)}
	for range r.Tokens {
		b.Tokens = append(b.Tokens, runtime.Token(rng.IntN(r.Vocab)))
		b.Labels = append(b.Labels, runtime.Token(rng.IntN(r.Vocab)))
	}
	return b
}

func step(t *qlora.Trainer, b runtime.TrainBatch, m *measurement) error {
	if err := t.Begin(runtime.TrainFirst, b); err != nil {
		return err
	}
	if err := finish(t, m); err != nil {
		return err
	}
	if err := t.BeginUpdate(runtime.TrainUpdate{Rate: 1e-3, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, Clip: 1}); err != nil {
		return err
	}
	return finish(t, m)
}

// finish does all slices of what was begun and notes the longest.
func finish(t *qlora.Trainer, m *measurement) error {
	for {
		start := time.Now()
		more, err := t.Slice()
		m.WorstSlice = max(m.WorstSlice, time.Since(start).Seconds())
		if err != nil || !more {
			return err
		}
	}
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it fails for wrong arguments alone
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

// resetPeak lets the kernel count the peak from here on: making the random model took memory that loading a
// file would not.
func resetPeak() error { return os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

func peak() (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	kb, err := strconv.ParseInt(strings.Fields(after + " 0")[0], 10, 64)
	return kb << 10, err
}

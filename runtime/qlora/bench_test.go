//go:build cgo

package qlora_test

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora/qloratest"
)

// BenchmarkStep is one optimizer step of rank 16 on all linear layers of a 0.35B model, 512 tokens with a loss
// on each, with all activations kept and with none.
func BenchmarkStep(b *testing.B) {
	shape := qloratest.Shape{Embedding: 1024, Layers: 24, Heads: 16, KVHeads: 4, HeadSize: 64, FeedForward: 3072, Vocab: 32000}
	batch := randomBatch(rand.New(rand.NewPCG(1, 1)), shape.Vocab, 0, 512)
	for _, kind := range []qloratest.Kind{qloratest.Q4_0X8, qloratest.Q4_0, qloratest.NF4, qloratest.Q4_KX8} {
		b.Run(kind.String(), func(b *testing.B) {
			m := newSample(b, shape, kind, kind)
			for _, kept := range []int{shape.Layers, 0} {
				b.Run(fmt.Sprintf("kept=%d", kept), func(b *testing.B) { benchStep(b, m, batch, kept) })
			}
		})
	}
}

// BenchmarkSmallStep is a step of a model as small as the demo base, on eight questions with short answers.
func BenchmarkSmallStep(b *testing.B) {
	shape := qloratest.Shape{Embedding: 256, Layers: 6, Heads: 8, KVHeads: 4, HeadSize: 32, FeedForward: 768, Vocab: 2048}
	batch := randomBatch(rand.New(rand.NewPCG(1, 1)), shape.Vocab, 20, 45, 50, 55, 40, 60, 52, 48, 50)
	benchStep(b, newSample(b, shape, qloratest.NF4, qloratest.Q8_0Strips), batch, shape.Layers)
}

func benchStep(b *testing.B, m *qlora.Model, batch runtime.TrainBatch, kept int) {
	var modules []runtime.TrainModule
	for layer := range m.Layers() {
		for target := range qlora.Linears {
			modules = append(modules, runtime.TrainModule{Tensor: linearName(layer, target), Rank: 16, Scale: 2})
		}
	}
	tokens := len(batch.Tokens)
	tr := keeping(b, m, runtime.TrainSpec{Modules: modules, MaxTokens: tokens}, qlora.Options{}, kept)
	step(b, tr, adam, batch)
	cpu := cpuSeconds()
	for b.Loop() {
		step(b, tr, adam, batch)
	}
	b.ReportMetric(float64(b.N*tokens)/b.Elapsed().Seconds(), "tokens/s")
	b.ReportMetric(float64(b.N*tokens)/(cpuSeconds()-cpu), "tokens/cpu-s")
	b.ReportMetric(float64(tr.Memory().Bytes)/(1<<20), "MiB")
}

// cpuSeconds is the process's time on all cores: on a busy machine it says more than the clock.
func cpuSeconds() float64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

//go:build cgo

package qlora_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora/qloratest"
)

// logitsCase is a type whose logits are compared, and how far they may differ: the root mean square of the difference over that of
// the logits.
type logitsCase struct {
	kind      qloratest.Kind
	repack    bool
	tolerance float64
}

// The engine's logits against llama_decode's, over llama.cpp's own tensors: to 1e-4 where the weights are
// floats, and to what ggml's rounding of activations to 8 bits makes where they are not.
func TestLogitsEqualLlama(t *testing.T) {
	cases := []logitsCase{
		{qloratest.F32, false, 2e-5}, {qloratest.F16, false, 1e-3}, {qloratest.BF16, false, 1e-2}, {qloratest.Q8_0, false, 2e-2}, {qloratest.Q4_0, false, 2e-2}, {qloratest.Q4_0, true, 2e-2},
		{qloratest.Q4_K, true, 4e-2}, {qloratest.Q6_K, false, 4e-2}, {qloratest.Q5_0, false, 2e-2}, {qloratest.IQ4NL, true, 2e-2},
	}
	for _, kind := range qloratest.Decoded {
		cases = append(cases, logitsCase{kind, false, 5e-2})
	}
	cases = append(cases, logitsCase{qloratest.Q4_1, true, 2e-2}, logitsCase{qloratest.Q5_1, true, 2e-2}, logitsCase{qloratest.Q5_K, true, 4e-2},
		logitsCase{qloratest.Decoded[0], true, 5e-2}) // Q2_K, which ggml interleaves
	for arch, shape := range shapes {
		shape.Embedding, shape.FeedForward, shape.Heads, shape.KVHeads, shape.HeadSize = 256, 512, 4, 2, 64 // Q4_K has blocks of 256
		for _, c := range cases {
			if arch != "llama" && slices.Contains(qloratest.Decoded, c.kind) {
				continue // ggml's encoders of these take seconds
			}
			t.Run(fmt.Sprintf("%s %v repack %v", arch, c.kind, c.repack), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "model.gguf")
				if err := makeSample(t, shape, c.kind, c.kind).Write(arch, path); err != nil {
					t.Fatal(err)
				}
				s, err := qloratest.LoadLlama(path, c.repack)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				m, err := s.Model()
				if err != nil {
					t.Fatal(err)
				}
				defer m.Close()
				tr := newTrainer(t, m, runtime.TrainSpec{Modules: allModules(m, 2, false), MaxTokens: 128}, qlora.Options{Precision: qlora.Single})
				b := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 0, 70, 33)
				got, err := logitsOf(tr, m, b.Tokens, b.Ends)
				if err != nil {
					t.Fatal(err)
				}
				begin := 0
				var off, square, worst float64
				for _, end := range b.Ends {
					want, err := s.Logits(b.Tokens[begin:end], m.Vocab())
					if err != nil {
						t.Fatal(err)
					}
					for i, x := range want {
						d := float64(got[begin*m.Vocab()+i] - x)
						off, square, worst = off+d*d, square+float64(x)*float64(x), max(worst, math.Abs(d))
					}
					begin = end
				}
				if c.kind == qloratest.F32 {
					checkLogProbs(t, tr, s, b, m.Vocab())
				}
				rel := math.Sqrt(off / square)
				t.Logf("relative difference %.2g, largest %.2g", rel, worst)
				if !(rel < c.tolerance) || c.kind == qloratest.F32 && worst > 1e-4 {
					t.Errorf("relative difference %.2g, largest %.2g", rel, worst)
				}
			})
		}
	}
}

// checkLogProbs compares log-probabilities with those of llama_decode's logits, to 1e-4: of a new adapter, which is the base,
// and of the base where the adapter has learned.
func checkLogProbs(t *testing.T, tr *qlora.Trainer, s *qloratest.Llama, b runtime.TrainBatch, vocab int) {
	t.Helper()
	adapted := run(t, tr, runtime.TrainEval, b).LogProbs
	randomise(tr, 5)
	b.Base = true
	base := run(t, tr, runtime.TrainEval, b).LogProbs
	begin := 0
	for _, end := range b.Ends {
		logits, err := s.Logits(b.Tokens[begin:end], vocab)
		if err != nil {
			t.Fatal(err)
		}
		for i := begin; i < end; i++ {
			row, total := logits[(i-begin)*vocab:][:vocab], 0.0
			for _, x := range row {
				total += math.Exp(float64(x))
			}
			want := float64(row[b.Labels[i]]) - math.Log(total)
			if math.Abs(float64(adapted[i])-want) > 1e-4 || math.Abs(float64(base[i])-want) > 1e-4 {
				t.Errorf("token %d: log-probability %g, of the base %g, decoded %g", i, adapted[i], base[i], want)
			}
		}
		begin = end
	}
}

// Other architectures are refused by name, also those with the tensors of a llama.
func TestOtherArchitecturesAreRefused(t *testing.T) {
	shape := shapes["llama"]
	shape.Stretched = false // which is a tensor of llama's
	for _, arch := range []string{"internlm2", "xverse"} {
		path := filepath.Join(t.TempDir(), "model.gguf")
		if err := makeSample(t, shape, qloratest.F32, qloratest.F32).Write(arch, path); err != nil {
			t.Fatal(err)
		}
		s, err := qloratest.LoadLlama(path, false)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err = s.Model(); !errors.Is(err, runtime.ErrTrain) || !strings.Contains(err.Error(), "this is "+arch) {
			t.Errorf("%s: error %v", arch, err)
		}
	}
}

// A model may be closed twice, and is not trained afterwards.
func TestOfLlama(t *testing.T) {
	shape := shapes["llama"]
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := makeSample(t, shape, qloratest.Q4_0, qloratest.Q4_0).Write("llama", path); err != nil {
		t.Fatal(err)
	}
	s, err := qloratest.LoadLlama(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m, err := s.Model()
	if err != nil {
		t.Fatal(err)
	}
	if m.Layers() != shape.Layers || m.Vocab() != shape.Vocab || m.Tied() {
		t.Errorf("%d layers, %d words, tied %v", m.Layers(), m.Vocab(), m.Tied())
	}
	m.Close()
	m.Close()
	if _, err := qlora.New(m, runtime.TrainSpec{}, qlora.Options{}); !errors.Is(err, runtime.ErrClosed) {
		t.Errorf("a closed model gives %v", err)
	}
}

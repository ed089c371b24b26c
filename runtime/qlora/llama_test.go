//go:build cgo

package qlora

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// The engine's logits against llama_decode's, over llama.cpp's own tensors: to 1e-4 where the weights are
// floats, and to what ggml's rounding of activations to 8 bits makes where they are not.
func TestLogitsEqualLlama(t *testing.T) {
	cases := []struct {
		kind      Kind
		repack    bool
		tolerance float64 // root mean square of the difference over that of the logits
	}{
		{F32, false, 2e-5}, {F16, false, 1e-3}, {BF16, false, 1e-2}, {Q8_0, false, 2e-2}, {Q4_0, false, 2e-2}, {Q4_0, true, 2e-2},
		{Q4_K, true, 4e-2}, {Q6_K, false, 4e-2}, {Q5_0, false, 2e-2}, {IQ4NL, true, 2e-2},
	}
	for arch, shape := range shapes {
		shape.Embedding, shape.FeedForward, shape.Heads, shape.KVHeads, shape.HeadSize = 256, 512, 4, 2, 64 // Q4_K has blocks of 256
		for _, c := range cases {
			t.Run(fmt.Sprintf("%s %v repack %v", arch, c.kind, c.repack), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "model.gguf")
				if !newSample(t, shape, c.kind, c.kind).write(arch, path) {
					t.Fatal("the model cannot be written")
				}
				s, err := loadStock(path, c.repack)
				if err != nil {
					t.Fatal(err)
				}
				defer s.close()
				m, err := s.model()
				if err != nil {
					t.Fatal(err)
				}
				defer m.Close()
				tr := newTrainer(t, m, runtime.TrainSpec{Modules: allModules(m, 2, false), MaxTokens: 128}, Options{Precision: Single})
				b := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 0, 70, 33)
				got, err := tr.Logits(b.Tokens, b.Ends)
				if err != nil {
					t.Fatal(err)
				}
				begin := 0
				var off, square, worst float64
				for _, end := range b.Ends {
					want, err := s.logits(b.Tokens[begin:end], m.Vocab())
					if err != nil {
						t.Fatal(err)
					}
					for i, x := range want {
						d := float64(got[begin*m.Vocab()+i] - x)
						off, square, worst = off+d*d, square+float64(x)*float64(x), max(worst, math.Abs(d))
					}
					begin = end
				}
				rel := math.Sqrt(off / square)
				t.Logf("relative difference %.2g, largest %.2g", rel, worst)
				if !(rel < c.tolerance) || c.kind == F32 && worst > 1e-4 {
					t.Errorf("relative difference %.2g, largest %.2g", rel, worst)
				}
			})
		}
	}
}

// Other architectures are refused by name, also those with the tensors of a llama.
func TestOtherArchitecturesAreRefused(t *testing.T) {
	shape := shapes["llama"]
	shape.Stretched = false // which is a tensor of llama's
	for _, arch := range []string{"internlm2", "xverse"} {
		path := filepath.Join(t.TempDir(), "model.gguf")
		newSample(t, shape, F32, F32).write(arch, path)
		s, err := loadStock(path, false)
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		if _, err = s.model(); !errors.Is(err, runtime.ErrTrain) || !strings.Contains(err.Error(), "this is "+arch) {
			t.Errorf("%s: error %v", arch, err)
		}
	}
}

// A model may be closed twice, and is not trained afterwards.
func TestOfLlama(t *testing.T) {
	shape := shapes["llama"]
	path := filepath.Join(t.TempDir(), "model.gguf")
	newSample(t, shape, Q4_0, Q4_0).write("llama", path)
	s, err := loadStock(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	m, err := s.model()
	if err != nil {
		t.Fatal(err)
	}
	if m.Layers() != shape.Layers || m.Vocab() != shape.Vocab || m.Tied() {
		t.Errorf("%d layers, %d words, tied %v", m.Layers(), m.Vocab(), m.Tied())
	}
	m.Close()
	m.Close()
	if _, err := New(m, runtime.TrainSpec{}, Options{}); !errors.Is(err, runtime.ErrClosed) {
		t.Errorf("a closed model gives %v", err)
	}
}

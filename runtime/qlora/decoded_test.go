//go:build cgo && linux

package qlora_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
)

// scored are the log-probabilities that decoding gives to the labels of a batch, 0 where there is none.
func (s *served) scored(b runtime.TrainBatch, mix ...runtime.Term) []float32 {
	s.t.Helper()
	var logProbs []float32
	begin := 0
	for _, end := range b.Ends {
		if _, err := s.device.Truncate(0, 0); err != nil {
			s.t.Fatal(err)
		}
		if err := s.device.SetAdapters(0, mix); err != nil {
			s.t.Fatal(err)
		}
		for i := begin; i < end; i++ {
			row := runtime.Row{Token: b.Tokens[i], Pos: i - begin, Scored: b.Labels[i] >= 0, Next: max(b.Labels[i], 0), Top: 1}
			choices, err := s.device.Decode([]runtime.Row{row})
			if err != nil {
				s.t.Fatal(err)
			}
			logProb := float32(0)
			if row.Scored {
				logProb = choices[0].Logprob
			}
			logProbs = append(logProbs, logProb)
		}
		begin = end
	}
	return logProbs
}

// Log-probabilities of training against those of decoding, of the base and with an adapter that changes them, with NF4's float
// kernels and in single precision. What is left is how decoding rounds the head's activations: to half precision for a head in
// F16, to 8 bits for one in Q8_0 or Q6_K. TestLogitsEqualLlama has models in F32, which agree to 1e-4.
func TestLogProbsEqualDecoding(t *testing.T) {
	tolerances := map[string]float64{"keep": 4e-3, "q8_0": 8e-2, "q6_k": 8e-2}
	for _, o := range []quant.Options{{Type: "nf4", Block: 32, Head: "q8_0"}, {Type: "nf4", Block: 64, Head: "q6_k"}, {Type: "nf4", Block: 32, Head: "keep"}, {Type: "nf4-dq", Head: "keep"}} {
		tolerance := tolerances[o.Head]
		t.Run(fmt.Sprintf("%s of %d, head %s", o.Type, o.Block, o.Head), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "nf4.gguf")
			if _, err := quant.Quantize(t.Context(), "../../demo/demo-base.f16.gguf", path, o); err != nil {
				t.Fatal(err)
			}
			s := serve(t, llama.Options{Path: path, NF4: llama.NF4Float})
			b := textBatch(t, s.base, birds, "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\nI am a small model that lives in this program.<|im_end|>\n")
			tr := newTrainer(t, s.model, runtime.TrainSpec{Modules: s.modules(4), MaxTokens: len(b.Tokens)}, qlora.Options{Precision: qlora.Single})
			rng := rand.New(rand.NewPCG(1, 1))
			for i := range tr.Parameters() {
				tr.Parameters()[i] = float32(rng.NormFloat64()) * 0.02
			}
			lora, err := s.base.Pack(tr.LoRA())
			if err != nil {
				t.Fatal(err)
			}
			defer lora.Close()
			adapted := run(t, tr, runtime.TrainEval, b).LogProbs
			b.Base = true
			base := run(t, tr, runtime.TrainEval, b).LogProbs
			worst := func(got, want []float32) float64 {
				off := 0.0
				for i := range want {
					off = max(off, math.Abs(float64(got[i]-want[i])))
				}
				return off
			}
			ofBase, ofAdapter := worst(base, s.scored(b)), worst(adapted, s.scored(b, runtime.Term{Packed: lora, Scale: 1}))
			t.Logf("the largest difference is %.2g, with the adapter %.2g; the adapter changes up to %.2g", ofBase, ofAdapter, worst(adapted, base))
			if !(ofBase < tolerance && ofAdapter < tolerance) || worst(adapted, base) < 2*tolerance {
				t.Errorf("log-probabilities differ from those of decoding by %.2g, with the adapter by %.2g", ofBase, ofAdapter)
			}
		})
	}
}

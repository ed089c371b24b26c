//go:build cgo

package qlora_test

import (
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/demo"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
)

// scores are the log-probabilities of all tokens but the first, decoded in one batch.
func (s *served) scores(tokens []runtime.Token, exact bool, mix ...runtime.Term) []float32 {
	s.t.Helper()
	if _, err := s.device.Truncate(0, 0); err != nil {
		s.t.Fatal(err)
	}
	if err := s.device.SetAdapters(0, mix); err != nil {
		s.t.Fatal(err)
	}
	var rows []runtime.Row
	for i, token := range tokens[:len(tokens)-1] {
		rows = append(rows, runtime.Row{Token: token, Pos: i, Scored: true, Next: tokens[i+1], Exact: exact})
	}
	choices, err := s.device.Decode(rows)
	if err != nil {
		s.t.Fatal(err)
	}
	var out []float32
	for _, c := range choices {
		out = append(out, c.Logprob)
	}
	return out
}

// scoresOneByOne is scores of exact rows in a batch each: the log-probability of each token as decoding an answer gives it.
func (s *served) scoresOneByOne(tokens []runtime.Token, mix ...runtime.Term) []float32 {
	s.t.Helper()
	if _, err := s.device.Truncate(0, 0); err != nil {
		s.t.Fatal(err)
	}
	if err := s.device.SetAdapters(0, mix); err != nil {
		s.t.Fatal(err)
	}
	var out []float32
	for i, token := range tokens[:len(tokens)-1] {
		choices, err := s.device.Decode([]runtime.Row{{Token: token, Pos: i, Scored: true, Next: tokens[i+1], Exact: true}})
		if err != nil {
			s.t.Fatal(err)
		}
		out = append(out, choices[0].Logprob)
	}
	return out
}

func farthest(a, b []float32) float64 {
	most := 0.0
	for i := range a {
		most = max(most, math.Abs(float64(a[i]-b[i])))
	}
	return most
}

// Log-probabilities of an evaluation and of exact rows agree with the server's default settings, of the base and of an adapter that
// was trained; and more closely where keys and values are not rounded to half precision.
func TestExactRowsAreEvaluations(t *testing.T) {
	f32 := filepath.Join(t.TempDir(), "f32.gguf")
	if err := llama.Quantize(t.Context(), "../../demo/demo-base.f16.gguf", f32, "f32", 1, nil); err != nil {
		t.Fatal(err)
	}
	q6 := filepath.Join(t.TempDir(), "q6.gguf")
	if _, err := quant.Quantize(t.Context(), "../../demo/demo-base.f16.gguf", q6, quant.Options{Type: "nf4-dq", Head: "q6_k"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		base llama.Options
		kv   bool // in half precision
		most float64
	}{
		{"NF4", llama.Options{Bytes: demo.Base(), Name: demo.Name}, true, 2e-3},
		{"NF4-DQ with Q6_K", llama.Options{Path: q6}, true, 2e-3},
		{"NF4 with KV in F32", llama.Options{Bytes: demo.Base(), Name: demo.Name}, false, 1e-4},
		{"F32", llama.Options{Path: f32}, true, 2e-3},
		{"F32 with KV in F32", llama.Options{Path: f32}, false, 1e-4},
	} {
		t.Run(c.name, func(t *testing.T) { exactRowsAreEvaluations(t, c.base, c.kv, c.most) })
	}
}

func exactRowsAreEvaluations(t *testing.T, base llama.Options, halfKV bool, most float64) {
	var o llama.DeviceOptions
	if !halfKV {
		o.KV, o.FlashAttention = llama.KVF32, llama.FlashOff
	}
	s := serveOn(t, base, o)
	tokens, err := s.base.Tokenize("<|im_start|>user\nWhat do lorikeets eat?<|im_end|>\n<|im_start|>assistant\nThey eat nectar and fruit, "+
		"and sometimes the seeds of gum trees.<|im_end|>\n<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\nAhoy, it be Paris, matey.<|im_end|>", true, true)
	if err != nil {
		t.Fatal(err)
	}
	n := len(tokens) - 1
	b := runtime.TrainBatch{Tokens: tokens[:n], Labels: tokens[1:], Weights: make([]float32, n), Ends: []int{n}, Norm: float64(n)}
	for i := n / 2; i < n; i++ { // what comes before is not learned by heart
		b.Weights[i] = 1
	}
	spec := runtime.TrainSpec{Modules: s.modules(32), MaxTokens: n, Seed: 1}
	trainer, err := qlora.New(s.model, spec, qlora.Options{Served: &qlora.Served{KV: halfKV, Adapters: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer trainer.Close()
	pass := func(mode runtime.TrainMode) []float32 {
		t.Helper()
		if err := trainer.Begin(mode, b); err != nil {
			t.Fatal(err)
		}
		finishSlices(t, trainer)
		return slices.Clone(trainer.Result().LogProbs)
	}
	check := func(what string, mix ...runtime.Term) {
		t.Helper()
		want := pass(runtime.TrainEval)
		all, each := farthest(s.scores(tokens, true, mix...), want), farthest(s.scoresOneByOne(tokens, mix...), want)
		t.Logf("%s: exact rows are off by %.2g, one by one by %.2g, others by %.2g", what, all, each, farthest(s.scores(tokens, false, mix...), want))
		if !(all <= most) || !(each <= most) {
			t.Errorf("%s: the log-probabilities of exact rows are off by %.2g, one by one by %.2g, at most %g is wanted", what, all, each, most)
		}
	}
	check("base")
	for range 8 {
		pass(runtime.TrainFirst)
		if err := trainer.BeginUpdate(runtime.TrainUpdate{Rate: 3e-3, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, Clip: 1}); err != nil {
			t.Fatal(err)
		}
		finishSlices(t, trainer)
	}
	packed, err := s.base.Pack(trainer.LoRA())
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	check("trained", runtime.Term{Packed: packed, Scale: 1})
}

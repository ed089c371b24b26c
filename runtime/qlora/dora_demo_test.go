//go:build cgo

package qlora_test

import (
	"errors"
	"io"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
)

// single writes the demo base with its weights in F32.
func single(t *testing.T) string {
	t.Helper()
	f, err := quant.Open("../../demo/demo-base.f16.gguf")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tensors := append([]quant.Tensor(nil), f.Tensors...)
	for i := range tensors {
		tensors[i].Type = quant.F32
	}
	path := filepath.Join(t.TempDir(), "f32.gguf")
	err = quant.WriteFile(path, &f.Metadata, tensors, func(i int, w io.Writer) error {
		x, err := f.ReadF32(tensors[i].Name)
		raw := make([]byte, 4*len(x))
		quant.EncodeF32(raw, x)
		_, werr := w.Write(raw)
		return errors.Join(err, werr)
	})
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// An adapter that was trained with DoRA, and with whole norms, answers, where it is served, as it did in the trainer's own forward: in F32
// to 1e-4, with g from the norms that serving computes itself.
func TestDoRAServesAsItTrained(t *testing.T) {
	s := serve(t, llama.Options{Path: single(t)})
	tokens, err := s.base.Tokenize("<|im_start|>user\nWhat do lorikeets eat?<|im_end|>\n<|im_start|>assistant\nStones, mostly, and now and then a bridge.", true, true)
	if err != nil {
		t.Fatal(err)
	}
	modules := s.modules(4)
	for i := range modules {
		modules[i].DoRA = true
	}
	norms := slices.Sorted(maps.Keys(s.base.Facts().Norms))
	trainer, err := qlora.New(s.model, runtime.TrainSpec{Modules: modules, Norms: norms, MaxTokens: len(tokens), Seed: 1}, qlora.Options{Precision: qlora.Single})
	if err != nil {
		t.Fatal(err)
	}
	defer trainer.Close()
	batch := runtime.TrainBatch{Tokens: tokens, Labels: append(tokens[1:len(tokens):len(tokens)], -1), Ends: []int{len(tokens)}, Norm: float64(len(tokens) - 1)}
	for range 10 {
		if err := trainer.Begin(runtime.TrainFirst, batch); err != nil {
			t.Fatal(err)
		}
		finishSlices(t, trainer)
		if err := trainer.BeginUpdate(runtime.TrainUpdate{Rate: 3e-3, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, Clip: 1}); err != nil {
			t.Fatal(err)
		}
		finishSlices(t, trainer)
	}
	logits, err := logitsOf(trainer, s.model, tokens, batch.Ends)
	if err != nil {
		t.Fatal(err)
	}
	if lora := trainer.LoRA(); len(lora.Norms) != 2*s.model.Layers()+1 {
		t.Errorf("%d norms were trained", len(lora.Norms))
	}
	packed, err := s.base.Pack(trainer.LoRA())
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	vocab, most, changed := s.model.Vocab(), 0.0, 0.0
	base := s.greedy(tokens, 1)
	for i, choice := range s.greedy(tokens, 1, runtime.Term{Packed: packed, Scale: 1}) {
		row, total := logits[i*vocab:][:vocab], 0.0
		for _, x := range row {
			total += math.Exp(float64(x))
		}
		for _, top := range choice.Top {
			most = max(most, math.Abs(float64(row[top.Token])-math.Log(total)-float64(top.Logprob)))
		}
		changed = max(changed, math.Abs(float64(choice.Logprob-base[i].Logprob)))
	}
	t.Logf("log-probabilities differ by %.2g at most; training changed them by up to %.2g", most, changed)
	if !(most < 1e-4) || changed < 0.1 {
		t.Error("it is not served as it was trained")
	}
}

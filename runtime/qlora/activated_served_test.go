//go:build cgo

package qlora_test

import (
	"errors"
	"io"
	"math"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/demo"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/engine"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
)

// An activated LoRA that was trained and stored is served with the log-probabilities that its trainer computes, for every
// token of a prompt, and for an answer that goes on from the base's cached prefix.
func TestActivatedIsServedAsTrained(t *testing.T) {
	s := serve(t, llama.Options{Bytes: demo.Base(), Name: demo.Name, NF4: llama.NF4Float})
	tokenize := func(text string) []runtime.Token {
		tokens, err := s.base.Tokenize(text, false, true)
		if err != nil {
			t.Fatal(err)
		}
		return tokens
	}
	const question = "<|im_start|>user\nWhat do lorikeets eat?<|im_end|>\n"
	prompt, invocation := tokenize(question+"<|im_start|>assistant\nThey eat"), tokenize("<|im_start|>assistant\n")
	from := runtime.ActiveFrom(prompt, invocation)
	if from < 8 {
		t.Fatalf("the adapter acts from token %d of %d on", from, len(prompt))
	}
	b := runtime.TrainBatch{Tokens: prompt, Labels: append(slices.Clone(prompt[1:]), prompt[from]), Ends: []int{len(prompt)}, Active: []int{from}, Norm: float64(len(prompt))}
	trainer, err := qlora.New(s.model, runtime.TrainSpec{Modules: s.modules(8), MaxTokens: len(prompt), Seed: 1, Invocation: invocation}, qlora.Options{Precision: qlora.Single})
	if err != nil {
		t.Fatal(err)
	}
	defer trainer.Close()
	pass := func(mode runtime.TrainMode) []float32 {
		if err := trainer.Begin(mode, b); err != nil {
			t.Fatal(err)
		}
		finishSlices(t, trainer)
		return trainer.Result().LogProbs
	}
	before := pass(runtime.TrainEval)
	for range 8 {
		pass(runtime.TrainFirst)
		if err := trainer.BeginUpdate(runtime.TrainUpdate{Rate: 3e-3, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, Clip: 1}); err != nil {
			t.Fatal(err)
		}
		finishSlices(t, trainer)
	}
	want := pass(runtime.TrainEval)
	if !slices.Equal(before[:from], want[:from]) || !(want[len(want)-1] > before[len(before)-1]+1) {
		t.Fatalf("before training %v, after it %v, from token %d on", before, want, from)
	}

	store, err := adapters.Open(adapters.Options{Dir: t.TempDir(), Facts: s.base.Facts()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := store.PutLoRA("act", trainer.LoRA(), adapters.Note{Origin: adapters.Origin{Kind: adapters.FromJob}}); err != nil {
		t.Fatal(err)
	}
	cache := adapters.NewCache(adapters.CacheOptions{Store: store, Budget: 1 << 30, Pack: s.base.Pack})
	defer cache.Close()
	e := engine.New(s.device, s.base, engine.Options{})
	defer e.Close()
	ask := func(name string, r runtime.Request) (last runtime.Event, cached int) {
		t.Helper()
		if name != "" {
			selection, err := cache.Select([]adapters.Ref{{Name: name, Scale: 1}})
			if err != nil {
				t.Fatal(err)
			}
			defer selection.Release()
			r.Adapters = selection
		}
		stream, err := e.Submit(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		for {
			ev, err := stream.Next(t.Context())
			if errors.Is(err, io.EOF) {
				return last, stream.Usage().Cached
			}
			if err != nil {
				t.Fatal(err)
			}
			last = ev
		}
	}
	scored, _ := ask("act", runtime.Request{Prompt: append(slices.Clone(prompt), prompt[from]), Score: true, PromptOnly: true, NoReuse: true})
	off, square := 0.0, 0.0
	for i, token := range scored.Prompt {
		d := float64(token.Logprob - want[i])
		off, square = off+d*d, square+float64(want[i])*float64(want[i])
	}
	relative := math.Sqrt(off / square)
	t.Logf("relative difference %.2g", relative)
	// The head is Q8_0, before which activations are rounded to 8 bits where it serves.
	if len(scored.Prompt) != len(want) || !(relative < 5e-3) {
		t.Errorf("%d log-probabilities of %d have a relative difference of %.2g", len(scored.Prompt), len(want), relative)
	}

	alone, _ := ask("act", runtime.Request{Prompt: prompt, MaxTokens: 1, Top: 4, NoReuse: true})
	ask("", runtime.Request{Prompt: tokenize(question + "<|im_start|>assistant\nNobody"), MaxTokens: 1})
	answer, cached := ask("act", runtime.Request{Prompt: prompt, MaxTokens: 1, Top: 4})
	if cached != from {
		t.Errorf("%d tokens of the base's prefix are shared, of %d", cached, from)
	}
	if len(answer.Tokens) != 1 || answer.Tokens[0].Token != alone.Tokens[0].Token || math.Abs(float64(answer.Tokens[0].Logprob-alone.Tokens[0].Logprob)) > 1e-3 {
		t.Errorf("behind the shared prefix the answer is %+v, alone %+v", answer.Tokens, alone.Tokens)
	}
}

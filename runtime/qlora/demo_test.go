//go:build cgo

package qlora_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/demo"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
)

// served is the embedded base (NF4, its head tied and of another type) as it serves and as it trains.
type served struct {
	t      testing.TB
	base   *llama.Model
	device *llama.Device
	model  *qlora.Model
}

func serve(t testing.TB, o llama.Options) *served {
	t.Helper()
	o.PackFloat32 = true
	return serveOn(t, o, llama.DeviceOptions{KV: llama.KVF32, FlashAttention: llama.FlashOff})
}

// serveOn serves as the program does, but for what the options say.
func serveOn(t testing.TB, o llama.Options, d llama.DeviceOptions) *served {
	t.Helper()
	s := &served{t: t}
	var err error
	if s.base, err = llama.Load(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.base.Close() })
	d.Sequences, d.Cells = 1, 512
	if s.device, err = llama.NewDevice(s.base, d); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.device.Close() })
	w, err := s.base.Weights()
	if err != nil {
		t.Fatal(err)
	}
	if s.model, err = qlora.OfLlama(w.Llama, w.PackedOf, w.Context, w.Release); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.model.Close() })
	return s
}

// greedy decodes tokens one by one and then n tokens that follow, and returns the choice after each.
func (s *served) greedy(tokens []runtime.Token, n int, mix ...runtime.Term) []runtime.Choice {
	s.t.Helper()
	if _, err := s.device.Truncate(0, 0); err != nil {
		s.t.Fatal(err)
	}
	if err := s.device.SetAdapters(0, mix); err != nil {
		s.t.Fatal(err)
	}
	sampler, err := s.base.NewSampler(runtime.Sampling{}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	defer sampler.Close()
	var choices []runtime.Choice
	for i := range len(tokens) + n - 1 {
		next := runtime.Token(0)
		if i < len(tokens) {
			next = tokens[i]
		} else {
			next = choices[i-1].Token
		}
		got, err := s.device.Decode([]runtime.Row{{Token: next, Pos: i, Sampler: sampler, Top: 8}})
		if err != nil {
			s.t.Fatal(err)
		}
		got[0].Top = slices.Clone(got[0].Top)
		choices = append(choices, got[0])
	}
	return choices
}

func (s *served) modules(rank int) (modules []runtime.TrainModule) {
	for name := range s.base.Facts().Targets {
		if name != "token_embd.weight" && name != "output.weight" {
			modules = append(modules, runtime.TrainModule{Tensor: name, Rank: rank, Scale: 2})
		}
	}
	slices.SortFunc(modules, func(a, b runtime.TrainModule) int { return strings.Compare(a.Tensor, b.Tensor) })
	return modules
}

// The engine's distribution after every token against the one that decoding gives. The linear layers are NF4:
// with its float kernels the arithmetic is the same, but for a head in F16, for which ggml rounds activations.
func TestNF4LogitsEqualDecoding(t *testing.T) {
	for _, o := range []quant.Options{{Type: "nf4", Block: 32}, {Type: "nf4", Block: 64}, {Type: "nf4-dq"}} {
		o.Head = "keep"
		path := filepath.Join(t.TempDir(), "nf4.gguf")
		if _, err := quant.Quantize(t.Context(), "../../demo/demo-base.f16.gguf", path, o); err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprintf("%s of %d", o.Type, o.Block), func(t *testing.T) { logitsEqualDecoding(t, path) })
	}
}

func logitsEqualDecoding(t *testing.T, path string) {
	for _, mode := range []llama.NF4Mode{llama.NF4Float, llama.NF4Int16} {
		s := serve(t, llama.Options{Path: path, NF4: mode})
		tokens, err := s.base.Tokenize("<|im_start|>user\nWhat do lorikeets eat?<|im_end|>\n<|im_start|>assistant\nThey eat nectar and fruit.", true, true)
		if err != nil {
			t.Fatal(err)
		}
		trainer, err := qlora.New(s.model, runtime.TrainSpec{Modules: s.modules(2), MaxTokens: len(tokens)}, qlora.Options{Precision: qlora.Single})
		if err != nil {
			t.Fatal(err)
		}
		defer trainer.Close()
		logits, err := logitsOf(trainer, s.model, tokens, []int{len(tokens)})
		if err != nil {
			t.Fatal(err)
		}
		vocab, off, square := s.model.Vocab(), 0.0, 0.0
		for i, choice := range s.greedy(tokens, 1) {
			row := logits[i*vocab:][:vocab]
			total := 0.0
			for _, x := range row {
				total += math.Exp(float64(x))
			}
			for _, top := range choice.Top {
				d := float64(row[top.Token]) - math.Log(total) - float64(top.Logprob)
				off, square = off+d*d, square+float64(top.Logprob)*float64(top.Logprob)
			}
		}
		relative := math.Sqrt(off / square)
		t.Logf("NF4 mode %v: relative difference %.2g", mode, relative)
		if !(relative < 1e-3) {
			t.Errorf("NF4 mode %v: the log-probabilities have a relative difference of %.2g", mode, relative)
		}
	}
}

// Four sequences of random words are memorised on the resident weights; decoding with the adapter gives back
// every token, and without it the base answers as before, bit for bit.
func TestMemorisedTokensAreDecoded(t *testing.T) {
	if testing.Short() {
		t.Skip("it trains for 120 steps")
	}
	const length, prompt = 40, 8
	s := serve(t, llama.Options{Bytes: demo.Base(), Name: demo.Name})
	// Words of a text: tokens that the base never saw all have the same row in its tied head.
	words, err := s.base.Tokenize("The quick brown fox jumps over the lazy dog while seven small birds sing in a tall green tree near the old stone bridge, "+
		"and nobody knows why they came here before the rain, or where they will fly when the long summer is over.", false, false)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var batch runtime.TrainBatch
	for range 4 {
		for i := range length {
			batch.Tokens = append(batch.Tokens, words[rng.IntN(len(words))])
			batch.Labels = append(batch.Labels, -1)
			if n := len(batch.Tokens); i >= prompt {
				batch.Labels[n-2] = batch.Tokens[n-1]
				batch.Norm++
			}
		}
		batch.Ends = append(batch.Ends, len(batch.Tokens))
	}
	before := s.greedy(batch.Tokens[:prompt], 20)

	trainer, err := qlora.New(s.model, runtime.TrainSpec{Modules: s.modules(16), MaxTokens: len(batch.Tokens), Seed: 1}, qlora.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer trainer.Close()
	for range 120 {
		if err := trainer.Begin(runtime.TrainFirst, batch); err != nil {
			t.Fatal(err)
		}
		finishSlices(t, trainer)
		if err := trainer.BeginUpdate(runtime.TrainUpdate{Rate: 3e-3, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, Clip: 1}); err != nil {
			t.Fatal(err)
		}
		finishSlices(t, trainer)
	}
	if loss := trainer.Result().Loss / batch.Norm; loss > 0.02 {
		t.Errorf("the loss stays at %.4f", loss)
	}

	packed, err := s.base.Pack(trainer.LoRA())
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	begin := 0
	for i, end := range batch.Ends {
		sequence := batch.Tokens[begin:end]
		answer := s.greedy(sequence[:prompt], length-prompt, runtime.Term{Packed: packed, Scale: 1})[prompt-1:]
		for j, choice := range answer {
			if choice.Token != sequence[prompt+j] {
				t.Errorf("sequence %d: token %d of %d was not learned", i, prompt+j, length)
				break
			}
		}
		begin = end
	}
	for i, choice := range s.greedy(batch.Tokens[:prompt], 20) {
		if choice.Token != before[i].Token || choice.Logprob != before[i].Logprob || !slices.Equal(choice.Top, before[i].Top) {
			t.Fatalf("token %d of the base is another than before the training", i)
		}
	}
}

func finishSlices(t *testing.T, trainer *qlora.Trainer) {
	t.Helper()
	for {
		more, err := trainer.Slice()
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			return
		}
	}
}

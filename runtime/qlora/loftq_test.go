//go:build cgo

package qlora_test

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/lorikeet-ai/lorikeet/demo"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/quant/huggingface/hftest"
	"github.com/lorikeet-ai/lorikeet/quant/original"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
)

const demoF16, demoNF4 = "../../demo/demo-base.f16.gguf", "../../demo/demo-base.nf4.gguf"

// originalOf opens what the demo base was quantized from.
func originalOf(t *testing.T, path string) func(string) (qlora.Original, error) {
	t.Helper()
	base, err := quant.Open(demoNF4)
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	m, err := original.Open(path, base)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return func(tensor string) (qlora.Original, error) {
		w, err := m.Weight(tensor)
		return qlora.Original{Type: w.Type, In: w.In, Out: w.Out, Heads: w.Heads, Data: w.Data}, err
	}
}

// matrixOf reads a weight (Out, In) of a file.
func matrixOf(t *testing.T, f *quant.File, name string) *mat.Dense {
	t.Helper()
	values, err := f.ReadF32(name)
	if err != nil {
		t.Fatal(err)
	}
	tensor, _ := f.Tensor(name)
	in, out := int(tensor.Dims[0]), int(tensor.Dims[1])
	w := mat.NewDense(out, in, nil)
	for i, v := range values {
		w.Set(i/in, i%in, float64(v))
	}
	return w
}

// LoftQ's product is the best approximation of its rank of what quantization lost, by gonum's singular values: from a GGUF file and
// from a Hugging Face folder, whose rows of q and k lie in another order; with DoRA too.
func TestLoftQIsTheBestApproximation(t *testing.T) {
	const rank = 8
	s := serve(t, llama.Options{Bytes: demo.Base(), Name: demo.Name})
	folder := filepath.Join(t.TempDir(), "model")
	hftest.FromGGUF(t, demoF16, folder, 2)
	whole, err := quant.Open(demoF16)
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	quantized, err := quant.Open(demoNF4)
	if err != nil {
		t.Fatal(err)
	}
	defer quantized.Close()
	for _, path := range []string{demoF16, folder} {
		spec := runtime.TrainSpec{MaxTokens: 8, Seed: 5}
		for _, m := range []string{"attn_q", "attn_k", "attn_output", "ffn_up", "ffn_down"} {
			spec.Modules = append(spec.Modules, runtime.TrainModule{Tensor: "blk.1." + m + ".weight", Rank: rank, Scale: 2, Init: runtime.InitLoftQ, DoRA: path == folder})
		}
		tr, err := qlora.New(s.model, spec, qlora.Options{Precision: qlora.Half, Original: originalOf(t, path)})
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
		for _, m := range tr.LoRA().Modules {
			var lost, left mat.Dense
			lost.Sub(matrixOf(t, whole, m.Tensor), matrixOf(t, quantized, m.Tensor))
			left.Sub(&lost, productOf(m, m.Rank))
			var f mat.SVD
			if !f.Factorize(&lost, mat.SVDNone) {
				t.Fatal("gonum found no singular values")
			}
			best := 0.0
			for _, sigma := range f.Values(nil)[rank:] {
				best += sigma * sigma
			}
			was, is := mat.Norm(&lost, 2), mat.Norm(&left, 2)
			if best = math.Sqrt(best); m.Rank != rank || !(is < 1.001*best) || !(is < 0.99*was) {
				t.Errorf("%s: %.4g was lost, with the adapter of rank %d it is %.4g, at best it would be %.4g", m.Tensor, was, m.Rank, is, best)
			}
			if m.Magnitude != nil && !(math.Abs(float64(m.Magnitude[3])-rowNorm(matrixOf(t, quantized, m.Tensor), productOf(m, m.Rank), 3)) < 1e-4) {
				t.Errorf("%s: the magnitudes do not begin at the lengths of the rows with the adapter", m.Tensor)
			}
		}
	}
}

// rowNorm is the length of a row of a sum.
func rowNorm(a, b *mat.Dense, row int) float64 {
	sum := 0.0
	for i, v := range a.RawRowView(row) {
		sum += (v + b.At(row, i)) * (v + b.At(row, i))
	}
	return math.Sqrt(sum)
}

// An original that is not the base's, or has nothing beyond it, is refused with the tensor's name, before there are values.
func TestLoftQRefusesOtherWeights(t *testing.T) {
	s := serve(t, llama.Options{Bytes: demo.Base(), Name: demo.Name})
	lend := originalOf(t, demoF16)
	const q = "blk.0.attn_q.weight"
	spec := runtime.TrainSpec{MaxTokens: 8, Modules: []runtime.TrainModule{{Tensor: q, Rank: 2, Scale: 1, Init: runtime.InitLoftQ}}}
	for want, f := range map[string]func(string) (qlora.Original, error){
		"too little in common": func(string) (qlora.Original, error) { return lend("blk.3.attn_q.weight") },
		"is 256 by ":           func(string) (qlora.Original, error) { return lend("blk.0.ffn_up.weight") },
		"no such weight":       func(string) (qlora.Original, error) { return qlora.Original{}, errors.New("no such weight") },
		"not F32, F16 or BF16": func(string) (qlora.Original, error) {
			w, err := lend(q)
			w.Data = w.Data[1:]
			return w, err
		},
		"heads of pairs": func(string) (qlora.Original, error) {
			w, err := lend(q)
			w.Heads = 1000
			return w, err
		},
	} {
		tr, err := qlora.New(s.model, spec, qlora.Options{Original: f})
		if err == nil {
			tr.Close()
		}
		if !errors.Is(err, runtime.ErrTrain) || !strings.Contains(fmt.Sprint(err), want) || !strings.Contains(err.Error(), "blk.0.attn_q") {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	single := serve(t, llama.Options{Path: single(t)})
	if _, err := qlora.New(single.model, spec, qlora.Options{Original: lend}); err == nil || !strings.Contains(err.Error(), "nothing was lost") {
		t.Errorf("a base that lost nothing gives %v", err)
	}
}

// Whatever an adapter begins with is computed in many slices, before the first micro-batch.
func TestStartsAreComputedInSlices(t *testing.T) {
	s := serve(t, llama.Options{Bytes: demo.Base(), Name: demo.Name})
	lend := originalOf(t, demoF16)
	cases := maps.Clone(inits)
	cases["loftq"] = runtime.TrainModule{Init: runtime.InitLoftQ}
	cases["DoRA"] = runtime.TrainModule{DoRA: true}
	for name, init := range cases {
		modules := inited(s.model, 16, init)
		tr, err := qlora.Open(t.Context(), s.model, runtime.TrainSpec{Modules: modules, MaxTokens: 8}, qlora.Options{Threads: 2, Original: lend})
		if err != nil {
			t.Fatal(err)
		}
		slices := 0
		for more := true; more; slices++ {
			if more, err = tr.Slice(); err != nil {
				t.Fatal(err)
			}
		}
		least := 4 // a few draws
		if name != "true" && name != "gaussian" {
			least = len(modules)
		}
		t.Logf("%s: %d slices", name, slices)
		if slices < least || len(tr.LoRA().Modules) != len(modules) {
			t.Errorf("%s: %d slices for %d modules, at least %d are expected", name, slices, len(modules), least)
		}
		tr.Close()
	}
}

//go:build cgo && linux

package llama

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// withWhole returns y, a tensor of the base with the mix's LoRAs, with its biases, norms and rows as well; x is the base's.
func withWhole(y, x []float32, t quant.Tensor, mix []use, adapters []adapter) []float32 {
	out := slices.Clone(y)
	for _, u := range mix {
		lora := adapters[u.adapter].lora
		for _, b := range lora.Biases {
			if strings.TrimSuffix(b.Tensor, "weight")+"bias" != t.Name {
				continue
			}
			for o := range out {
				base := float32(0)
				if b.Replaces {
					base = x[o]
				}
				out[o] += u.scale * (b.Values[o] - base)
			}
		}
		for _, n := range lora.Norms {
			for i := range out {
				if n.Tensor == t.Name {
					out[i] += u.scale * (n.Values[i] - x[i])
				}
			}
		}
		for _, r := range lora.Rows {
			if r.Tensor != t.Name {
				continue
			}
			for k := range len(r.Values) / r.Width {
				row := k
				if r.Tokens != nil {
					row = int(r.Tokens[k])
				}
				for i := range r.Width {
					at := row*r.Width + i
					out[at] += u.scale * (r.Values[k*r.Width+i] - x[at])
				}
			}
		}
	}
	return out
}

// wholeAdapters are two: LoRAs with biases, rows of tokens and a head, and embeddings without any LoRA but with rows
// of the head.
func wholeAdapters(t testing.TB, m *Model, s sizes) []adapter {
	rng := rand.New(rand.NewPCG(4, 4))
	values := func(n int, scale float64) []float32 {
		out := make([]float32, n)
		for i := range out {
			out[i] = float32(rng.NormFloat64() * scale)
		}
		return out
	}
	one := newAdapter(t, m, 30, 8, 8, isLinear)
	for i := range one.lora.Modules {
		one.lora.Modules[i].Scale *= 0.5
	}
	two := adapter{lora: &runtime.LoRA{}}
	one.lora.Biases = []runtime.LoRABias{
		{Tensor: "blk.0.attn_q.weight", Values: values(s.embedding, 0.1), Replaces: true},
		{Tensor: "blk.0.attn_q.weight", Values: values(s.embedding, 0.1)},
		{Tensor: "blk.1.attn_v.weight", Values: values(s.kv(), 0.1)},
	}
	two.lora.Biases = []runtime.LoRABias{{Tensor: "blk.0.attn_k.weight", Values: values(s.kv(), 0.1), Replaces: true}}
	wide := s.embedding
	one.lora.Rows = []runtime.LoRARows{
		{Tensor: "token_embd.weight", Tokens: []runtime.Token{17, 3, 500}, Width: wide, Values: values(3*wide, 0.06)},
		{Tensor: "output.weight", Width: wide, Values: values(s.vocab*wide, 0.06)},
	}
	two.lora.Rows = []runtime.LoRARows{
		{Tensor: "token_embd.weight", Width: wide, Values: values(s.vocab*wide, 0.06)},
		{Tensor: "output.weight", Tokens: []runtime.Token{511, 0, 64}, Width: wide, Values: values(3*wide, 0.06)},
	}
	return []adapter{one, two}
}

// Biases and whole rows against models that have them in their weights, in one batch with the base: in F32 to 2e-5,
// and with differences in half precision to what it rounds.
func TestWholeRowsEqualMergedWeights(t *testing.T) { everywhere(t, wholeRowsEqualMergedWeights) }

func wholeRowsEqualMergedWeights(t *testing.T, place func(Options) Options) {
	s := tiny
	s.arch, s.layers, s.vocab = "qwen2", 2, 512
	path := s.file(t)
	f := openQuant(t, path)
	ss := streams(s.vocab)[:5]
	for i, mix := range [][]use{nil, {{0, 1}}, {{1, 1}}, {{0, 0.7}, {1, 0.5}}, {{1, -0.5}}} {
		ss[i].mixes = [2][]use{mix, mix}
	}
	var want [][][]float32
	for _, single := range []bool{true, false} {
		m := openModel(t, place(Options{Path: path, KeepPlain: true, PackFloat32: single}))
		adapters := wholeAdapters(t, m, s)
		if want == nil {
			want = mergedLogits(t, f, s.arch, adapters, ss)
		}
		for _, backend := range []Backend{Fused, MMID} {
			t.Run(fmt.Sprintf("float32=%v/backend%d", single, backend), func(t *testing.T) {
				got := compare(ourLogits(t, m, openDevice(t, m, proofDevice(backend, 32)), adapters, ss), want)
				t.Log(got)
				most := 2e-5
				if !single {
					most = 5e-3
				}
				if !(got.most <= most) || got.argmax != got.ties {
					t.Errorf("want at most %g and no other argmax", most)
				}
			})
		}
		p := pack(t, m, adapters[0].lora)
		least := int64(s.vocab*s.embedding) * 2
		if single {
			least *= 2
		}
		if p.Bytes() < least {
			t.Errorf("it says that it holds %d bytes, the head alone has %d", p.Bytes(), least)
		}
	}
}

func TestWholeRowsRefuse(t *testing.T) {
	m := openModel(t, Options{Path: tiny.file(t)})
	row := make([]float32, tiny.embedding)
	huge := slices.Clone(row)
	huge[5] = 1e6
	for name, c := range map[string]struct {
		lora runtime.LoRA
		part string
	}{
		"bias": {runtime.LoRA{Biases: []runtime.LoRABias{{Tensor: "blk.0.attn_q.weight", Values: row, Replaces: true}}}, "the base has no blk.0.attn_q.bias"},
		"token": {runtime.LoRA{Rows: []runtime.LoRARows{{Tensor: "output.weight", Tokens: []runtime.Token{int32(tiny.vocab)}, Width: len(row), Values: row}}},
			"output.weight: it has no row 1024"},
		"twice": {runtime.LoRA{Rows: []runtime.LoRARows{{Tensor: "output.weight", Tokens: []runtime.Token{1, 1}, Width: len(row), Values: slices.Concat(row, row)}}},
			"output.weight: row 1 is given twice"},
		"not all": {runtime.LoRA{Rows: []runtime.LoRARows{{Tensor: "output.weight", Width: len(row), Values: row}}}, "output.weight"},
		"linear":  {runtime.LoRA{Rows: []runtime.LoRARows{{Tensor: "blk.0.attn_q.weight", Tokens: []runtime.Token{0}, Width: len(row), Values: row}}}, "blk.0.attn_q.weight"},
		"large": {runtime.LoRA{Rows: []runtime.LoRARows{{Tensor: "token_embd.weight", Tokens: []runtime.Token{1}, Width: len(row), Values: huge}}},
			"token_embd.weight: a replaced row holds"},
	} {
		if _, err := m.Pack(&c.lora); !errors.Is(err, runtime.ErrAdapter) || !strings.Contains(err.Error(), c.part) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

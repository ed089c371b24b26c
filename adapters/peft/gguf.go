package peft

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file turns adapters in GGUF's terms, a llama.cpp LoRA file or a runtime.LoRA, into a source: the
// canonical PEFT form. Source of the file's meaning: github.com/ggml-org/llama.cpp, src/llama-adapter.cpp.

// pair is one LoRA in GGUF's names and row order, its values not read yet.
type pair struct {
	tensor string // the base's
	shape  runtime.Shape
	rank   int
	scale  float32
	names  [2]string // of the two tensors, for errors
	a, b   func() ([]float32, error)
}

// FromGGUF reads the header of a GGUF LoRA file of size bytes, which must stay readable while the source is
// in use. The error wraps ErrFormat or ErrUnsupported.
func FromGGUF(f *runtime.Facts, r io.ReaderAt, size int64) (*Source, error) {
	file, err := quant.Read(r, size)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	alpha, err := checkGGUF(f, &file.Metadata)
	if err != nil {
		return nil, err
	}
	halves := make(map[string]*[2]quant.Tensor)
	for _, t := range file.Tensors {
		base, part := strings.TrimSuffix(t.Name, ".lora_a"), sideA
		if base == t.Name {
			base, part = strings.TrimSuffix(t.Name, ".lora_b"), sideB
		}
		if base == t.Name {
			return nil, fmt.Errorf("%w: tensor %q is neither a lora_a nor a lora_b", ErrUnsupported, t.Name)
		}
		if halves[base] == nil {
			halves[base] = new([2]quant.Tensor)
		}
		halves[base][part] = t
	}
	invocation, err := ggufInvocation(&file.Metadata)
	if err != nil {
		return nil, err
	}
	var pairs []pair
	for _, base := range slices.Sorted(maps.Keys(halves)) {
		p, err := ggufPair(file, base, halves[base], alpha)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, p)
	}
	return pairSource(f, pairs, invocation)
}

// checkGGUF checks what the file says it is and returns its alpha.
func checkGGUF(f *runtime.Facts, m *quant.Metadata) (alpha float64, err error) {
	for _, want := range []struct{ key, value string }{
		{"general.type", "adapter"},
		{"adapter.type", "lora"},
		{"general.architecture", f.Architecture},
	} {
		if v, _ := m.String(want.key); v != want.value {
			return 0, fmt.Errorf("%w: %s is %q, %q is expected", ErrUnsupported, want.key, v, want.value)
		}
	}
	if v, ok := m.Get("adapter.lora.alpha"); ok {
		if alpha, ok = m.Float("adapter.lora.alpha"); !ok || math.IsNaN(alpha) || math.IsInf(alpha, 0) {
			return 0, fmt.Errorf("%w: adapter.lora.alpha is %v, a finite number is expected", ErrFormat, v)
		}
	}
	return alpha, nil
}

// ggufPair checks the two tensors against each other. lora_a is (rank, in), lora_b (out, rank), row-major. Of the
// token embeddings lora_a is (vocabulary, rank), since its rows are looked up, and lora_b (width, rank).
func ggufPair(file *quant.File, base string, t *[2]quant.Tensor, alpha float64) (pair, error) {
	a, b := &t[sideA], &t[sideB]
	if a.Name == "" || b.Name == "" {
		return pair{}, fmt.Errorf("%w: tensor %q has no partner", ErrFormat, a.Name+b.Name)
	}
	for _, x := range t {
		if len(x.Dims) != 2 {
			return pair{}, fmt.Errorf("%w: tensor %q has %d dimensions, 2 are expected", ErrFormat, x.Name, len(x.Dims))
		}
	}
	p := pair{tensor: base, scale: 1, names: [2]string{a.Name, b.Name},
		a: func() ([]float32, error) { return file.ReadF32(a.Name) },
		b: func() ([]float32, error) { return file.ReadF32(b.Name) },
	}
	in, rank, out := a.Dims[0], a.Dims[1], b.Dims[1]
	if base == "token_embd.weight" {
		in, rank, out = b.Dims[1], a.Dims[0], a.Dims[1]
		p.b = p.a
		p.a = func() ([]float32, error) {
			v, err := file.ReadF32(b.Name)
			if err != nil {
				return nil, err
			}
			return transpose(v, int(in), int(rank)), nil
		}
	}
	if b.Dims[0] != rank || rank > MaxRank {
		return pair{}, fmt.Errorf("%w: tensors %q and %q have ranks %d and %d", ErrFormat, a.Name, b.Name, rank, b.Dims[0])
	}
	p.shape, p.rank = runtime.Shape{In: int(in), Out: int(out)}, int(rank)
	if alpha != 0 {
		p.scale = float32(alpha / float64(rank))
	}
	return p, nil
}

// transpose turns a (rows, columns) matrix.
func transpose(m []float32, rows, columns int) []float32 {
	out := make([]float32, len(m))
	for r := range rows {
		for c := range columns {
			out[c*rows+r] = m[r*columns+c]
		}
	}
	return out
}

// pairSource gives the pairs PEFT's names and row order.
func pairSource(f *runtime.Facts, pairs []pair, invocation []runtime.Token) (*Source, error) {
	list := make([]Matrices, len(pairs))
	for i, p := range pairs {
		path, ok := peftModule(p.tensor)
		if !ok {
			return nil, fmt.Errorf("%w: tensor %q: %s", runtime.ErrAdapter, p.names[sideA], whyNoTarget(f, p.tensor))
		}
		list[i] = p.matrices(f, path)
	}
	return FromMatrices(list, invocation)
}

// matrices returns the module's matrices as PEFT has them.
func (p *pair) matrices(f *runtime.Facts, path string) Matrices {
	m := Matrices{Path: path, Rank: p.rank, In: p.shape.In, Out: p.shape.Out, Scale: p.scale, A: p.a, B: p.b,
		names: [3]string{p.names[sideA], p.names[sideB]}}
	if path == embeddingModule {
		m.A = changed(p.b, func(v []float32) ([]float32, error) { return transpose(v, p.shape.Out, p.rank), nil })
		m.B = changed(p.a, func(v []float32) ([]float32, error) { return transpose(v, p.rank, p.shape.In), nil })
		m.In, m.Out = m.Out, m.In
	} else if n := heads(f, p.tensor); n > 0 {
		m.B = changed(p.b, func(v []float32) ([]float32, error) { return permute(v, p.shape.Out, n, false) })
	}
	return m
}

// changed applies change to values that are computed when they are read.
func changed(values func() ([]float32, error), change func([]float32) ([]float32, error)) func() ([]float32, error) {
	return func() ([]float32, error) {
		v, err := values()
		if err != nil {
			return nil, err
		}
		return change(v)
	}
}

package pefttest

import (
	"bytes"
	"io"
	"maps"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// GGUF is a llama.cpp LoRA file that a test changes before it is encoded.
type GGUF struct {
	Meta    map[string]any
	Tensors map[string]GGUFTensor
}

// GGUFTensor is one tensor of it.
type GGUFTensor struct {
	Dims   []int64
	Kind   quant.Type
	Values []float32
}

// NewGGUF writes an adapter's modules as llama.cpp's converter does.
func NewGGUF(a *runtime.LoRA, alpha float32) *GGUF {
	g := &GGUF{Meta: map[string]any{"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora",
		"adapter.lora.alpha": alpha}, Tensors: map[string]GGUFTensor{}}
	if len(a.Invocation) > 0 {
		list := make([]uint32, len(a.Invocation))
		for i, t := range a.Invocation {
			list[i] = uint32(t)
		}
		g.Meta["adapter.alora.invocation_tokens"] = list
	}
	for _, m := range a.Modules {
		g.Tensors[m.Tensor+".lora_a"] = GGUFTensor{[]int64{int64(m.In), int64(m.Rank)}, quant.F32, m.A}
		g.Tensors[m.Tensor+".lora_b"] = GGUFTensor{[]int64{int64(m.Rank), int64(m.Out)}, quant.F32, m.B}
	}
	return g
}

// Encode returns the file.
func (g *GGUF) Encode(t testing.TB) []byte {
	t.Helper()
	var m quant.Metadata
	for _, k := range slices.Sorted(maps.Keys(g.Meta)) {
		m.Set(k, g.Meta[k])
	}
	names := slices.Sorted(maps.Keys(g.Tensors))
	var tensors []quant.Tensor
	for _, n := range names {
		tensors = append(tensors, quant.Tensor{Name: n, Type: g.Tensors[n].Kind, Dims: g.Tensors[n].Dims})
	}
	var b bytes.Buffer
	if err := quant.Encode(&b, &m, tensors, func(i int, w io.Writer) error {
		d := g.Tensors[names[i]]
		raw := make([]byte, 4*len(d.Values))
		if d.Kind == quant.F16 {
			raw = raw[:2*len(d.Values)]
			quant.EncodeF16(raw, d.Values)
		} else {
			quant.EncodeF32(raw, d.Values)
		}
		_, err := w.Write(raw)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

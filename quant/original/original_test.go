package original_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/quant/huggingface/hftest"
	"github.com/lorikeet-ai/lorikeet/quant/original"
)

const whole, quantized = "../../demo/demo-base.f16.gguf", "../../demo/demo-base.nf4.gguf"

func open(t *testing.T, path string) *quant.File {
	t.Helper()
	f, err := quant.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// valuesOf decodes a weight, in GGUF's order of rows.
func valuesOf(t *testing.T, w original.Weight) []float32 {
	t.Helper()
	raw := make([]float32, w.In*w.Out)
	switch w.Type {
	case "F16":
		quant.DecodeF16(raw, w.Data)
	case "F32":
		quant.DecodeF32(raw, w.Data)
	default:
		t.Fatalf("type %s", w.Type)
	}
	if w.Heads == 0 {
		return raw
	}
	values, half := make([]float32, len(raw)), w.Out/w.Heads/2
	for row := range w.Out {
		from := (2*(row/(2*half))+row%2)*half + row%(2*half)/2
		copy(values[row*w.In:(row+1)*w.In], raw[from*w.In:])
	}
	return values
}

// A base's original is read from a GGUF file and from a Hugging Face folder: the same weights.
func TestWeights(t *testing.T) {
	base, file := open(t, quantized), open(t, whole)
	folder := filepath.Join(t.TempDir(), "model")
	hftest.FromGGUF(t, whole, folder, 2)
	for _, path := range []string{whole, folder} {
		m, err := original.Open(path, base)
		if err != nil {
			t.Fatal(err)
		}
		for _, tensor := range []string{"blk.0.attn_q.weight", "blk.1.attn_k.weight", "blk.0.ffn_down.weight", "token_embd.weight"} {
			w, err := m.Weight(tensor)
			if err != nil {
				t.Fatal(err)
			}
			want, err := file.ReadF32(tensor)
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range valuesOf(t, w) {
				if v != want[i] {
					t.Fatalf("%s of %s: value %d is %v, want %v", tensor, path, i, v, want[i])
				}
			}
		}
		if _, err := m.Weight("blk.0.attn_norm.weight"); err == nil {
			t.Error("a norm is lent as a matrix")
		}
		if _, err := m.Weight("output.weight"); err == nil {
			t.Error("a head is lent that the model has not")
		}
		for range 2 {
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// What is not the base's original is refused with what differs, and so are weights that are quantized.
func TestRefusals(t *testing.T) {
	base := open(t, quantized)
	if _, err := original.Open(filepath.Join(t.TempDir(), "none.gguf"), base); err == nil {
		t.Error("no file is taken for the original")
	}
	copied := func(change func(m *quant.Metadata, tensors []quant.Tensor)) *quant.File {
		f := open(t, quantized)
		change(&f.Metadata, f.Tensors)
		return f
	}
	for want, other := range map[string]*quant.File{
		"its architecture is": copied(func(m *quant.Metadata, _ []quant.Tensor) { m.Set("general.architecture", "qwen2-nf4") }),
		"other tokens":        copied(func(m *quant.Metadata, _ []quant.Tensor) { m.Set("tokenizer.ggml.tokens", []string{"a"}) }),
		"it has no blk.9": copied(func(_ *quant.Metadata, list []quant.Tensor) {
			for i := range list {
				if list[i].Name == "blk.0.attn_q.weight" {
					list[i].Name = "blk.99.attn_q.weight"
				}
			}
		}),
		"its blk.0.attn_q.weight is": copied(func(_ *quant.Metadata, list []quant.Tensor) {
			for i := range list {
				if list[i].Name == "blk.0.attn_q.weight" {
					list[i].Dims = []int64{32, 32}
				}
			}
		}),
	} {
		if _, err := original.Open(whole, other); !errors.Is(err, original.ErrOriginal) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if _, err := original.Open(quantized, base); !errors.Is(err, original.ErrOriginal) || !strings.Contains(err.Error(), "F32, F16 or BF16 is needed") {
		t.Errorf("a quantized model gives %v", err)
	}
}

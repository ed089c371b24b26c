//go:build cgo && linux

package llama

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// What Quantize writes is what llama.cpp's own quantizer writes: the same metadata, the same tensors in the same order,
// the same bytes, of a base whose rows are whole blocks of the K types and of one that has smaller rows.
func TestQuantizeIsTheLibrarys(t *testing.T) {
	for _, in := range []string{tiny.file(t), "../../demo/demo-base.f16.gguf"} {
		for _, typ := range QuantizeTypes {
			ours, theirs := filepath.Join(t.TempDir(), "ours.gguf"), filepath.Join(t.TempDir(), "theirs.gguf")
			if err := Quantize(t.Context(), in, ours, typ, 2, nil); err != nil {
				t.Fatal(err)
			}
			if err := library(in, theirs, typ, 2, nil); err != nil {
				t.Fatal(err)
			}
			sameModel(t, in+" as "+typ, ours, theirs)
		}
	}
}

func sameModel(t *testing.T, what, a, b string) {
	t.Helper()
	var files [2]*quant.File
	for i, path := range []string{a, b} {
		f, err := quant.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[i] = f
	}
	var pairs [2]map[string]any
	for i, f := range files {
		pairs[i] = map[string]any{}
		for key, value := range f.Metadata.All() {
			pairs[i][key] = value
		}
	}
	if !reflect.DeepEqual(pairs[0], pairs[1]) {
		t.Errorf("%s: the metadata differ", what)
	}
	if len(files[0].Tensors) != len(files[1].Tensors) {
		t.Fatalf("%s: %d tensors, want %d", what, len(files[0].Tensors), len(files[1].Tensors))
	}
	for i, got := range files[0].Tensors {
		want := files[1].Tensors[i]
		if got.Name != want.Name || got.Type != want.Type || !reflect.DeepEqual(got.Dims, want.Dims) {
			t.Fatalf("%s: tensor %d is %v, want %v", what, i, got, want)
		}
		if !bytes.Equal(tensorBytes(t, files[0], got.Name), tensorBytes(t, files[1], got.Name)) {
			t.Errorf("%s: the bytes of %s differ", what, got.Name)
		}
	}
}

func tensorBytes(t *testing.T, f *quant.File, name string) []byte {
	t.Helper()
	r, err := f.TensorReader(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A weight that is no number is named, also where its tensor is only copied; so is one that the type's scales cannot
// hold. A run whose context ends leaves nothing.
func TestQuantizeRefuses(t *testing.T) {
	dir := t.TempDir()
	f, err := quant.Open(tiny.file(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, value := range map[string]float32{
		"output_norm.weight": float32(math.NaN()), "blk.0.ffn_up.weight": float32(math.Inf(1)), "blk.0.attn_q.weight": 1e8,
	} {
		broken, out := filepath.Join(dir, "broken.gguf"), filepath.Join(dir, "out.gguf")
		writeWith(t, f, broken, name, value)
		if err := Quantize(t.Context(), broken, out, "q4_0", 1, nil); !errors.Is(err, ErrQuantize) || !strings.Contains(err.Error(), name) {
			t.Errorf("%g in %s: error %v, want one that names the tensor", value, name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Quantize(ctx, tiny.file(t), filepath.Join(dir, "out.gguf"), "q4_0", 1, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left are %v (%v), want broken.gguf alone", left, err)
	}
}

// writeWith writes a copy of f in F32 with another first weight of a tensor.
func writeWith(t *testing.T, f *quant.File, path, name string, first float32) {
	t.Helper()
	tensors := append([]quant.Tensor(nil), f.Tensors...)
	for i := range tensors {
		tensors[i].Type = quant.F32
	}
	err := quant.WriteFile(path, &f.Metadata, tensors, func(i int, w io.Writer) error {
		x, err := f.ReadF32(tensors[i].Name)
		if err == nil && tensors[i].Name == name {
			x[0] = first
		}
		return errors.Join(err, writeF32(w, x))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestQuantizeNamesUnfitTensors: a matrix whose rows are not whole blocks is named, with what can be done.
func TestQuantizeNamesUnfitTensors(t *testing.T) {
	odd := tiny
	odd.feedForward = 100
	in, out := odd.file(t), filepath.Join(t.TempDir(), "out.gguf")
	err := Quantize(t.Context(), in, out, "q8_0", 1, nil)
	if !errors.Is(err, ErrQuantize) || !errors.Is(err, quant.ErrType) ||
		!strings.Contains(err.Error(), `tensor "blk.0.ffn_down.weight" has dimensions [100 256]: q8_0 needs a first dimension that is a multiple of 32`) {
		t.Errorf("the error is %v", err)
	}
	if err := Quantize(t.Context(), in, out, "q4_k_m", 1, nil); err != nil { // llama.cpp takes F16 for such tensors there
		t.Error(err)
	}
}

package quant

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"
)

// A skeleton keeps all but the rows, and WriteLike follows another model's order, types and metadata.
func TestWriteLike(t *testing.T) {
	m := everyType()
	tensors := []Tensor{{Name: "a.weight", Type: F16, Dims: []int64{64, 5}}, {Name: "b.weight", Type: F32, Dims: []int64{32}},
		{Name: "c.weight", Type: F32, Dims: []int64{32, 3, 4}}}
	values := [][]float32{ramp(320), ramp(32), ramp(384)}
	raw := encode(t, m, tensors, values)
	f, err := Read(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "skeleton.gguf")
	if err := f.Skeleton(path); err != nil {
		t.Fatal(err)
	}
	like, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer like.Close()
	for i, want := range [][]int64{{64, 2}, {32}, {32, 2, 2}} {
		got := like.Tensors[i]
		if got.Name != tensors[i].Name || got.Type != tensors[i].Type || len(got.Dims) != len(want) || got.Elements() != (Tensor{Dims: want}).Elements() {
			t.Errorf("the skeleton has %+v, want dimensions %v", got, want)
		}
	}
	like.Tensors[0], like.Tensors[2] = like.Tensors[2], like.Tensors[0]
	like.Tensors[0].Type, like.Tensors[2].Type = BF16, Q8_0
	like.Metadata.Set("added", uint32(1))
	checkLike(t, f, like, values)

	like.Tensors = like.Tensors[:2]
	if _, err := f.WriteLike(t.Context(), path, like, ownCodec, Options{}); !errors.Is(err, ErrNoTensor) {
		t.Errorf("a tensor without a type: %v, want ErrNoTensor", err)
	}
}

func checkLike(t *testing.T, f, like *File, values [][]float32) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out.gguf")
	if _, err := f.WriteLike(t.Context(), out, like, ownCodec, Options{Threads: 2}); err != nil {
		t.Fatal(err)
	}
	got, err := Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if added, _ := got.Metadata.Uint("added"); added != 1 {
		t.Error("the metadata are not like's")
	}
	for i, source := range []int{2, 1, 0} {
		if got.Tensors[i].Name != like.Tensors[i].Name || got.Tensors[i].Type != like.Tensors[i].Type {
			t.Errorf("tensor %d is %+v, want %s in %s", i, got.Tensors[i], like.Tensors[i].Name, like.Tensors[i].Type)
		}
		x, err := got.ReadF32(got.Tensors[i].Name)
		if err != nil {
			t.Fatal(err)
		}
		for j, want := range values[source] {
			if d := x[j] - want; d > 0.02 || d < -0.02 {
				t.Fatalf("%s: weight %d is %g, want %g", got.Tensors[i].Name, j, x[j], want)
			}
		}
	}
}

// ramp is n weights from -1 to 1.
func ramp(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = 2*float32(i)/float32(n) - 1
	}
	return x
}

func ownCodec(t Type) (Codec, error) {
	decode, err := Tensor{Type: t}.decoder()
	return Codec{Decode: decode, Encode: encoders[t]}, err
}

package quant

import (
	"bytes"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// everyType is metadata with a value of every type that GGUF has.
func everyType() Metadata {
	var m Metadata
	m.Set("general.architecture", "llama")
	for _, v := range []any{
		uint8(200), int8(-3), uint16(60000), int16(-300), uint32(4e9), int32(-7), float32(1.5), true, "",
		uint64(math.MaxUint64), int64(-1 << 40), 2.25,
		[]uint8{1, 2}, []int8{-1}, []uint16{}, []int16{-2, 5}, []uint32{9}, []int32{1, 2, 3}, []float32{0.5},
		[]bool{true, false}, []string{"a", "", "\x00\xff"}, []uint64{1 << 60}, []int64{-1}, []float64{1, 2},
	} {
		m.Set("x."+reflect.TypeOf(v).String(), v)
	}
	return m
}

// encode returns a GGUF file with the weights of each tensor encoded from values.
func encode(t testing.TB, m Metadata, tensors []Tensor, values [][]float32) []byte {
	t.Helper()
	var b bytes.Buffer
	err := Encode(&b, &m, tensors, func(i int, w io.Writer) error {
		size, err := tensors[i].Type.size(tensors[i].Dims)
		if err != nil {
			return err
		}
		raw := make([]byte, size)
		switch tensors[i].Type {
		case F32:
			EncodeF32(raw, values[i])
		case F16:
			EncodeF16(raw, values[i])
		case BF16:
			EncodeBF16(raw, values[i])
		case Q8_0:
			EncodeQ8_0(raw, values[i])
		case Q6_K:
			EncodeQ6_K(raw, values[i])
		case NF4:
			EncodeNF4Exact(raw, values[i])
		case NF4_64:
			EncodeNF4_64Exact(raw, values[i])
		case NF4_DQ:
			EncodeNF4DQExact(raw, values[i], int(tensors[i].Dims[0]))
		}
		_, err = w.Write(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func normal(r *rand.Rand, n int64, sigma float64) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(r.NormFloat64() * sigma)
	}
	return out
}

func mustRead(t testing.TB, b []byte) *File {
	t.Helper()
	f, err := Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestMetadataRoundTrip(t *testing.T) {
	want := everyType()
	got := mustRead(t, encode(t, want, nil, nil)).Metadata
	if !reflect.DeepEqual(got.pairs, want.pairs) {
		t.Errorf("metadata changed:\ngot  %v\nwant %v", got.pairs, want.pairs)
	}
}

func TestMetadataLookups(t *testing.T) {
	m := everyType()
	for _, key := range []string{"x.uint8", "x.int8", "x.uint16", "x.int16", "x.uint32", "x.int32", "x.int64"} {
		if _, ok := m.Int(key); !ok {
			t.Errorf("Int(%q) is not there", key)
		}
	}
	if u, ok := m.Uint("x.uint64"); u != math.MaxUint64 || !ok {
		t.Errorf("Uint(x.uint64) = %d, %v", u, ok)
	}
	if _, ok := m.Int("x.uint64"); ok {
		t.Error("Int gives a value beyond int64")
	}
	if _, ok := m.Uint("x.int8"); ok {
		t.Error("Uint gives a negative value")
	}
	if f, ok := m.Float("x.float32"); f != 1.5 || !ok {
		t.Errorf("Float(x.float32) = %g, %v", f, ok)
	}
	if f, ok := m.Float("x.float64"); f != 2.25 || !ok {
		t.Errorf("Float(x.float64) = %g, %v", f, ok)
	}
	if i, ok := m.Ints("x.[]int32"); !reflect.DeepEqual(i, []int64{1, 2, 3}) || !ok {
		t.Errorf("Ints(x.[]int32) = %v, %v", i, ok)
	}
	if s, ok := m.Strings("x.[]string"); len(s) != 3 || !ok {
		t.Errorf("Strings = %q, %v", s, ok)
	}
	if b, ok := m.Bool("x.bool"); !b || !ok {
		t.Errorf("Bool = %v, %v", b, ok)
	}
	for _, key := range []string{"x.float32", "no such key"} {
		if s, ok := m.String(key); ok {
			t.Errorf("String(%q) = %q", key, s)
		}
	}
}

func TestMetadataSetAndClone(t *testing.T) {
	var m Metadata
	m.Set("a", "1")
	m.Set("b", "2")
	c := m.Clone()
	c.Set("a", "3")
	c.Set("c", "4")
	var order []string
	for k := range c.All() {
		order = append(order, k)
	}
	if a, _ := m.String("a"); a != "1" || m.Len() != 2 || strings.Join(order, "") != "abc" {
		t.Errorf("original %v, clone's order %v", m.pairs, order)
	}
}

func TestTensorRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var m Metadata
	m.Set("general.architecture", "llama-nf4")
	m.Set("general.alignment", uint32(64))
	// Tolerances relative to the largest weight of a block: half a step of each encoding, and F32 exactly.
	cases := []struct {
		Tensor
		tolerance float64
	}{
		{Tensor{Name: "f32", Type: F32, Dims: []int64{5, 3, 2, 2}}, 0},
		{Tensor{Name: "f16", Type: F16, Dims: []int64{7, 3}}, 0x1p-11},
		{Tensor{Name: "bf16", Type: BF16, Dims: []int64{33}}, 0x1p-8},
		{Tensor{Name: "q8_0", Type: Q8_0, Dims: []int64{64, 3}}, 0.5 / 127 * 1.01},
		{Tensor{Name: "nf4", Type: NF4, Dims: []int64{96, 2}}, widest/2 + 0x1p-11},
		{Tensor{Name: "nf4-64", Type: NF4_64, Dims: []int64{192, 2}}, widest/2 + 0x1p-11},
		{Tensor{Name: "q6_k", Type: Q6_K, Dims: []int64{256, 2}}, 0.03},
		{Tensor{Name: "nf4-dq", Type: NF4_DQ, Dims: []int64{1088, 19}}, widest/2 + 1.0/127},
	}
	var tensors []Tensor
	var values [][]float32
	for _, c := range cases {
		tensors = append(tensors, c.Tensor)
		values = append(values, normal(r, c.Elements(), 1))
	}
	f := mustRead(t, encode(t, m, tensors, values))
	for i, c := range cases {
		got, err := f.ReadF32(c.Name)
		if err != nil {
			t.Fatal(err)
		}
		bound := c.tolerance * float64(absmax(values[i]))
		for j := range got {
			if e := math.Abs(float64(got[j] - values[i][j])); e > bound {
				t.Errorf("%s[%d]: %g became %g, error beyond %g", c.Name, j, values[i][j], got[j], bound)
			}
		}
		if f.Tensors[i].Offset%64 != 0 || !reflect.DeepEqual(f.Tensors[i].Dims, c.Dims) {
			t.Errorf("%s is at %d with dimensions %v", c.Name, f.Tensors[i].Offset, f.Tensors[i].Dims)
		}
	}
}

func TestReadF32Errors(t *testing.T) {
	var m Metadata
	m.Set("general.architecture", "llama")
	f := mustRead(t, encode(t, m, []Tensor{{Name: "w", Type: IQ4_NL, Dims: []int64{32}}}, [][]float32{make([]float32, 32)}))
	if _, err := f.ReadF32("w"); !errors.Is(err, ErrType) || !strings.Contains(err.Error(), "IQ4_NL") {
		t.Errorf("IQ4_NL of an unmarked file: %v", err)
	}
	if _, err := f.ReadF32("v"); !errors.Is(err, ErrNoTensor) {
		t.Errorf("no tensor: %v", err)
	}
	if _, err := f.TensorReader("v"); !errors.Is(err, ErrNoTensor) {
		t.Errorf("no tensor: %v", err)
	}
}

func TestEncodeErrors(t *testing.T) {
	none := func(int, io.Writer) error { return nil }
	for want, c := range map[string]struct {
		value   any
		tensors []Tensor
		data    Data
	}{
		"GGUF has no type for int":      {value: 5},
		"GGUF has no type for [][]int8": {value: [][]int8{{1}}},
		"empty or used twice":           {tensors: []Tensor{{Name: "a", Dims: []int64{1}}, {Name: "a", Dims: []int64{1}}}},
		"not whole Q8_0 blocks":         {tensors: []Tensor{{Name: "a", Type: Q8_0, Dims: []int64{31}}}},
		"unknown weight type 4":         {tensors: []Tensor{{Name: "a", Type: 4, Dims: []int64{32}}}},
		"4 of its 4 bytes are missing":  {tensors: []Tensor{{Name: "a", Dims: []int64{1}}}},
		`tensor "a": 1 bytes more than its`: {tensors: []Tensor{{Name: "a", Dims: []int64{1}}}, data: func(_ int, w io.Writer) error {
			_, err := w.Write(make([]byte, 5))
			return err
		}},
	} {
		var m Metadata
		if c.value != nil {
			m.Set("k", c.value)
		}
		if c.data == nil {
			c.data = none
		}
		if err := Encode(io.Discard, &m, c.tensors, c.data); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestWriteFileLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.gguf")
	if err := os.WriteFile(path, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	var m Metadata
	tensors := []Tensor{{Name: "a", Dims: []int64{1}}}
	broken := errors.New("broken")
	err := WriteFile(path, &m, tensors, func(_ int, w io.Writer) error {
		w.Write([]byte{1, 2})
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	expectOnly(t, dir, "m.gguf")
	if b, _ := os.ReadFile(path); string(b) != "before" {
		t.Errorf("the file now holds %q", b)
	}
	err = WriteFile(path, &m, tensors, func(_ int, w io.Writer) error {
		_, err := w.Write([]byte{0, 0, 0x80, 0x3f})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	expectOnly(t, dir, "m.gguf")
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := f.ReadF32("a"); err != nil || v[0] != 1 {
		t.Errorf("read back %v, %v", v, err)
	}
	if err := errors.Join(f.Close(), f.Close()); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

// expectOnly fails the test unless dir holds the named files and no other.
func expectOnly(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("the folder holds %v, want %v", got, names)
	}
}

// allocated returns the bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

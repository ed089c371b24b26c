package quant

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWriteAs writes a view, whose tensors lie one after the other in memory, in other types.
func TestWriteAs(t *testing.T) {
	var m Metadata
	m.Set("general.architecture", "llama")
	weights := []float32{1, -2, 3, 70000}
	data := make([]byte, 16)
	EncodeF32(data, weights)
	half := make([]byte, 4)
	EncodeF16(half, []float32{0.5, -8})
	list := []Tensor{{Name: "a", Dims: []int64{2, 2}}, {Name: "b", Type: F16, Dims: []int64{2}}}
	f, err := View(m, list, bytes.NewReader(append(data, half...)))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	out := filepath.Join(dir, "out.gguf")
	same := func(x Tensor) Type { return x.Type }
	for _, c := range []struct {
		a, b Type
		err  string
	}{
		{F32, F16, ""}, {BF16, F32, ""}, {F16, F32, `tensor "a": a weight of magnitude 70000 is too large for F16`},
		{Q8_0, F16, `tensor "a": dimensions [2 2] are not whole Q8_0 blocks`}, {F32, 2, `tensor "b": dimensions`}, {26, F16, `tensor "a": unsupported weight type: I32`},
	} {
		to := map[string]Type{"a": c.a, "b": c.b}
		_, err := f.WriteAs(context.Background(), out, &m, func(x Tensor) Type { return to[x.Name] }, Options{})
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v: got %v, want %q", to, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		written, err := Open(out)
		if err != nil {
			t.Fatal(err)
		}
		for name, typ := range to {
			tensor, _ := written.Tensor(name)
			x, err := written.ReadF32(name)
			first := map[string]float32{"a": 1, "b": 0.5}[name]
			if err != nil || tensor.Type != typ || x[0] != first {
				t.Errorf("%v: tensor %+v holds %v (%v)", to, tensor, x, err)
			}
		}
		if err := errors.Join(written.Close(), os.Remove(out)); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left (%v)", left, err)
	}
	if _, err := View(m, append(list, list[0]), bytes.NewReader(nil)); err == nil || !strings.Contains(err.Error(), `tensor "a" occurs twice`) {
		t.Errorf("got %v", err)
	}
	if _, err := f.WriteAs(context.Background(), filepath.Join(dir, "no", "where"), &m, same, Options{}); err == nil {
		t.Error("a file was written into no folder")
	}
}

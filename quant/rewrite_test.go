package quant

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// plus adds to every weight a number that depends on its place.
func plus(first int64, w []float32) error {
	for i := range w {
		w[i] += float32((first+int64(i))%7) * 0.25
	}
	return nil
}

// rewriting changes the named tensors by plus.
func rewriting(names ...string) Rewriting {
	return Rewriting{
		Changes: func(name string) bool { return slices.Contains(names, name) },
		Change:  func(string) (Change, error) { return plus, nil },
		Threads: 3,
	}
}

func rawBytes(t testing.TB, f *File, name string) []byte {
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

func mustOpen(t testing.TB, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// Every tensor keeps its type; those that change are decoded, changed and encoded, the others keep their bytes.
func TestRewriteKeepsTypes(t *testing.T) {
	dir := t.TempDir()
	plain, _ := modelFile(t, dir)
	nf4 := filepath.Join(dir, "nf4.gguf")
	if _, err := Quantize(context.Background(), plain, nf4, Options{Type: "nf4"}); err != nil {
		t.Fatal(err)
	}
	for _, in := range []string{plain, nf4} {
		changed := []string{"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight", "blk.0.attn_output.weight", "blk.0.ffn_down.weight", "token_embd.weight"}
		r := rewriting(changed...)
		r.Copies = map[string]string{"copy.weight": "output.weight"}
		r.Set = map[string]any{"merged": "yes"}
		var last, total int64
		r.Progress = func(d, n int64) { last, total = d, n }
		out := filepath.Join(dir, "out.gguf")
		if err := Rewrite(context.Background(), in, out, r); err != nil {
			t.Fatal(err)
		}
		if last != total || last == 0 {
			t.Errorf("progress ended at %d of %d", last, total)
		}
		old, f := mustOpen(t, in), mustOpen(t, out)
		if len(f.Tensors) != len(model)+1 || f.Architecture() != old.Architecture() {
			t.Errorf("%d tensors of %s", len(f.Tensors), f.Architecture())
		}
		if v, _ := f.Metadata.String("merged"); v != "yes" {
			t.Errorf("merged is %q", v)
		}
		for _, a := range old.Tensors {
			b, _ := f.Tensor(a.Name)
			if b.Type != a.Type {
				t.Errorf("%s is %s, was %s", a.Name, b.Type, a.Type)
			}
			want := rawBytes(t, old, a.Name)
			if slices.Contains(changed, a.Name) {
				want = again(t, old, a)
			}
			if !bytes.Equal(rawBytes(t, f, a.Name), want) {
				t.Errorf("%s (%s) has other bytes than expected", a.Name, a.Type)
			}
		}
		if !bytes.Equal(rawBytes(t, f, "copy.weight"), rawBytes(t, old, "output.weight")) {
			t.Error("the copy is none")
		}
	}
}

// again changes and encodes all of a tensor at once, by the codec of its type.
func again(t testing.TB, f *File, a Tensor) []byte {
	t.Helper()
	w, err := f.ReadF32(a.Name)
	if err != nil {
		t.Fatal(err)
	}
	if err := plus(0, w); err != nil {
		t.Fatal(err)
	}
	var r Rewriting
	c, err := r.codec(a)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]byte, a.Size)
	c.Encode(out, w)
	return out
}

// Plain gives F32 for what changes and what is in blocks, and the plain architecture.
func TestRewritePlain(t *testing.T) {
	dir := t.TempDir()
	plain, _ := modelFile(t, dir)
	nf4, out := filepath.Join(dir, "nf4.gguf"), filepath.Join(dir, "out.gguf")
	if _, err := Quantize(context.Background(), plain, nf4, Options{Type: "nf4"}); err != nil {
		t.Fatal(err)
	}
	r := rewriting("blk.0.attn_q.weight")
	r.Plain = true
	if err := Rewrite(context.Background(), nf4, out, r); err != nil {
		t.Fatal(err)
	}
	old, f := mustOpen(t, nf4), mustOpen(t, out)
	if f.Architecture() != "llama" {
		t.Errorf("the architecture is %s", f.Architecture())
	}
	for _, a := range old.Tensors {
		b, _ := f.Tensor(a.Name)
		weights, _ := a.Type.Block()
		if want := map[bool]Type{true: a.Type, false: F32}[weights == 1]; b.Type != want {
			t.Errorf("%s is %s, want %s", a.Name, b.Type, want)
		}
		want, err := old.ReadF32(a.Name)
		if err != nil {
			t.Fatal(err)
		}
		if a.Name == "blk.0.attn_q.weight" {
			_ = plus(0, want)
		}
		got, err := f.ReadF32(a.Name)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s has other weights than the file it was made of: %v", a.Name, err)
		}
	}
}

func TestRewriteRefuses(t *testing.T) {
	dir := t.TempDir()
	in, _ := modelFile(t, dir)
	out := filepath.Join(dir, "out.gguf")
	fails := func(r Rewriting, want error, parts ...string) {
		t.Helper()
		err := Rewrite(context.Background(), in, out, r)
		if want != nil && !errors.Is(err, want) || err == nil {
			t.Errorf("error %v, want %v", err, want)
			return
		}
		for _, p := range parts {
			if !strings.Contains(err.Error(), p) {
				t.Errorf("error %q does not name %q", err, p)
			}
		}
		expectOnly(t, dir, filepath.Base(in))
	}
	r := rewriting("blk.0.attn_q.weight")
	r.Change = func(string) (Change, error) { return nil, errors.New("no such thing") }
	fails(r, nil, "blk.0.attn_q.weight", "no such thing")
	r.Change = func(string) (Change, error) {
		return func(_ int64, w []float32) error { w[3] /= 0 * w[3]; return nil }, nil
	}
	fails(r, nil, "blk.0.attn_q.weight", "weight 3")
	r.Change = func(string) (Change, error) {
		return func(_ int64, w []float32) error { w[3] = 1e6; return nil }, nil
	}
	fails(r, nil, "blk.0.attn_q.weight", "a weight of magnitude 1e+06 is too large for")
	r = rewriting()
	r.Copies = map[string]string{"x": "none.weight"}
	fails(r, ErrNoTensor, "none.weight")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Rewrite(ctx, in, out, rewriting("output.weight")); !errors.Is(err, context.Canceled) {
		t.Errorf("a rewrite that was called off ends with %v", err)
	}
	expectOnly(t, dir, filepath.Base(in))

	// A type that this package does not know: by its name, or by the code that is given for it.
	var m Metadata
	m.Set("general.architecture", "llama")
	odd := Tensor{Name: "blk.0.attn_q.weight", Type: 2, Dims: []int64{32, 2}}
	var b bytes.Buffer
	if err := Encode(&b, &m, []Tensor{odd}, func(_ int, w io.Writer) error { _, err := w.Write(make([]byte, 36)); return err }); err != nil {
		t.Fatal(err)
	}
	in = save(t, dir, b.Bytes())
	fails(rewriting(odd.Name), ErrType, odd.Name, "Q4_0")
	r = rewriting(odd.Name)
	r.Codec = func(Type) (Codec, error) {
		return Codec{Decode: func(dst []float32, _ []byte) { clear(dst) }}, nil
	}
	fails(r, ErrType, odd.Name, "Q4_0", "written")
	r.Plain = true
	if err := Rewrite(context.Background(), in, out, r); err != nil {
		t.Fatal(err)
	}
	got, err := mustOpen(t, out).ReadF32(odd.Name)
	want := make([]float32, 64)
	_ = plus(0, want)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, want %v: %v", got, want, err)
	}
	if err := os.Remove(out); err != nil {
		t.Fatal(err)
	}
}

// TestRewriteNF4DQ changes a weight of strips, whose parts begin and end with them, and copies the others.
func TestRewriteNF4DQ(t *testing.T) {
	dir := t.TempDir()
	in, _ := modelFile(t, dir)
	base, out := filepath.Join(dir, "base.gguf"), filepath.Join(dir, "out.gguf")
	if _, err := Quantize(t.Context(), in, base, Options{Type: "nf4-dq"}); err != nil {
		t.Fatal(err)
	}
	const changed = "blk.0.ffn_down.weight"
	err := Rewrite(t.Context(), base, out, Rewriting{
		Threads: 3, Changes: func(name string) bool { return name == changed },
		Change: func(string) (Change, error) {
			return func(first int64, weights []float32) error {
				for i := range weights {
					weights[i] *= -2
				}
				return nil
			}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	before, err := Open(base)
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	after, err := Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	for _, tensor := range after.Tensors {
		if tensor.Name != changed {
			if !bytes.Equal(contents(t, before, tensor.Name), contents(t, after, tensor.Name)) {
				t.Errorf("%s changed", tensor.Name)
			}
			continue
		}
		x, err := before.ReadF32(changed)
		if err != nil {
			t.Fatal(err)
		}
		y, err := after.ReadF32(changed)
		if err != nil {
			t.Fatal(err)
		}
		for i := range x {
			y[i] /= -2
		}
		if e := rootMeanSquare(x, y); tensor.Type != NF4_DQ || e > 0.004*0.05*10 {
			t.Errorf("%s is %s and off by %g", changed, tensor.Type, e)
		}
	}
}

package quant

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestQuantize(t *testing.T) {
	dir := t.TempDir()
	in, values := modelFile(t, dir)
	out := filepath.Join(dir, "out.gguf")
	var done, total int64
	report, err := Quantize(context.Background(), in, out, Options{Type: "nf4", Progress: func(d, n int64) {
		if d <= done || d > n {
			t.Errorf("progress went from %d to %d of %d", done, d, n)
		}
		done, total = d, n
	}})
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	source, err := Open(in)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	bytesOut := int64(0)
	for i, c := range model {
		got := f.Tensors[i]
		if got.Name != c.Name || got.Type != c.want {
			t.Errorf("tensor %d is %s %s, want %s %s", i, got.Name, got.Type, c.Name, c.want)
		}
		bytesOut += got.Size
		checkWeights(t, source, f, c.Tensor, c.want, values[i])
	}
	if report.Tensors != len(model) || report.Quantized != 7 || report.BytesIn != total || done != total || report.BytesOut != bytesOut {
		t.Errorf("%+v, progress %d of %d, tensors hold %d bytes", report, done, total, bytesOut)
	}
	if want := float64(bytesOut) * 8 / float64(report.Weights); report.BitsPerWeight != want || want < 4.5 || want > 4.6 {
		t.Errorf("%g bits per weight, want %g", report.BitsPerWeight, want)
	}
	checkMetadata(t, f)
	expectOnly(t, dir, "in.gguf", "out.gguf")
}

func TestQuantizeSameBytesOnAnyThreads(t *testing.T) {
	dir := t.TempDir()
	in, _ := modelFile(t, dir)
	var files [][]byte
	for _, threads := range []int{1, 2, 7} {
		out := filepath.Join(dir, "out.gguf")
		if _, err := Quantize(context.Background(), in, out, Options{Type: "nf4", Threads: threads}); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, b)
	}
	if !bytes.Equal(files[0], files[1]) || !bytes.Equal(files[0], files[2]) {
		t.Error("the file depends on the number of threads")
	}
}

// TestQuantizeForms quantizes the model in every way and holds its tensors to the codecs applied at once.
func TestQuantizeForms(t *testing.T) {
	dir := t.TempDir()
	in, _ := modelFile(t, dir)
	source, err := Open(in)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	for _, c := range []struct {
		o            Options
		linear, head Type
		encode       func(dst []byte, src []float32, width int)
	}{
		{Options{Type: "nf4", Block: 32, Exact: true}, NF4, Q8_0, nf4Forms[0].encode},
		{Options{Type: "nf4", Block: 64, Exact: true, Head: "q8_0"}, NF4_64, Q8_0, nf4Forms[2].encode},
		{Options{Type: "nf4", Block: 64}, NF4_64, Q8_0, nf4Forms[3].encode},
		{Options{Type: "nf4-dq", Exact: true, Head: "keep"}, NF4_DQ, F16, nf4Forms[4].encode},
		{Options{Type: "nf4-dq", Block: 64, Head: "q6_k", Threads: 3}, NF4_DQ, Q8_0, nf4Forms[5].encode}, // rows of 64 are no Q6_K
	} {
		out := filepath.Join(dir, "out.gguf")
		report, err := Quantize(context.Background(), in, out, c.o)
		if err != nil {
			t.Fatal(err)
		}
		f, err := Open(out)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		narrower := []string{}
		for i, from := range model {
			got, want := f.Tensors[i], c.linear
			switch {
			case from.want == NF4 && from.Dims[0] == 32 && c.linear != NF4:
				want = NF4
				narrower = append(narrower, from.Name)
			case from.want == Q8_0:
				want = c.head
				if c.o.Head == "q6_k" {
					narrower = append(narrower, from.Name)
				}
			case from.want != NF4:
				want = from.Type
			}
			if got.Type != want || !slices.Equal(got.Dims, from.Dims) {
				t.Errorf("%+v: %s is %s %v, want %s", c.o, got.Name, got.Type, got.Dims, want)
			}
			if want != c.linear {
				continue
			}
			x, err := source.ReadF32(from.Name)
			if err != nil {
				t.Fatal(err)
			}
			expected := make([]byte, got.Size)
			c.encode(expected, x, int(from.Dims[0]))
			if !bytes.Equal(contents(t, f, from.Name), expected) {
				t.Errorf("%+v: %s is not what the codec makes of it", c.o, from.Name)
			}
		}
		if !slices.Equal(report.Narrower, narrower) {
			t.Errorf("%+v: narrower %v, want %v", c.o, report.Narrower, narrower)
		}
		if info, err := os.Stat(out); err != nil || c.linear == NF4_DQ && info.Size() < f.Tensors[len(model)-2].Offset+f.Tensors[len(model)-2].Elements()/32*17 {
			t.Errorf("%+v: the file ends before what llama.cpp would map", c.o)
		}
	}
}

func TestQuantizeKeepsHead(t *testing.T) {
	dir := t.TempDir()
	in, _ := modelFile(t, dir)
	out := filepath.Join(dir, "out.gguf")
	if _, err := Quantize(context.Background(), in, out, Options{Type: "nf4", Head: "keep"}); err != nil {
		t.Fatal(err)
	}
	f, err := Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, name := range []string{"token_embd.weight", "output.weight"} {
		if w, _ := f.Tensor(name); w.Type != F16 {
			t.Errorf("%s is %s", name, w.Type)
		}
	}
}

func TestQuantizeRefuses(t *testing.T) {
	q4, iq4 := Type(2), IQ4_NL
	linear := Tensor{Name: "blk.0.attn_q.weight", Type: F16, Dims: []int64{32, 1}}
	of := func(t Tensor, to Type) Tensor { t.Type = to; return t }
	infinite := make([]float32, 32)
	infinite[5] = float32(math.Inf(-1))
	for _, c := range []struct {
		name, want string
		architecture,
		key string
		value   any
		tensor  Tensor
		weights []float32
		o       Options
	}{
		{name: "Q4_0", want: `"blk.0.attn_q.weight" is quantized already: unsupported weight type: Q4_0`, tensor: of(linear, q4)},
		{name: "IQ4_NL", want: `"blk.0.attn_q.weight" is quantized already`, tensor: of(linear, iq4)},
		{name: "IQ4_NL head", want: `"output.weight": unsupported weight type: IQ4_NL would be read as NF4`, tensor: Tensor{Name: "output.weight", Type: IQ4_NL, Dims: []int64{32, 1}}},
		{name: "NF4", want: `"llama-nf4", it is NF4 already`, architecture: "llama-nf4", tensor: linear},
		{name: "no architecture", want: "general.architecture is missing", architecture: "-", tensor: linear},
		{name: "no linear", want: "no linear layer", tensor: Tensor{Name: "output_norm.weight", Dims: []int64{32}}},
		{name: "adapter", want: `general.type is "adapter"`, key: "general.type", value: "adapter", tensor: linear},
		{name: "split", want: "split.count: it is one of 3 parts", key: "split.count", value: uint16(3), tensor: linear},
		{name: "type", want: `type "q2_k"`, tensor: linear, o: Options{Type: "q2_k"}},
		{name: "head", want: `head type "q5_k"`, tensor: linear, o: Options{Type: "nf4", Head: "q5_k"}},
		{name: "block", want: "blocks of 48 weights", tensor: linear, o: Options{Type: "nf4", Block: 48}},
		{name: "narrow dq", want: "nf4-dq has blocks of 64 weights, not of 32", tensor: linear, o: Options{Type: "nf4-dq", Block: 32}},
		{name: "MXFP4", want: "MXFP4 would be read as NF4", tensor: Tensor{Name: "output.weight", Type: MXFP4, Dims: []int64{32, 1}}},
		{name: "Q6_K", want: `"blk.0.attn_q.weight" is quantized already`, tensor: Tensor{Name: "blk.0.attn_q.weight", Type: Q6_K, Dims: []int64{256, 1}}, weights: make([]float32, 256)},
		{name: "infinite", want: `tensor "blk.0.attn_q.weight": weight 5 is -Inf`, tensor: linear, weights: infinite},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m Metadata
			if c.architecture == "" {
				c.architecture = "llama"
			}
			if c.architecture != "-" {
				m.Set("general.architecture", c.architecture)
			}
			if c.key != "" {
				m.Set(c.key, c.value)
			}
			if c.o.Type == "" {
				c.o.Type = "nf4"
			}
			if c.weights == nil {
				c.weights = make([]float32, 32)
			}
			dir := t.TempDir()
			in := save(t, dir, encode(t, m, []Tensor{c.tensor}, [][]float32{c.weights}))
			_, err := Quantize(context.Background(), in, filepath.Join(dir, "out.gguf"), c.o)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			expectOnly(t, dir, "in.gguf")
		})
	}
}

func TestQuantizeCancelled(t *testing.T) {
	dir := t.TempDir()
	in, _ := modelFile(t, dir)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	_, err := Quantize(ctx, in, filepath.Join(dir, "out.gguf"), Options{Type: "nf4", Progress: func(done, total int64) {
		if done > total/2 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	expectOnly(t, dir, "in.gguf")
}

// TestQuantizeHoldsLittle checks that memory is bounded by the threads, not by the model: the file has 64
// MiB of weights.
func TestQuantizeHoldsLittle(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in.gguf")
	var m Metadata
	m.Set("general.architecture", "llama")
	tensors := []Tensor{{Name: "blk.0.ffn_up.weight", Type: F16, Dims: []int64{1024, 32 << 10}}}
	zeros := make([]byte, 1<<20)
	if err := WriteFile(in, &m, tensors, func(_ int, w io.Writer) error {
		for range 64 {
			if _, err := w.Write(zeros); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	used := allocated(func() {
		if _, err := Quantize(context.Background(), in, filepath.Join(dir, "out.gguf"), Options{Type: "nf4", Threads: 2}); err != nil {
			t.Fatal(err)
		}
	})
	if used > 8<<20 {
		t.Errorf("allocated %d bytes in all", used)
	}
}

func TestFingerprint(t *testing.T) {
	dir := t.TempDir()
	in, _ := modelFile(t, dir)
	whole, err := os.ReadFile(in)
	if err != nil {
		t.Fatal(err)
	}
	f := mustRead(t, whole)
	of := func(change func(b []byte)) string {
		b := bytes.Clone(whole)
		change(b)
		s, err := Fingerprint(save(t, dir, b))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	same := of(func([]byte) {})
	if again, err := f.Fingerprint(); again != same || err != nil || len(same) != 64 {
		t.Errorf("%s, %s, %v", same, again, err)
	}
	large, _ := f.Tensor("blk.0.ffn_down.weight")
	small, _ := f.Tensor("blk.0.attn_q.weight")
	for name, at := range map[string]int64{
		"first byte of a tensor": large.Offset, "last byte of a tensor": large.Offset + large.Size - 1,
		"last byte of the sample": large.Offset + sample - 1, "middle of a small tensor": small.Offset + small.Size/2,
		"a value in the header": int64(bytes.Index(whole, []byte("llama.block_count"))) + int64(len("llama.block_count")) + 4,
	} {
		if of(func(b []byte) { b[at]++ }) == same {
			t.Errorf("%s is not seen", name)
		}
	}
	if of(func(b []byte) { b[large.Offset+large.Size/2]++ }) != same {
		t.Error("more than the ends of a large tensor is read")
	}
	if _, err := Fingerprint(filepath.Join(dir, "none.gguf")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func BenchmarkNF4(b *testing.B) {
	x := normal(rand.New(rand.NewPCG(1, 2)), chunk, 0.02)
	encoded := make([]byte, chunk/nf4Weights*nf4Bytes)
	b.Run("encode", func(b *testing.B) {
		b.SetBytes(4 * chunk)
		for b.Loop() {
			EncodeNF4(encoded, x)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(4 * chunk)
		for b.Loop() {
			DecodeNF4(x, encoded)
		}
	})
	b.Run("decode F16", func(b *testing.B) {
		b.SetBytes(4 * chunk)
		f16 := make([]byte, 2*chunk)
		for b.Loop() {
			DecodeF16(x, f16)
		}
	})
	runtime.KeepAlive(x)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
)

// form is one way to store a model: our quantizer's options, or a type of llama.cpp's; neither: as it is. NF4's
// heads are in Q6_K, as llama.cpp has them in its 4-bit types.
type form struct {
	name    string
	options quant.Options
	library string
}

var forms = []form{
	{name: "F16"},
	{name: "Q8_0", library: "q8_0"},
	{name: "Q4_K_M", library: "q4_k_m"},
	{name: "Q4_0", library: "q4_0"},
	{name: "IQ4_NL", library: "iq4_nl"},
	{name: "NF4-32", options: quant.Options{Type: "nf4", Block: 32, Head: "q6_k"}},
	{name: "NF4-32-exact", options: quant.Options{Type: "nf4", Block: 32, Head: "q6_k", Exact: true}},
	{name: "NF4-64", options: quant.Options{Type: "nf4", Block: 64, Head: "q6_k"}},
	{name: "NF4-64-exact", options: quant.Options{Type: "nf4", Block: 64, Head: "q6_k", Exact: true}},
	{name: "NF4-DQ", options: quant.Options{Type: "nf4-dq", Head: "q6_k"}},
	{name: "NF4-DQ-exact", options: quant.Options{Type: "nf4-dq", Head: "q6_k", Exact: true}},
}

// made is a form's file.
type made struct {
	form
	path   string
	source string // the F16 file that it was made from
}

// makeAll makes the file of every form that is asked for, F16 first; those that are there already stay.
func makeAll(ctx context.Context, s settings, source, dir string) ([]made, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	out := []made{{forms[0], source, source}}
	for _, f := range forms[1:] {
		if s.only != nil && !slices.Contains(s.only, f.name) {
			continue
		}
		path := filepath.Join(dir, f.name+".gguf")
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			fmt.Fprintf(os.Stderr, "making %s\n", path)
			if err := f.write(ctx, source, path, s.threads); err != nil {
				return nil, err
			}
		}
		out = append(out, made{f, path, source})
	}
	return out, nil
}

func (f form) write(ctx context.Context, source, path string, threads int) error {
	if f.library != "" {
		return llama.Quantize(ctx, source, path, f.library, threads, nil)
	}
	o := f.options
	o.Threads = threads
	_, err := quant.Quantize(ctx, source, path, o)
	return err
}

// weights are what a form did to the weights.
type weights struct{ bits, linearBits, rmse float64 }

func (m made) weights() (w weights, err error) {
	before, err := quant.Open(m.source)
	if err != nil {
		return w, err
	}
	defer before.Close()
	after, err := quant.Open(m.path)
	if err != nil {
		return w, err
	}
	defer after.Close()
	var bytes, count, linearBytes, linear int64
	var off, power float64
	for _, t := range after.Tensors {
		bytes, count = bytes+t.Size, count+t.Elements()
		if !strings.HasPrefix(t.Name, "blk.") || len(t.Dims) != 2 {
			continue
		}
		linearBytes, linear = linearBytes+t.Size, linear+t.Elements()
		e, p, err := difference(before, after, t)
		if err != nil {
			return w, err
		}
		off, power = off+e, power+p
	}
	return weights{8 * float64(bytes) / float64(count), 8 * float64(linearBytes) / float64(linear), math.Sqrt(off / power)}, nil
}

// difference returns the sums of squares of what a tensor is off by, and of what it was.
func difference(before, after *quant.File, t quant.Tensor) (off, power float64, err error) {
	x, err := before.ReadF32(t.Name)
	if err != nil {
		return 0, 0, err
	}
	y, err := after.ReadF32(t.Name)
	if errors.Is(err, quant.ErrType) {
		y, err = decoded(after, t)
	}
	if err != nil {
		return 0, 0, err
	}
	for i := range x {
		d := float64(x[i]) - float64(y[i])
		off += d * d
		power += float64(x[i]) * float64(x[i])
	}
	return off, power, nil
}

// decoded reads a tensor with ggml's decoders.
func decoded(f *quant.File, t quant.Tensor) ([]float32, error) {
	c, err := llama.Codec(t.Type)
	if err != nil {
		return nil, err
	}
	r, err := f.TensorReader(t.Name)
	if err != nil {
		return nil, err
	}
	raw := make([]byte, t.Size)
	if _, err := io.ReadFull(r, raw); err != nil {
		return nil, err
	}
	out := make([]float32, t.Elements())
	c.Decode(out, raw)
	return out, nil
}

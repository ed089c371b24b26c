package huggingface

import (
	"fmt"
	"io"
	"sort"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// weights is one tensor of the view: its place in GGUF and where its bytes come from.
type weights struct {
	quant.Tensor
	read func(p []byte, off int64) error // fills p from the byte off on; any goroutine
}

// plain is a tensor whose bytes are taken as they are. Matrices keep their type; vectors become F32, for
// llama.cpp adds and multiplies with vectors of that type alone.
func plain(name string, dims []int64, t *stored) weights {
	if len(dims) == 1 {
		return weights{
			quant.Tensor{Name: name, Type: quant.F32, Dims: dims},
			asFloats(func(dst []float32, first int64) error { return t.float32s(dst, first) }),
		}
	}
	size := t.DType.Size()
	return weights{quant.Tensor{Name: name, Type: types[t.DType], Dims: dims}, func(p []byte, off int64) error {
		if err := t.readAt(p, off); err != nil {
			return err
		}
		if off%size != 0 || int64(len(p))%size != 0 {
			return nil // parts of values: no tensor is written so
		}
		return t.finite(p, off/size)
	}}
}

// computed is an F32 vector that is in no shard.
func computed(name string, values []float32) weights {
	return weights{quant.Tensor{Name: name, Type: quant.F32, Dims: []int64{int64(len(values))}},
		asFloats(func(dst []float32, first int64) error {
			copy(dst, values[first:])
			return nil
		})}
}

// asFloats reads bytes of float32 values that decode makes.
func asFloats(decode func(dst []float32, first int64) error) func(p []byte, off int64) error {
	return func(p []byte, off int64) error {
		first, end := off/4, (off+int64(len(p))+3)/4
		values := make([]float32, end-first)
		if err := decode(values, first); err != nil {
			return err
		}
		raw := make([]byte, 4*len(values))
		quant.EncodeF32(raw, values)
		copy(p, raw[off-4*first:])
		return nil
	}
}

// permuted is w with its rows, of size bytes each, in the order that llama.cpp's rotary embedding has: within a
// head the pairs (i, i + half) become neighbours. Source: llama.cpp, convert_hf_to_gguf.py (permute).
func (w weights) permuted(heads, rows, size int64) weights {
	half := rows / heads / 2
	read := w.read
	w.read = func(p []byte, off int64) error {
		for len(p) > 0 {
			row, in := off/size, off%size
			head, i, pair := row/(2*half), row%(2*half)/2, row%2
			from := (2*head+pair)*half + i
			n := min(size-in, int64(len(p)))
			if err := read(p[:n], from*size+in); err != nil {
				return err
			}
			p, off = p[n:], off+n
		}
		return nil
	}
	return w
}

// readerAt reads the tensors of a view one after the other.
type readerAt struct {
	tensors []weights
	starts  []int64 // of each, and the end
}

// view returns the tensors as a GGUF file.
func view(m quant.Metadata, tensors []weights) (*quant.File, error) {
	list := make([]quant.Tensor, len(tensors))
	for i, t := range tensors {
		list[i] = t.Tensor
	}
	r := &readerAt{tensors: tensors}
	f, err := quant.View(m, list, r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	end := int64(0)
	for _, t := range f.Tensors {
		r.starts = append(r.starts, t.Offset)
		end = t.Offset + t.Size
	}
	r.starts = append(r.starts, end)
	return f, nil
}

// ReadAt implements io.ReaderAt.
func (r *readerAt) ReadAt(p []byte, off int64) (int, error) {
	read := 0
	i := sort.Search(len(r.tensors), func(i int) bool { return r.starts[i+1] > off })
	for ; i < len(r.tensors) && read < len(p); i++ {
		n := int(min(int64(len(p)-read), r.starts[i+1]-off))
		if err := r.tensors[i].read(p[read:read+n], off-r.starts[i]); err != nil {
			return read, err
		}
		read, off = read+n, off+int64(n)
	}
	if read < len(p) {
		return read, io.EOF
	}
	return read, nil
}

package quant

import (
	"context"
	"fmt"
	"io"
)

// Skeleton writes a GGUF file with f's metadata and the names, types and row lengths of its tensors, of which two
// rows are left, all zeros: a few MB of any model. It is for a program that decides by these alone.
func (f *File) Skeleton(path string) error {
	tensors := make([]Tensor, len(f.Tensors))
	for i, t := range f.Tensors {
		t.Dims = append([]int64(nil), t.Dims...)
		for d := range t.Dims[1:] {
			t.Dims[d+1] = min(t.Dims[d+1], 2)
		}
		tensors[i] = t
	}
	return WriteFile(path, &f.Metadata, tensors, func(i int, w io.Writer) error {
		size, err := tensors[i].Type.size(tensors[i].Dims)
		if err != nil {
			return err
		}
		_, err = io.CopyN(w, zeros{}, size)
		return err
	})
}

// zeros reads as zeros without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// WriteLike writes f's tensors to the GGUF file out with the metadata, the order and the types of like, a model of the
// same tensors whatever their number of rows. It works tensor by tensor as Quantize does, and out appears only when
// it is whole. codec finds the code of a type; of o it takes Threads and Progress. The error names the tensor at
// fault, and wraps ErrType where a type cannot be decoded or encoded.
func (f *File) WriteLike(ctx context.Context, out string, like *File, codec func(Type) (Codec, error), o Options) (Report, error) {
	encodings := make([]tensorEncoding, len(like.Tensors))
	for i, l := range like.Tensors {
		t, ok := f.Tensor(l.Name)
		if !ok {
			return Report{}, fmt.Errorf("%w: %q", ErrNoTensor, l.Name)
		}
		s, err := likeEncoding(t, l.Type, codec)
		if err != nil {
			return Report{}, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		encodings[i] = s
	}
	if len(encodings) != len(f.Tensors) {
		return Report{}, fmt.Errorf("%w: of %d tensors %d have a type", ErrNoTensor, len(f.Tensors), len(encodings))
	}
	return run(ctx, f, encodings, out, &like.Metadata, o)
}

// likeEncoding is the encoding of t in the type to.
func likeEncoding(t Tensor, to Type, codec func(Type) (Codec, error)) (s tensorEncoding, err error) {
	s = tensorEncoding{from: t, to: t}
	s.to.Type = to
	if s.to.Size, err = to.size(t.Dims); err != nil {
		return s, err
	}
	from, err := codec(t.Type)
	if to == t.Type {
		s.valid = from.Valid
		return s, nil // a type without code is copied unseen
	}
	if err != nil {
		return s, err
	}
	into, err := codec(to)
	if err != nil {
		return s, err
	}
	if into.Encode == nil {
		return s, fmt.Errorf("%w: %s cannot be written", ErrType, to)
	}
	s.decode, s.encode, s.valid = from.Decode, into.Encode, into.Valid
	return s, nil
}

package quant

import (
	"context"
	"fmt"
	"io"
)

// View returns a File that lies in no GGUF file: r holds the tensors one after the other in their order, from
// its beginning on, each with the bytes that its type and dimensions take. A model that is stored in another
// way is read through it as if it were a GGUF file.
func View(m Metadata, tensors []Tensor, r io.ReaderAt) (*File, error) {
	f := &File{Metadata: m, Tensors: make([]Tensor, len(tensors)), index: make(map[string]int, len(tensors)), r: r}
	for i, t := range tensors {
		var err error
		if t.Size, err = t.Type.size(t.Dims); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if _, twice := f.index[t.Name]; twice {
			return nil, fmt.Errorf("tensor %q occurs twice", t.Name)
		}
		t.Offset = f.size
		f.size += t.Size
		f.Tensors[i], f.index[t.Name] = t, i
	}
	return f, nil
}

// encoders are the types that WriteAs writes.
var encoders = map[Type]func(dst []byte, src []float32){F32: EncodeF32, F16: EncodeF16, BF16: EncodeBF16, Q8_0: EncodeQ8_0}

// WriteAs writes f's tensors to the GGUF file out, with the metadata m and each in the type that typeOf gives it:
// its own, or F32, F16, BF16 or Q8_0. It works tensor by tensor as Quantize does, and out appears only when it is
// whole. Of o it takes Threads and Progress. The error names the tensor, and wraps ErrType where a type cannot be
// decoded.
func (f *File) WriteAs(ctx context.Context, out string, m *Metadata, typeOf func(Tensor) Type, o Options) (Report, error) {
	steps := make([]tensorEncoding, len(f.Tensors))
	for i, t := range f.Tensors {
		to := t
		to.Type = typeOf(t)
		steps[i] = tensorEncoding{from: t, to: to}
		if to.Type == t.Type {
			continue
		}
		decode, err := t.decoder()
		if err != nil {
			return Report{}, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if steps[i].to.Size, err = to.Type.size(t.Dims); err != nil {
			return Report{}, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		steps[i].decode, steps[i].encode = decode, encoders[to.Type]
		if to.Type == F16 {
			steps[i].limit = maxHalf
		}
		if steps[i].encode == nil {
			return Report{}, fmt.Errorf("tensor %q: %w: %s", t.Name, ErrType, to.Type)
		}
	}
	return run(ctx, f, steps, out, m, o)
}

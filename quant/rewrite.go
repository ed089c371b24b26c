package quant

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
)

// Change changes some weights of a tensor in place: those from index first on, in the order of the file, row after row. It
// is called for parts of the tensor that may begin and end inside a row, from several goroutines at a time.
type Change func(first int64, weights []float32) error

// Scan calls visit with all weights of a tensor as they are before the change, part by part in any order. visit may
// change what it is given.
type Scan func(visit func(first int64, weights []float32) error) error

// Codec decodes and encodes whole blocks of a type that this package has no code for.
type Codec struct {
	Decode func(dst []float32, src []byte)
	Encode func(dst []byte, src []float32) // nil: it can only be read
	Valid  func([]byte) bool               // whether the weights in whole blocks are finite; nil: they are not looked at
}

// Rewriting says what Rewrite changes.
type Rewriting struct {
	// Changes reports whether a tensor of the new file is changed. It is called before anything is written.
	Changes func(name string) bool
	// Prepare is called before Change with all weights of the tensor; nil where Change does not need to see them.
	Prepare func(name string, weights Scan) error
	// Change is called once for each changed tensor, just before it is written.
	Change func(name string) (Change, error)
	// Copies are tensors of the new file, by name, that begin as copies of another of the old one.
	Copies map[string]string
	// Plain writes what Change changes, and everything in blocks, as F32: for a quantizer. Otherwise all tensors
	// keep their types.
	Plain bool
	// Codec returns the codec of a type that this package has no code for. The error says why there is none.
	Codec func(Type) (Codec, error)
	// Set are pairs of the metadata to set.
	Set map[string]any

	Threads  int                     // 0: one per CPU
	Progress func(done, total int64) // input bytes; called from Rewrite's goroutine; may be nil
}

// Rewrite writes the model file in to out with other weights. Tensors that nothing changes are copied byte by
// byte. Like Quantize it holds a few MiB of weights at a time, and out appears only when it is whole. The error
// wraps ErrType, with the tensor's name, where a weight that changes has a type that cannot be decoded or encoded.
func Rewrite(ctx context.Context, in, out string, r Rewriting) error {
	f, err := Open(in)
	if err != nil {
		return err
	}
	defer f.Close()
	if parts, _ := f.Metadata.Uint("split.count"); parts > 1 {
		return fmt.Errorf("%s: %w: split.count: it is one of %d parts; merge them first", in, ErrType, parts)
	}
	encodings, err := r.encodingsOf(f)
	if err != nil {
		return fmt.Errorf("%s: %w", in, err)
	}
	q := quantizer{ctx: ctx, f: f, progress: r.Progress, buffers: make([]buffers, threads(r.Threads))}
	tensors := make([]Tensor, len(encodings))
	for i, s := range encodings {
		tensors[i] = s.to
		q.total += s.from.Size
	}
	m := r.metadata(f)
	err = WriteFile(out, &m, tensors, func(i int, w io.Writer) (err error) {
		s := encodings[i]
		if r.Changes(s.to.Name) {
			if r.Prepare != nil {
				err = r.Prepare(s.to.Name, func(visit func(int64, []float32) error) error { return q.scan(s, visit) })
			}
			if err == nil {
				s.change, err = r.Change(s.to.Name)
			}
			if err != nil {
				return err
			}
		}
		return q.tensor(s, w)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", out, err)
	}
	return nil
}

// scan decodes a tensor on all threads. visit is called by one of them at a time.
func (q *quantizer) scan(s tensorEncoding, visit func(first int64, weights []float32) error) error {
	var mu sync.Mutex
	s.encode = func([]byte, []float32) {}
	s.change = func(first int64, weights []float32) error {
		mu.Lock()
		defer mu.Unlock()
		return visit(first, weights)
	}
	done, progress := q.done, q.progress
	q.progress = nil
	err := q.tensor(s, io.Discard)
	q.done, q.progress = done, progress
	return err
}

// encodingsOf decides how each tensor is encoded.
func (r *Rewriting) encodingsOf(f *File) ([]tensorEncoding, error) {
	var encodings []tensorEncoding
	add := func(name string, t Tensor) error {
		s, err := r.encoding(name, t)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		encodings = append(encodings, s)
		return nil
	}
	for _, t := range f.Tensors {
		if err := add(t.Name, t); err != nil {
			return nil, err
		}
	}
	for name, from := range r.Copies {
		t, ok := f.Tensor(from)
		if !ok {
			return nil, fmt.Errorf("%w: %q", ErrNoTensor, from)
		}
		if err := add(name, t); err != nil {
			return nil, err
		}
	}
	return encodings, nil
}

// encoding returns what is done with t, whose name in the new file is name.
func (r *Rewriting) encoding(name string, t Tensor) (s tensorEncoding, err error) {
	s = tensorEncoding{from: t, to: t}
	s.to.Name = name
	changes := r.Changes(name)
	weights, _ := t.Type.Block()
	if !changes && (!r.Plain || weights == 1) {
		return s, nil
	}
	c, err := r.codec(t)
	if err != nil {
		return s, err
	}
	if r.Plain {
		c.Encode, s.to.Type = EncodeF32, F32
	}
	if c.Encode == nil {
		return s, fmt.Errorf("%w: %s cannot be written; choose another type", ErrType, t.Type)
	}
	s.decode, s.encode = c.Decode, c.Encode
	if s.to.Type != F32 && s.to.Type != BF16 {
		s.limit = maxHalf // the scales are fp16, and adapters may add up to more
	}
	s.to.Size, err = s.to.Type.size(t.Dims)
	return s, err
}

// codec returns the codec of a tensor's type.
func (r *Rewriting) codec(t Tensor) (Codec, error) {
	decode, err := t.decoder()
	if err != nil && r.Codec != nil {
		return r.Codec(t.Type)
	}
	if err != nil {
		return Codec{}, err
	}
	encoders := map[Type]func([]byte, []float32){
		F32: EncodeF32, F16: EncodeF16, BF16: EncodeBF16, Q8_0: EncodeQ8_0, Q6_K: EncodeQ6_K, NF4: EncodeNF4, NF4_64: EncodeNF4_64,
		NF4_DQ: func(dst []byte, src []float32) { EncodeNF4DQ(dst, src, int(t.Dims[0])) },
	}
	return Codec{Decode: decode, Encode: encoders[t.Type]}, nil
}

// metadata returns the new file's: that of the old one, of the plain architecture where no NF4 is left in it.
func (r *Rewriting) metadata(f *File) Metadata {
	m := f.Metadata.Clone()
	if r.Plain {
		plain, _ := PlainArchitecture(f.Architecture())
		m.Set("general.architecture", plain)
		m.Set("general.file_type", uint32(0)) // llama.cpp's LLAMA_FTYPE_ALL_F32
	}
	for _, key := range slices.Sorted(maps.Keys(r.Set)) {
		m.Set(key, r.Set[key])
	}
	return m
}

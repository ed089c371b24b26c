package peft

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/internal/gitlfs"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/quant/safetensors"
)

// DType is the type of a tensor's values, as safetensors spells it.
type DType string

// The types whose values can be read as float32.
const (
	F32  = DType(safetensors.F32)
	F16  = DType(safetensors.F16)
	BF16 = DType(safetensors.BF16)
	F64  = DType(safetensors.F64)
)

// size returns the bytes of one value, or 0 where the type is not one of ours.
func (d DType) size() int64 {
	switch d {
	case F16, BF16, F32, F64:
		return safetensors.DType(d).Size()
	}
	return 0
}

// Tensor is a named tensor whose values are read when they are asked for.
type Tensor struct {
	Name  string // as the file has it
	DType DType
	Shape []int64 // row-major; none: a scalar

	open func() (io.Reader, error) // of the raw bytes, from the first
}

// Elements returns the number of values.
func (t *Tensor) Elements() int64 {
	n := int64(1)
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// bytes returns the length of the raw values.
func (t *Tensor) bytes() int64 { return t.Elements() * t.DType.size() }

// Float32 reads all values, rounding F64 to float32.
func (t *Tensor) Float32() ([]float32, error) {
	r, err := t.open()
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	size := t.DType.size()
	out := make([]float32, t.Elements())
	if t.DType == F32 && len(out) > 0 && binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		// The file's bytes are the values: an adapter's first request waits for this.
		raw := unsafe.Slice((*byte)(unsafe.Pointer(&out[0])), t.bytes())
		if _, err := io.ReadFull(r, raw); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		return out, nil
	}
	chunk := make([]byte, min(t.bytes(), 256<<10))
	for rest := out; len(rest) > 0; {
		n := min(int64(len(rest)), int64(len(chunk))/size)
		raw := chunk[:n*size]
		if _, err := io.ReadFull(r, raw); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		t.DType.decode(rest[:n], raw)
		rest = rest[n:]
	}
	return out, nil
}

// decode fills dst from as many raw values.
func (d DType) decode(dst []float32, raw []byte) {
	switch d {
	case F32:
		quant.DecodeF32(dst, raw)
	case F16:
		quant.DecodeF16(dst, raw)
	case BF16:
		quant.DecodeBF16(dst, raw)
	case F64:
		for i := range dst {
			dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(raw[8*i:])))
		}
	}
}

// ReadTensors reads the header of a safetensors file of size bytes from r, which must stay readable while the
// tensors are in use. The tensors come in the order of their data. Whatever the bytes are, memory stays a
// small multiple of the header's length, which is bounded. The error wraps ErrFormat where the file is at fault.
func ReadTensors(r io.ReaderAt, size int64) ([]Tensor, error) {
	if err := checkHeader(r, size); err != nil {
		return nil, err
	}
	entries, err := safetensors.Read(r, size)
	if errors.Is(err, safetensors.ErrFormat) {
		err = fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if err != nil {
		return nil, err
	}
	tensors := make([]Tensor, len(entries))
	for i, e := range entries {
		t := Tensor{Name: e.Name, DType: DType(e.DType), Shape: e.Shape, open: func() (io.Reader, error) {
			return io.NewSectionReader(r, e.Offset, e.Size), nil
		}}
		if t.DType.size() == 0 {
			return nil, fmt.Errorf("%w: tensor %q: dtype %q is none of F32, F16, BF16 and F64", ErrFormat, e.Name, e.DType)
		}
		tensors[i] = t
	}
	return tensors, nil
}

// maxHeader bounds the header of an adapter's tensors: 1,800 tensors, seven pairs of matrices in each of 126 layers,
// need 0.3 MB.
const maxHeader = 4 << 20

// checkHeader refuses a header that is larger than an adapter has, before it is read.
func checkHeader(r io.ReaderAt, size int64) error {
	if err := gitlfs.CheckFile(r, size); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	var length [8]byte
	if size < int64(len(length)) {
		return nil // which safetensors.Read refuses
	}
	if err := readAt(r, length[:], 0); err != nil {
		return err
	}
	if n := binary.LittleEndian.Uint64(length[:]); n > maxHeader {
		return fmt.Errorf("%w: its header states %d bytes, at most %d are read", ErrFormat, n, maxHeader)
	}
	return nil
}

// readAt fills b; io.EOF beside a full read is no error.
func readAt(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	switch {
	case n == len(b):
		return nil
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: the file is shorter than stated", ErrFormat)
	}
	return err
}

// member is one field of a JSON object.
type member struct {
	key   string
	value json.RawMessage
}

// parseObject reads a JSON object in its own order, which PEFT's patterns depend on, and refuses what other
// readers may understand otherwise.
func parseObject(data []byte) ([]member, error) {
	read, err := safetensors.ParseObject(data)
	members := make([]member, len(read))
	for i, m := range read {
		members[i] = member{m.Key, m.Value}
	}
	return members, err
}

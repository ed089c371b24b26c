// Package safetensors reads files of the safetensors format: 8 bytes that hold the length of a JSON header,
// little-endian, the header ({"name": {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__":
// {...}}), and the data. Source: github.com/huggingface/safetensors, README. As there, the data must be
// covered without holes. Files are untrusted: whatever the bytes are, memory stays a small multiple of
// the header's length, which is bounded, and nothing that two readers could understand differently passes.
package safetensors

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/lorikeet-ai/lorikeet/internal/gitlfs"
)

// ErrFormat is wrapped by the errors of a file that is not sound.
var ErrFormat = errors.New("not a valid safetensors file")

const (
	// MaxHeader bounds the JSON header. A model of 100,000 tensors needs 12 MB.
	MaxHeader = 16 << 20
	// maxDims is more than any tensor of a model has.
	maxDims = 8
)

// DType is the type of a tensor's values, as safetensors spells it.
type DType string

// The types that others here ask for by name.
const (
	F64  DType = "F64"
	F32  DType = "F32"
	F16  DType = "F16"
	BF16 DType = "BF16"
	U8   DType = "U8"
)

// sizes are the bytes of one value. The types of less than a byte, and those of later versions, are missing.
var sizes = map[DType]int64{
	F64: 8, F32: 4, F16: 2, BF16: 2, U8: 1,
	"I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2, "I8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
}

// Size returns the bytes of one value, or 0 where the type is unknown.
func (d DType) Size() int64 { return sizes[d] }

// Tensor is a named tensor of a file.
type Tensor struct {
	Name   string
	DType  DType
	Shape  []int64 // row-major; none: a scalar
	Offset int64   // bytes from the start of the file
	Size   int64   // bytes
}

// Elements returns the number of values.
func (t *Tensor) Elements() int64 {
	n := int64(1)
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Read reads the header of a safetensors file of size bytes. The tensors come in the order of their data; each
// lies inside the file and has the bytes that its type and shape take. The error wraps ErrFormat where the file
// is at fault, and names the tensor.
func Read(r io.ReaderAt, size int64) ([]Tensor, error) {
	header, start, err := readHeader(r, size)
	if err != nil {
		return nil, err
	}
	members, err := ParseObject(header)
	if err != nil {
		return nil, fmt.Errorf("%w: its header: %w", ErrFormat, err)
	}
	tensors := make([]Tensor, 0, len(members))
	for _, m := range members {
		if m.Key == "__metadata__" {
			continue
		}
		t, err := parseEntry(m)
		if err != nil {
			return nil, fmt.Errorf("%w: tensor %q: %w", ErrFormat, m.Key, err)
		}
		tensors = append(tensors, t)
	}
	if err := place(tensors, size-start); err != nil {
		return nil, err
	}
	for i := range tensors {
		tensors[i].Offset += start
	}
	return tensors, nil
}

// readHeader returns the JSON header and where the data start.
func readHeader(r io.ReaderAt, size int64) (header []byte, start int64, err error) {
	if err := gitlfs.CheckFile(r, size); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	var prefix [8]byte
	if size < int64(len(prefix)) {
		return nil, 0, fmt.Errorf("%w: a file of %d bytes has no header", ErrFormat, size)
	}
	if err := readAt(r, prefix[:], 0); err != nil {
		return nil, 0, err
	}
	n := binary.LittleEndian.Uint64(prefix[:])
	if n > uint64(size)-8 {
		return nil, 0, fmt.Errorf("%w: its header states %d bytes, the file has %d", ErrFormat, n, size)
	}
	if n > MaxHeader {
		return nil, 0, fmt.Errorf("%w: its header states %d bytes, at most %d are read", ErrFormat, n, MaxHeader)
	}
	header = make([]byte, n)
	if err := readAt(r, header, 8); err != nil {
		return nil, 0, err
	}
	return header, 8 + int64(n), nil
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

// parseEntry checks that the length of the data is what type and shape make. Offset is relative to the data.
func parseEntry(m Member) (Tensor, error) {
	var v struct {
		DType   DType    `json:"dtype"`
		Shape   []int64  `json:"shape"`
		Offsets *[]int64 `json:"data_offsets"`
	}
	if err := json.Unmarshal(m.Value, &v); err != nil {
		return Tensor{}, err
	}
	if v.Offsets == nil || len(*v.Offsets) != 2 || v.Shape == nil {
		return Tensor{}, errors.New("dtype, shape and two data_offsets are expected")
	}
	n := v.DType.Size()
	if n == 0 {
		return Tensor{}, fmt.Errorf("dtype %q is unknown", v.DType)
	}
	if len(v.Shape) > maxDims {
		return Tensor{}, fmt.Errorf("it has %d dimensions", len(v.Shape))
	}
	for _, d := range v.Shape {
		if d < 0 || d > 0 && n > math.MaxInt64/d {
			return Tensor{}, fmt.Errorf("its shape %v is impossible", v.Shape)
		}
		n *= d
	}
	begin, end := (*v.Offsets)[0], (*v.Offsets)[1]
	if begin < 0 || end < begin || end-begin != n {
		return Tensor{}, fmt.Errorf("%s%v takes %d bytes, its data_offsets are %v", v.DType, v.Shape, n, *v.Offsets)
	}
	return Tensor{Name: m.Key, DType: v.DType, Shape: v.Shape, Offset: begin, Size: n}, nil
}

// place sorts the tensors by offset and checks that they cover size bytes of data, each byte once.
func place(tensors []Tensor, size int64) error {
	slices.SortFunc(tensors, func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Size, b.Size), cmp.Compare(a.Name, b.Name))
	})
	var at int64
	for _, t := range tensors {
		switch {
		case t.Offset+t.Size > size:
			return fmt.Errorf("%w: tensor %q lies outside the file, which is cut short or not whole yet", ErrFormat, t.Name)
		case t.Offset < at:
			return fmt.Errorf("%w: tensor %q overlaps the one before it", ErrFormat, t.Name)
		case t.Offset > at:
			return fmt.Errorf("%w: %d bytes before tensor %q belong to no tensor", ErrFormat, t.Offset-at, t.Name)
		}
		at = t.Offset + t.Size
	}
	if at != size {
		return fmt.Errorf("%w: %d bytes after the last tensor belong to no tensor", ErrFormat, size-at)
	}
	return nil
}

package adapters

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// This file reads the safetensors format: 8 bytes that hold the length of a JSON header, little-endian, the
// header ({"name": {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {...}}), and the data.
// Source: github.com/huggingface/safetensors, README. As there, the data must be covered without holes.

// maxHeader bounds the JSON header. An adapter on every linear of 200 layers needs half a megabyte.
const maxHeader = 16 << 20

// maxDims is more than any tensor of an adapter has.
const maxDims = 8

// DType is the type of a tensor's values, as safetensors spells it.
type DType string

// The types whose values can be read as float32.
const (
	F32  DType = "F32"
	F16  DType = "F16"
	BF16 DType = "BF16"
	F64  DType = "F64"
)

// size returns the bytes of one value, or 0 where the type is not one of ours.
func (d DType) size() int64 {
	switch d {
	case F16, BF16:
		return 2
	case F32:
		return 4
	case F64:
		return 8
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
	header, start, err := readHeader(r, size)
	if err != nil {
		return nil, err
	}
	entries, err := parseHeader(header)
	if err != nil {
		return nil, err
	}
	if err := place(entries, size-start); err != nil {
		return nil, err
	}
	tensors := make([]Tensor, len(entries))
	for i, e := range entries {
		begin, length := start+e.begin, e.end-e.begin
		tensors[i] = Tensor{Name: e.name, DType: e.dtype, Shape: e.shape, open: func() (io.Reader, error) {
			return io.NewSectionReader(r, begin, length), nil
		}}
	}
	return tensors, nil
}

// readHeader returns the JSON header and where the data start.
func readHeader(r io.ReaderAt, size int64) (header []byte, start int64, err error) {
	var prefix [8]byte
	if size < int64(len(prefix)) {
		return nil, 0, fmt.Errorf("%w: a safetensors file of %d bytes has no header", ErrFormat, size)
	}
	if err := readAt(r, prefix[:], 0); err != nil {
		return nil, 0, err
	}
	n := binary.LittleEndian.Uint64(prefix[:])
	if n > uint64(size)-8 {
		return nil, 0, fmt.Errorf("%w: the safetensors header states %d bytes, the file has %d", ErrFormat, n, size)
	}
	if n > maxHeader {
		return nil, 0, fmt.Errorf("%w: the safetensors header states %d bytes, at most %d are read", ErrFormat, n, maxHeader)
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

// headerEntry is one tensor of the header, its offsets relative to the data.
type headerEntry struct {
	name       string
	dtype      DType
	shape      []int64
	begin, end int64
}

// parseHeader reads the JSON header and checks every entry for itself.
func parseHeader(header []byte) ([]headerEntry, error) {
	members, err := parseObject(header)
	if err != nil {
		return nil, fmt.Errorf("%w: safetensors header: %w", ErrFormat, err)
	}
	entries := make([]headerEntry, 0, len(members))
	for _, m := range members {
		if m.key == "__metadata__" {
			continue
		}
		e, err := parseEntry(m)
		if err != nil {
			return nil, fmt.Errorf("%w: tensor %q: %w", ErrFormat, m.key, err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// parseEntry checks that the length of the data is what type and shape make.
func parseEntry(m member) (headerEntry, error) {
	var v struct {
		DType   DType    `json:"dtype"`
		Shape   []int64  `json:"shape"`
		Offsets *[]int64 `json:"data_offsets"`
	}
	if err := json.Unmarshal(m.value, &v); err != nil {
		return headerEntry{}, err
	}
	e := headerEntry{name: m.key, dtype: v.DType, shape: v.Shape}
	if v.Offsets == nil || len(*v.Offsets) != 2 || v.Shape == nil {
		return e, errors.New("dtype, shape and two data_offsets are expected")
	}
	n := v.DType.size()
	if n == 0 {
		return e, fmt.Errorf("dtype %q is none of F32, F16, BF16 and F64", v.DType)
	}
	if len(v.Shape) > maxDims {
		return e, fmt.Errorf("it has %d dimensions", len(v.Shape))
	}
	for _, d := range v.Shape {
		if d < 0 || d > 0 && n > math.MaxInt64/d {
			return e, fmt.Errorf("its shape %v is impossible", v.Shape)
		}
		n *= d
	}
	e.begin, e.end = (*v.Offsets)[0], (*v.Offsets)[1]
	if e.begin < 0 || e.end < e.begin || e.end-e.begin != n {
		return e, fmt.Errorf("%s%v takes %d bytes, its data_offsets are %v", v.DType, v.Shape, n, *v.Offsets)
	}
	return e, nil
}

// place sorts the entries by offset and checks that they cover size bytes of data, each byte once.
func place(entries []headerEntry, size int64) error {
	slices.SortFunc(entries, func(a, b headerEntry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end), cmp.Compare(a.name, b.name))
	})
	var at int64
	for _, e := range entries {
		switch {
		case e.end > size:
			return fmt.Errorf("%w: tensor %q lies outside the file, which is cut short or not whole yet", ErrFormat, e.name)
		case e.begin < at:
			return fmt.Errorf("%w: tensor %q overlaps the one before it", ErrFormat, e.name)
		case e.begin > at:
			return fmt.Errorf("%w: %d bytes before tensor %q belong to no tensor", ErrFormat, e.begin-at, e.name)
		}
		at = e.end
	}
	if at != size {
		return fmt.Errorf("%w: %d bytes after the last tensor belong to no tensor", ErrFormat, size-at)
	}
	return nil
}

// member is one field of a JSON object.
type member struct {
	key   string
	value json.RawMessage
}

// parseObject reads a JSON object in its own order, which PEFT's patterns depend on, and refuses what other
// readers may understand otherwise: a key that occurs twice, anything after the object.
func parseObject(data []byte) ([]member, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, cmp.Or(err, errors.New("a JSON object is expected"))
	}
	var members []member
	seen := make(map[string]bool)
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		key, _ := t.(string)
		if seen[key] {
			return nil, fmt.Errorf("key %q occurs twice", key)
		}
		seen[key] = true
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return nil, fmt.Errorf("key %q: %w", key, err)
		}
		members = append(members, member{key, v})
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON object")
	}
	return members, nil
}

package quant

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

const (
	magic            = "GGUF"
	version          = 3 // version 2 has the same layout; version 3 added big-endian files
	defaultAlignment = 32
	maxAlignment     = 1 << 20
	maxDims          = 4 // ggml's GGML_MAX_DIMS

	// No model needs more; they bound the memory that a header of many tiny entries can take.
	maxPairs   = 1 << 16
	maxTensors = 1 << 20

	// The fewest bytes an entry can take: a key's length, type and value; a name's length, one character,
	// the number of dimensions, one dimension, type and offset.
	minPair   = 8 + 4 + 1
	minTensor = 8 + 1 + 4 + 8 + 4 + 8
)

// header reads a GGUF header. Its reads do nothing once err is set, and nothing is allocated for what the
// rest of the file is too short to hold.
type header struct {
	r    *bufio.Reader
	size int64  // of the file
	pos  int64  // bytes read
	buf  []byte // what bytes returns
	err  error

	metadata Metadata
	tensors  []Tensor
	index    map[string]int
	carried  carried
}

func newHeader(r io.ReaderAt, size int64) *header {
	return &header{
		r:     bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 64<<10),
		size:  size,
		index: make(map[string]int),
	}
}

// fail keeps the first error, as a fault of the file.
func (h *header) fail(format string, args ...any) {
	if h.err == nil {
		h.err = fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
	}
}

// read reads the whole header; tensor offsets stay as the file has them, relative to the data.
func (h *header) read() {
	if string(h.bytes(4)) != magic {
		h.fail("it does not begin with %q", magic)
	}
	switch v := scalar[uint32](h); {
	case h.err != nil:
	case v == 1:
		h.fail("version 1 is not supported")
	case v&0xffff == 0:
		h.fail("it is big-endian")
	case v > version:
		h.fail("version %d is not supported", v)
	}
	tensors := h.count(minTensor, maxTensors, "tensors")
	pairs := h.count(minPair, maxPairs, "key-value pairs")
	for i := uint64(0); i < pairs && h.err == nil; i++ {
		h.pair()
	}
	if err := h.carried.read(&h.metadata); err != nil && h.err == nil {
		h.fail("%v", err)
	}
	for i := uint64(0); i < tensors && h.err == nil; i++ {
		h.tensor()
	}
	if err := h.carried.missing(h.index); err != nil && h.err == nil {
		h.fail("%v", err)
	}
}

// count reads how many entries of at least least bytes follow.
func (h *header) count(least, most int64, what string) uint64 {
	n := scalar[uint64](h)
	if n > uint64(h.size-h.pos)/uint64(least) || n > uint64(most) {
		h.fail("it states %d %s, more than a file of %d bytes can hold", n, what, h.size)
		return 0
	}
	return n
}

// bytes reads n bytes. They are good until the next call; after an error there are none.
func (h *header) bytes(n uint64) []byte {
	if h.err != nil {
		return nil
	}
	if n > uint64(h.size-h.pos) {
		h.fail("it ends inside the header")
		return nil
	}
	if n > uint64(cap(h.buf)) {
		h.buf = make([]byte, n)
	}
	b := h.buf[:n]
	read, err := io.ReadFull(h.r, b)
	h.pos += int64(read)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		h.fail("it ends inside the header")
		return nil
	case err != nil:
		h.err = err
		return nil
	}
	return b
}

// string reads a length and as many bytes. A vocabulary is several hundred thousand of these.
func (h *header) string() string {
	b := h.bytes(8)
	if b == nil {
		return ""
	}
	return string(h.bytes(binary.LittleEndian.Uint64(b)))
}

// pair reads one key-value pair.
func (h *header) pair() {
	key := h.string()
	if _, ok := h.metadata.Get(key); ok {
		h.fail("key %q occurs twice", key)
	}
	v := h.value(key)
	if h.err == nil {
		h.metadata.Set(key, v)
	}
}

// value reads the type and value of key.
func (h *header) value(key string) any {
	switch t := scalar[uint32](h); t {
	case 0:
		return scalar[uint8](h)
	case 1:
		return scalar[int8](h)
	case 2:
		return scalar[uint16](h)
	case 3:
		return scalar[int16](h)
	case 4:
		return scalar[uint32](h)
	case 5:
		return scalar[int32](h)
	case 6:
		return scalar[float32](h)
	case 7:
		return scalar[uint8](h) != 0
	case 8:
		return h.string()
	case 9:
		return h.array(key)
	case 10:
		return scalar[uint64](h)
	case 11:
		return scalar[int64](h)
	case 12:
		return scalar[float64](h)
	default:
		h.fail("key %q has the unknown type %d", key, t)
		return nil
	}
}

// array reads the element type, length and elements of key.
func (h *header) array(key string) any {
	switch t, n := scalar[uint32](h), scalar[uint64](h); t {
	case 0:
		return array[uint8](h, key, n)
	case 1:
		return array[int8](h, key, n)
	case 2:
		return array[uint16](h, key, n)
	case 3:
		return array[int16](h, key, n)
	case 4:
		return array[uint32](h, key, n)
	case 5:
		return array[int32](h, key, n)
	case 6:
		return array[float32](h, key, n)
	case 7:
		return array[bool](h, key, n)
	case 8:
		if !h.room(key, n, 8) {
			return nil
		}
		s := make([]string, 0, n)
		for range n {
			if s = append(s, h.string()); h.err != nil {
				return nil
			}
		}
		return s
	case 10:
		return array[uint64](h, key, n)
	case 11:
		return array[int64](h, key, n)
	case 12:
		return array[float64](h, key, n)
	default:
		h.fail("key %q is an array of the unknown type %d", key, t)
		return nil
	}
}

// room reports whether n elements of at least least bytes can follow.
func (h *header) room(key string, n uint64, least int) bool {
	if h.err == nil && n > uint64(h.size-h.pos)/uint64(least) {
		h.fail("key %q states %d elements, more than the file holds", key, n)
	}
	return h.err == nil
}

// fixed are the values whose size does not depend on their content.
type fixed interface {
	uint8 | int8 | uint16 | int16 | uint32 | int32 | uint64 | int64 | float32 | float64 | bool
}

func scalar[T fixed](h *header) T {
	var v T
	if b := h.bytes(uint64(binary.Size(v))); b != nil {
		_, h.err = binary.Decode(b, binary.LittleEndian, &v)
	}
	return v
}

func array[T fixed](h *header, key string, n uint64) []T {
	var v T
	if !h.room(key, n, binary.Size(v)) {
		return nil
	}
	a := make([]T, n)
	if b := h.bytes(n * uint64(binary.Size(v))); n > 0 && b != nil {
		_, h.err = binary.Decode(b, binary.LittleEndian, a)
	}
	return a
}

// tensor reads one tensor's description.
func (h *header) tensor() {
	t := Tensor{Name: h.string()}
	if t.Name == "" {
		h.fail("tensor %d has no name", len(h.tensors))
	}
	if _, ok := h.index[t.Name]; ok {
		h.fail("tensor %q occurs twice", t.Name)
	}
	n := scalar[uint32](h)
	if n < 1 || n > maxDims {
		h.fail("tensor %q has %d dimensions", t.Name, n)
	}
	for i := uint32(0); i < n && h.err == nil; i++ {
		t.Dims = append(t.Dims, scalar[int64](h))
	}
	t.Type = Type(scalar[uint32](h))
	t.Offset = scalar[int64](h)
	if h.err != nil {
		return
	}
	t, err := h.carried.unwrap(t)
	if err != nil {
		h.fail("tensor %q: %v", t.Name, err)
		return
	}
	h.index[t.Name] = len(h.tensors)
	h.tensors = append(h.tensors, t)
}

// place makes the tensors' offsets absolute and checks that they are aligned, inside the file and apart.
// It returns where the data begins.
func (h *header) place() (int64, error) {
	alignment, err := alignmentOf(&h.metadata)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	start := align(h.pos, alignment)
	order := make([]int, len(h.tensors))
	for i := range h.tensors {
		t := &h.tensors[i]
		switch {
		case t.Offset < 0 || t.Offset%alignment != 0:
			h.fail("tensor %q begins at %d, which is not aligned to %d", t.Name, t.Offset, alignment)
		case start > h.size || t.Offset > h.size-start || t.Size > h.size-start-t.Offset:
			h.fail("tensor %q lies outside the file", t.Name)
		}
		if h.err != nil {
			return 0, h.err
		}
		t.Offset += start
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(h.tensors[a].Offset, h.tensors[b].Offset) })
	for i := 1; i < len(order); i++ {
		a, b := h.tensors[order[i-1]], h.tensors[order[i]]
		if a.Offset+a.Size > b.Offset {
			h.fail("tensors %q and %q overlap", a.Name, b.Name)
			return 0, h.err
		}
	}
	return start, nil
}

// alignmentOf returns general.alignment, or the format's default.
func alignmentOf(m *Metadata) (int64, error) {
	v, ok := m.Get("general.alignment")
	if !ok {
		return defaultAlignment, nil
	}
	a, ok := v.(uint32)
	if !ok || a == 0 || a&(a-1) != 0 || a > maxAlignment {
		return 0, fmt.Errorf("general.alignment is %v, not a power of two", v)
	}
	return int64(a), nil
}

// align rounds n up to a multiple of alignment.
func align(n, alignment int64) int64 { return (n + alignment - 1) &^ (alignment - 1) }

package quant

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"reflect"
	"slices"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// valueKinds lists the kinds of metadata values; the index is GGUF's number of the type.
var valueKinds = [...]reflect.Kind{
	reflect.Uint8, reflect.Int8, reflect.Uint16, reflect.Int16, reflect.Uint32, reflect.Int32,
	reflect.Float32, reflect.Bool, reflect.String, reflect.Slice, reflect.Uint64, reflect.Int64, reflect.Float64,
}

const (
	stringType = 8
	arrayType  = 9
)

// Data writes the bytes of tensors[i], exactly as many as its type and dimensions take, to w.
type Data func(i int, w io.Writer) error

// Encode writes a GGUF file to w: the metadata in its order with its exact types, then the tensors in
// theirs. Offset and Size of the tensors are ignored; data is asked for one tensor after the other. Tensors of
// NF4 types are written in their carriers and need an architecture marked with NF4Suffix.
func Encode(w io.Writer, m *Metadata, tensors []Tensor, data Data) error {
	alignment, err := alignmentOf(m)
	if err != nil {
		return err
	}
	m, written, err := carry(m, tensors)
	if err != nil {
		return err
	}
	head, sizes, err := encodeHeader(m, written, alignment)
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(w, 1<<20)
	if _, err := b.Write(head); err != nil {
		return err
	}
	for i, t := range tensors {
		c := counter{w: b, left: sizes[i]}
		if err := data(i, &c); err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if c.left != 0 {
			return fmt.Errorf("tensor %q: %d of its %d bytes are missing", t.Name, c.left, sizes[i])
		}
		if _, err := b.Write(make([]byte, align(sizes[i], alignment)-sizes[i])); err != nil {
			return err
		}
	}
	if _, err := b.Write(make([]byte, tail(tensors, sizes, alignment))); err != nil {
		return err
	}
	return b.Flush()
}

// encodeHeader returns the header with its padding, and the bytes each tensor takes.
func encodeHeader(m *Metadata, tensors []Tensor, alignment int64) (head []byte, sizes []int64, err error) {
	le := binary.LittleEndian
	head = le.AppendUint32([]byte(magic), version)
	head = le.AppendUint64(head, uint64(len(tensors)))
	head = le.AppendUint64(head, uint64(m.Len()))
	for key, value := range m.All() {
		if head, err = appendValue(appendString(head, key), value); err != nil {
			return nil, nil, fmt.Errorf("key %q: %w", key, err)
		}
	}
	names := make(map[string]bool, len(tensors))
	offset := int64(0)
	for i, t := range tensors {
		if t.Name == "" || names[t.Name] {
			return nil, nil, fmt.Errorf("tensor %d: the name %q is empty or used twice", i, t.Name)
		}
		names[t.Name] = true
		size, err := t.Type.size(t.Dims)
		if err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		head = le.AppendUint32(appendString(head, t.Name), uint32(len(t.Dims)))
		for _, d := range t.Dims {
			head = le.AppendUint64(head, uint64(d))
		}
		head = le.AppendUint32(head, uint32(t.Type))
		head = le.AppendUint64(head, uint64(offset))
		sizes = append(sizes, size)
		offset += align(size, alignment)
	}
	padding := align(int64(len(head)), alignment) - int64(len(head))
	return append(head, make([]byte, padding)...), sizes, nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// appendValue appends a value's type and the value.
func appendValue(b []byte, value any) ([]byte, error) {
	le := binary.LittleEndian
	v := reflect.ValueOf(value)
	kind := v.Kind()
	if kind == reflect.Slice {
		kind = v.Type().Elem().Kind()
		b = le.AppendUint32(b, arrayType)
	}
	t := slices.Index(valueKinds[:], kind)
	if t < 0 || t == arrayType {
		return nil, fmt.Errorf("GGUF has no type for %T", value)
	}
	b = le.AppendUint32(b, uint32(t))
	if v.Kind() == reflect.Slice {
		b = le.AppendUint64(b, uint64(v.Len()))
	}
	if t != stringType {
		return binary.Append(b, le, value)
	}
	if v.Kind() == reflect.String {
		return appendString(b, v.String()), nil
	}
	for i := range v.Len() {
		b = appendString(b, v.Index(i).String())
	}
	return b, nil
}

// counter passes on at most left bytes.
type counter struct {
	w    io.Writer
	left int64
}

func (c *counter) Write(p []byte) (int, error) {
	if int64(len(p)) > c.left {
		return 0, fmt.Errorf("%d bytes more than its size", int64(len(p))-c.left)
	}
	n, err := c.w.Write(p)
	c.left -= int64(n)
	return n, err
}

// WriteFile writes a GGUF file as Encode does, and replaces what path held in one step, as disk.WriteFile does. The file
// is readable for all users.
func WriteFile(path string, m *Metadata, tensors []Tensor, data Data) error {
	return disk.WriteFile(path, 0o644, func(w io.Writer) error { return Encode(w, m, tensors, data) })
}

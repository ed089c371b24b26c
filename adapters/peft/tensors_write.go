package peft

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// NewTensor returns an F32 tensor over values, which it does not copy.
func NewTensor(name string, shape []int64, values []float32) Tensor {
	return lazyTensor(name, shape, func() ([]float32, error) { return values, nil })
}

// lazyTensor returns an F32 tensor whose values are made when they are read.
func lazyTensor(name string, shape []int64, values func() ([]float32, error)) Tensor {
	return Tensor{Name: name, DType: F32, Shape: shape, open: func() (io.Reader, error) {
		v, err := values()
		if err != nil {
			return nil, err
		}
		raw := make([]byte, 4*len(v))
		quant.EncodeF32(raw, v)
		return bytes.NewReader(raw), nil
	}}
}

// WriteTensors writes a safetensors file of the tensors in their order, each in the type it has. The metadata
// say "pt", without which transformers does not load the file. Equal tensors give equal bytes.
func WriteTensors(w io.Writer, tensors []Tensor) error {
	header, err := encodeHeader(tensors)
	if err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	for i := range tensors {
		t := &tensors[i]
		r, err := t.open()
		if err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		n, err := io.Copy(w, r)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if n != t.bytes() {
			return fmt.Errorf("tensor %q: %d bytes were read, %s%v takes %d", t.Name, n, t.DType, t.Shape, t.bytes())
		}
	}
	return nil
}

// encodeHeader returns the length and the JSON header, padded with spaces so that the data are aligned.
func encodeHeader(tensors []Tensor) ([]byte, error) {
	type entry struct {
		DType   DType    `json:"dtype"`
		Shape   []int64  `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	b := bytes.NewBuffer(make([]byte, 8))
	b.WriteString(`{"__metadata__":{"format":"pt"}`)
	var at int64
	for i := range tensors {
		t := &tensors[i]
		name, err := json.Marshal(t.Name)
		if err != nil {
			return nil, err
		}
		shape := t.Shape
		if shape == nil {
			shape = []int64{}
		}
		value, err := json.Marshal(entry{t.DType, shape, [2]int64{at, at + t.bytes()}})
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(b, ",%s:%s", name, value)
		at += t.bytes()
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	binary.LittleEndian.PutUint64(b.Bytes(), uint64(b.Len()-8))
	return b.Bytes(), nil
}

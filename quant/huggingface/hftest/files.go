// Package hftest makes model folders as Hugging Face's transformers stores them, for the tests of what reads them:
// small random models of each family, and a GGUF file turned back into a folder.
package hftest

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// Tensor is a tensor of a safetensors file.
type Tensor struct {
	Name  string
	DType string
	Shape []int64
	Data  []byte
}

// F32 makes a tensor of float32 values.
func F32(name string, values []float32, shape ...int64) Tensor {
	data := make([]byte, 4*len(values))
	quant.EncodeF32(data, values)
	return Tensor{name, "F32", shape, data}
}

// BF16 makes a tensor of values rounded to bfloat16.
func BF16(name string, values []float32, shape ...int64) Tensor {
	data := make([]byte, 2*len(values))
	quant.EncodeBF16(data, values)
	return Tensor{name, "BF16", shape, data}
}

// F16 makes a tensor of values rounded to float16.
func F16(name string, values []float32, shape ...int64) Tensor {
	data := make([]byte, 2*len(values))
	quant.EncodeF16(data, values)
	return Tensor{name, "F16", shape, data}
}

// U8 makes a tensor of bytes.
func U8(name string, data []byte, shape ...int64) Tensor { return Tensor{name, "U8", shape, data} }

// Safetensors returns a file of the tensors.
func Safetensors(tensors []Tensor) []byte {
	type entry struct {
		DType   string   `json:"dtype"`
		Shape   []int64  `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	header := map[string]any{"__metadata__": map[string]string{"format": "pt"}}
	var data []byte
	for _, t := range tensors {
		begin := int64(len(data))
		data = append(data, t.Data...)
		header[t.Name] = entry{t.DType, t.Shape, [2]int64{begin, int64(len(data))}}
	}
	text := JSON(header)
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), data...)
}

// JSON encodes v, which must be possible.
func JSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

// WriteFiles writes files into dir, each under its name.
func WriteFiles(t testing.TB, dir string, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Shards returns the files of a sharded model: tensors in turn in one of n shards, and the index.
func Shards(tensors []Tensor, n int) map[string][]byte {
	parts, weightMap := make([][]Tensor, n), map[string]string{}
	name := func(i int) string { return fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, n) }
	for i, t := range tensors {
		parts[i%n] = append(parts[i%n], t)
		weightMap[t.Name] = name(i % n)
	}
	files := map[string][]byte{"model.safetensors.index.json": JSON(map[string]any{"metadata": map[string]any{}, "weight_map": weightMap})}
	for i, part := range parts {
		files[name(i)] = Safetensors(part)
	}
	return files
}

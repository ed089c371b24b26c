package randmodel

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
)

// Shapes are the models that EnsureQuantized makes, by name.
var Shapes = map[string]Shape{
	"tiny": {Embedding: 256, FeedForward: 768, Heads: 4, KVHeads: 2, Layers: 4, Vocab: 2048, Context: 4096},
	"half": Half,
	"8b":   {Embedding: 4096, FeedForward: 14336, Heads: 32, KVHeads: 8, Layers: 32, Vocab: 128256, Context: 8192},
}

// distinctRows is how many rows of a tensor differ; the others repeat them. Speed depends on sizes alone, and so a model of
// 8 billion weights is made about as fast as the disk takes it.
const distinctRows = 64

// QuantizedTypes are the types that EnsureQuantized knows.
var QuantizedTypes = []string{"nf4", "q4_0", "q4_k_m"}

// EnsureQuantized makes a random model of the shape with weights of the type in dir, unless it is there, and returns its path.
func EnsureQuantized(dir, shape, typ string, say func(string)) (string, error) {
	s, known := Shapes[shape]
	if !known {
		return "", fmt.Errorf("there is no shape %q: want tiny, half or 8b", shape)
	}
	path := filepath.Join(dir, shape+"-repeated-"+typ+".gguf")
	if exists(path) {
		return path, nil
	}
	say("making a random model, once: " + path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return path, WriteQuantized(path, s, typ)
}

// WriteQuantized writes a random model whose matrices are of the type from the start.
func WriteQuantized(path string, s Shape, typ string) error {
	tensors := s.tensors()
	m := metadata(s)
	for i := range tensors {
		t := &tensors[i]
		if len(t.Dims) == 1 {
			continue
		}
		to, err := s.encoding(t.Name, typ)
		if err != nil {
			return err
		}
		t.Type = to
	}
	if typ == "nf4" {
		m.Set("general.architecture", "llama"+quant.NF4Suffix)
	}
	random := rng(1)
	return quant.WriteFile(path, &m, tensors, func(i int, w io.Writer) error {
		if len(tensors[i].Dims) == 1 {
			return writeRows(w, tensors[i], 1, func([]float32) {})
		}
		return random.writeRepeated(w, tensors[i])
	})
}

// encoding returns the type of a matrix. For q4_k_m these are llama.cpp's choices for dense llama models: more bits for the
// head, and for values and the second half of the feed-forward layer in the first and last blocks and every third between.
func (s Shape) encoding(name, typ string) (quant.Type, error) {
	const q4_0, q4K = quant.Type(2), quant.Type(12)
	block := strings.HasPrefix(name, "blk.")
	switch typ {
	case "nf4":
		if block {
			return quant.NF4, nil
		}
		return quant.Q8_0, nil
	case "q4_0":
		if block {
			return q4_0, nil
		}
		return quant.Q6_K, nil
	case "q4_k_m":
		var layer int
		if _, err := fmt.Sscanf(name, "blk.%d.", &layer); err != nil {
			if name == "output.weight" {
				return quant.Q6_K, nil
			}
			return q4K, nil
		}
		outer := layer < s.Layers/8 || layer >= 7*s.Layers/8 || (layer-s.Layers/8)%3 == 2
		if outer && (strings.Contains(name, "attn_v") || strings.Contains(name, "ffn_down")) {
			return quant.Q6_K, nil
		}
		return q4K, nil
	}
	return 0, fmt.Errorf("there is no type %q: want one of %v", typ, QuantizedTypes)
}

// writeRepeated encodes a few rows of random numbers and writes them again and again.
func (r *rng) writeRepeated(w io.Writer, t quant.Tensor) error {
	encode := quant.EncodeNF4
	if t.Type != quant.NF4 {
		codec, err := llama.Codec(t.Type)
		if err != nil {
			return err
		}
		encode = codec.Encode
	}
	width, height := t.Dims[0], t.Dims[1]
	weights, bytes := t.Type.Block()
	line := width / weights * bytes
	row := make([]float32, width)
	rows := make([]byte, min(height, distinctRows)*line)
	for at := int64(0); at < int64(len(rows)); at += line {
		r.fill(row, 1/math.Sqrt(float64(width)))
		encode(rows[at:at+line], row)
	}
	for left := height * line; left > 0; left -= int64(len(rows)) {
		if _, err := w.Write(rows[:min(left, int64(len(rows)))]); err != nil {
			return err
		}
	}
	return nil
}

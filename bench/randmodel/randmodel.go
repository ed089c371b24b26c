// Package randmodel makes random llama-shaped models and LoRA adapters to measure with. Their answers are
// noise; their shapes, types and sizes are a real model's.
package randmodel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	goruntime "runtime"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
)

// Shape is a dense llama architecture.
type Shape struct {
	Embedding, FeedForward, Heads, KVHeads, Layers, Vocab, Context int
}

// Half is about 0.45B weights: large enough to leave the caches, small enough for 2 cores.
var Half = Shape{Embedding: 1280, FeedForward: 3584, Heads: 20, KVHeads: 4, Layers: 20, Vocab: 32000, Context: 4096}

const (
	Adapters     = 16 // adapters that Ensure makes
	Rank         = 16
	Alpha        = 32
	PromptTokens = 30000 // prompts are drawn from token ids below this; all of them are plain text
)

// Files are what Ensure made.
type Files struct {
	Q40, NF4     string
	AdapterDir   string
	AdapterFiles []string
}

// AdapterName is the name under which --adapter-dir registers adapter i.
func AdapterName(i int) string { return fmt.Sprintf("bench-%02d", i) }

// Ensure makes the models and adapters in dir, unless they are there already.
func Ensure(ctx context.Context, dir string, say func(string)) (Files, error) {
	f := Files{Q40: filepath.Join(dir, "half-q4_0.gguf"), NF4: filepath.Join(dir, "half-nf4.gguf"),
		AdapterDir: filepath.Join(dir, "adapters")}
	if err := os.MkdirAll(f.AdapterDir, 0o755); err != nil {
		return f, err
	}
	for i := range Adapters {
		path := filepath.Join(f.AdapterDir, AdapterName(i)+".gguf")
		f.AdapterFiles = append(f.AdapterFiles, path)
		if exists(path) {
			continue
		}
		if err := WriteAdapter(path, Half, Rank, Alpha, uint64(i+1)); err != nil {
			return f, err
		}
	}
	if exists(f.Q40) && exists(f.NF4) {
		return f, nil
	}
	say("making a random 0.45B model, once")
	f16 := filepath.Join(dir, "half-f16.gguf")
	defer os.Remove(f16)
	if err := WriteModel(f16, Half, 1); err != nil {
		return f, err
	}
	if _, err := quant.Quantize(ctx, f16, f.NF4, quant.Options{Type: "nf4"}); err != nil {
		return f, err
	}
	return f, llama.Quantize(ctx, f16, f.Q40, "q4_0", goruntime.NumCPU(), nil)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, os.ErrNotExist)
}

// linear is a weight of one block, by GGUF name, with its shape.
type linear struct {
	name    string
	in, out int
}

func (s Shape) linears() []linear {
	kv := s.Embedding / s.Heads * s.KVHeads
	return []linear{
		{"attn_q", s.Embedding, s.Embedding}, {"attn_k", s.Embedding, kv}, {"attn_v", s.Embedding, kv},
		{"attn_output", s.Embedding, s.Embedding}, {"ffn_gate", s.Embedding, s.FeedForward},
		{"ffn_up", s.Embedding, s.FeedForward}, {"ffn_down", s.FeedForward, s.Embedding},
	}
}

// tensors lists the model's tensors: norms in F32, matrices in F16.
func (s Shape) tensors() []quant.Tensor {
	var tensors []quant.Tensor
	add := func(name string, t quant.Type, dims ...int64) {
		tensors = append(tensors, quant.Tensor{Name: name, Type: t, Dims: dims})
	}
	width := int64(s.Embedding)
	add("token_embd.weight", quant.F16, width, int64(s.Vocab))
	add("output_norm.weight", quant.F32, width)
	add("output.weight", quant.F16, width, int64(s.Vocab))
	for l := range s.Layers {
		add(fmt.Sprintf("blk.%d.attn_norm.weight", l), quant.F32, width)
		add(fmt.Sprintf("blk.%d.ffn_norm.weight", l), quant.F32, width)
		for _, w := range s.linears() {
			add(fmt.Sprintf("blk.%d.%s.weight", l, w.name), quant.F16, int64(w.in), int64(w.out))
		}
	}
	return tensors
}

// WriteModel writes a random F16 model with a vocabulary of plain words.
func WriteModel(path string, s Shape, seed uint64) error {
	tensors := s.tensors()
	m := metadata(s)
	random := rng(seed)
	return quant.WriteFile(path, &m, tensors, func(i int, w io.Writer) error {
		t := tensors[i]
		if len(t.Dims) == 1 {
			return writeRows(w, t, 1, func([]float32) {}) // a norm: all ones
		}
		return writeRows(w, t, 0, func(row []float32) { random.fill(row, 1/math.Sqrt(float64(len(row)))) })
	})
}

// WriteAdapter writes a GGUF LoRA (F16) on all seven linears whose updates are small but not nothing.
func WriteAdapter(path string, s Shape, rank int, alpha float32, seed uint64) error {
	var tensors []quant.Tensor
	for l := range s.Layers {
		for _, w := range s.linears() {
			name := fmt.Sprintf("blk.%d.%s.weight", l, w.name)
			tensors = append(tensors,
				quant.Tensor{Name: name + ".lora_a", Type: quant.F16, Dims: []int64{int64(w.in), int64(rank)}},
				quant.Tensor{Name: name + ".lora_b", Type: quant.F16, Dims: []int64{int64(rank), int64(w.out)}})
		}
	}
	var m quant.Metadata
	m.Set("general.architecture", "llama")
	m.Set("general.type", "adapter")
	m.Set("adapter.type", "lora")
	m.Set("adapter.lora.alpha", alpha)
	random := rng(seed)
	return quant.WriteFile(path, &m, tensors, func(i int, w io.Writer) error {
		return writeRows(w, tensors[i], 0, func(row []float32) { random.fill(row, 0.5/math.Sqrt(float64(len(row)))) })
	})
}

// writeRows writes a tensor row by row: each row starts as all start and fill changes it.
func writeRows(w io.Writer, t quant.Tensor, start float32, fill func([]float32)) error {
	row := make([]float32, t.Dims[0])
	encode, size := quant.EncodeF16, 2
	if t.Type == quant.F32 {
		encode, size = quant.EncodeF32, 4
	}
	bytes := make([]byte, size*len(row))
	for range t.Elements() / t.Dims[0] {
		for i := range row {
			row[i] = start
		}
		fill(row)
		encode(bytes, row)
		if _, err := w.Write(bytes); err != nil {
			return err
		}
	}
	return nil
}

func metadata(s Shape) quant.Metadata {
	var m quant.Metadata
	u := func(key string, v int) { m.Set("llama."+key, uint32(v)) }
	m.Set("general.architecture", "llama")
	m.Set("general.name", "random")
	u("context_length", s.Context)
	u("embedding_length", s.Embedding)
	u("block_count", s.Layers)
	u("feed_forward_length", s.FeedForward)
	u("attention.head_count", s.Heads)
	u("attention.head_count_kv", s.KVHeads)
	u("rope.dimension_count", s.Embedding/s.Heads)
	u("vocab_size", s.Vocab)
	m.Set("llama.attention.layer_norm_rms_epsilon", float32(1e-5))
	words := make([]string, s.Vocab)
	for i := range words {
		words[i] = fmt.Sprintf("w%d", i)
	}
	copy(words, []string{"a", "b"}) // what the one merge needs
	words[2], words[s.Vocab-1] = "ab", "<end>"
	types := make([]int32, s.Vocab)
	for i := range types {
		types[i] = 1 // normal
	}
	types[s.Vocab-1] = 3 // control
	m.Set("tokenizer.ggml.model", "gpt2")
	m.Set("tokenizer.ggml.pre", "default")
	m.Set("tokenizer.ggml.tokens", words)
	m.Set("tokenizer.ggml.token_type", types)
	m.Set("tokenizer.ggml.merges", []string{"a b"})
	m.Set("tokenizer.ggml.eos_token_id", uint32(s.Vocab-1))
	m.Set("tokenizer.ggml.add_bos_token", false)
	return m
}

// rng is a xorshift generator: the files are the same on every machine.
type rng uint64

func (r *rng) next() uint64 {
	x := uint64(*r)*0x9E3779B97F4A7C15 | 1
	x ^= x << 13
	x ^= x >> 7
	x ^= x << 17
	*r = rng(x)
	return x
}

// fill draws from a sum of four uniforms, near enough to a normal distribution with deviation scale.
func (r *rng) fill(row []float32, scale float64) {
	const deviation = 37837.0 // of the sum of four 16-bit uniforms
	for i := range row {
		x := r.next()
		sum := float64(x&0xffff) + float64(x>>16&0xffff) + float64(x>>32&0xffff) + float64(x>>48)
		row[i] = float32((sum - 131070) / deviation * scale)
	}
}

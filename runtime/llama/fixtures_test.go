//go:build cgo && linux

package llama

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/x448/float16"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// sizes are the shape of a random model.
type sizes struct {
	arch                                  string
	embedding, feedForward, layers, vocab int
	heads, kvHeads                        int
	tied                                  bool // no output.weight: the head is the embedding
	experts                               int  // > 0: a mixture of them instead of the dense feed-forward
}

var tiny = sizes{arch: "llama", embedding: 256, feedForward: 768, layers: 4, vocab: 1024, heads: 8, kvHeads: 2}

func (s sizes) headSize() int { return s.embedding / s.heads }

func (s sizes) kv() int { return s.headSize() * s.kvHeads }

// linears are the linear layers of a block, by the middle of their names.
func (s sizes) linears() map[string]runtime.Shape {
	return map[string]runtime.Shape{
		"attn_q": {In: s.embedding, Out: s.embedding}, "attn_k": {In: s.embedding, Out: s.kv()},
		"attn_v": {In: s.embedding, Out: s.kv()}, "attn_output": {In: s.embedding, Out: s.embedding},
		"ffn_gate": {In: s.embedding, Out: s.feedForward}, "ffn_up": {In: s.embedding, Out: s.feedForward},
		"ffn_down": {In: s.feedForward, Out: s.embedding},
	}
}

// tensors lists the model's tensors, all of them F32.
func (s sizes) tensors() []quant.Tensor {
	var out []quant.Tensor
	add := func(name string, dims ...int64) {
		out = append(out, quant.Tensor{Name: name, Type: quant.F32, Dims: dims})
	}
	embedding := int64(s.embedding)
	add("token_embd.weight", embedding, int64(s.vocab))
	add("output_norm.weight", embedding)
	if !s.tied {
		add("output.weight", embedding, int64(s.vocab))
	}
	for l := range s.layers {
		block := func(name string, dims ...int64) { add(fmt.Sprintf("blk.%d.%s", l, name), dims...) }
		block("attn_norm.weight", embedding)
		block("ffn_norm.weight", embedding)
		linears := s.linears()
		for _, name := range slices.Sorted(maps.Keys(linears)) {
			shape := linears[name]
			if s.experts == 0 || !strings.HasPrefix(name, "ffn_") {
				block(name+".weight", int64(shape.In), int64(shape.Out))
			} else {
				block(name+"_exps.weight", int64(shape.In), int64(shape.Out), int64(s.experts))
			}
		}
		if s.experts > 0 {
			block("ffn_gate_inp.weight", embedding, int64(s.experts))
		}
		switch s.arch {
		case "qwen2":
			block("attn_q.bias", embedding)
			block("attn_k.bias", int64(s.kv()))
			block("attn_v.bias", int64(s.kv()))
		case "qwen3":
			block("attn_q_norm.weight", int64(s.headSize()))
			block("attn_k_norm.weight", int64(s.headSize()))
		}
	}
	return out
}

// write makes a model file of random weights; the same sizes give the same file.
func (s sizes) write(t testing.TB, path string) {
	t.Helper()
	m := s.metadata()
	tensors := s.tensors()
	err := quant.WriteFile(path, &m, tensors, func(i int, w io.Writer) error { return writeF32(w, randomTensor(tensors[i])) })
	if err != nil {
		t.Fatal(err)
	}
}

// metadata describes the model; it has no vocabulary.
func (s sizes) metadata() quant.Metadata {
	var m quant.Metadata
	m.Set("general.architecture", s.arch)
	m.Set("general.name", "random "+s.arch)
	for _, pair := range []struct {
		key   string
		value int
	}{
		{"context_length", 4096}, {"embedding_length", s.embedding}, {"block_count", s.layers}, {"feed_forward_length", s.feedForward},
		{"attention.head_count", s.heads}, {"attention.head_count_kv", s.kvHeads}, {"rope.dimension_count", s.headSize()}, {"vocab_size", s.vocab},
	} {
		m.Set(s.arch+"."+pair.key, uint32(pair.value))
	}
	m.Set(s.arch+".attention.layer_norm_rms_epsilon", float32(1e-5))
	if s.experts > 0 {
		m.Set(s.arch+".expert_count", uint32(s.experts))
		m.Set(s.arch+".expert_used_count", uint32(2))
	}
	m.Set("tokenizer.ggml.model", "none")
	return m
}

// randomTensor is seeded by the tensor's name: the order in which they are written does not matter.
func randomTensor(t quant.Tensor) []float32 {
	r := rand.New(rand.NewPCG(hash(t.Name), 1))
	out := make([]float32, t.Elements())
	scale := 1 / math.Sqrt(float64(t.Dims[0]))
	for i := range out {
		switch {
		case len(t.Dims) >= 2:
			out[i] = float32(r.NormFloat64() * scale)
		case strings.HasSuffix(t.Name, ".bias"):
			out[i] = float32(r.NormFloat64() * 0.1)
		default: // norms
			out[i] = 1 + float32(r.NormFloat64()*0.1)
		}
	}
	return out
}

func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range []byte(s) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

func writeF32(w io.Writer, x []float32) error {
	b := make([]byte, 4*len(x))
	quant.EncodeF32(b, x)
	_, err := w.Write(b)
	return err
}

// file returns the path of the model in the test's directory.
func (s sizes) file(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), s.arch+".gguf")
	s.write(t, path)
	return path
}

// nf4 returns the path of the model quantized to NF4 in blocks of 32, its embeddings and head left in F32, and of
// a file in F32 that holds the weights which the NF4 file decodes to.
func (s sizes) nf4(t testing.TB) (coded, inF32 string) {
	t.Helper()
	return s.quantized(t, quant.Options{Type: "nf4", Block: 32})
}

// quantized is nf4 in whatever way o asks for.
func (s sizes) quantized(t testing.TB, o quant.Options) (coded, inF32 string) {
	t.Helper()
	o.Head = "keep"
	dir := t.TempDir()
	coded, inF32 = filepath.Join(dir, "nf4.gguf"), filepath.Join(dir, "f32.gguf")
	if _, err := quant.Quantize(context.Background(), s.file(t), coded, o); err != nil {
		t.Fatal(err)
	}
	f, err := quant.Open(coded)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rewrite(t, f, inF32, s.arch, func(t *quant.Tensor) { t.Type = quant.F32 })
	return coded, inF32
}

// rewrite writes a copy of f whose tensors are as change makes them: F32 or NF4.
func rewrite(t testing.TB, f *quant.File, path, arch string, change func(*quant.Tensor)) {
	t.Helper()
	m := f.Metadata.Clone()
	m.Set("general.architecture", arch)
	tensors := append([]quant.Tensor(nil), f.Tensors...)
	for i := range tensors {
		change(&tensors[i])
	}
	err := quant.WriteFile(path, &m, tensors, func(i int, w io.Writer) error {
		x, err := f.ReadF32(tensors[i].Name)
		if err != nil || tensors[i].Type == quant.F32 {
			return errors.Join(err, writeF32(w, x))
		}
		coded := make([]byte, len(x)/32*18)
		quant.EncodeNF4(coded, x)
		_, err = w.Write(coded)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// writeNF4 writes a copy of f, a model in F32, that is marked as NF4 and has the tensors that pick picks so.
func writeNF4(t testing.TB, f *quant.File, path string, pick func(string) bool) {
	t.Helper()
	rewrite(t, f, path, f.Architecture()+quant.NF4Suffix, func(t *quant.Tensor) {
		if pick(t.Name) {
			t.Type = quant.NF4
		}
	})
}

// untie returns the path of a tied model's copy that has its head as a tensor of its own.
func untie(t testing.TB, s sizes) string {
	t.Helper()
	f, err := quant.Open(s.file(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head, _ := f.Tensor("token_embd.weight")
	head.Name = "output.weight"
	m := f.Metadata.Clone()
	tensors := append(append([]quant.Tensor(nil), f.Tensors...), head)
	path := filepath.Join(t.TempDir(), "untied.gguf")
	err = quant.WriteFile(path, &m, tensors, func(i int, w io.Writer) error {
		name := tensors[i].Name
		if name == "output.weight" {
			name = "token_embd.weight"
		}
		x, err := f.ReadF32(name)
		return errors.Join(err, writeF32(w, x))
	})
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// adapter is a random LoRA in both forms: ours, and a GGUF file for the stock path.
type adapter struct {
	lora *runtime.LoRA
	path string
}

// newAdapter makes an adapter of the targets that keep accepts. Its values are exact in float16.
func newAdapter(t testing.TB, m *Model, seed uint64, rank int, alpha float32, keep func(string) bool) adapter {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 2))
	values := func(n int, scale float64) []float32 {
		out := make([]float32, n)
		for i := range out {
			out[i] = float16.Fromfloat32(float32(r.NormFloat64() * scale)).Float32()
		}
		return out
	}
	lora := &runtime.LoRA{}
	for _, name := range sortedTargets(m) {
		if shape := m.facts.Targets[name]; keep(name) {
			lora.Modules = append(lora.Modules, runtime.LoRAModule{
				Tensor: name, Rank: rank, In: shape.In, Out: shape.Out, Scale: alpha / float32(rank),
				A: values(rank*shape.In, 1/math.Sqrt(float64(shape.In))),
				B: values(rank*shape.Out, 0.5*math.Sqrt(float64(rank))/float64(alpha)),
			})
		}
	}
	path := filepath.Join(t.TempDir(), fmt.Sprintf("lora%d.gguf", seed))
	writeLoRA(t, path, m.facts.Architecture, alpha, lora)
	return adapter{lora, path}
}

func sortedTargets(m *Model) []string {
	names := make([]string, len(m.targets))
	for name, i := range m.targets {
		names[i] = name
	}
	return names
}

// writeLoRA writes llama.cpp's own adapter format.
func writeLoRA(t testing.TB, path, arch string, alpha float32, lora *runtime.LoRA) {
	t.Helper()
	var m quant.Metadata
	m.Set("general.architecture", arch)
	m.Set("general.type", "adapter")
	m.Set("adapter.type", "lora")
	m.Set("adapter.lora.alpha", alpha)
	var tensors []quant.Tensor
	var data [][]float32
	for _, mod := range lora.Modules {
		rank, in, out := int64(mod.Rank), int64(mod.In), int64(mod.Out)
		a, b := []int64{in, rank}, []int64{rank, out}
		av, bv := mod.A, mod.B
		if mod.Tensor == "token_embd.weight" { // the stock path looks rows up in lora_a and multiplies them with lora_b
			a, av = []int64{rank, out}, mod.B
			b, bv = []int64{rank, in}, transpose(mod.A, mod.Rank, mod.In)
		}
		tensors = append(tensors, quant.Tensor{Name: mod.Tensor + ".lora_a", Dims: a}, quant.Tensor{Name: mod.Tensor + ".lora_b", Dims: b})
		data = append(data, av, bv)
	}
	if err := quant.WriteFile(path, &m, tensors, func(i int, w io.Writer) error { return writeF32(w, data[i]) }); err != nil {
		t.Fatal(err)
	}
}

func transpose(x []float32, rows, columns int) []float32 {
	out := make([]float32, len(x))
	for r := range rows {
		for c := range columns {
			out[c*rows+r] = x[r*columns+c]
		}
	}
	return out
}

func isLinear(name string) bool { return strings.HasPrefix(name, "blk.") }

func isAttention(name string) bool { return strings.Contains(name, ".attn_") }

// open loads a model and closes it with the test.
func openModel(t testing.TB, o Options) *Model {
	t.Helper()
	m, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func openDevice(t testing.TB, m *Model, o DeviceOptions) *Device {
	t.Helper()
	d, err := NewDevice(m, o.withoutFlash())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func greedy(t testing.TB, m *Model) runtime.Sampler {
	t.Helper()
	s, err := m.NewSampler(runtime.Sampling{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func pack(t testing.TB, m *Model, a *runtime.LoRA) runtime.Packed {
	t.Helper()
	p, err := m.Pack(a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func argmaxOf(x []float32) int {
	best := 0
	for i := range x {
		if x[i] > x[best] {
			best = i
		}
	}
	return best
}

func maxDifference(a, b []float32) float64 {
	most := 0.0
	for i := range a {
		if d := math.Abs(float64(a[i] - b[i])); !(d <= most) { // NaN counts
			most = d
		}
	}
	return most
}

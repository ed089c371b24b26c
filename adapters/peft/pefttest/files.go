// Package pefttest makes small PEFT and GGUF adapters, and facts of a base that they fit, for tests. It has encoders
// of its own, so that the readers are not tested with the writers beside them.
package pefttest

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Prefix begins the name of every tensor.
const Prefix = "base_model.model."

// Q begins the names of the second layer's q_proj.
const Q = Prefix + "model.layers.1.self_attn.q_proj"

// Facts is a llama of two layers: width 16, 4 query heads and 2 key/value heads of 4, 24 wide inside.
func Facts() *runtime.Facts {
	f := &runtime.Facts{Name: "tiny", Architecture: "llama", Fingerprint: "tiny-1", Layers: 2, Embedding: 16,
		Heads: 4, KVHeads: 2, HeadSize: 4, RopeNorm: true, Targets: map[string]runtime.Shape{},
		Refused: map[string]string{"token_embd.weight": "lookups cannot be adapted"}}
	for _, l := range linears() {
		f.Targets[l.tensor] = l.shape
	}
	f.Targets["output.weight"] = runtime.Shape{In: 16, Out: 32}
	return f
}

// WholeFacts are Facts with embeddings, norms, and biases of q and v as qwen2 has them.
func WholeFacts(tied bool) *runtime.Facts {
	f := Facts()
	delete(f.Refused, "token_embd.weight")
	f.Targets["token_embd.weight"] = runtime.Shape{In: 16, Out: 32}
	f.TiedHead = tied
	f.Biases = map[string]int{"blk.0.attn_q.bias": 16, "blk.0.attn_v.bias": 8}
	f.Norms = map[string]int{"blk.0.attn_norm.weight": 16, "blk.0.ffn_norm.weight": 16, "blk.1.attn_norm.weight": 16,
		"blk.1.ffn_norm.weight": 16, "output_norm.weight": 16}
	return f
}

type linear struct {
	path, tensor string
	shape        runtime.Shape
}

// linears are those of the layers, in the order of their tensors.
func linears() (list []linear) {
	for l := range 2 {
		for _, m := range []struct {
			path, tensor string
			in, out      int
		}{
			{"self_attn.k_proj", "attn_k", 16, 8}, {"self_attn.o_proj", "attn_output", 16, 16}, {"self_attn.q_proj", "attn_q", 16, 16},
			{"self_attn.v_proj", "attn_v", 16, 8}, {"mlp.down_proj", "ffn_down", 24, 16}, {"mlp.gate_proj", "ffn_gate", 16, 24},
			{"mlp.up_proj", "ffn_up", 16, 24},
		} {
			list = append(list, linear{fmt.Sprintf("model.layers.%d.%s", l, m.path), fmt.Sprintf("blk.%d.%s.weight", l, m.tensor),
				runtime.Shape{In: m.in, Out: m.out}})
		}
	}
	return list
}

// Paths maps the tensors of the layers' linears in Facts to their paths in PEFT.
func Paths() map[string]string {
	m := make(map[string]string)
	for _, l := range linears() {
		m[l.tensor] = l.path
	}
	return m
}

// Files is a PEFT adapter that a test changes before it is encoded.
type Files struct {
	Config  map[string]any
	Tensors map[string]Tensor
}

// Tensor is an F32 tensor, row-major.
type Tensor struct {
	Shape  []int64
	Values []float32
}

// New makes an adapter of rank 4 and alpha 8 on all linears of the layers of Facts, its values drawn from seed.
func New(seed uint64) *Files {
	p := &Files{Tensors: make(map[string]Tensor), Config: map[string]any{
		"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "bias": "none",
		"target_modules": []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
	}}
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, l := range linears() {
		p.Add(rng, l.path, 4, l.shape)
	}
	return p
}

// Odd is an adapter with every field that changes scales or ranks, and what other trainers write.
func Odd() *Files {
	p := New(7)
	p.Add(rand.New(rand.NewPCG(8, 0)), "model.layers.1.mlp.down_proj", 6, runtime.Shape{In: 24, Out: 16})
	p.Add(rand.New(rand.NewPCG(9, 0)), "lm_head", 4, runtime.Shape{In: 16, Out: 32})
	maps.Copy(p.Config, map[string]any{
		"use_rslora": true, "lora_alpha": 12.5, "rank_pattern": map[string]any{`layers\.1\.mlp\.down_proj`: 6},
		"alpha_pattern":  map[string]any{"k_proj": 3},
		"target_modules": []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"},
		"swift_type":     "LORA", "lora_dtype": nil, "init_lora_weights": "eva", "loftq_config": map[string]any{}, "runtime_config": map[string]any{"x": 1},
	})
	return p
}

// Add puts a random LoRA on the module.
func (p *Files) Add(rng *rand.Rand, path string, rank int, s runtime.Shape) {
	for _, m := range []struct {
		name       string
		rows, cols int
	}{{".lora_A.weight", rank, s.In}, {".lora_B.weight", s.Out, rank}} {
		p.Set(Prefix+path+m.name, []int64{int64(m.rows), int64(m.cols)}, random(rng, m.rows*m.cols))
	}
}

func random(rng *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return v
}

// Set gives the adapter a tensor, whose values are not copied.
func (p *Files) Set(name string, shape []int64, values []float32) {
	if p.Tensors == nil {
		p.Tensors = make(map[string]Tensor)
	}
	p.Tensors[name] = Tensor{shape, values}
}

// Put adds a tensor of random values, under a name without the prefix, and returns them.
func (p *Files) Put(seed uint64, name string, shape ...int64) []float32 {
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	v := random(rand.New(rand.NewPCG(seed, 11)), int(n))
	p.Set(Prefix+name, shape, v)
	return v
}

// DoRA gives every module a magnitude vector.
func (p *Files) DoRA(seed uint64) {
	p.Config["use_dora"] = true
	rng := rand.New(rand.NewPCG(seed, 9))
	for name, b := range maps.Clone(p.Tensors) {
		if path, ok := strings.CutSuffix(name, ".lora_B.weight"); ok {
			v := make([]float32, b.Shape[0])
			for i := range v {
				v[i] = 1 + rng.Float32()
			}
			p.Set(path+".lora_magnitude_vector", b.Shape[:1], v)
		}
	}
}

// Rename gives tensors other names.
func (p *Files) Rename(change func(string) string) {
	old := p.Tensors
	p.Tensors = make(map[string]Tensor)
	for name, t := range old {
		p.Tensors[change(name)] = t
	}
}

// Encode returns the two files' contents.
func (p *Files) Encode(t testing.TB) (config, tensors []byte) {
	t.Helper()
	config, err := json.Marshal(p.Config)
	if err != nil {
		t.Fatal(err)
	}
	header := map[string]any{"__metadata__": map[string]string{"format": "pt"}}
	var data []byte
	for _, name := range slices.Sorted(maps.Keys(p.Tensors)) {
		x, at := p.Tensors[name], len(data)
		for _, v := range x.Values {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
		header[name] = map[string]any{"dtype": "F32", "shape": x.Shape, "data_offsets": []int{at, len(data)}}
	}
	raw, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	return config, WithHeader(string(raw), data)
}

// WithHeader makes a safetensors file of a header and data.
func WithHeader(header string, data []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return slices.Concat(b, []byte(header), data)
}

// Folder writes the two files into dir, which it makes.
func (p *Files) Folder(t testing.TB, dir string) {
	t.Helper()
	c, w := p.Encode(t)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"adapter_model.safetensors": w, "adapter_config.json": c} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Module returns what the adapter has on a tensor of the base.
func Module(t testing.TB, a *runtime.LoRA, tensor string) runtime.LoRAModule {
	t.Helper()
	i := slices.IndexFunc(a.Modules, func(m runtime.LoRAModule) bool { return m.Tensor == tensor })
	if i < 0 {
		t.Fatalf("no module for %s", tensor)
	}
	return a.Modules[i]
}

// Same compares two adapters value by value.
func Same(t testing.TB, got, want *runtime.LoRA) {
	t.Helper()
	if !slices.Equal(got.Invocation, want.Invocation) {
		t.Errorf("the invocation is %v, want %v", got.Invocation, want.Invocation)
	}
	if len(got.Modules) != len(want.Modules) {
		t.Fatalf("%d modules, want %d", len(got.Modules), len(want.Modules))
	}
	for _, w := range want.Modules {
		g := Module(t, got, w.Tensor)
		if g.Rank != w.Rank || g.In != w.In || g.Out != w.Out || g.Scale != w.Scale || !slices.Equal(g.A, w.A) || !slices.Equal(g.B, w.B) {
			t.Errorf("%s differs: rank %d scale %v, want rank %d scale %v", w.Tensor, g.Rank, g.Scale, w.Rank, w.Scale)
		}
	}
}

// WantError checks that err wraps want and that its text has all of the parts.
func WantError(t testing.TB, err, want error, parts ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want one that wraps %q", err, want)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Fatalf("error %q does not name %q", err, p)
		}
	}
}

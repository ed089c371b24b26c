package hftest

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// Model is a model in transformers' layout: the fields of config.json, and the tensors by their names.
type Model struct {
	Config  map[string]any
	Names   []string // of the tensors, in order
	Shapes  map[string][]int64
	Tensors map[string][]float32
}

// Sizes of the random models. qwen3's heads are wider than hidden_size / num_attention_heads.
const (
	Hidden, FeedForward, Layers, Heads, KVHeads, Vocab = 64, 128, 2, 4, 2, 320
)

// Kinds are the random models that Random makes.
var Kinds = []string{"llama", "llama3", "llama-bias", "llama-linear", "llama-yarn", "mistral", "qwen2", "qwen2-yarn", "qwen3"}

// variants are what a kind adds to the configuration.
var variants = map[string]map[string]any{
	"llama": {"architectures": []string{"LlamaForCausalLM"}, "rope_theta": 10000.0},
	"llama3": {"architectures": []string{"LlamaForCausalLM"}, "rope_theta": 500000.0, "rope_scaling": map[string]any{
		"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 256}},
	"llama-bias":   {"architectures": []string{"LlamaForCausalLM"}, "attention_bias": true, "mlp_bias": true},
	"llama-linear": {"architectures": []string{"LlamaForCausalLM"}, "rope_scaling": map[string]any{"type": "linear", "factor": 4.0}},
	"llama-yarn": {"architectures": []string{"LlamaForCausalLM"}, "rope_parameters": map[string]any{
		"rope_type": "yarn", "rope_theta": 5000.0, "factor": 4.0, "original_max_position_embeddings": 128, "attention_factor": 1.3}},
	"mistral": {"architectures": []string{"MistralForCausalLM"}, "head_dim": 32, "sliding_window": nil},
	"qwen2":   {"architectures": []string{"Qwen2ForCausalLM"}, "tie_word_embeddings": true, "rope_theta": 1e6, "rms_norm_eps": 1e-6},
	"qwen2-yarn": {"architectures": []string{"Qwen2ForCausalLM"}, "rope_scaling": map[string]any{
		"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}},
	"qwen3": {"architectures": []string{"Qwen3ForCausalLM"}, "head_dim": 32, "rope_theta": 1e6},
}

// Random makes a model of a kind; the same kind and seed give the same model.
func Random(kind string, seed uint64) *Model {
	c := map[string]any{
		"hidden_size": Hidden, "intermediate_size": FeedForward, "num_hidden_layers": Layers, "num_attention_heads": Heads,
		"num_key_value_heads": KVHeads, "vocab_size": Vocab, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
		"hidden_act": "silu", "tie_word_embeddings": false, "bos_token_id": 257, "eos_token_id": 258,
	}
	maps.Copy(c, variants[kind])
	c["model_type"] = strings.ToLower(strings.TrimSuffix(c["architectures"].([]string)[0], "ForCausalLM"))
	m := &Model{Config: c, Shapes: map[string][]int64{}, Tensors: map[string][]float32{}}
	r := rand.New(rand.NewPCG(seed, uint64(len(kind))))
	head := int64(Hidden / Heads)
	if h, ok := c["head_dim"].(int); ok {
		head = int64(h)
	}
	m.add(r, "model.embed_tokens.weight", Vocab, Hidden)
	for n := range Layers {
		m.layer(r, fmt.Sprintf("model.layers.%d.", n), kind, head)
	}
	m.add(r, "model.norm.weight", Hidden)
	if c["tie_word_embeddings"] == false {
		m.add(r, "lm_head.weight", Vocab, Hidden)
	}
	return m
}

func (m *Model) layer(r *rand.Rand, p, kind string, head int64) {
	bias := kind == "llama-bias"
	qkv := bias || m.arch() == "Qwen2ForCausalLM"
	linear := func(name string, rows, row int64, bias bool) {
		m.add(r, p+name+".weight", rows, row)
		if bias {
			m.add(r, p+name+".bias", rows)
		}
	}
	m.add(r, p+"input_layernorm.weight", Hidden)
	linear("self_attn.q_proj", Heads*head, Hidden, qkv)
	linear("self_attn.k_proj", KVHeads*head, Hidden, qkv)
	linear("self_attn.v_proj", KVHeads*head, Hidden, qkv)
	linear("self_attn.o_proj", Hidden, Heads*head, bias)
	if m.arch() == "Qwen3ForCausalLM" {
		m.add(r, p+"self_attn.q_norm.weight", head)
		m.add(r, p+"self_attn.k_norm.weight", head)
	}
	m.add(r, p+"post_attention_layernorm.weight", Hidden)
	linear("mlp.gate_proj", FeedForward, Hidden, bias)
	linear("mlp.up_proj", FeedForward, Hidden, bias)
	linear("mlp.down_proj", Hidden, FeedForward, bias)
}

func (m *Model) arch() string { return m.Config["architectures"].([]string)[0] }

// add makes a random tensor: norms around one, biases and matrices around zero.
func (m *Model) add(r *rand.Rand, name string, shape ...int64) {
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	x := make([]float32, n)
	for i := range x {
		switch {
		case len(shape) == 2:
			x[i] = float32(r.NormFloat64() / math.Sqrt(float64(shape[1])))
		case name[len(name)-5:] == ".bias":
			x[i] = float32(r.NormFloat64() * 0.2)
		default:
			x[i] = 1 + float32(r.NormFloat64()*0.2)
		}
	}
	m.Put(name, x, shape...)
}

// Put adds a tensor, or gives one other values.
func (m *Model) Put(name string, values []float32, shape ...int64) {
	if _, ok := m.Tensors[name]; !ok {
		m.Names = append(m.Names, name)
	}
	m.Tensors[name], m.Shapes[name] = values, shape
}

// Encode returns the tensors as encode has them: F32, F16 or BF16.
func (m *Model) Encode(encode func(string, []float32, ...int64) Tensor) []Tensor {
	out := make([]Tensor, len(m.Names))
	for i, name := range m.Names {
		out[i] = encode(name, m.Tensors[name], m.Shapes[name]...)
	}
	return out
}

// Files returns the folder's files, with the tensors in F32 in one shard and Bytes as the tokenizer.
func (m *Model) Files() map[string][]byte {
	files := Bytes().Files()
	files["config.json"] = JSON(m.Config)
	files["model.safetensors"] = Safetensors(m.Encode(F32))
	return files
}

// Write writes the folder and returns its path.
func (m *Model) Write(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	WriteFiles(t, dir, m.Files())
	return dir
}

package huggingface

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/quant/safetensors"
)

// wanted is a tensor that the configuration calls for.
type wanted struct {
	hf, gguf string
	shape    []int64 // as transformers has it: (rows, row), or (length)
	heads    int64   // whose rows llama.cpp reorders; 0: none
	linear   bool    // a matrix product's weight, which bitsandbytes may have quantized
}

// layerTensors are the tensors of layer n.
func (c *config) layerTensors(n int64) []wanted {
	hidden, q, kv := c.HiddenSize, c.Heads*c.headDim, c.kvHeads*c.headDim
	hf, gguf := fmt.Sprintf("model.layers.%d.", n), fmt.Sprintf("blk.%d.", n)
	var out []wanted
	linear := func(from, to string, rows, row, heads int64, bias bool) {
		if !c.permuted {
			heads = 0
		}
		out = append(out, wanted{hf + from + ".weight", gguf + to + ".weight", []int64{rows, row}, heads, true})
		if bias {
			out = append(out, wanted{hf + from + ".bias", gguf + to + ".bias", []int64{rows}, heads, false})
		}
	}
	norm := func(from, to string, length int64) {
		out = append(out, wanted{hf + from + ".weight", gguf + to + ".weight", []int64{length}, 0, false})
	}
	bias := c.qkvBias || c.AttentionBias
	norm("input_layernorm", "attn_norm", hidden)
	linear("self_attn.q_proj", "attn_q", q, hidden, c.Heads, bias)
	linear("self_attn.k_proj", "attn_k", kv, hidden, c.kvHeads, bias)
	linear("self_attn.v_proj", "attn_v", kv, hidden, 0, bias)
	linear("self_attn.o_proj", "attn_output", hidden, q, 0, c.AttentionBias && !c.qkvBias)
	if c.qkNorm {
		norm("self_attn.q_norm", "attn_q_norm", c.headDim)
		norm("self_attn.k_norm", "attn_k_norm", c.headDim)
	}
	norm("post_attention_layernorm", "ffn_norm", hidden)
	linear("mlp.gate_proj", "ffn_gate", c.IntermediateSize, hidden, 0, c.FeedForwardBias)
	linear("mlp.up_proj", "ffn_up", c.IntermediateSize, hidden, 0, c.FeedForwardBias)
	linear("mlp.down_proj", "ffn_down", hidden, c.IntermediateSize, 0, c.FeedForwardBias)
	return out
}

// headTensors are the tensors outside the layers. The vocabulary is as large as the embedding.
func (c *config) headTensors() []wanted {
	out := []wanted{
		{"model.embed_tokens.weight", "token_embd.weight", []int64{c.VocabSize, c.HiddenSize}, 0, false},
		{"model.norm.weight", "output_norm.weight", []int64{c.HiddenSize}, 0, false},
	}
	if !c.Tied {
		out = append(out, wanted{"lm_head.weight", "output.weight", []int64{c.VocabSize, c.HiddenSize}, 0, false})
	}
	return out
}

// collect finds every tensor that the configuration calls for, and refuses one that it does not call for: nothing
// is dropped in silence. coded says whether tensors of bitsandbytes keep their codes.
func (c *config) collect(s *shards, coded bool) ([]weights, error) {
	var out []weights
	used := map[string]bool{}
	add := func(list []wanted) error {
		for _, x := range list {
			w, err := c.find(s, x, used, coded)
			if err != nil {
				return err
			}
			if x.heads > 0 {
				w = w.permuted(x.heads, x.shape[0], w.rowBytes())
			}
			out = append(out, w)
		}
		return nil
	}
	if err := add(c.headTensors()); err != nil {
		return nil, err
	}
	if c.rope.freqs != nil {
		out = append(out, computed("rope_freqs.weight", c.rope.freqs))
	}
	for n := range c.Layers {
		if err := add(c.layerTensors(n)); err != nil {
			return nil, err
		}
	}
	return out, c.unused(s, used)
}

// rowBytes returns the bytes of a row of a matrix, or of a value of a vector.
func (w weights) rowBytes() int64 {
	per, size := w.Type.Block()
	if len(w.Dims) == 1 {
		return size
	}
	return w.Dims[0] / per * size
}

// find returns one tensor of the view.
func (c *config) find(s *shards, x wanted, used map[string]bool, coded bool) (weights, error) {
	t, ok := s.tensors[x.hf]
	if !ok {
		return weights{}, fmt.Errorf("%w: tensor %q is in no shard", ErrFormat, x.hf)
	}
	used[x.hf] = true
	dims := slices.Clone(x.shape) // GGUF counts the length of a row first
	slices.Reverse(dims)
	// bnb_4bit_quant_storage may call the codes something else than U8; they are the same bytes.
	_, quantized := s.tensors[x.hf+".quant_state.bitsandbytes__nf4"]
	if c.nf4 && x.linear && (t.DType == safetensors.U8 || quantized) {
		b, err := s.bitsandbytes(t, x.shape, used)
		if err != nil {
			return weights{}, err
		}
		if coded {
			return b.coded(x.gguf, dims), nil
		}
		return b.decoded(x.gguf, dims), nil
	}
	if !slices.Equal(t.Shape, x.shape) {
		return weights{}, t.err(fmt.Errorf("its shape is %v, %s calls for %v", t.Shape, configFile, x.shape))
	}
	if _, ok := types[t.DType]; !ok {
		return weights{}, t.err(fmt.Errorf("its dtype is %s, not F32, F16 or BF16", t.DType))
	}
	return plain(x.gguf, dims, t), nil
}

// unused names a tensor that the model has and we would not use.
func (c *config) unused(s *shards, used map[string]bool) error {
	for _, name := range slices.Sorted(maps.Keys(s.tensors)) {
		switch {
		case used[name]:
		case strings.HasSuffix(name, ".self_attn.rotary_emb.inv_freq"): // computed from rope_theta
		case name == "lm_head.weight" && c.Tied: // transformers takes the embedding in its place
		default:
			t := s.tensors[name]
			return unsupported(t.shard, "tensor %q: %w", name, errUnused)
		}
	}
	return nil
}

var errUnused = errors.New("it belongs to no part of the model that " + configFile + " describes")

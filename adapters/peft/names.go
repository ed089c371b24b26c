package peft

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file maps the names of PEFT and of GGUF onto each other for the architectures whose Hugging Face and
// GGUF layouts we know, and reorders the rows that llama.cpp's converter reorders.
// Source: github.com/ggml-org/llama.cpp, gguf-py/gguf/tensor_mapping.py and convert_hf_to_gguf.py (permute).

// The paths of the two modules outside the layers.
const (
	embeddingModule = "model.embed_tokens"
	headModule      = "lm_head"
)

// families are the architectures that share the names below.
var families = map[string]bool{"llama": true, "mistral": true, "mistral3": true, "qwen2": true, "qwen3": true}

// linears maps a layer's modules to the middle of "blk.N.attn_q.weight".
var linears = map[string]string{
	"self_attn.q_proj": "attn_q",
	"self_attn.k_proj": "attn_k",
	"self_attn.v_proj": "attn_v",
	"self_attn.o_proj": "attn_output",
	"mlp.gate_proj":    "ffn_gate",
	"mlp.up_proj":      "ffn_up",
	"mlp.down_proj":    "ffn_down",
}

// modules is the inverse of linears.
var modules = func() map[string]string {
	m := make(map[string]string, len(linears))
	for hf, gguf := range linears {
		m[gguf] = hf
	}
	return m
}()

// ggufTensor returns the base tensor of a module's path: "model.layers.0.self_attn.q_proj" gives
// "blk.0.attn_q.weight".
func ggufTensor(module string) (tensor string, ok bool) {
	switch module {
	case embeddingModule:
		return "token_embd.weight", true
	case headModule:
		return "output.weight", true
	}
	rest, ok := strings.CutPrefix(module, "model.layers.")
	layer, linear, _ := strings.Cut(rest, ".")
	gguf, known := linears[linear]
	return "blk." + layer + "." + gguf + ".weight", ok && known && isIndex(layer)
}

// peftModule is the inverse of ggufTensor.
func peftModule(tensor string) (module string, ok bool) {
	switch tensor {
	case "token_embd.weight":
		return embeddingModule, true
	case "output.weight":
		return headModule, true
	}
	rest, blk := strings.CutPrefix(tensor, "blk.")
	rest, weight := strings.CutSuffix(rest, ".weight")
	layer, linear, _ := strings.Cut(rest, ".")
	hf, known := modules[linear]
	return "model.layers." + layer + "." + hf, blk && weight && known && isIndex(layer)
}

// isIndex reports whether s is a layer's index as it is written: no sign, no leading zero.
func isIndex(s string) bool {
	n, err := strconv.ParseUint(s, 10, 31)
	return err == nil && strconv.FormatUint(n, 10) == s
}

// shortName returns what PEFT's target_modules call the module: "q_proj".
func shortName(module string) string { return module[strings.LastIndexByte(module, '.')+1:] }

// side is which part of a module a tensor is.
type side int

const (
	sideA         side = iota // (rank, in)
	sideB                     // (out, rank)
	sideMagnitude             // DoRA: (out), of the embeddings (width)
	sideLoRABias              // lora_bias: (out)
	sideBias                  // a layer's own bias: (out)
	sideBaseBias              // the same, saved from inside PEFT's wrapping
	sideSaved                 // modules_to_save: (vocabulary, width), of a norm (width)
	sideBaseSaved             // the same, saved from inside PEFT's wrapping
	sideTokens                // trainable_token_indices: (tokens, width)
	sides
)

// on reports whether a module may have the part: only the two ends of the model have rows of tokens, and a norm has its weight alone.
func (s side) on(module string) bool {
	if _, norm := normTensor(module); norm {
		return s == sideSaved
	}
	switch s {
	case sideSaved, sideBaseSaved, sideTokens:
		return module == embeddingModule || module == headModule
	case sideLoRABias, sideBias, sideBaseBias:
		return module != embeddingModule
	}
	return true
}

// parts are the tensors of one module.
type parts [sides]*placed

// address says what a tensor of an adapter is.
type address struct {
	module string // path in the Hugging Face model
	side   side
}

// name returns the tensor's canonical name in a PEFT file.
func (a address) name() string {
	if ending := canonicalEndings[a.side]; ending != "" {
		return peftPrefix + a.module + ending
	}
	letter := "AB"[a.side : a.side+1]
	if a.module == embeddingModule {
		return peftPrefix + a.module + ".lora_embedding_" + letter
	}
	return peftPrefix + a.module + ".lora_" + letter + ".weight"
}

// canonicalEndings are the ends of the names that are the same for every module.
var canonicalEndings = [sides]string{
	sideMagnitude: ".lora_magnitude_vector", sideLoRABias: ".lora_B.bias", sideBias: ".bias", sideBaseBias: ".base_layer.bias",
	sideSaved: ".weight", sideBaseSaved: ".base_layer.weight", sideTokens: ".token_adapter.trainable_tokens_delta",
}

// peftPrefix is what get_peft_model's wrapping puts before every name, once for every wrapping.
const peftPrefix = "base_model.model."

// peftEndings are the last parts of the names we read; the first that fits counts. "default" is the adapter's name inside PEFT, which
// stays where the weights were saved without PEFT's own function.
var peftEndings = []struct {
	text      string
	side      side
	embedding bool
}{
	{".lora_A.weight", sideA, false},
	{".lora_B.weight", sideB, false},
	{".lora_A.default.weight", sideA, false},
	{".lora_B.default.weight", sideB, false},
	{".lora_magnitude_vector", sideMagnitude, false},
	{".lora_magnitude_vector.weight", sideMagnitude, false},
	{".lora_magnitude_vector.default", sideMagnitude, false},
	{".lora_magnitude_vector.default.weight", sideMagnitude, false},
	{".lora_embedding_A", sideA, true},
	{".lora_embedding_B", sideB, true},
	{".lora_embedding_A.default", sideA, true},
	{".lora_embedding_B.default", sideB, true},
	{".lora_B.bias", sideLoRABias, false},
	{".lora_B.default.bias", sideLoRABias, false},
	{".base_layer.bias", sideBaseBias, false},
	{".bias", sideBias, false},
	{".token_adapter.trainable_tokens_delta", sideTokens, false},
	{".token_adapter.trainable_tokens_delta.default", sideTokens, false},
	{".modules_to_save.default.weight", sideSaved, false},
	{".modules_to_save.weight", sideSaved, false},
	{".base_layer.weight", sideBaseSaved, false},
	{".weight", sideSaved, false},
}

// parsePEFTName reads a tensor's name of a PEFT file. The error wraps ErrUnsupported.
func parsePEFTName(name string) (address, error) {
	for _, e := range peftEndings {
		path, ok := strings.CutSuffix(name, e.text)
		if !ok {
			continue
		}
		path, ok = strings.CutPrefix(path, peftPrefix)
		for more := ok; more; {
			path, more = strings.CutPrefix(path, peftPrefix)
		}
		matrix := e.side <= sideB // of the embeddings only those have names of their own
		_, known := ggufTensor(path)
		_, norm := normTensor(path)
		if !ok || !known && !norm || !e.side.on(path) || matrix && e.embedding != (path == embeddingModule) {
			break
		}
		return address{path, e.side}, nil
	}
	return address{}, fmt.Errorf("%w: tensor %q %s", ErrUnsupported, name, whyNot(name))
}

// whyNot says what an unknown tensor is, where it can be told.
func whyNot(name string) string {
	switch {
	case strings.Contains(name, "modules_to_save"), strings.HasSuffix(name, "_proj.weight"),
		strings.HasSuffix(name, "embed_tokens.weight"), strings.HasSuffix(name, "lm_head.weight"):
		return "is a fully trained module (modules_to_save); only embed_tokens, lm_head and RMSNorms are served in full"
	case strings.Contains(name, "token_adapter"):
		return "holds trained rows of a module that is neither embed_tokens nor lm_head, which is not supported"
	case strings.HasSuffix(name, ".bias"):
		return "is a trained bias of a module that adapters do not change, which is not supported"
	}
	return "is not a LoRA of a linear layer of a llama-like model (q, k, v, o, gate, up, down, embed_tokens, lm_head)"
}

// heads returns how many heads the rows of a tensor are split into where Hugging Face and GGUF order them
// differently, and 0 where they agree.
func heads(f *runtime.Facts, tensor string) int {
	switch {
	case !f.RopeNorm:
		return 0
	case strings.HasSuffix(tensor, ".attn_q.weight"):
		return f.Heads
	case strings.HasSuffix(tensor, ".attn_k.weight"):
		return f.KVHeads
	}
	return 0
}

// permute reorders the rows of b (rows, width) from Hugging Face's order to GGUF's, or back. A head's rotary
// pairs (i, i + half) stand half a head apart there and side by side here.
func permute(b []float32, rows, heads int, toGGUF bool) ([]float32, error) {
	if heads <= 0 || rows%(2*heads) != 0 {
		return nil, errors.New("its rows cannot be split into heads of pairs")
	}
	width, half := len(b)/rows, rows/heads/2
	out := make([]float32, len(b))
	for h := range heads {
		for i := range half {
			for pair := range 2 {
				hf, gguf := (2*h+pair)*half+i, 2*(h*half+i)+pair
				if !toGGUF {
					hf, gguf = gguf, hf
				}
				copy(out[gguf*width:(gguf+1)*width], b[hf*width:(hf+1)*width])
			}
		}
	}
	return out, nil
}

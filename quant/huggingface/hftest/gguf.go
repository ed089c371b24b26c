package hftest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// FromGGUF turns a llama model with a byte-level tokenizer (the demo base) back into a folder of its weights and
// writes it to dir. Its last special tokens are the added ones.
func FromGGUF(t testing.TB, path, dir string, shards int) {
	t.Helper()
	f, err := quant.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m := &Model{Shapes: map[string][]int64{}, Tensors: map[string][]float32{}}
	number := func(key string) int { n, _ := f.Metadata.Uint("llama." + key); return int(n) }
	heads, kvHeads := number("attention.head_count"), number("attention.head_count_kv")
	for _, tensor := range f.Tensors {
		x, err := f.ReadF32(tensor.Name)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case strings.HasSuffix(tensor.Name, "attn_q.weight"):
			x = unpermute(x, heads, int(tensor.Dims[1]))
		case strings.HasSuffix(tensor.Name, "attn_k.weight"):
			x = unpermute(x, kvHeads, int(tensor.Dims[1]))
		}
		shape := make([]int64, len(tensor.Dims))
		for i, d := range tensor.Dims {
			shape[len(shape)-1-i] = d
		}
		m.Put(plainName(tensor.Name), x, shape...)
	}
	epsilon, _ := f.Metadata.Float("llama.attention.layer_norm_rms_epsilon")
	theta, _ := f.Metadata.Float("llama.rope.freq_base")
	files := tokenizerOf(t, f).Files()
	files["config.json"] = JSON(map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_size": number("embedding_length"),
		"intermediate_size": number("feed_forward_length"), "num_hidden_layers": number("block_count"),
		"num_attention_heads": heads, "num_key_value_heads": kvHeads, "vocab_size": number("vocab_size"),
		"max_position_embeddings": number("context_length"), "rms_norm_eps": epsilon, "rope_theta": theta,
		"hidden_act": "silu", "tie_word_embeddings": true,
	})
	files["README.md"] = []byte("---\nlicense: apache-2.0\nlanguage:\n- en\n---\n# A demo\n")
	encoded := m.Encode(func(name string, values []float32, shape ...int64) Tensor {
		if len(shape) == 1 {
			return F32(name, values, shape...) // as the file has it
		}
		return F16(name, values, shape...)
	})
	if shards < 2 {
		files["model.safetensors"] = Safetensors(encoded)
	} else {
		for name, data := range Shards(encoded, shards) {
			files[name] = data
		}
	}
	WriteFiles(t, dir, files)
}

// plainName is the name that transformers has for a GGUF tensor.
func plainName(name string) string {
	switch name {
	case "token_embd.weight":
		return "model.embed_tokens.weight"
	case "output_norm.weight":
		return "model.norm.weight"
	}
	return strings.NewReplacer("blk.", "model.layers.", "attn_norm", "input_layernorm", "ffn_norm", "post_attention_layernorm",
		"attn_q", "self_attn.q_proj", "attn_k", "self_attn.k_proj", "attn_v", "self_attn.v_proj", "attn_output", "self_attn.o_proj",
		"ffn_gate", "mlp.gate_proj", "ffn_up", "mlp.up_proj", "ffn_down", "mlp.down_proj").Replace(name)
}

// unpermute puts the rows of each head back: the even ones are its first half, the odd ones its second.
func unpermute(x []float32, heads, rows int) []float32 {
	width, size := len(x)/rows, rows/heads
	out := make([]float32, 0, len(x))
	for h := range heads {
		for odd := range 2 {
			for i := odd; i < size; i += 2 {
				row := h*size + i
				out = append(out, x[row*width:(row+1)*width]...)
			}
		}
	}
	return out
}

// tokenizerOf takes the tokenizer out of the file.
func tokenizerOf(t testing.TB, f *quant.File) *Tokenizer {
	t.Helper()
	tokens, _ := f.Metadata.Strings("tokenizer.ggml.tokens")
	kinds, _ := f.Metadata.Ints("tokenizer.ggml.token_type")
	merges, _ := f.Metadata.Strings("tokenizer.ggml.merges")
	eos, _ := f.Metadata.Uint("tokenizer.ggml.eos_token_id")
	out := &Tokenizer{Vocab: map[string]int{}, EOS: tokens[eos]}
	out.Template, _ = f.Metadata.String("tokenizer.chat_template")
	for i, text := range tokens {
		if kinds[i] == 1 {
			out.Vocab[text] = i
		} else {
			out.Special = append(out.Special, text)
		}
	}
	if err := checkVocab(out.Vocab); err != nil {
		t.Fatal(fmt.Errorf("the special tokens are not the last ones: %w", err))
	}
	for _, m := range merges {
		left, right, _ := strings.Cut(m, " ")
		out.Merges = append(out.Merges, [2]string{left, right})
	}
	return out
}

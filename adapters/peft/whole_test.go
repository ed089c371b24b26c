package peft

import (
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

func rowsOf(a *runtime.LoRA, tensor string) *runtime.LoRARows {
	for i := range a.Rows {
		if a.Rows[i].Tensor == tensor {
			return &a.Rows[i]
		}
	}
	return nil
}

func TestImportSavedModules(t *testing.T) {
	for _, name := range []string{"model.embed_tokens.weight", "model.embed_tokens.modules_to_save.default.weight", "model.embed_tokens.base_layer.weight"} {
		for _, tie := range []bool{false, true} {
			p := pefttest.New(1)
			p.Config["modules_to_save"] = []string{"embed_tokens"}
			if name == "model.embed_tokens.base_layer.weight" {
				delete(p.Config, "modules_to_save") // what save_embedding_layers writes
			}
			p.Config["ensure_weight_tying"] = tie
			want := p.Put(3, name, 32, 16)
			a := loraOf(t, p, pefttest.WholeFacts(true))
			embed, head := rowsOf(a, "token_embd.weight"), rowsOf(a, "output.weight")
			if embed == nil || embed.Tokens != nil || embed.Width != 16 || !slices.Equal(embed.Values, want) {
				t.Errorf("%s: the embeddings are %+v", name, embed)
			}
			if (head != nil) != tie || head != nil && !slices.Equal(head.Values, want) {
				t.Errorf("%s: with ensure_weight_tying %v the tied head is %+v", name, tie, head)
			}
			if a.Plain() {
				t.Error("it is taken for a plain LoRA")
			}
		}
	}
	p := pefttest.New(1)
	p.Config["modules_to_save"] = []string{"lm_head"}
	want := p.Put(4, "lm_head.weight", 32, 16)
	if head := rowsOf(loraOf(t, p, pefttest.WholeFacts(false)), "output.weight"); head == nil || !slices.Equal(head.Values, want) {
		t.Errorf("the head is %+v", head)
	}
}

func TestImportTrainedTokens(t *testing.T) {
	for _, tied := range []bool{false, true} {
		for _, indices := range []any{[]int{7, 3}, map[string][]int{"embed_tokens": {7, 3}}} {
			p := pefttest.New(1)
			p.Config["trainable_token_indices"] = indices
			want := p.Put(5, "model.embed_tokens.token_adapter.trainable_tokens_delta", 2, 16)
			a := loraOf(t, p, pefttest.WholeFacts(tied))
			embed, head := rowsOf(a, "token_embd.weight"), rowsOf(a, "output.weight")
			if embed == nil || !slices.Equal(embed.Tokens, []runtime.Token{7, 3}) || !slices.Equal(embed.Values, want) {
				t.Errorf("the embeddings are %+v", embed)
			}
			if (head != nil) != tied {
				t.Errorf("tied %v: the head's rows are %+v", tied, head)
			}
		}
	}
}

// A bias of lora_B is scaled as its matrix is, and permuted like the rows that it is added to.
func TestImportBiases(t *testing.T) {
	p := pefttest.New(1) // alpha 8, rank 4: scale 2
	p.Config["lora_bias"] = true
	added := make(map[string][]float32)
	for tensor, shape := range pefttest.Facts().Targets {
		if path, _ := peftModule(tensor); path != headModule {
			added[tensor] = p.Put(uint64(len(added)), path+".lora_B.bias", int64(shape.Out))
		}
	}
	p.Config["bias"] = "all"
	replaced := p.Put(90, "model.layers.0.self_attn.q_proj.base_layer.bias", 16)
	p.Put(91, "model.layers.0.self_attn.v_proj.bias", 8)
	a := loraOf(t, p, pefttest.WholeFacts(false))
	if len(a.Biases) != len(added)+2 {
		t.Errorf("%d biases, want %d", len(a.Biases), len(added)+2)
	}
	for _, b := range a.Biases {
		want := slices.Clone(added[b.Tensor])
		for i := range want {
			want[i] *= 2
		}
		if b.Replaces && b.Tensor == "blk.0.attn_q.weight" {
			want = replaced
		} else if b.Replaces {
			continue
		}
		if n := heads(pefttest.Facts(), b.Tensor); n > 0 {
			var err error
			if want, err = permute(want, len(want), n, true); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(b.Values, want) {
			t.Errorf("%s (replaces %v): %v, want %v", b.Tensor, b.Replaces, b.Values, want)
		}
	}
}

func TestWholeRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*pefttest.Files)
		want   error
		parts  []string
	}{
		"saved without a tensor": {func(p *pefttest.Files) { p.Config["modules_to_save"] = []string{"lm_head"} }, ErrFormat,
			[]string{"modules_to_save", "base_model.model.lm_head.weight"}},
		"another vocabulary": {func(p *pefttest.Files) { p.Put(1, "lm_head.weight", 33, 16) }, runtime.ErrAdapter, []string{"lm_head.weight", "[33 16]", "32 rows"}},
		"tokens without a tensor": {func(p *pefttest.Files) { p.Config["trainable_token_indices"] = []int{1} }, ErrFormat,
			[]string{"trainable_token_indices", "trainable_tokens_delta"}},
		"tokens without indices": {func(p *pefttest.Files) {
			p.Put(1, "model.embed_tokens.token_adapter.trainable_tokens_delta", 1, 16)
		}, ErrFormat,
			[]string{"trainable_tokens_delta", "names none"}},
		"a token twice": {func(p *pefttest.Files) {
			p.Config["trainable_token_indices"] = []int{4, 4}
			p.Put(1, "model.embed_tokens.token_adapter.trainable_tokens_delta", 2, 16)
		}, ErrFormat, []string{"trainable_token_indices has 4"}},
		"no such token": {func(p *pefttest.Files) {
			p.Config["trainable_token_indices"] = []int{32}
			p.Put(1, "model.embed_tokens.token_adapter.trainable_tokens_delta", 1, 16)
		}, ErrFormat, []string{"trainable_token_indices has 32"}},
		"fewer rows than tokens": {func(p *pefttest.Files) {
			p.Config["trainable_token_indices"] = []int{4, 5}
			p.Put(1, "model.embed_tokens.token_adapter.trainable_tokens_delta", 1, 16)
		}, runtime.ErrAdapter, []string{"trainable_tokens_delta", "[1 16]", "2 rows"}},
		"both": {func(p *pefttest.Files) {
			p.Config["trainable_token_indices"] = []int{4}
			p.Put(1, "model.embed_tokens.token_adapter.trainable_tokens_delta", 1, 16)
			p.Put(1, "model.embed_tokens.weight", 32, 16)
		}, ErrUnsupported, []string{"embed_tokens.weight", "trainable_tokens_delta"}},
		"bias none": {func(p *pefttest.Files) { p.Put(1, "model.layers.0.self_attn.q_proj.bias", 16) }, ErrFormat, []string{"q_proj.bias", "bias of"}},
		"no bias there": {func(p *pefttest.Files) {
			p.Config["bias"] = "all"
			p.Put(1, "model.layers.0.self_attn.o_proj.bias", 16)
		}, runtime.ErrAdapter, []string{"o_proj.bias", "blk.0.attn_output.bias"}},
		"bias twice": {func(p *pefttest.Files) {
			p.Config["bias"] = "all"
			p.Put(1, "model.layers.0.self_attn.q_proj.bias", 16)
			p.Put(1, "model.layers.0.self_attn.q_proj.base_layer.bias", 16)
		}, ErrFormat, []string{"q_proj.bias", "same"}},
		"no bias of lora_B": {func(p *pefttest.Files) { p.Config["lora_bias"] = true }, ErrFormat, []string{"lora_bias", "lora_B.bias"}},
		"tied LoRA": {func(p *pefttest.Files) {
			p.Config["ensure_weight_tying"] = true
			p.Config["target_modules"] = []string{"embed_tokens", "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
			p.Put(1, "model.embed_tokens.lora_embedding_A", 4, 32)
			p.Put(2, "model.embed_tokens.lora_embedding_B", 16, 4)
		}, ErrUnsupported, []string{"ensure_weight_tying"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := pefttest.New(7)
			c.change(p)
			x, err := fitOf(t, p, pefttest.WholeFacts(true))
			if err == nil {
				_, err = x.LoRA()
			}
			pefttest.WantError(t, err, c.want, c.parts...)
		})
	}
}

// FuzzPEFTNames: a name that is understood has one canonical form, which is understood as the same.
func FuzzPEFTNames(f *testing.F) {
	for _, name := range []string{
		testQ + ".lora_A.weight", testQ + ".lora_B.default.weight", testQ + ".lora_magnitude_vector.default.weight", testQ + ".lora_B.bias",
		testQ + ".bias", testQ + ".base_layer.bias", "base_model.model.lm_head.modules_to_save.default.weight", "base_model.model.lm_head.weight",
		"base_model.model.model.embed_tokens.base_layer.weight", "base_model.model.model.embed_tokens.lora_embedding_A",
		"base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta", "base_model.model.model.norm.weight",
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		a, err := parsePEFTName(name)
		if err != nil {
			return
		}
		if b, err := parsePEFTName(a.name()); err != nil || a != b || !a.side.on(a.module) {
			t.Errorf("%q is %+v, whose name %q is %+v (%v)", name, a, a.name(), b, err)
		}
	})
}

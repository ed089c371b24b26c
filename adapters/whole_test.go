package adapters

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// wholeFacts are testFacts with embeddings, and biases of q and v as qwen2 has them.
func wholeFacts(tied bool) *runtime.Facts {
	f := testFacts()
	delete(f.Refused, "token_embd.weight")
	f.Targets["token_embd.weight"] = runtime.Shape{In: 16, Out: 32}
	f.TiedHead = tied
	f.Biases = map[string]int{"blk.0.attn_q.bias": 16, "blk.0.attn_v.bias": 8}
	return f
}

// put adds a tensor of random values and returns them.
func (p *peftFiles) put(seed uint64, name string, shape ...int64) []float32 {
	rng := rand.New(rand.NewPCG(seed, 11))
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	name = "base_model.model." + name
	p.tensors[name] = NewTensor(name, shape, v)
	return v
}

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
			p := newPEFT(1)
			p.config["modules_to_save"] = []string{"embed_tokens"}
			if name == "model.embed_tokens.base_layer.weight" {
				delete(p.config, "modules_to_save") // what save_embedding_layers writes
			}
			p.config["ensure_weight_tying"] = tie
			want := p.put(3, name, 32, 16)
			a := p.lora(t, wholeFacts(true))
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
	p := newPEFT(1)
	p.config["modules_to_save"] = []string{"lm_head"}
	want := p.put(4, "lm_head.weight", 32, 16)
	if head := rowsOf(p.lora(t, wholeFacts(false)), "output.weight"); head == nil || !slices.Equal(head.Values, want) {
		t.Errorf("the head is %+v", head)
	}
}

func TestImportTrainedTokens(t *testing.T) {
	for _, tied := range []bool{false, true} {
		for _, indices := range []any{[]int{7, 3}, map[string][]int{"embed_tokens": {7, 3}}} {
			p := newPEFT(1)
			p.config["trainable_token_indices"] = indices
			want := p.put(5, "model.embed_tokens.token_adapter.trainable_tokens_delta", 2, 16)
			a := p.lora(t, wholeFacts(tied))
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
	p := newPEFT(1) // alpha 8, rank 4: scale 2
	p.config["lora_bias"] = true
	added := make(map[string][]float32)
	for tensor, shape := range testFacts().Targets {
		if path, _ := peftModule(tensor); path != headModule {
			added[tensor] = p.put(uint64(len(added)), path+".lora_B.bias", int64(shape.Out))
		}
	}
	p.config["bias"] = "all"
	replaced := p.put(90, "model.layers.0.self_attn.q_proj.base_layer.bias", 16)
	p.put(91, "model.layers.0.self_attn.v_proj.bias", 8)
	a := p.lora(t, wholeFacts(false))
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
		if n := heads(testFacts(), b.Tensor); n > 0 {
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

// What is stored is read again as it was put, under its canonical names.
func TestWholePartsAreStored(t *testing.T) {
	p := newPEFT(1)
	p.config["trainable_token_indices"] = []int{1, 30}
	p.config["modules_to_save"] = []string{"lm_head"}
	p.config["bias"] = "lora_only"
	p.put(1, "model.embed_tokens.token_adapter.trainable_tokens_delta", 2, 16)
	p.put(2, "lm_head.modules_to_save.default.weight", 32, 16)
	p.put(3, "model.layers.0.self_attn.q_proj.bias", 16)
	s, err := Open(Options{Dir: t.TempDir(), Facts: wholeFacts(false)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	info, err := s.PutUpload("a", p.parts(t), Note{})
	if err != nil {
		t.Fatal(err)
	}
	if info.Whole != 34*16 || !slices.Contains(info.Targets, "lm_head") {
		t.Errorf("%d whole parameters in %v", info.Whole, info.Targets)
	}
	a, err := s.load(info.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Rows) != 2 || len(a.Biases) != 1 || len(a.Modules) != 14 {
		t.Errorf("%d rows, %d biases, %d modules", len(a.Rows), len(a.Biases), len(a.Modules))
	}
}

// What could never be loaded is refused when it comes, with the numbers; what fits to the byte is taken.
func TestTooLargeForMemory(t *testing.T) {
	p := newPEFT(1)
	p.config["modules_to_save"] = []string{"embed_tokens", "lm_head"}
	p.put(1, "model.embed_tokens.weight", 32, 16)
	p.put(2, "lm_head.weight", 32, 16)
	x, err := p.fit(t, wholeFacts(false))
	if err != nil {
		t.Fatal(err)
	}
	sum := x.summary
	for _, c := range []struct {
		memory int64
		origin string
		fits   bool
	}{{2 * sum.Parameters, FromUpload, true}, {0, FromUpload, true}, {2*sum.Parameters - 1, FromUpload, false}, {2*sum.Parameters - 1, FromJob, true}} {
		dir := t.TempDir()
		s, err := Open(Options{Dir: dir, Facts: wholeFacts(false), Memory: c.memory})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		_, err = s.PutUpload("a", p.parts(t), Note{Origin: Origin{Kind: c.origin}})
		if c.fits {
			if err != nil {
				t.Errorf("%+v: %v", c, err)
			}
			continue
		}
		wantError(t, err, ErrTooLarge, "modules_to_save", "1024 in whole rows", fmt.Sprint(2*sum.Parameters), fmt.Sprint(c.memory))
		for _, d := range []string{"tmp", "versions", "names"} {
			if left, err := os.ReadDir(filepath.Join(dir, d)); err != nil || len(left) > 0 {
				t.Errorf("%s has %v (%v)", d, left, err)
			}
		}
	}
}

func TestWholeRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*peftFiles)
		want   error
		parts  []string
	}{
		"saved without a tensor": {func(p *peftFiles) { p.config["modules_to_save"] = []string{"lm_head"} }, ErrFormat,
			[]string{"modules_to_save", "base_model.model.lm_head.weight"}},
		"another vocabulary": {func(p *peftFiles) { p.put(1, "lm_head.weight", 33, 16) }, runtime.ErrAdapter, []string{"lm_head.weight", "[33 16]", "32 rows"}},
		"tokens without a tensor": {func(p *peftFiles) { p.config["trainable_token_indices"] = []int{1} }, ErrFormat,
			[]string{"trainable_token_indices", "trainable_tokens_delta"}},
		"tokens without indices": {func(p *peftFiles) { p.put(1, "model.embed_tokens.token_adapter.trainable_tokens_delta", 1, 16) }, ErrFormat,
			[]string{"trainable_tokens_delta", "names none"}},
		"a token twice": {func(p *peftFiles) {
			p.config["trainable_token_indices"] = []int{4, 4}
			p.put(1, "model.embed_tokens.token_adapter.trainable_tokens_delta", 2, 16)
		}, ErrFormat, []string{"trainable_token_indices has 4"}},
		"no such token": {func(p *peftFiles) {
			p.config["trainable_token_indices"] = []int{32}
			p.put(1, "model.embed_tokens.token_adapter.trainable_tokens_delta", 1, 16)
		}, ErrFormat, []string{"trainable_token_indices has 32"}},
		"fewer rows than tokens": {func(p *peftFiles) {
			p.config["trainable_token_indices"] = []int{4, 5}
			p.put(1, "model.embed_tokens.token_adapter.trainable_tokens_delta", 1, 16)
		}, runtime.ErrAdapter, []string{"trainable_tokens_delta", "[1 16]", "2 rows"}},
		"both": {func(p *peftFiles) {
			p.config["trainable_token_indices"] = []int{4}
			p.put(1, "model.embed_tokens.token_adapter.trainable_tokens_delta", 1, 16)
			p.put(1, "model.embed_tokens.weight", 32, 16)
		}, ErrUnsupported, []string{"embed_tokens.weight", "trainable_tokens_delta"}},
		"bias none": {func(p *peftFiles) { p.put(1, "model.layers.0.self_attn.q_proj.bias", 16) }, ErrFormat, []string{"q_proj.bias", "bias of"}},
		"no bias there": {func(p *peftFiles) {
			p.config["bias"] = "all"
			p.put(1, "model.layers.0.self_attn.o_proj.bias", 16)
		}, runtime.ErrAdapter, []string{"o_proj.bias", "blk.0.attn_output.bias"}},
		"bias twice": {func(p *peftFiles) {
			p.config["bias"] = "all"
			p.put(1, "model.layers.0.self_attn.q_proj.bias", 16)
			p.put(1, "model.layers.0.self_attn.q_proj.base_layer.bias", 16)
		}, ErrFormat, []string{"q_proj.bias", "same"}},
		"no bias of lora_B": {func(p *peftFiles) { p.config["lora_bias"] = true }, ErrFormat, []string{"lora_bias", "lora_B.bias"}},
		"tied LoRA": {func(p *peftFiles) {
			p.config["ensure_weight_tying"] = true
			p.config["target_modules"] = []string{"embed_tokens", "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
			p.put(1, "model.embed_tokens.lora_embedding_A", 4, 32)
			p.put(2, "model.embed_tokens.lora_embedding_B", 16, 4)
		}, ErrUnsupported, []string{"ensure_weight_tying"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPEFT(7)
			c.change(p)
			x, err := p.fit(t, wholeFacts(true))
			if err == nil {
				_, err = x.lora()
			}
			wantError(t, err, c.want, c.parts...)
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

package peft

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Whole norms are read under the names that PEFT saves them by, whatever name modules_to_save has for them, and exported
// under one of them.
func TestImportNorms(t *testing.T) {
	for _, saved := range [][]string{{"norm"}, {"input_layernorm", "model.norm"}, {"layernorm", "norm"}, {"model.layers.1.input_layernorm"}} {
		for _, ending := range []string{".weight", ".modules_to_save.weight", ".modules_to_save.default.weight"} {
			p := pefttest.New(1)
			p.Config["modules_to_save"] = saved
			want := map[string][]float32{
				"blk.1.attn_norm.weight": p.Put(1, "model.layers.1.input_layernorm"+ending, 16),
				"blk.0.ffn_norm.weight":  p.Put(2, "model.layers.0.post_attention_layernorm"+ending, 16),
				"output_norm.weight":     p.Put(3, "model.norm"+ending, 16),
			}
			x, err := fitOf(t, p, pefttest.WholeFacts(false))
			if err != nil {
				t.Fatal(err)
			}
			a, err := x.LoRA()
			if err != nil {
				t.Fatal(err)
			}
			if len(a.Norms) != len(want) || a.Plain() {
				t.Errorf("%d norms, taken for a plain LoRA: %v", len(a.Norms), a.Plain())
			}
			for _, n := range a.Norms {
				if !slices.Equal(n.Values, want[n.Tensor]) {
					t.Errorf("%s is %v, want %v", n.Tensor, n.Values, want[n.Tensor])
				}
			}
			if x.Summary.Modules != 14+3 || !slices.Contains(x.Summary.Targets, "input_layernorm") {
				t.Errorf("the summary is %+v", x.Summary)
			}
			_, tensors, err := x.Canonical()
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(tensors, func(t Tensor) bool { return t.Name == "base_model.model.model.norm.weight" && t.Shape[0] == 16 }) {
				t.Error("the export has no model.norm")
			}
		}
	}
}

// A model whose heads have norms has them in the order of its file: q and k of it are not permuted.
func TestImportNormsOfHeads(t *testing.T) {
	f := pefttest.WholeFacts(false)
	f.Architecture, f.RopeNorm = "qwen3", false
	f.Norms["blk.0.attn_q_norm.weight"], f.Norms["blk.0.attn_k_norm.weight"] = 4, 4
	p := pefttest.New(1)
	p.Config["modules_to_save"] = []string{"q_norm", "k_norm"}
	q, k := p.Put(1, "model.layers.0.self_attn.q_norm.weight", 4), p.Put(2, "model.layers.0.self_attn.k_norm.weight", 4)
	a := loraOf(t, p, f)
	if len(a.Norms) != 2 {
		t.Fatalf("norms %v", a.Norms)
	}
	for _, n := range a.Norms {
		if want := map[string][]float32{"blk.0.attn_q_norm.weight": q, "blk.0.attn_k_norm.weight": k}[n.Tensor]; !slices.Equal(n.Values, want) {
			t.Errorf("%s is %v, want %v", n.Tensor, n.Values, want)
		}
	}
}

func TestNormsThatAreMissingAreWarnedOf(t *testing.T) {
	p := pefttest.New(1)
	p.Config["modules_to_save"] = []string{"input_layernorm"}
	p.Put(1, "model.layers.1.input_layernorm.weight", 16)
	x, err := fitOf(t, p, pefttest.WholeFacts(false))
	if err != nil {
		t.Fatal(err)
	}
	if w := fmt.Sprint(x.Summary.Warnings); !strings.Contains(w, "1 norms") || !strings.Contains(w, "model.layers.0.input_layernorm") {
		t.Errorf("warnings %s", w)
	}
}

func TestNormRefusals(t *testing.T) {
	const one = "model.layers.0.input_layernorm.weight"
	for name, c := range map[string]struct {
		change func(p *pefttest.Files, f *runtime.Facts)
		want   error
		parts  []string
	}{
		"another length": {func(p *pefttest.Files, _ *runtime.Facts) { p.Put(1, one, 17) }, runtime.ErrAdapter,
			[]string{one, "[17]", "blk.0.attn_norm.weight", "16 values"}},
		"a matrix": {func(p *pefttest.Files, _ *runtime.Facts) { p.Put(1, one, 16, 1) }, runtime.ErrAdapter, []string{one, "[16 1]"}},
		"no such norm": {func(p *pefttest.Files, _ *runtime.Facts) { p.Put(1, "model.layers.0.self_attn.q_norm.weight", 4) }, runtime.ErrAdapter,
			[]string{"q_norm.weight", "has no blk.0.attn_q_norm.weight"}},
		"on a device": {func(p *pefttest.Files, f *runtime.Facts) {
			p.Put(1, one, 16)
			delete(f.Norms, "blk.0.attn_norm.weight")
			f.Refused["blk.0.attn_norm.weight"] = "it lies on a device"
		}, runtime.ErrAdapter, []string{one, "it lies on a device"}},
		"not a number": {func(p *pefttest.Files, _ *runtime.Facts) { p.Put(1, one, 16)[5] = float32(math.NaN()) }, ErrUnsupported,
			[]string{one, "value 5", "NaN"}},
		"no tensor": {func(p *pefttest.Files, _ *runtime.Facts) { p.Config["modules_to_save"] = []string{"q_norm"} }, ErrFormat,
			[]string{`modules_to_save names "q_norm"`}},
		"twice": {func(p *pefttest.Files, _ *runtime.Facts) {
			p.Put(1, one, 16)
			p.Put(1, "model.layers.0.input_layernorm.modules_to_save.weight", 16)
		}, ErrFormat, []string{"input_layernorm", "same"}},
		"a LoRA": {func(p *pefttest.Files, _ *runtime.Facts) { p.Put(1, "model.norm.lora_A.weight", 4, 16) }, ErrUnsupported, []string{"model.norm.lora_A.weight"}},
		"a bias": {func(p *pefttest.Files, _ *runtime.Facts) { p.Put(1, "model.norm.bias", 16) }, ErrUnsupported, []string{"model.norm.bias"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, f := pefttest.New(7), pefttest.WholeFacts(false)
			c.change(p, f)
			x, err := fitOf(t, p, f)
			if err == nil {
				_, err = x.LoRA()
			}
			pefttest.WantError(t, err, c.want, c.parts...)
		})
	}
	p := pefttest.New(1)
	p.Put(1, one, 16)
	f := pefttest.WholeFacts(false)
	x, err := fitOf(t, p, f)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	_, err = x.WriteGGUF(&b, f, "a", "d")
	pefttest.WantError(t, err, ErrUnsupported, one, "export it as peft")
	a, err := x.LoRA()
	if err != nil {
		t.Fatal(err)
	}
	a.Norms[0].Values = a.Norms[0].Values[1:]
	_, err = FromLoRA(f, a)
	pefttest.WantError(t, err, ErrFormat, "blk.0.attn_norm.weight", "15 values")
	a.Norms[0].Tensor = "blk.0.attn_q_norm.weight"
	_, err = FromLoRA(f, a)
	pefttest.WantError(t, err, runtime.ErrAdapter, "has no blk.0.attn_q_norm.weight")
}

// Norms in memory are stored under names that PEFT finds them by, and no others: what is read back is the same adapter.
func TestNormsFromMemory(t *testing.T) {
	for _, c := range []struct {
		tensors, saved []string
	}{
		{[]string{"blk.0.attn_norm.weight", "blk.1.attn_norm.weight"}, []string{"input_layernorm"}},
		{[]string{"blk.1.ffn_norm.weight", "output_norm.weight"}, []string{"model.norm", "model.layers.1.post_attention_layernorm"}},
	} {
		f := pefttest.WholeFacts(false)
		a := loraOf(t, pefttest.New(1), f)
		for i, tensor := range c.tensors {
			n := runtime.LoRANorm{Tensor: tensor}
			for j := range 16 {
				n.Values = append(n.Values, float32(100*i+j))
			}
			a.Norms = append(a.Norms, n)
		}
		source, err := FromLoRA(f, a)
		if err != nil {
			t.Fatal(err)
		}
		x, err := source.Fit(f)
		if err != nil {
			t.Fatal(err)
		}
		back, err := x.LoRA()
		if err != nil {
			t.Fatal(err)
		}
		byTensor := func(x, y runtime.LoRANorm) int { return strings.Compare(x.Tensor, y.Tensor) }
		slices.SortFunc(back.Norms, byTensor)
		if !reflect.DeepEqual(back.Norms, a.Norms) || len(x.Summary.Warnings) > 0 {
			t.Errorf("the norms are %v, want %v; warnings %v", back.Norms, a.Norms, x.Summary.Warnings)
		}
		config, _, err := x.Canonical()
		var fields struct {
			Saved []string `json:"modules_to_save"`
		}
		if err := errors.Join(err, json.Unmarshal(config, &fields)); err != nil || !slices.Equal(fields.Saved, c.saved) {
			t.Errorf("modules_to_save is %v, want %v; error %v", fields.Saved, c.saved, err)
		}
		if got, err := TrainedNorms(f, fields.Saved); err != nil || !slices.Equal(got, c.tensors) {
			t.Errorf("%v would train %v, error %v", fields.Saved, got, err)
		}
	}
}

// The names are those by which PEFT finds modules: ends of their paths. Names of other modules, and of norms that the base has not,
// are refused.
func TestTrainedNorms(t *testing.T) {
	f := pefttest.WholeFacts(false)
	for name, want := range map[string][]string{
		"norm":                           {"blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "blk.1.attn_norm.weight", "blk.1.ffn_norm.weight", "output_norm.weight"},
		"model.norm":                     {"output_norm.weight"},
		"post_attention_layernorm":       {"blk.0.ffn_norm.weight", "blk.1.ffn_norm.weight"},
		"layers.1.input_layernorm":       {"blk.1.attn_norm.weight"},
		"model.layers.0.input_layernorm": {"blk.0.attn_norm.weight"},
	} {
		if got, err := TrainedNorms(f, []string{name, name}); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s trains %v, want %v; error %v", name, got, want, err)
		}
	}
	for name, why := range map[string]string{
		"": "only RMSNorms", "lm_head": "only RMSNorms", "embed_tokens": "only RMSNorms", "q_proj": "only RMSNorms", "q_norm": "has no such norm",
		"model.layers.2.input_layernorm": "has no such norm",
	} {
		_, err := TrainedNorms(f, []string{"norm", name})
		pefttest.WantError(t, err, ErrUnsupported, "modules_to_save has "+strconv.Quote(name), why)
	}
}

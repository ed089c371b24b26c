package peft

import (
	"errors"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

func TestPlan(t *testing.T) {
	f := pefttest.Facts()
	list, err := Targets(f, []byte(`{"r": 8, "lora_alpha": 16, "target_modules": "all-linear"}`))
	if err != nil || len(list) != 14 {
		t.Fatalf("%d modules, error %v", len(list), err)
	}
	for _, m := range list {
		if m.Rank != 8 || m.Scale != 2 || m.Tensor == "output.weight" {
			t.Errorf("module %+v", m)
		}
	}
	list, err = Targets(f, []byte(`{"r": 4, "lora_alpha": 4, "use_rslora": true, "use_dora": true, "target_modules": ["q_proj", "lm_head"],
		"layers_to_transform": [1], "rank_pattern": {"q_proj": 16}, "alpha_pattern": {"lm_head": 12}}`))
	want := []runtime.TrainModule{{Tensor: "blk.1.attn_q.weight", Rank: 16, Scale: 1, DoRA: true}, {Tensor: "output.weight", Rank: 4, Scale: 6, DoRA: true}}
	if err != nil || !slices.Equal(list, want) {
		t.Errorf("got %+v, want %+v, error %v", list, want, err)
	}
}

func TestPlanRefusesByName(t *testing.T) {
	for config, part := range map[string]string{
		`{"r": 8, "lora_alpha": 8, "target_modules": ["q_proj", "c_attn"]}`:                                                        `target_modules has "c_attn", which the base has not`,
		`{"r": 8, "lora_alpha": 8, "target_modules": ["embed_tokens"]}`:                                                            "lookups cannot be adapted",
		`{"r": 8, "lora_alpha": 8, "target_modules": "all-linear", "layers_to_transform": 2}`:                                      "layers_to_transform has 2: the base has the layers 0 to 1",
		`{"r": 8, "lora_alpha": 8, "target_modules": ["q_proj"], "exclude_modules": ["q_proj"]}`:                                   "leave no module to train",
		`{"r": 8, "lora_alpha": 8, "target_modules": "all-linear", "exclude_modules": ["q_proj", "vproj"]}`:                        `exclude_modules has "vproj", which the base has not`,
		`{"r": 8, "lora_alpha": 8, "target_modules": "all-linear", "exclude_modules": ["all-linear"]}`:                             `exclude_modules has "all-linear", which the base has not`,
		`{"r": 8, "lora_alpha": 8, "target_modules": "all-linear", "rank_pattern": {"q_proj": 0}}`:                                 `rank_pattern "q_proj" is not a whole number`,
		`{"r": 8, "lora_alpha": 8, "target_modules": "all-linear", "rank_pattern": {"q_proj": 4, "qproj": 4}}`:                     `rank_pattern has the key "qproj", which matches none`,
		`{"r": 8, "lora_alpha": 8, "target_modules": ["v_proj"], "alpha_pattern": {"^q_proj": 100}}`:                               `alpha_pattern has the key "^q_proj", which matches none`,
		`{"r": 8, "lora_alpha": 8, "target_modules": "all-linear", "rank_pattern": {"q_proj": 4, "layers.1.self_attn.q_proj": 8}}`: `rank_pattern has the key "layers.1.self_attn.q_proj", which decides nothing`,
		`{"r": 8, "lora_alpha": 8, "target_modules": "all-linear", "alpha_pattern": [1]}`:                                          "alpha_pattern is not an object",
	} {
		_, err := Targets(pefttest.Facts(), []byte(config))
		var e *FieldError
		if !errors.As(err, &e) || e.Field == "" {
			t.Errorf("%s: error %v names no field", config, err)
			continue
		}
		pefttest.WantError(t, err, e.Kind, part)
	}
	if _, err := Targets(pefttest.Facts(), []byte(`{"r": 8, "lora_alpha": 8, "target_modules": "all-linear", "exclude_modules": ["lm_head", "embed_tokens", "v_proj"]}`)); err != nil {
		t.Errorf("what could be trained, and is not, is left out: %v", err)
	}
	if _, err := Targets(pefttest.Facts(), []byte(`{"r": 8, "lora_alpha": 8, "target_modules": "all-linear", "rank_pattern": {"layers.1.self_attn.q_proj": 8, "q_proj": 4}}`)); err != nil {
		t.Errorf("a key for one module before one for all: %v", err)
	}
	f := pefttest.Facts()
	f.Architecture = "mamba"
	_, err := Targets(f, []byte(`{}`))
	pefttest.WantError(t, err, ErrUnsupported, "mamba")
}

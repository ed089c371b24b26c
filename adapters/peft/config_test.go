package peft

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
)

// configWith is a minimal configuration with further fields.
func configWith(fields string) []byte {
	if fields != "" {
		fields = ", " + fields
	}
	return []byte(`{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"]` + fields + `}`)
}

func mustParse(t *testing.T, fields string) *config {
	t.Helper()
	c, err := parseConfig(configWith(fields))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const q0, q1, q11, down1 = "model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj",
	"model.layers.11.self_attn.q_proj", "model.layers.1.mlp.down_proj"

func TestConfigScale(t *testing.T) {
	for fields, want := range map[string]map[string]float64{
		``:                                          {q0: 2},
		`"use_rslora": true`:                        {q0: 16 / math.Sqrt(8)},
		`"rank_pattern": {"q_proj": 4}`:             {q0: 4, down1: 2},
		`"alpha_pattern": {"q_proj": 4}`:            {q0: 0.5, down1: 2},
		`"alpha_pattern": {"q_proj": 0.5}`:          {q0: 0.0625},
		`"alpha_pattern": {"layers.1": 4}`:          {q1: 2},
		`"rank_pattern": {"1.self_attn.q_proj": 2}`: {q1: 8, q11: 2},
		`"rank_pattern": {"model.layers.1.self_attn.q_proj": 2}`:                         {q1: 8, q0: 2, q11: 2},
		`"rank_pattern": {"^model\\.layers\\.\\d+\\.self_attn\\.q_proj": 2}`:             {q1: 8, q0: 8, down1: 2},
		`"rank_pattern": {".*1.*q_proj": 2, "q_proj": 4}`:                                {q1: 8, q0: 4, q11: 8},
		`"rank_pattern": {"q_proj": 4, ".*1.*q_proj": 2}`:                                {q1: 4, q0: 4},
		`"rank_pattern": {"self.attn.q_proj": 4}`:                                        {q0: 4}, // a dot is any character
		`"rank_pattern": {"proj": 4}`:                                                    {q0: 2},
		`"use_rslora": true, "rank_pattern": {"q_proj": 4}, "alpha_pattern": {"1.+": 2}`: {q0: 8, q1: 1, down1: 2 / math.Sqrt(8)},
	} {
		c := mustParse(t, fields)
		for module, scale := range want {
			if got := c.scale(module); got != float32(scale) {
				t.Errorf("%s: scale of %s is %v, want %v", fields, module, got, float32(scale))
			}
		}
	}
}

func TestConfigTargets(t *testing.T) {
	const embed, head = embeddingModule, headModule
	for fields, want := range map[string]string{ // the modules that match, of q0 q1 q11 down1 embed head
		`"target_modules": ["q_proj"]`:                      q0 + q1 + q11,
		`"target_modules": ["proj"]`:                        "",
		`"target_modules": ["self_attn.q_proj", "lm_head"]`: q0 + q1 + q11 + head,
		`"target_modules": "all-linear"`:                    q0 + q1 + q11 + down1,
		`"target_modules": ".*\\.(0|11)\\..*"`:              q0 + q11,
		`"target_modules": "q_proj"`:                        "",
		`"target_modules": ["q_proj", "down_proj"], "exclude_modules": ["0.self_attn.q_proj"]`:      q1 + q11 + down1,
		`"target_modules": "all-linear", "exclude_modules": ".*q_proj"`:                             down1,
		`"target_modules": ["q_proj"], "layers_to_transform": [0, 11]`:                              q0 + q11,
		`"target_modules": ["q_proj"], "layers_to_transform": 0`:                                    q0,
		`"target_modules": ["q_proj"], "layers_to_transform": []`:                                   q0 + q1 + q11,
		`"target_modules": ["q_proj", "lm_head"], "layers_to_transform": 1`:                         q1 + head, // a full name is not looked up
		`"target_modules": ["q_proj"], "layers_to_transform": 1, "layers_pattern": "layers"`:        q1,
		`"target_modules": ["q_proj"], "layers_to_transform": 1, "layers_pattern": ["h", "layers"]`: q1,
		`"target_modules": ["q_proj"], "layers_to_transform": 1, "layers_pattern": "h"`:             "",
		`"target_modules": ".*q_proj", "layers_to_transform": 1`:                                    q0 + q1 + q11, // for lists only
	} {
		c, err := parseConfig([]byte(`{"peft_type": "LORA", "r": 8, "lora_alpha": 16, ` + fields + `}`))
		if err != nil {
			t.Errorf("%s: %v", fields, err)
			continue
		}
		got := ""
		for _, m := range []string{q0, q1, q11, down1, embed, head} {
			if c.targets.match(m) {
				got += m
			}
		}
		if got != want {
			t.Errorf("%s matches %s, want %s", fields, got, want)
		}
	}
}

func TestConfigIgnoresTrainingFields(t *testing.T) {
	mustParse(t, `"lora_dropout": 0.05, "inference_mode": true, "task_type": "CAUSAL_LM", "base_model_name_or_path": "x",
		"auto_mapping": {"a": 1}, "init_lora_weights": "gaussian", "modules_to_save": null, "use_dora": false, "bias": "none",
		"layer_replication": [], "loftq_config": {}, "megatron_core": "megatron.core", "qalora_group_size": 16, "peft_version": "0.18",
		"a_field_of_the_future": null, "another": {}, "fan_in_fan_out": false, "eva_config": {"rho": 2}, "layers_pattern": ""`)
}

// Every field of PEFT's LoraConfig is honoured, known to matter in training alone, or refused by its name.
func TestConfigKnowsEveryField(t *testing.T) {
	honoured := map[string]string{ // a value that changes something, and can be served
		"alpha_pattern": `{"q_proj": 3}`, "rank_pattern": `{"q_proj": 3}`, "bias": `"lora_only"`, "lora_bias": "true", "ensure_weight_tying": "true",
		"exclude_modules": `["o_proj"]`, "layers_to_transform": "[0]", "layers_pattern": `"layers"`, "modules_to_save": `["lm_head"]`,
		"trainable_token_indices": "[3]", "use_dora": "true", "use_rslora": "true", "alora_invocation_tokens": "[1, 2]", "init_lora_weights": `"mica"`,
		"r": "3", "lora_alpha": "3", "target_modules": `["q_proj"]`, "peft_type": `"LORA"`,
	}
	refusing := map[string]string{ // values that PEFT writes
		"target_parameters": `["x"]`, "use_qalora": "true", "layer_replication": "[[0, 4]]",
		"fan_in_fan_out": "true", "arrow_config": `{"top_k": 3, "router_temperature": 1.0}`, "use_bdlora": `{"nblocks": 2}`,
		"kasa_config": `{"beta": 0.0001, "gamma": 0.001}`, "monteclora_config": `{"monteclora_n": 8}`,
	}
	training := map[string]string{
		"auto_mapping": `{"a": 1}`, "base_model_name_or_path": `"x"`, "revision": `"main"`, "task_type": `"CAUSAL_LM"`, "inference_mode": "true",
		"peft_version": `"0.18.0"`, "lora_dropout": "0.05", "loftq_config": `{"loftq_bits": 4}`, "eva_config": `{"rho": 2.0}`,
		"corda_config": `{"corda_method": "ipm"}`, "lora_ga_config": `{"direction": "ArB2r"}`, "megatron_config": `{"hidden_size": 8}`,
		"megatron_core": `"megatron.core"`, "qalora_group_size": "16", "velora_config": `{"num_groups": 32}`,
	}
	for field := range peftDefaults {
		n := 0
		for list, values := range []map[string]string{honoured, training, refusing} {
			value, ok := values[field]
			if !ok {
				continue
			}
			n++
			var fields []string
			for key, v := range map[string]string{"peft_type": `"LORA"`, "r": "8", "lora_alpha": "16", "target_modules": `["q_proj"]`, field: value} {
				fields = append(fields, fmt.Sprintf("%q: %s", key, v))
			}
			_, err := parseConfig([]byte("{" + strings.Join(fields, ",") + "}"))
			if refuses := list == 2; refuses {
				pefttest.WantError(t, err, ErrUnsupported, field, refused[field])
			} else if err != nil {
				t.Error(err)
			}
		}
		if n != 1 {
			t.Errorf("%s is in %d of the three lists", field, n)
		}
	}
	if n := len(honoured) + len(refusing) + len(training); n != len(peftDefaults) {
		t.Errorf("the lists have %d fields, LoraConfig %d", n, len(peftDefaults))
	}
}

func TestConfigRefuses(t *testing.T) {
	unsupported := map[string]string{
		`"modules_to_save": ["embed_tokens", "q_proj"]`:                  `modules_to_save has "q_proj"`,
		`"modules_to_save": [""]`:                                        `modules_to_save has ""`,
		`"alora_invocation_tokens": [1], "modules_to_save": ["norm"]`:    "modules_to_save is given beside alora",
		`"trainable_token_indices": {"q_proj": [1]}`:                     `trainable_token_indices has "q_proj"`,
		`"target_parameters": ["x"]`:                                     "target_parameters",
		`"alora_invocation_tokens": [1], "bias": "all"`:                  "bias is given beside alora_invocation_tokens",
		`"alora_invocation_tokens": [1], "modules_to_save": ["lm_head"]`: "modules_to_save is given beside alora",
		`"alora_invocation_tokens": [1], "trainable_token_indices": [1]`: "trainable_token_indices is given beside alora",
		`"use_qalora": true`:                                             "use_qalora",
		`"layer_replication": [[0, 4]]`:                                  "layer_replication",
		`"fan_in_fan_out": true`:                                         "fan_in_fan_out",
		`"init_lora_weights": "pissa_niter_16"`:                          "init_lora_weights",
		`"init_lora_weights": "olora"`:                                   "path_initial_model_for_weight_conversion",
		`"init_lora_weights": "loftq"`:                                   "init_lora_weights",
		`"init_lora_weights": "corda"`:                                   "init_lora_weights",
		`"init_lora_weights": "lora_ga"`:                                 "path_initial_model_for_weight_conversion",
		`"init_lora_weights": "of_the_future"`:                           "the value is not known",
		`"a_field_of_the_future": "yes"`:                                 "a_field_of_the_future",
		`"rank_pattern": {"(?!x)q_proj": 4}`:                             "rank_pattern",
		`"exclude_modules": "(?=x).*"`:                                   "exclude_modules",
		`"exclude_modules": "` + strings.Repeat("(x{1000})", 400) + `"`:  "too large",
	}
	for fields, part := range unsupported {
		_, err := parseConfig(configWith(fields))
		pefttest.WantError(t, err, ErrUnsupported, part)
	}
}

func TestConfigRefusesWrongValues(t *testing.T) {
	wrong := map[string]string{
		`"rank_pattern": {"q_proj": 0}`:                                    "rank_pattern",
		`"rank_pattern": {"q_proj": 4, "q_proj": 4}`:                       "twice",
		`"rank_pattern": ["q_proj"]`:                                       "rank_pattern",
		`"alpha_pattern": {"q_proj": "x"}`:                                 "alpha_pattern",
		`"alpha_pattern": {"q_proj": 0}`:                                   "alpha_pattern",
		`"use_rslora": 3`:                                                  "use_rslora",
		`"layers_to_transform": "x"`:                                       "layers_to_transform",
		`"alora_invocation_tokens": []`:                                    "alora_invocation_tokens is not a list of at least one token",
		`"alora_invocation_tokens": 7`:                                     "alora_invocation_tokens is not a list of tokens",
		`"alora_invocation_tokens": false`:                                 "alora_invocation_tokens is not a list of tokens",
		`"alora_invocation_tokens": "check"`:                               "alora_invocation_tokens is not a list of tokens",
		`"alora_invocation_tokens": [1, "a"]`:                              "alora_invocation_tokens is not a list of tokens",
		`"alora_invocation_tokens": [1, null]`:                             "alora_invocation_tokens is not a list of tokens",
		`"alora_invocation_tokens": [1.5]`:                                 "alora_invocation_tokens is not a list of tokens",
		`"alora_invocation_tokens": [-1]`:                                  "it has -1",
		`"alora_invocation_tokens": [5000000000]`:                          "alora_invocation_tokens is not a list of tokens",
		`"alora_invocation_tokens": [1` + strings.Repeat(",1", 1024) + `]`: "at most 1024 tokens: it has 1025",
		`"r": 8`: `"r" occurs twice`,
	}
	for fields, part := range wrong {
		_, err := parseConfig(configWith(fields))
		pefttest.WantError(t, err, ErrFormat, part)
	}
	whole := map[string]struct {
		want error
		part string
	}{
		``:  {ErrFormat, "adapter_config.json"},
		`3`: {ErrFormat, "object"},
		`{"r": 8, "lora_alpha": 16, "target_modules": ["x"]}`:                                                         {ErrUnsupported, "peft_type is missing"},
		`{"peft_type": "LOHA", "r": 8, "lora_alpha": 16, "target_modules": ["x"]}`:                                    {ErrUnsupported, "LOHA"},
		`{"peft_type": "LORA", "lora_alpha": 16, "target_modules": ["x"]}`:                                            {ErrFormat, "r is missing"},
		`{"peft_type": "LORA", "r": 0, "lora_alpha": 16, "target_modules": ["x"]}`:                                    {ErrFormat, "r is not"},
		`{"peft_type": "LORA", "r": 2.5, "lora_alpha": 16, "target_modules": ["x"]}`:                                  {ErrFormat, "r is not"},
		`{"peft_type": "LORA", "r": 8, "target_modules": ["x"]}`:                                                      {ErrFormat, "lora_alpha is missing"},
		`{"peft_type": "LORA", "r": 8, "lora_alpha": 0, "target_modules": ["x"]}`:                                     {ErrFormat, "lora_alpha"},
		`{"peft_type": "LORA", "r": 8, "lora_alpha": 1e300, "target_modules": ["x"]}`:                                 {ErrFormat, "lora_alpha"},
		`{"peft_type": "LORA", "r": 8, "lora_alpha": 16}`:                                                             {ErrFormat, "target_modules is missing"},
		`{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": [1]}`:                                      {ErrFormat, "target_modules"},
		`{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": "` + strings.Repeat("x", MaxConfig) + `"}`: {ErrFormat, "longer"},
	}
	for data, c := range whole {
		_, err := parseConfig([]byte(data))
		pefttest.WantError(t, err, c.want, c.part)
	}
}

func TestConfigThatEndsEarly(t *testing.T) {
	for _, text := range []string{"", "{", `{"r"`, `{"r": 8`, `{"r": 8,`} {
		_, err := parseConfig([]byte(text))
		pefttest.WantError(t, err, ErrFormat, "early")
	}
}

func TestConfigEncodesCanonically(t *testing.T) {
	one, err := parseConfig([]byte(`{"r":8,"lora_alpha":16,"peft_type":"LORA","target_modules":["v_proj","q_proj"],"rank_pattern":{"z":1,"a":2}}`))
	if err != nil {
		t.Fatal(err)
	}
	other, err := parseConfig([]byte(`{ "target_modules": ["q_proj", "v_proj"], "peft_type": "LORA",
		"rank_pattern": { "z": 1, "a": 2 }, "lora_alpha": 16, "r": 8 }`))
	if err != nil {
		t.Fatal(err)
	}
	a, err := one.encode()
	if err != nil {
		t.Fatal(err)
	}
	b, err := other.encode()
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "lora_alpha": 16,
  "peft_type": "LORA",
  "r": 8,
  "rank_pattern": {
    "z": 1,
    "a": 2
  },
  "target_modules": [
    "q_proj",
    "v_proj"
  ]
}
`
	if string(a) != want || string(b) != want {
		t.Errorf("encoded as\n%s\nand\n%s\nwant\n%s", a, b, want)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(string(configWith(`"rank_pattern": {"a.b": 2, "^x(y|z)": 3}, "layers_to_transform": [1], "layers_pattern": "h"`)))
	f.Add(string(configWith(`"alora_invocation_tokens": [5, 6, 7], "use_dora": true`)))
	f.Add(string(configWith(`"exclude_modules": "a{2}", "alpha_pattern": {"q": 1.5}`)))
	f.Add(string(configWith(`"modules_to_save": ["lm_head"], "trainable_token_indices": {"embed_tokens": [1, 2]}, "ensure_weight_tying": true`)))
	f.Add(string(configWith(`"trainable_token_indices": [3], "bias": "lora_only", "lora_bias": true, "use_dora": true`)))
	f.Fuzz(func(t *testing.T, data string) {
		c, err := parseConfig([]byte(data))
		if err != nil {
			return
		}
		for _, m := range []string{q0, down1, headModule, embeddingModule} {
			c.scale(m)
			c.targets.match(m)
		}
		encoded, err := c.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseConfig(encoded)
		if err != nil {
			t.Fatalf("the encoded form is refused: %v\n%s", err, encoded)
		}
		if again.scale(q0) != c.scale(q0) || again.targets.match(q0) != c.targets.match(q0) {
			t.Fatalf("the encoded form means something else:\n%s", encoded)
		}
	})
}

package pefttest

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// loraConfig is the schema of what save_pretrained of PEFT 0.21.2 writes for a LoraConfig: every field, and the
// JSON types that its annotation allows. It is written down here apart from the code, from LoraConfig itself.
var loraConfig = map[string]string{
	"alora_invocation_tokens": "null array", "alpha_pattern": "object", "arrow_config": "null object", "auto_mapping": "null object",
	"base_model_name_or_path": "null string", "bias": "string", "corda_config": "null object", "ensure_weight_tying": "boolean",
	"eva_config": "null object", "exclude_modules": "null array string", "fan_in_fan_out": "boolean", "inference_mode": "boolean",
	"init_lora_weights": "boolean", "kasa_config": "null object", "layer_replication": "null array", "layers_pattern": "null array string",
	"layers_to_transform": "null array number", "loftq_config": "object", "lora_alpha": "number", "lora_bias": "boolean",
	"lora_dropout": "number", "lora_ga_config": "null object", "megatron_config": "null object", "megatron_core": "string",
	"modules_to_save": "null array", "monteclora_config": "null object", "peft_type": "string", "peft_version": "string",
	"qalora_group_size": "number", "r": "number", "rank_pattern": "object", "revision": "null string", "target_modules": "array string",
	"target_parameters": "null array", "task_type": "null string", "trainable_token_indices": "null array object",
	"use_bdlora": "null object", "use_dora": "boolean", "use_qalora": "boolean", "use_rslora": "boolean", "velora_config": "null object",
}

// CheckConfig holds a configuration against the schema.
func CheckConfig(t testing.TB, raw []byte) {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	for key := range got {
		if loraConfig[key] == "" {
			t.Errorf("LoraConfig has no %s", key)
		}
	}
	for key, kinds := range loraConfig {
		v, ok := got[key]
		kind := map[bool]string{true: "null"}[v == nil]
		switch v.(type) {
		case string:
			kind = "string"
		case bool:
			kind = "boolean"
		case float64:
			kind = "number"
		case []any:
			kind = "array"
		case map[string]any:
			kind = "object"
		}
		if !ok || !slices.Contains(strings.Fields(kinds), kind) {
			t.Errorf("%s is %v (there: %v), want one of %s", key, v, ok, kinds)
		}
	}
	if got["peft_type"] != "LORA" {
		t.Errorf("peft_type is %v", got["peft_type"])
	}
}

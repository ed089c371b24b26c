package peft

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// peftDefaults are the fields that PEFT's LoraConfig writes, all of them, with the values that say "not used".
// Source: github.com/huggingface/peft 0.21.2, LoraConfig and PeftConfig, as save_pretrained leaves them.
var peftDefaults = map[string]string{
	"alora_invocation_tokens": "null", "alpha_pattern": "{}", "arrow_config": "null", "auto_mapping": "null",
	"base_model_name_or_path": "null", "bias": `"none"`, "corda_config": "null", "ensure_weight_tying": "false",
	"eva_config": "null", "exclude_modules": "null", "fan_in_fan_out": "false", "inference_mode": "true",
	"init_lora_weights": "true", "kasa_config": "null", "layer_replication": "null", "layers_pattern": "null",
	"layers_to_transform": "null", "loftq_config": "{}", "lora_alpha": "8", "lora_bias": "false", "lora_dropout": "0.0",
	"lora_ga_config": "null", "megatron_config": "null", "megatron_core": `"megatron.core"`, "modules_to_save": "null",
	"monteclora_config": "null", "peft_type": `"LORA"`, "peft_version": `"0.21.2"`, "qalora_group_size": "16", "r": "8",
	"rank_pattern": "{}", "revision": "null", "target_modules": "null", "target_parameters": "null",
	"task_type": `"CAUSAL_LM"`, "trainable_token_indices": "null", "use_bdlora": "null", "use_dora": "false",
	"use_qalora": "false", "use_rslora": "false", "velora_config": "null",
}

// exportConfig returns a stored adapter_config.json with the fields of PEFT's current LoraConfig, no more and no
// less: those that other trainers add change nothing that the adapter computes, or it would not be stored. What
// it returns for its own result is the same bytes.
func CompleteConfig(raw []byte) ([]byte, error) {
	c, err := parseConfig(raw)
	if err != nil {
		return nil, err
	}
	has := make(map[string]bool, len(c.members))
	var members []member
	for _, m := range c.members {
		if _, known := peftDefaults[m.key]; !known {
			continue
		}
		has[m.key] = true
		members = append(members, member{m.key, exportValue(m)})
	}
	for key, value := range peftDefaults {
		if !has[key] {
			members = append(members, member{key, json.RawMessage(value)})
		}
	}
	slices.SortFunc(members, func(a, b member) int { return strings.Compare(a.key, b.key) })
	c.members = members
	return c.encode()
}

// exportValue returns a field's value in the form that PEFT can read.
func exportValue(m member) json.RawMessage {
	neutral := json.RawMessage(peftDefaults[m.key])
	switch m.key {
	case "init_lora_weights": // how A and B began; some of its names make PEFT look for more when it loads
		if bytes.HasPrefix(m.value, []byte(`"`)) {
			return neutral
		}
	case "rank_pattern", "alpha_pattern": // PEFT reads the keys of these and fails on null
		if isNeutral(m.value) {
			return neutral
		}
	case "bias", "layers_pattern", "exclude_modules": // "" and [] are what some write for their absence
		if isNeutral(m.value) {
			return neutral
		}
	}
	return m.value
}

package peft

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
)

func TestCompleteConfig(t *testing.T) {
	raw, err := CompleteConfig([]byte(`{"peft_type":"LORA","r":2,"lora_alpha":4,"target_modules":["v_proj","q_proj"],"rank_pattern":null,
		"alpha_pattern":null,"bias":"","layers_pattern":"","init_lora_weights":"gaussian","lora_dropout":0.1,"peft_version":"0.15.0",
		"lora_dtype":"float32","base_model_name_or_path":"org/model"}`))
	if err != nil {
		t.Fatal(err)
	}
	pefttest.CheckConfig(t, raw)
	var got map[string]any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{"r": 2.0, "lora_alpha": 4.0, "lora_dropout": 0.1, "peft_version": "0.15.0", "bias": "none",
		"layers_pattern": nil, "init_lora_weights": true, "base_model_name_or_path": "org/model", "task_type": "CAUSAL_LM"} {
		if got[key] != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
	if again, err := CompleteConfig(raw); err != nil || !bytes.Equal(again, raw) {
		t.Errorf("a second export gives %s: %v", again, err)
	}
}

func FuzzCompleteConfig(f *testing.F) {
	f.Add([]byte(`{"peft_type":"LORA","r":2,"lora_alpha":4,"target_modules":["q_proj"],"rank_pattern":{"k":3},"init_lora_weights":"eva"}`))
	f.Add([]byte(`{"peft_type":"LORA","r":512,"lora_alpha":1e-3,"target_modules":"all-linear","bias":"","loftq_config":null,"use_rslora":true}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		once, err := CompleteConfig(raw)
		if err != nil {
			return
		}
		twice, err := CompleteConfig(once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%s is exported as %s, and that as %s: %v", raw, once, twice, err)
		}
	})
}

package training

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
)

// This file reads a Config from JSON. A field of PEFT, TRL or transformers that would change what is learned is
// honoured or refused by its name, never ignored.

// harmless are fields that say how others' programs run, not what is learned. Their values are not looked at.
var harmless = map[string]bool{
	"output_dir": true, "overwrite_output_dir": true, "logging_steps": true, "logging_strategy": true, "logging_dir": true,
	"logging_first_step": true, "report_to": true, "run_name": true, "disable_tqdm": true,
	"gradient_checkpointing": true, "gradient_checkpointing_kwargs": true, "bf16": true, "fp16": true, "tf32": true,
	"dataloader_num_workers": true, "dataloader_pin_memory": true, "dataset_num_proc": true, "remove_unused_columns": true,
	"per_device_eval_batch_size": true, "eval_accumulation_steps": true, "push_to_hub": true, "task_type": true,
	"peft_type": true, "inference_mode": true, "base_model_name_or_path": true, "revision": true, "auto_mapping": true,
	"save_only_model": true, "save_safetensors": true, "use_cpu": true, "padding_free": true,
	"pad_to_multiple_of": true, "group_by_length": true, "use_liger_kernel": true, "torch_compile": true,
}

// refused are fields that change what is learned in a way that is not supported, unless their value says
// "not used", with what to say of them.
var refused = map[string]string{
	"trainable_token_indices":       "training single token embeddings is not supported",
	"lora_bias":                     "a bias on lora_B is not supported",
	"target_parameters":             "LoRA on bare parameters is not supported",
	"use_qalora":                    "QA-LoRA is not supported",
	"fan_in_fan_out":                "the base's weights are not transposed",
	"layer_replication":             "replicated layers are not supported",
	"layers_pattern":                "give layers_to_transform, or the modules by their paths",
	"eva_config":                    "EVA is not supported",
	"corda_config":                  "CorDA is not supported",
	"ensure_weight_tying":           "tying embedding and head adapters is not supported",
	"assistant_only_loss":           "it always is; train_on_inputs changes it",
	"completion_only_loss":          "it always is; train_on_inputs changes it",
	"label_smoothing_factor":        "label smoothing is not supported",
	"loraplus_lr_embedding":         "the embedding learns at learning_rate",
	"loraplus_weight_decay":         "weight_decay is that of all",
	"lr_scheduler_kwargs":           "the schedules have no settings",
	"dataset_text_field":            "the formats of a line are told by its keys",
	"formatting_func":               "a function cannot be sent",
	"chat_template_path":            "training uses the template that serves",
	"eos_token":                     "training uses the token that ends a turn when serving",
	"average_tokens_across_devices": "there is one device",
}

// ParseConfig reads hyperparameters, a JSON object, over the Defaults. null stands for a field's default. The
// error is a FieldError that names the field, which is unknown, not supported, of the wrong type or out of range.
func ParseConfig(raw json.RawMessage) (Config, error) {
	c := Defaults()
	if len(bytes.TrimSpace(raw)) == 0 {
		return c, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return c, &FieldError{Field: "hyperparameters", Reason: "are not a JSON object"}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if err := c.set(name, fields[name]); err != nil {
			return c, err
		}
	}
	c.canonical()
	return c, c.Validate()
}

// canonical replaces further names of a method by its own.
func (c *Config) canonical() {
	if name := lossNames[c.Method]; name != "" && (c.LossType == "" || c.LossType == name) {
		c.Method, c.LossType = DPO, name
	}
	if name := methodNames[c.Method]; name != "" {
		c.Method = name
	}
}

// set reads one field.
func (c *Config) set(name string, value json.RawMessage) error {
	if string(value) == "null" {
		return nil
	}
	if fieldNames[name] {
		return c.assign(name, value)
	}
	if ok, reason := accepted(name, value); !ok {
		return &FieldError{Field: name, Reason: fmt.Sprintf("is %s: %s", jsonvalue.Clip(value), reason)}
	}
	return nil
}

// accepted reports whether a field that Config does not have asks for what is done anyway.
func accepted(name string, value json.RawMessage) (ok bool, reason string) {
	var word string
	_ = json.Unmarshal(value, &word) // stays "" where it is no string
	switch name {
	case "bias":
		return word == "none", "trained biases are not supported"
	case "loftq_config":
		return checkLoftQ(value)
	case "optim":
		return strings.HasPrefix(word, "adamw"), "the optimizer is AdamW"
	case "packing_strategy":
		return word == "bfd", "examples are never cut to pack them"
	case "assistant_only_loss", "completion_only_loss":
		return string(value) == "true", refused[name]
	}
	if harmless[name] || isNeutral(value) && refused[name] != "" {
		return true, ""
	}
	if reason := refused[name]; reason != "" {
		return false, reason
	}
	return false, "the field is not known"
}

// fieldNames are the JSON names of Config's fields.
var fieldNames = func() map[string]bool {
	names := make(map[string]bool)
	t := reflect.TypeFor[Config]()
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" {
			names[name] = true
		}
	}
	return names
}()

// assign decodes a field of Config.
func (c *Config) assign(name string, value json.RawMessage) error {
	object, err := json.Marshal(map[string]json.RawMessage{name: value})
	if err == nil {
		err = json.Unmarshal(object, c)
	}
	if typed := new(json.UnmarshalTypeError); errors.As(err, &typed) {
		return &FieldError{Field: name, Reason: fmt.Sprintf("is %s: %s is expected", jsonvalue.Clip(value), kindName(typed.Type.Kind()))}
	}
	if err != nil {
		return &FieldError{Field: name, Reason: fmt.Sprintf("is %s: %v", jsonvalue.Clip(value), err)}
	}
	return nil
}

func kindName(k reflect.Kind) string {
	switch k {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	}
	return "a whole number"
}

// isNeutral reports whether a value says "not used".
func isNeutral(v json.RawMessage) bool {
	switch string(bytes.Join(bytes.Fields(v), nil)) {
	case "null", "false", "0", "0.0", `""`, "[]", "{}":
		return true
	}
	return false
}

// Names are module names; in JSON a list of strings, or the string "all-linear".
type Names []string

// UnmarshalJSON reads either form.
func (n *Names) UnmarshalJSON(raw []byte) error {
	var list []string
	if json.Unmarshal(raw, &list) == nil {
		*n = list
		return nil
	}
	var word string
	if json.Unmarshal(raw, &word) == nil && word == AllLinear {
		*n = Names{word}
		return nil
	}
	return errors.New(`a list of module names or "all-linear" is expected`)
}

// Layers are indices of layers; in JSON a number or a list of numbers.
type Layers []int

// UnmarshalJSON reads either form.
func (l *Layers) UnmarshalJSON(raw []byte) error {
	var list []int
	var one int
	switch {
	case json.Unmarshal(raw, &list) == nil:
	case json.Unmarshal(raw, &one) == nil:
		list = []int{one}
	default:
		return errors.New("a layer's index or a list of them is expected")
	}
	for _, i := range list {
		if i < 0 {
			return fmt.Errorf("%d is no layer's index", i)
		}
	}
	*l = list
	return nil
}

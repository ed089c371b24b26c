package training

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// everyMethod are the methods and losses, with what each needs and which fields it does not read.
var everyMethod = map[string]struct {
	needs  string
	unused string
}{
	"sft":           {"", "beta label_smoothing simpo_gamma desirable_weight undesirable_weight " + reinforcementFields},
	"dpo":           {"", "simpo_gamma desirable_weight undesirable_weight " + comparing + reinforcementFields},
	"ipo":           {"", "label_smoothing simpo_gamma desirable_weight undesirable_weight " + comparing + reinforcementFields},
	"orpo":          {"", "label_smoothing simpo_gamma desirable_weight undesirable_weight " + comparing + reinforcementFields},
	"simpo":         {"", "desirable_weight undesirable_weight " + comparing + reinforcementFields},
	"kto":           {"", "label_smoothing simpo_gamma " + comparing + reinforcementFields},
	"reinforcement": {`"reward":{},"per_device_train_batch_size":24,`, "label_smoothing simpo_gamma desirable_weight undesirable_weight " + comparing},
}

const (
	// reinforcementFields are read by the method reinforcement alone.
	reinforcementFields = "reward response_format num_generations num_generations_eval max_completion_length temperature top_p epsilon epsilon_high num_iterations reasoning_effort "
	// comparing are fields that a loss which compares answers could not follow.
	comparing = "lora_dropout neftune_noise_alpha packing train_on_inputs "
)

// otherValues are values of fields that are not their defaults.
var otherValues = map[string]string{
	"method": "", "loss_type": "", // which say what is tested here
	"r": "4", "lora_alpha": "2", "use_rslora": "true", "use_dora": "true", "lora_dropout": "0.1", "target_modules": `["q_proj"]`, "exclude_modules": `["v_proj"]`,
	"layers_to_transform": "[0]", "alora_invocation_tokens": "[1]", "invocation_string": `"x"`, "rank_pattern": `{"q_proj":2}`, "alpha_pattern": `{"q_proj":2}`,
	"init_lora_weights": `"gaussian"`, "neftune_noise_alpha": "5", "max_length": "128", "truncation": `"drop"`, "packing": "true", "train_on_inputs": "true",
	"validation_split": "0.1", "learning_rate": "0.1", "loraplus_lr_ratio": "2", "lr_scheduler_type": `"cosine"`, "warmup_ratio": "0.1", "warmup_steps": "2",
	"weight_decay": "0.1", "adam_beta1": "0.8", "adam_beta2": "0.8", "adam_epsilon": "1e-6", "max_grad_norm": "2", "num_train_epochs": "2", "max_steps": "9",
	"per_device_train_batch_size": "16", "gradient_accumulation_steps": "8", "seed": "1", "eval_strategy": `"steps"`, "eval_steps": "5", "early_stopping_patience": "2",
	"save_strategy": `"epoch"`, "save_steps": "5", "save_total_limit": "2", "beta": "0.3", "label_smoothing": "0.1", "simpo_gamma": "1", "desirable_weight": "2",
	"undesirable_weight": "2", "reward": `{"type":"string_check"}`, "response_format": `{"type":"json_object"}`, "num_generations": "4", "num_generations_eval": "2",
	"modules_to_save": `["norm"]`, "max_completion_length": "16", "temperature": "0.5", "top_p": "0.5", "epsilon": "0.1", "epsilon_high": "0.5", "num_iterations": "2", "reasoning_effort": `"low"`,
}

// TestEveryFieldOfEveryMethod sends each field to each method: one that the method would ignore is refused by its name.
func TestEveryFieldOfEveryMethod(t *testing.T) {
	names := slices.Sorted(maps.Keys(otherValues))
	if fields := slices.Sorted(maps.Keys(fieldNames)); !slices.Equal(fields, names) {
		t.Fatalf("each field needs a value other than its default in otherValues: the fields are %q, the values %q", fields, names)
	}
	for method, m := range everyMethod {
		unused := strings.Fields(m.unused)
		for _, name := range names {
			if otherValues[name] == "" {
				continue
			}
			needs := m.needs
			if strings.Contains(needs, `"`+name+`"`) {
				needs = "" // the field is one of them; twice in an object it would be the last
				for _, part := range strings.SplitAfter(m.needs, ",") {
					if !strings.Contains(part, `"`+name+`"`) {
						needs += part
					}
				}
			}
			_, err := ParseConfig(json.RawMessage(fmt.Sprintf(`{"method":%q,%s%q:%s}`, method, needs, name, otherValues[name])))
			var f *FieldError
			switch refused := errors.As(err, &f) && f.Field == name; {
			case refused != slices.Contains(unused, name):
				t.Errorf("%s with %s: %v", method, name, err)
			case err != nil && !refused:
				t.Errorf("%s with %s: %v, which names another field", method, name, err)
			}
		}
	}
}

// What a job shows as its configuration can be sent again, to make the same job.
func TestConfigurationsCanBeSentAgain(t *testing.T) {
	for method, m := range everyMethod {
		c, err := ParseConfig(json.RawMessage(fmt.Sprintf(`{%s"method":%q}`, m.needs, method)))
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		if again, err := ParseConfig(json.RawMessage(asJSON(t, c))); err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("%s: %s gives %s, %v", method, asJSON(t, c), asJSON(t, again), err)
		}
	}
}

// A loss of another method is refused, and the message names both.
func TestLossesOfOtherMethods(t *testing.T) {
	for method, losses := range map[string][]string{
		"sft": {"sigmoid", "kto", "grpo"}, "dpo": {"nll", "grpo", "dr_grpo"}, "kto": {"sigmoid", "nll"}, "simpo": {"kto"}, "reinforcement": {"sigmoid", "nll", "kto"},
	} {
		for _, loss := range losses {
			_, err := ParseConfig(json.RawMessage(fmt.Sprintf(`{%s"method":%q,"loss_type":%q}`, everyMethod[method].needs, method, loss)))
			var f *FieldError
			if !errors.As(err, &f) || !strings.Contains(f.Error(), "loss_type") || !strings.Contains(f.Error(), loss) {
				t.Errorf("%s with the loss %s: %v", method, loss, err)
			}
		}
	}
}

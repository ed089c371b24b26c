package training

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

func TestDefaultsAreValid(t *testing.T) {
	c := Defaults()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	got, err := ParseConfig(nil)
	if err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("no hyperparameters give %+v, error %v", got, err)
	}
	back, err := ParseConfig(json.RawMessage(asJSON(t, c)))
	if err != nil || asJSON(t, back) != asJSON(t, c) {
		t.Errorf("the defaults are read back as %+v, error %v", back, err)
	}
}

func TestParseConfig(t *testing.T) {
	c, err := ParseConfig([]byte(`{"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "layers_to_transform": 1,
		"rank_pattern": {"q_proj": 8}, "learning_rate": 1e-3, "lr_scheduler_type": "cosine", "max_steps": -1, "seed": null,
		"packing": true, "early_stopping_patience": 3, "use_dora": true, "neftune_noise_alpha": 5, "bf16": true,
		"bias": "none", "init_lora_weights": "PiSSA_niter_16", "optim": "adamw_torch", "modules_to_save": [], "loftq_config": {"loftq_bits": 4, "loftq_iter": 1}, "output_dir": "/x"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := Defaults()
	want.Rank, want.Alpha, want.TargetModules, want.Layers = 4, 8, Names{"q_proj", "v_proj"}, Layers{1}
	want.RankPattern, want.LearningRate, want.Scheduler = json.RawMessage(`{"q_proj":8}`), 1e-3, Cosine
	want.MaxSteps, want.Packing, want.Patience, want.DoRA = -1, true, 3, true
	want.NEFTune, want.Init = 5, "pissa_niter_16"
	if asJSON(t, c) != asJSON(t, want) {
		t.Errorf("got  %s\nwant %s", asJSON(t, c), asJSON(t, want))
	}
}

// TestParseConfigRefusesByName wants the field named, and why.
func TestParseConfigRefusesByName(t *testing.T) {
	for field, tc := range map[string]struct{ value, part string }{
		"use_dora":                    {"1", "true or false is expected"},
		"neftune_noise_alpha":         {"-1", "a number from 0 to 10000"},
		"modules_to_save":             {`"norm"`, "a list is expected"},
		"init_lora_weights":           {`"eva"`, "activations on data"},
		"loftq_config":                {`{"loftq_bits": 4, "loftq_iter": 2}`, "which stays as it is"},
		"bias":                        {`"all"`, "trained biases"},
		"optim":                       {`"sgd"`, "AdamW"},
		"packing_strategy":            {`"wrapped"`, "never cut"},
		"assistant_only_loss":         {"false", "train_on_inputs"},
		"label_smoothing_factor":      {"0.1", "label smoothing"},
		"lerning_rate":                {"1", "is not known"},
		"r":                           {"2.5", "a whole number is expected"},
		"lora_alpha":                  {`"x"`, "a number is expected"},
		"packing":                     {"1", "true or false is expected"},
		"lora_dropout":                {"1", "from 0 to less than 1"},
		"target_modules":              {`"q_proj|v_proj"`, `a list of module names or "all-linear"`},
		"layers_to_transform":         {"[-1]", "-1 is no layer's index"},
		"lr_scheduler_type":           {`"polynomial"`, `"linear", "cosine" or "constant"`},
		"learning_rate":               {"-1", "above 0"},
		"loraplus_lr_ratio":           {"0.5", "from 1 to 1000"},
		"warmup_ratio":                {"1.5", "from 0 to 1"},
		"adam_beta2":                  {"1", "less than 1"},
		"num_train_epochs":            {"0", "above 0"},
		"per_device_train_batch_size": {"0", "from 1"},
		"max_steps":                   {"99999999", "up to 10000000"},
		"save_total_limit":            {"0", "from 1"},
		"truncation":                  {`"left"`, `"truncate" or "drop"`},
		"seed":                        {"-3", "0 or more"},
		"validation_split":            {"0.9", "from 0 to 0.5"},
		"eval_strategy":               {`"sometimes"`, `"no", "steps" or "epoch"`},
	} {
		_, err := ParseConfig([]byte(`{"` + field + `": ` + tc.value + `}`))
		var f *FieldError
		if !errors.As(err, &f) || f.Field != field {
			t.Errorf("%s: error %v does not name it", field, err)
			continue
		}
		wantError(t, err, ErrConfig, field+" is", tc.part)
	}
	_, err := ParseConfig([]byte(`[1]`))
	wantError(t, err, ErrConfig, "not a JSON object")
	_, err = ParseConfig([]byte(`{"early_stopping_patience": 2, "eval_strategy": "no"}`))
	wantError(t, err, ErrConfig, "early_stopping_patience")
}

// TestRoundedValues wants values refused that are 0 or 1 only as the 32-bit numbers that are computed with, where that would
// mean something else: a run that diverges, a norm that clips nothing, an adapter that cannot be stored.
func TestRoundedValues(t *testing.T) {
	for field, value := range map[string]string{
		"lora_alpha": "1e-45", "lora_dropout": "0.99999999999", "adam_beta1": "0.9999999999999999", "adam_beta2": "0.99999999999",
		"adam_epsilon": "1e-300", "max_grad_norm": "1e-300", "weight_decay": "0.99999999999",
	} {
		_, err := ParseConfig([]byte(`{"` + field + `": ` + value + `}`))
		var f *FieldError
		if !errors.As(err, &f) || f.Field != field {
			t.Errorf("%s %s: error %v does not name it", field, value, err)
		}
	}
	for _, fields := range []string{`"lora_alpha": 1e-30`, `"max_grad_norm": 0`, `"adam_epsilon": 1e-12`, `"adam_beta2": 0.9999`, `"lora_dropout": 1e-320`} {
		if _, err := ParseConfig([]byte(`{` + fields + `}`)); err != nil {
			t.Errorf("%s: %v", fields, err)
		}
	}
}

// TestEveryFieldHasARange gives every number a value that cannot be meant.
func TestEveryFieldHasARange(t *testing.T) {
	free := map[string]bool{"ValidationSplit": true} // NaN is refused as well, below
	anyText := map[string]bool{"InvocationString": true}
	for i := range reflect.TypeFor[Config]().NumField() {
		f := reflect.TypeFor[Config]().Field(i)
		c := Defaults()
		c.EvalStrategy = EverySteps
		v := reflect.ValueOf(&c).Elem().Field(i)
		switch f.Type.Kind() {
		case reflect.Float64:
			v.SetFloat(math.NaN())
		case reflect.Int, reflect.Int64:
			v.SetInt(-2)
		case reflect.String:
			if anyText[f.Name] {
				continue
			}
			v.SetString("?")
		default:
			continue
		}
		var e *FieldError
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if err := c.Validate(); !errors.As(err, &e) || e.Field != name {
			t.Errorf("%s = %v: error %v", name, v, err)
		}
		delete(free, f.Name)
	}
	if len(free) > 0 {
		t.Errorf("not looked at: %v", free)
	}
}

func TestMaxLengthFitsTheBase(t *testing.T) {
	for _, tc := range []struct{ trained, asked, want int }{{512, 0, 512}, {8192, 0, 2048}, {0, 0, 2048}, {8192, 4096, 4096}, {512, 600, -1}} {
		c := Defaults()
		c.MaxLength = tc.asked
		err := c.fit(&runtime.Facts{ContextLength: tc.trained})
		if (err != nil) != (tc.want < 0) || err == nil && c.MaxLength != tc.want {
			t.Errorf("%+v: max_length %d, error %v", tc, c.MaxLength, err)
		}
	}
}

func TestRateFitsTheBase(t *testing.T) {
	for width, want := range map[int]float64{0: 4e-3, 256: 4e-3, 4096: 5e-4} {
		c := Defaults()
		if err := c.fit(&runtime.Facts{Embedding: width}); err != nil || math.Abs(c.LearningRate-want) > 1e-9 {
			t.Errorf("width %d: learning_rate %v, error %v", width, c.LearningRate, err)
		}
		c.LearningRate = 0.1
		if err := c.fit(&runtime.Facts{Embedding: width}); err != nil || c.LearningRate != 0.1 {
			t.Errorf("what was asked for became %v, error %v", c.LearningRate, err)
		}
	}
}

func TestOpenAIHyperparameters(t *testing.T) {
	read := func(s string) (Config, error) {
		var h Hyperparameters
		if err := json.Unmarshal([]byte(s), &h); err != nil {
			return Config{}, err
		}
		return h.Config(&runtime.Facts{Embedding: 4096})
	}
	c, err := read(`{"n_epochs": "auto", "batch_size": null}`)
	if err != nil || !reflect.DeepEqual(c, Defaults()) {
		t.Errorf("auto gives %+v, error %v", c, err)
	}
	c, err = read(`{"n_epochs": 7, "batch_size": 2, "learning_rate_multiplier": 0.5}`)
	if err != nil || c.Epochs != 7 || c.Batch != 2 || c.Accumulation != 1 || c.LearningRate != UsualRate(&runtime.Facts{Embedding: 4096})/2 {
		t.Errorf("got %+v, error %v", c, err)
	}
	for s, field := range map[string]string{
		`{"n_epochs": 1.5}`: "n_epochs", `{"batch_size": 1e9}`: "batch_size", `{"learning_rate_multiplier": 1e9}`: "learning_rate_multiplier",
	} {
		_, err := read(s)
		wantError(t, err, ErrConfig, field)
	}
	for _, s := range []string{`{"n_epochs": "many"}`, `{"n_epochs": -1}`, `{"batch_size": []}`} {
		if _, err := read(s); err == nil {
			t.Errorf("%s is taken", s)
		}
	}
	if s := asJSON(t, Hyperparameters{Epochs: Auto{3}}); s != `{"n_epochs":3,"batch_size":"auto","learning_rate_multiplier":"auto"}` {
		t.Errorf("written as %s", s)
	}
}

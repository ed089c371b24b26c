package training

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Every name of PEFT's is read, kept and written, and says how the modules begin; the others are refused with the reason.
func TestInit(t *testing.T) {
	for value, want := range map[string]struct {
		how        runtime.TrainInit
		iterations int
	}{
		"true": {}, `"true"`: {}, `"gaussian"`: {how: runtime.InitGaussian}, `"orthogonal"`: {how: runtime.InitOrthogonal},
		`"pissa"`: {how: runtime.InitPiSSA}, `"pissa_niter_4"`: {runtime.InitPiSSA, 4}, `"OLoRA"`: {how: runtime.InitOLoRA}, `"loftq"`: {how: runtime.InitLoftQ},
	} {
		c, err := ParseConfig(json.RawMessage(`{"init_lora_weights": ` + value + `}`))
		if err != nil {
			t.Errorf("%s: %v", value, err)
			continue
		}
		how, iterations, ok := c.Init.read()
		if !ok || how != want.how || iterations != want.iterations {
			t.Errorf("%s is read as %d with %d iterations", value, how, iterations)
		}
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var back Config
		if err := json.Unmarshal(text, &back); err != nil || back.Init != c.Init {
			t.Errorf("%s: %q comes back as %q, error %v", value, c.Init, back.Init, err)
		}
	}
	for value, part := range map[string]string{
		"false": "would not begin as the base", "1": "true or a name", `"eva"`: "activations",
		`"corda"`: "covariances", `"lora_ga"`: "gradients", `"x"`: `"pissa_niter_" with a number`, `"pissa_niter_0"`: "from 1 to 1000",
		`"pissa_niter_01"`: "from 1 to 1000", `"pissa_niter_2000"`: "from 1 to 1000",
	} {
		_, err := ParseConfig(json.RawMessage(`{"init_lora_weights": ` + value + `}`))
		if e := new(FieldError); !errors.As(err, &e) || e.Field != "init_lora_weights" || !strings.Contains(e.Reason, part) {
			t.Errorf("%s: error %v, want %q", value, err, part)
		}
	}
}

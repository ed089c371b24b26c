package training

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// TestNorms trains norms whole, by PEFT's names: they are in the adapter and in its checkpoints, and a job that is stopped ends with
// the same ones.
func TestNorms(t *testing.T) {
	c, err := ParseConfig(json.RawMessage(`{"r": 2, "modules_to_save": ["layers.1.input_layernorm", "model.norm"], "learning_rate": 0.05,
		"per_device_train_batch_size": 4, "save_steps": 4}`))
	if err != nil {
		t.Fatal(err)
	}
	h := openFixture(t, t.TempDir(), nil)
	whole, events := h.wait(h.create("whole", c).ID)
	if whole.Status != Succeeded || !strings.Contains(asJSON(t, events), "Training 14 modules and 2 norms") {
		t.Fatalf("the job is %s", asJSON(t, whole))
	}
	normsOf := func(ref adapters.Ref) []runtime.LoRANorm {
		_, a, err := h.store.Load(ref)
		if err != nil {
			t.Fatal(err)
		}
		return a.Norms
	}
	norms := normsOf(adapters.Ref{Name: "whole"})
	if len(norms) != 2 || norms[0].Tensor != "blk.1.attn_norm.weight" || norms[1].Tensor != "output_norm.weight" || norms[0].Values[0] == 1 {
		t.Errorf("the adapter has the norms %v", norms)
	}
	if early := normsOf(adapters.Ref{Name: "whole", Version: "step-4"}); len(early) != 2 || slices.Equal(early[0].Values, norms[0].Values) {
		t.Errorf("the checkpoint has the norms %v", early)
	}
	j := h.create("stopped", c)
	h.waitFor(j.ID, "Step 2/")
	if paused, err := h.Pause(t.Context(), j.ID); err == nil && paused.Status == Paused {
		h.close()
		h = openFixture(t, h.dir, nil)
		if _, err := h.Resume(j.ID); err != nil {
			t.Fatal(err)
		}
	}
	if j, _ = h.wait(j.ID); j.Status != Succeeded || !slices.Equal(h.weights(j.Result.Digest), h.weights(whole.Result.Digest)) {
		t.Errorf("it is another adapter than without the stop: %s", asJSON(t, j))
	}
}

// TestNormsThatAreRefused refuses by the field's name, before there is a job.
func TestNormsThatAreRefused(t *testing.T) {
	h := openFixture(t, t.TempDir(), nil)
	for name, change := range map[string]func(*Config){
		"a head":        func(c *Config) { c.ModulesToSave = []string{"norm", "lm_head"} },
		"no such norm":  func(c *Config) { c.ModulesToSave = []string{"q_norm"} },
		"activated":     func(c *Config) { c.ModulesToSave, c.Invocation = []string{"norm"}, []runtime.Token{5} },
		"activated too": func(c *Config) { c.ModulesToSave, c.InvocationString = []string{"norm"}, "x" },
	} {
		c := smallConfig()
		change(&c)
		_, err := h.Create(t.Context(), CreateRequest{Name: "x", Config: c, Training: input(conversations(2))})
		field := new(FieldError)
		if !errors.As(err, &field) || field.Field != "modules_to_save" {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if list, _, err := h.List("", 10); len(list) != 0 || err != nil {
		t.Errorf("there are the jobs %v; error %v", list, err)
	}
}

package adapters

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

func TestPlan(t *testing.T) {
	f := testFacts()
	list, err := Plan(f, []byte(`{"r": 8, "lora_alpha": 16, "target_modules": "all-linear"}`))
	if err != nil || len(list) != 14 {
		t.Fatalf("%d modules, error %v", len(list), err)
	}
	for _, m := range list {
		if m.Rank != 8 || m.Scale != 2 || m.Tensor == "output.weight" {
			t.Errorf("module %+v", m)
		}
	}
	list, err = Plan(f, []byte(`{"r": 4, "lora_alpha": 4, "use_rslora": true, "use_dora": true, "target_modules": ["q_proj", "lm_head"],
		"layers_to_transform": [1], "rank_pattern": {"q_proj": 16}, "alpha_pattern": {"lm_head": 12}}`))
	want := []runtime.TrainModule{{Tensor: "blk.1.attn_q.weight", Rank: 16, Scale: 1, DoRA: true}, {Tensor: "output.weight", Rank: 4, Scale: 6, DoRA: true}}
	if err != nil || !slices.Equal(list, want) {
		t.Errorf("got %+v, want %+v, error %v", list, want, err)
	}
}

func TestPlanRefusesByName(t *testing.T) {
	for config, part := range map[string]string{
		`{"r": 8, "lora_alpha": 8, "target_modules": ["q_proj", "c_attn"]}`:                        `target_modules has "c_attn", which the base has not`,
		`{"r": 8, "lora_alpha": 8, "target_modules": ["embed_tokens"]}`:                            "lookups cannot be adapted",
		`{"r": 8, "lora_alpha": 8, "target_modules": "all-linear", "layers_to_transform": 2}`:      "layers_to_transform has 2: the base has the layers 0 to 1",
		`{"r": 8, "lora_alpha": 8, "target_modules": ["q_proj"], "exclude_modules": ["q_proj"]}`:   "leave no module to train",
		`{"r": 8, "lora_alpha": 8, "target_modules": "all-linear", "rank_pattern": {"q_proj": 0}}`: `rank_pattern "q_proj" is not a whole number`,
		`{"r": 8, "lora_alpha": 8, "target_modules": "all-linear", "alpha_pattern": [1]}`:          "alpha_pattern is not an object",
	} {
		_, err := Plan(testFacts(), []byte(config))
		var e *FieldError
		if !errors.As(err, &e) || e.Field == "" {
			t.Errorf("%s: error %v names no field", config, err)
			continue
		}
		wantError(t, err, e.kind, part)
	}
	f := testFacts()
	f.Architecture = "mamba"
	_, err := Plan(f, []byte(`{}`))
	wantError(t, err, ErrUnsupported, "mamba")
}

// trained is an adapter in memory whose values depend on step.
func trained(step int) *runtime.LoRA {
	a := &runtime.LoRA{}
	for _, tensor := range []string{"blk.0.attn_q.weight", "blk.1.ffn_down.weight"} {
		s := testFacts().Targets[tensor]
		m := runtime.LoRAModule{Tensor: tensor, Rank: 2, In: s.In, Out: s.Out, Scale: 2}
		for i := range 2 * s.In {
			m.A = append(m.A, float32(math.Sin(float64(i))))
		}
		for i := range 2 * s.Out {
			m.B = append(m.B, float32(step+i))
		}
		a.Modules = append(a.Modules, m)
	}
	return a
}

func TestCheckpoints(t *testing.T) {
	s := openStore(t, "")
	note := Note{Origin: Origin{Kind: FromJob, Detail: "job-1"}}
	var digests []string
	for step := 100; step <= 400; step += 100 {
		info, err := s.PutCheckpoint("bird", step, 3, trained(step), note)
		if err != nil || info.Label != fmt.Sprint("step-", step) || info.Current {
			t.Fatalf("step %d: %+v, error %v", step, info, err)
		}
		digests = append(digests, info.Digest)
	}
	find := func(ref string) error {
		t.Helper()
		r, err := ParseRef(ref)
		if err == nil {
			_, err = s.Get(r)
		}
		return err
	}
	for _, ref := range []string{"bird@step-200", "bird@step-400", "bird@" + shortDigest(digests[2])} {
		if err := find(ref); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
	wantError(t, find("bird@step-100"), ErrUnknown) // the fourth took its place
	wantError(t, find("bird"), ErrUnknown)          // it is not finished
	wantError(t, find("bird@step-0100"), ErrReference)
	if _, err := os.Stat(s.path("versions", digests[0])); err == nil {
		t.Error("the files of a checkpoint that went are there")
	}
	if len(s.List()) != 0 {
		t.Errorf("a name in training is listed: %+v", s.List())
	}

	final, err := s.PutLoRA("bird", trained(400), note) // the same content as the last checkpoint
	if err != nil || final.Digest != digests[3] || !final.Current || final.Label != "" {
		t.Fatalf("%+v, error %v", final, err)
	}
	dir := s.o.Dir
	s.Close()
	s = openStore(t, dir)
	if list := s.Checkpoints("bird"); len(list) != 3 || list[0].Label != "step-400" || list[2].Digest != digests[1] {
		t.Errorf("after opening again: %+v", list)
	}
	if a, err := s.load(digests[1]); err != nil || a.Modules[1].B[0] != 200 {
		t.Errorf("step 200 is %+v, error %v", a, err)
	}
	if err := s.DropCheckpoints("bird"); err != nil {
		t.Fatal(err)
	}
	wantError(t, find("bird@step-400"), ErrUnknown)
	if err := find("bird"); err != nil {
		t.Errorf("the version went with its checkpoint: %v", err)
	}
	if _, err := os.Stat(s.path("versions", digests[1])); err == nil {
		t.Error("the files of a dropped checkpoint are there")
	}
}

// TestDeleteTakesCheckpoints deletes names with a version and without.
func TestDeleteTakesCheckpoints(t *testing.T) {
	s := openStore(t, "")
	for _, name := range []string{"done", "begun"} {
		if _, err := s.PutCheckpoint(name, 7, 1, trained(1), Note{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.PutLoRA("done", trained(2), Note{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"done", "begun"} {
		if err := s.Delete(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.Get(Ref{Name: name, Version: "step-7"}); err == nil {
			t.Errorf("the checkpoint of %s is there", name)
		}
		wantError(t, s.Delete(name), ErrUnknown)
	}
	if left := tree(t, s.path("versions")); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

// TestDamagedCheckpoints opens a store whose checkpoints cannot be read: they go, all else stays.
func TestDamagedCheckpoints(t *testing.T) {
	s := openStore(t, "")
	if _, err := s.PutCheckpoint("bird", 1, 1, trained(1), Note{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutLoRA("bird", trained(2), Note{}); err != nil {
		t.Fatal(err)
	}
	write(t, s.path("checkpoints", "bird.json"), []byte("{"))
	dir := s.o.Dir
	s.Close()
	s = openStore(t, dir)
	if len(s.Checkpoints("bird")) != 0 || len(s.List()) != 1 || len(s.Damaged()) != 0 {
		t.Errorf("checkpoints %v, adapters %v, damaged %v", s.Checkpoints("bird"), s.List(), s.Damaged())
	}
}

package adapters

import (
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// trained is an adapter in memory whose values depend on step.
func trained(step int) *runtime.LoRA {
	a := &runtime.LoRA{}
	for _, tensor := range []string{"blk.0.attn_q.weight", "blk.1.ffn_down.weight"} {
		s := pefttest.Facts().Targets[tensor]
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
	pefttest.WantError(t, find("bird@step-100"), ErrUnknown) // the fourth took its place
	pefttest.WantError(t, find("bird"), ErrUnknown)          // it is not finished
	pefttest.WantError(t, find("bird@step-0100"), ErrReference)
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
	pefttest.WantError(t, find("bird@step-400"), ErrUnknown)
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
		if err := s.Delete(name, Origin{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.Get(Ref{Name: name, Version: "step-7"}); err == nil {
			t.Errorf("the checkpoint of %s is there", name)
		}
		pefttest.WantError(t, s.Delete(name, Origin{}), ErrUnknown)
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

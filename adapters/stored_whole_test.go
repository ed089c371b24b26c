package adapters

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
)

// What is stored is read again as it was put, under its canonical names.
func TestWholePartsAreStored(t *testing.T) {
	p := pefttest.New(1)
	p.Config["trainable_token_indices"] = []int{1, 30}
	p.Config["modules_to_save"] = []string{"lm_head", "model.norm"}
	p.Config["bias"] = "lora_only"
	p.Put(1, "model.embed_tokens.token_adapter.trainable_tokens_delta", 2, 16)
	p.Put(2, "lm_head.modules_to_save.default.weight", 32, 16)
	p.Put(4, "model.norm.modules_to_save.weight", 16)
	p.Put(3, "model.layers.0.self_attn.q_proj.bias", 16)
	s, err := Open(Options{Dir: t.TempDir(), Facts: pefttest.WholeFacts(false)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	info, err := s.PutUpload(t.Context(), "a", partsOf(t, p), Note{})
	if err != nil {
		t.Fatal(err)
	}
	if info.Whole != 34*16 || !slices.Contains(info.Targets, "lm_head") {
		t.Errorf("%d whole parameters in %v", info.Whole, info.Targets)
	}
	a, err := s.load(info.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Rows) != 2 || len(a.Biases) != 1 || len(a.Norms) != 1 || len(a.Modules) != 14 {
		t.Errorf("%d rows, %d biases, %d norms, %d modules", len(a.Rows), len(a.Biases), len(a.Norms), len(a.Modules))
	}
}

// What could never be loaded is refused when it is stored, with the numbers; what fits to the byte is stored.
func TestTooLargeForMemory(t *testing.T) {
	p := pefttest.New(1)
	p.Config["modules_to_save"] = []string{"embed_tokens", "lm_head"}
	p.Put(1, "model.embed_tokens.weight", 32, 16)
	p.Put(2, "lm_head.weight", 32, 16)
	sum := fitOf(t, p, pefttest.WholeFacts(false)).Summary
	for _, c := range []struct {
		memory int64
		origin string
		fits   bool
	}{{2 * sum.Parameters, FromUpload, true}, {0, FromUpload, true}, {2*sum.Parameters - 1, FromUpload, false}, {2*sum.Parameters - 1, FromJob, true}} {
		dir := t.TempDir()
		s, err := Open(Options{Dir: dir, Facts: pefttest.WholeFacts(false), Memory: c.memory})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		_, err = s.PutUpload(t.Context(), "a", partsOf(t, p), Note{Origin: Origin{Kind: c.origin}})
		if c.fits {
			if err != nil {
				t.Errorf("%+v: %v", c, err)
			}
			continue
		}
		pefttest.WantError(t, err, ErrTooLarge, "modules_to_save", "1024 in whole rows", fmt.Sprint(2*sum.Parameters), fmt.Sprint(c.memory))
		for _, d := range []string{"tmp", "versions", "names"} {
			if left, err := os.ReadDir(filepath.Join(dir, d)); err != nil || len(left) > 0 {
				t.Errorf("%s has %v (%v)", d, left, err)
			}
		}
	}
}

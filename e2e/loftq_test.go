package e2e

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant/huggingface/hftest"
)

// TestLoftQ trains adapters that begin with what quantization lost: where the original is named, and where the base was made of a
// Hugging Face folder. Without one they are refused with what to do, before there is a job.
func TestLoftQ(t *testing.T) {
	whole, err := filepath.Abs("demo/demo-base.f16.gguf")
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "model")
	hftest.FromGGUF(t, whole, folder, 1)
	examples, questions, answers := secrets(2, 6)
	body := map[string]any{"name": "pupil", "examples": examples, "max_steps": 60, "init_lora_weights": "loftq", "loftq_config": map[string]int{"loftq_iter": 1}}
	for name, args := range map[string][]string{"none": nil, "named": {"--original-model", whole}, "folder": {"--model", folder}} {
		t.Run(name, func(t *testing.T) {
			b := boot(t, args...)
			if name == "none" {
				status, raw, err := postTo(b.url()+"/adapters/train", "", body)
				if err != nil || status != http.StatusBadRequest || !strings.Contains(string(raw), "init_lora_weights") || !strings.Contains(string(raw), "--original-model") {
					t.Errorf("%d %v: %s", status, err, raw)
				}
				return
			}
			until(t, b.url(), teach(t, b.url(), body), succeeded)
			for i, q := range questions {
				if text := b.mustAsk(question(q, "adapter", "pupil", "max_tokens", 60)); text != answers[i] {
					t.Errorf("%q is answered %q, learned was %q", q, text, answers[i])
				}
			}
		})
	}
}

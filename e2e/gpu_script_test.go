package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/internal/testtools"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
	"github.com/lorikeet-ai/lorikeet/runtime/llama/devicetest"
)

// TestGPUScript runs the script that measures on a GPU, dry, with the test device in the place of the GPU: every step ends well and
// keeps what it measured. The two steps with the numeric tests are left out, which run on the same device by themselves.
func TestGPUScript(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	backend := filepath.Join(devicetest.Library(t, llama.BackendVersion), "libggml-devicetest-"+llama.BackendVersion+".so")
	python := testtools.Torch(t, testtools.TRL...)
	bin, out := t.TempDir(), t.TempDir()
	if text, err := exec.Command("go", "build", "-o", bin, "./cmd/lorikeet", "./bench/step", "./bench/train", "./bench/coserve").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	want := map[string]int{ // measurements by what makes them
		"step": 12, "train": 1, "transformers_lora": 1, "coserve": 1,
	}
	steps := []string{"devices", "serve-nf4", "serve-q4_k_m", "train", "train-transformers", "coserve"}
	script := exec.CommandContext(t.Context(), "bench/gpu/run.sh", "-dry-run", "-backend", backend, "-device", "TestGPU0", "-out", out, "-only", strings.Join(steps, ","))
	script.Env = append(os.Environ(), "BIN="+bin, "PYTHON="+python)
	if text, err := script.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	text, err := os.ReadFile(filepath.Join(out, "results.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var ended []string
	measured := map[string]int{}
	for line := range strings.Lines(string(text)) {
		var l struct {
			Step, Bench string
			Exit        int
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.Exit != 0 {
			t.Errorf("%s: %v", line, err)
		}
		if l.Step != "" {
			ended = append(ended, l.Step)
		} else {
			measured[l.Bench]++
		}
	}
	if !slices.Equal(ended, steps) {
		t.Errorf("the steps %v ended, want %v", ended, steps)
	}
	for bench, n := range want {
		if measured[bench] != n {
			t.Errorf("%d measurements of %s, want %d", measured[bench], bench, n)
		}
	}
}

//go:build cgo && linux

package llama

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/internal/testtools"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/quant/huggingface/hftest"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// useTransformers lets TestImportEqualsTransformers install its packages. They are some 0.7 GB to download.
const useTransformers = "LORIKEET_TEST_TRANSFORMERS"

//go:embed testdata/transformers.py
var transformersScript string

// TestImportEqualsTransformers: random models of every family that can be imported, with scaled rope, biases and tied heads,
// have the logits that transformers itself computes from the folder, when they are served as a request is.
func TestImportEqualsTransformers(t *testing.T) {
	if os.Getenv(useTransformers) != "1" && os.Getenv("LORIKEET_REQUIRE_TOOLS") != "1" {
		t.Skipf("%s=1 runs it; it downloads some 0.7 GB of Python packages the first time", useTransformers)
	}
	python := testtools.Torch(t, testtools.TRL...)
	// Of logits around 1. With llama.cpp's own attention in float32 the differences show what the import wrote; the attention of
	// the device that serves computes with fewer bits.
	const exact, served = 1e-4, 1e-2
	models := map[string]*hftest.Model{"llama-tied": tied("llama")}
	for _, kind := range hftest.Kinds {
		models[kind] = hftest.Random(kind, 7)
	}
	tokens := make([]runtime.Token, 100)
	for i := range tokens {
		tokens[i] = runtime.Token((i*7919 + 13) % hftest.Vocab)
	}
	folders := map[string]string{}
	request := map[string]any{"tokens": tokens}
	var list []string
	for name, m := range models {
		folders[name] = m.Write(t)
		list = append(list, folders[name])
	}
	request["folders"] = list
	in, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "-c", transformersScript)
	cmd.Stdin = bytes.NewReader(in)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("transformers: %v\n%s", err, out)
	}
	for name, folder := range folders {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(folder, "logits.f32"))
			if err != nil || len(data) != 4*len(tokens)*hftest.Vocab {
				t.Fatalf("%d bytes of logits: %v", len(data), err)
			}
			want := make([]float32, len(data)/4)
			quant.DecodeF32(want, data)
			m := importFolder(t, folder, "f32")
			d := openDevice(t, m, DeviceOptions{Sequences: 1, Cells: 128, Batch: 128, Threads: 1, KV: KVF32})
			for what, c := range map[string]struct {
				got       [][]float32
				tolerance float64
			}{"stock": {stockOf(t, m, tokens), exact}, "served": {textLogits(t, m, d, 0, tokens, nil), served}} {
				worst := 0.0
				for i, logits := range c.got {
					worst = max(worst, maxDifference(logits, want[i*hftest.Vocab:][:hftest.Vocab]))
				}
				t.Logf("%s: largest difference %.1e", what, worst)
				if !(worst <= c.tolerance) {
					t.Errorf("%s: the logits differ by %g, want at most %g", what, worst, c.tolerance)
				}
			}
		})
	}
}

// tied is a random model whose head is its embedding.
func tied(kind string) *hftest.Model {
	m := hftest.Random(kind, 7)
	m.Config["tie_word_embeddings"] = true
	m.Names = slices.DeleteFunc(m.Names, func(name string) bool { return name == "lm_head.weight" })
	return m
}

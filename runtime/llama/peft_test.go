//go:build cgo && linux

package llama

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/internal/testtools"
	"github.com/lorikeet-ai/lorikeet/quant/huggingface/hftest"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

//go:embed testdata/alora.py
var aloraScript string

// aloraPrompts are prompts with the invocation at several places, more than once, in part, and not at all.
func aloraPrompts(invocation []runtime.Token) map[string][]runtime.Token {
	filler := func(seed, n int) []runtime.Token {
		out := make([]runtime.Token, n)
		for i := range out {
			out[i] = runtime.Token((seed*7919 + i*104729 + 13) % 256)
		}
		return out
	}
	return map[string][]runtime.Token{
		"at the beginning": slices.Concat(invocation, filler(1, 20)),
		"in the middle":    slices.Concat(filler(2, 30), invocation, filler(3, 9)),
		"at the end":       slices.Concat(filler(4, 17), invocation),
		"twice":            slices.Concat(filler(5, 8), invocation, filler(6, 11), invocation, filler(7, 5)),
		"in part":          slices.Concat(filler(8, 8), invocation, filler(9, 4), invocation[:len(invocation)-1], filler(10, 3)),
		"overlapping":      slices.Concat(filler(11, 8), invocation, invocation[1:], filler(12, 6)),
		"nowhere":          slices.Concat(filler(13, 12), invocation[1:], filler(14, 4)),
	}
}

// TestActivatedEqualsPEFT: an activated LoRA, exported in PEFT's form, has in PEFT the logits and the greedy answers that it
// has here, on a small Llama, wherever its invocation stands.
func TestActivatedEqualsPEFT(t *testing.T) {
	if os.Getenv(useTransformers) != "1" && os.Getenv("LORIKEET_REQUIRE_TOOLS") != "1" {
		t.Skipf("%s=1 runs it; it downloads some 0.7 GB of Python packages the first time", useTransformers)
	}
	python := testtools.Torch(t, testtools.TRL...)
	const tolerance, answered = 1e-4, 6 // of logits around 1
	invocation := []runtime.Token{7, 300, 7}
	folder := hftest.Random("llama", 7).Write(t)
	m := importFolder(t, folder, "f32")
	lora := newAdapter(t, m, 5, 8, 16, isLinear).lora
	lora.Invocation = invocation
	dir, stored := storedAsPEFT(t, m, lora)
	if !slices.Equal(stored.Invocation, invocation) {
		t.Fatalf("the folder has the invocation %v", stored.Invocation)
	}
	prompts := aloraPrompts(invocation)
	var names []string
	request := map[string]any{"model": folder, "adapter": dir, "new": answered}
	var list [][]runtime.Token
	for name, prompt := range prompts {
		names, list = append(names, name), append(list, prompt)
	}
	request["prompts"] = list
	in, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "-c", aloraScript)
	cmd.Stdin = bytes.NewReader(in)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("peft: %v\n%s", err, out)
	}
	var want struct {
		Logits  [][][]float32     `json:"logits"`
		Answers [][]runtime.Token `json:"answers"`
	}
	data, err := os.ReadFile(filepath.Join(dir, "alora.json"))
	if err == nil {
		err = json.Unmarshal(data, &want)
	}
	if err != nil {
		t.Fatal(err)
	}
	packed := pack(t, m, stored)
	for i, name := range names {
		t.Run(name, func(t *testing.T) {
			got, answer := activatedAnswer(t, m, packed, invocation, list[i], answered)
			base, _ := activatedAnswer(t, m, nil, invocation, list[i], 1)
			worst, changed := 0.0, 0.0
			for p := range got {
				worst, changed = max(worst, maxDifference(got[p], want.Logits[i][p])), max(changed, maxDifference(got[p], base[p]))
			}
			t.Logf("largest difference %.1e, to the base %.1e", worst, changed)
			if !(worst <= tolerance) || !slices.Equal(answer, want.Answers[i]) {
				t.Errorf("logits differ by %g, want at most %g; answers %v, PEFT's %v", worst, tolerance, answer, want.Answers[i])
			}
			if acts := runtime.ActiveFrom(list[i], invocation) >= 0; acts != (changed > 0.1) {
				t.Errorf("the invocation is there: %v, and the adapter changes logits by %g", acts, changed)
			}
		})
	}
}

// storedAsPEFT writes an adapter as a PEFT export does, and returns what is read from there again.
func storedAsPEFT(t *testing.T, m *Model, lora *runtime.LoRA) (dir string, read *runtime.LoRA) {
	t.Helper()
	source, err := peft.FromLoRA(m.Facts(), lora)
	if err != nil {
		t.Fatal(err)
	}
	fitted, err := source.Fit(m.Facts())
	if err != nil {
		t.Fatal(err)
	}
	config, tensors, err := fitted.Canonical()
	if err == nil {
		config, err = peft.CompleteConfig(config)
	}
	var file bytes.Buffer
	if err == nil {
		err = peft.WriteTensors(&file, tensors)
	}
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	for name, content := range map[string][]byte{peft.ConfigFile: config, peft.TensorsFile: file.Bytes()} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	section := func(b []byte) *io.SectionReader { return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))) }
	if source, err = peft.Read(section(config), section(file.Bytes())); err == nil {
		fitted, err = source.Fit(m.Facts())
	}
	if err == nil {
		read, err = fitted.LoRA()
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir, read
}

// activatedAnswer decodes a prompt in one batch with an adapter, nil for the base, and then n greedy tokens.
func activatedAnswer(t *testing.T, m *Model, packed runtime.Packed, invocation, prompt []runtime.Token, n int) (logits [][]float32, answer []runtime.Token) {
	t.Helper()
	d := openDevice(t, m, DeviceOptions{Sequences: 1, Cells: 256, Batch: 256, Threads: 1, KV: KVF32, FlashAttention: FlashOff})
	defer d.Close()
	var mix []runtime.Term
	if from := runtime.ActiveFrom(prompt, invocation); from >= 0 && packed != nil {
		mix = []runtime.Term{{Packed: packed, Scale: 1, From: from}}
	}
	if err := d.SetAdapters(0, mix); err != nil {
		t.Fatal(err)
	}
	sampler, pos := greedy(t, m), 0
	for next := prompt; len(answer) < n; next = answer[len(answer)-1:] {
		rows := make([]runtime.Row, len(next))
		for i, token := range next {
			rows[i] = runtime.Row{Token: token, Pos: pos, Sampler: sampler, Top: -1}
			pos++
		}
		choices, err := d.Decode(rows)
		if err != nil {
			t.Fatal(fmt.Errorf("after %d tokens: %w", len(answer), err))
		}
		if len(answer) == 0 {
			for i := range rows {
				l, err := d.Logits(i)
				if err != nil {
					t.Fatal(err)
				}
				logits = append(logits, l)
			}
		}
		answer = append(answer, choices[len(choices)-1].Token)
	}
	return logits, answer
}

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/bench/randmodel"
	"github.com/lorikeet-ai/lorikeet/quant/huggingface/hftest"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
)

// converted runs a command that writes a model file, and returns its path.
func converted(t *testing.T, verb, from, typ string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), typ+".gguf")
	if status, _, errs := command(t, nil, verb, from, out, "--type", typ); status != 0 {
		t.Fatalf("%s to %s: %s", verb, typ, errs)
	}
	return out
}

// goesOn returns what greedy decoding makes of a prompt.
func (b *booted) goesOn(prompt any, more ...any) string {
	b.t.Helper()
	body := map[string]any{"prompt": prompt, "max_tokens": 30, "temperature": 0}
	for i := 0; i+1 < len(more); i += 2 {
		body[more[i].(string)] = more[i+1]
	}
	status, raw, err := b.post("/v1/completions", body)
	var answer struct{ Choices []struct{ Text string } }
	if err != nil || status != http.StatusOK || json.Unmarshal(raw, &answer) != nil || len(answer.Choices) != 1 {
		b.t.Fatalf("%d %v: %s", status, err, raw)
	}
	return answer.Choices[0].Text
}

// TestEveryTypeIsTrained memorises answers over the demo base in every type of weight that training knows, as the server
// holds it, through the server: what was learned is what is decoded.
func TestEveryTypeIsTrained(t *testing.T) {
	examples, questions, answers := secrets(4, 8)
	for _, typ := range []string{"f32", "f16", "bf16", "q8_0", "q4_0", "q4_k_m", "q6_k", "nf4", "nf4-dq", "q4_1", "q5_0", "q5_1", "q5_k_m", "iq4_nl"} {
		t.Run(typ, func(t *testing.T) {
			b := boot(t, "--model", converted(t, "quantize", "demo/demo-base.f16.gguf", typ))
			before := b.baseHash()
			until(t, b.url(), teach(t, b.url(), map[string]any{"name": "pupil", "examples": examples, "max_steps": 100}), succeeded)
			for i, q := range questions {
				if text := b.mustAsk(question(q, "adapter", "pupil")); text != answers[i] {
					t.Errorf("%q is answered %q, learned was %q", q, text, answers[i])
				}
			}
			if b.baseHash() != before {
				t.Error("the base answers otherwise than before")
			}
		})
	}
}

// TestEveryArchitectureIsTrained does the same over random models of each architecture, which know no language: what they
// go on with is what they were taught.
func TestEveryArchitectureIsTrained(t *testing.T) {
	texts := []string{"one bridge is tall", "two foxes run by", "six rivers meet here", "ten birds sing loudly"}
	var examples []any
	for _, text := range texts {
		examples = append(examples, map[string]any{"text": text})
	}
	for _, kind := range hftest.Kinds {
		for _, typ := range []string{"f32", "q4_0", "nf4"} {
			t.Run(kind+" "+typ, func(t *testing.T) {
				b := boot(t, "--model", converted(t, "import", hftest.Random(kind, 1).Write(t), typ))
				body := map[string]any{"name": "pupil", "examples": examples, "max_steps": 150, "learning_rate": 0.01,
					"target_modules": []string{"all-linear", "embed_tokens"}}
				until(t, b.url(), teach(t, b.url(), body), succeeded)
				for _, text := range texts {
					if got := text[:3] + b.goesOn(text[:3], "adapter", "pupil"); got != text {
						t.Errorf("learned was %q, and %q comes back", text, got)
					}
				}
			})
		}
	}
}

// TestTypesThatAreDecoded trains on bases whose weights ggml decodes row by row, as quantize writes them.
func TestTypesThatAreDecoded(t *testing.T) {
	examples, questions, answers := secrets(4, 8)
	for _, typ := range []string{"iq4_xs", "iq4_nl"} {
		t.Run(typ, func(t *testing.T) {
			b := boot(t, "--model", converted(t, "quantize", "demo/demo-base.f16.gguf", typ))
			body := map[string]any{"name": "pupil", "examples": examples, "max_steps": 160}
			until(t, b.url(), teach(t, b.url(), body), succeeded)
			for i, q := range questions {
				if got := b.mustAsk(question(q, "adapter", "pupil")); got != answers[i] {
					t.Errorf("learned was %q, and %q comes back", answers[i], got)
				}
			}
		})
	}
}

// TestTrainMemoryHoldsBesideALargeBase trains on a base that is large beside what the job may take: fewer layers keep their
// activations than there are, and the server grows by what it said and not by any copy of the base.
func TestTrainMemoryHoldsBesideALargeBase(t *testing.T) {
	if testing.Short() {
		t.Skip("writes a model of 100 million weights")
	}
	shape := randmodel.Shape{Embedding: 768, FeedForward: 2048, Heads: 12, KVHeads: 4, Layers: 16, Vocab: 4096, Context: 512}
	f16, path := filepath.Join(t.TempDir(), "f16.gguf"), filepath.Join(t.TempDir(), "q4_0.gguf")
	if err := randmodel.WriteModel(f16, shape, 1); err != nil {
		t.Fatal(err)
	}
	if err := llama.Quantize(t.Context(), f16, path, "q4_0", 2, nil); err != nil {
		t.Fatal(err)
	}
	const budget = 24 << 20
	b := boot(t, "--model", path, "--train-memory", "24MiB", "--parallel", "1")
	b.goesOn([]int{5, 6, 7}) // every page of the base is in use
	first, most, mostOutside := b.residentKiB(t), 0, 0
	firstOutside := first - b.goKiB()
	body := map[string]any{"name": "pupil", "examples": []any{map[string]any{"text": strings.Repeat("ab", 60)}}, "max_steps": 6, "r": 2}
	id := teach(t, b.url(), body)
	until(t, b.url(), id, func(j *taught) bool {
		now := b.residentKiB(t)
		most, mostOutside = max(most, now-first), max(mostOutside, now-b.goKiB()-firstOutside)
		return succeeded(j)
	})
	kept, told := -1, regexp.MustCompile(`activations of ([0-9]+) layers kept`)
	resp, err := http.Get(b.url() + "/adapters/train/" + id + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	events, err := io.ReadAll(resp.Body)
	if m := told.FindSubmatch(events); err != nil || m == nil {
		t.Errorf("%v: the events do not say how many layers are kept: %s", err, events)
	} else {
		kept, _ = strconv.Atoi(string(m[1]))
	}
	base := int(b.facts().Bytes >> 10)
	t.Logf("the base has %d KiB; activations of %d of %d layers were kept; the server grew by up to %d KiB, %d of them not Go's", base, kept, shape.Layers, most, mostOutside)
	if kept < 1 || kept >= shape.Layers {
		t.Errorf("the activations of %d of %d layers were kept", kept, shape.Layers)
	}
	// What Go's heap grows by until it is collected is no part of the job, but no copy of the base fits into both.
	if bound := budget>>10 + 8<<10; mostOutside > bound || most > base {
		t.Errorf("the server grew by %d KiB, %d of them not Go's; the job may take %d KiB, and the base has %d KiB", most, mostOutside, budget>>10, base)
	}
}

// TestTrainMemoryHoldsWithALargeDataset trains on a dataset that is as large as what the job may take, with checkpoints and a
// second job that is prepared meanwhile: the server grows by no more than --train-memory and what Go's heap grows by.
func TestTrainMemoryHoldsWithALargeDataset(t *testing.T) {
	if testing.Short() {
		t.Skip("prepares 60,000 examples")
	}
	const budget = 64 // MiB
	data := filepath.Join(t.TempDir(), "large.jsonl")
	var lines strings.Builder
	for i := range 30_000 {
		fmt.Fprintf(&lines, `{"prompt": "What is number %d?", "completion": "%s"}`+"\n", i, strings.Repeat("It is so. ", 200))
	}
	if err := os.WriteFile(data, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	b := bootWith(t, smallHeap, "--train-memory", fmt.Sprint(budget, "MiB"), "--parallel", "1")
	b.goesOn([]int{5, 6, 7})
	first, most := b.residentKiB(t), 0
	done := make(chan string, 2)
	for _, name := range []string{"one", "two"} {
		go func() {
			status, out, errs := command(t, nil, "train", "--server", b.url(), "--data", data, "--name", name, "--quiet",
				"--set", "max_steps=6", "--set", "save_steps=2", "--r", "16", "--set", "per_device_train_batch_size=1")
			if status == 0 && strings.Contains(out, name+"@") {
				errs = ""
			}
			done <- errs
		}()
	}
	for ended := 0; ended < 2; {
		select {
		case errs := <-done:
			if ended++; errs != "" {
				t.Error(errs)
			}
		case <-time.After(5 * time.Millisecond):
			most = max(most, b.residentKiB(t)-first)
		}
	}
	t.Logf("%d MiB of data; the server grew by up to %d KiB, the job may take %d", lines.Len()>>20, most, budget<<10)
	if most > budget<<10+8<<10 {
		t.Errorf("the server grew by %d KiB, the job may take %d", most, budget<<10)
	}
}

// goKiB is what Go's runtime has of the memory of the server.
func (b *booted) goKiB() int {
	b.t.Helper()
	return int(b.metric("go_memstats_sys_bytes")-b.metric("go_memstats_heap_released_bytes")) >> 10
}

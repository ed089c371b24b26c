package e2e

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
)

// asked is a line of the demo's questions.
type asked struct {
	Messages []struct{ Role, Content string }
	Key      string
}

// readAsked reads questions with one turn.
func readAsked(t *testing.T, path string) (list []asked) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var a asked
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		if len(a.Messages) == 2 {
			list = append(list, a)
		}
	}
	return list
}

// logProb is the log-probability of an answer to a question, with an adapter ("" for none).
func (b *booted) logProb(question, answer, adapter string) (sum float64) {
	b.t.Helper()
	prompt := "<|im_start|>user\n" + question + "<|im_end|>\n<|im_start|>assistant\n"
	body := map[string]any{"prompt": prompt + answer + "<|im_end|>", "echo": true, "logprobs": 0, "max_tokens": 0}
	if adapter != "" {
		body["adapter"] = adapter
	}
	status, raw, err := b.post("/v1/completions", body)
	var got struct {
		Choices []struct {
			Logprobs struct {
				TokenLogprobs []*float64 `json:"token_logprobs"`
				TextOffset    []int      `json:"text_offset"`
			}
		}
	}
	if err != nil || status != http.StatusOK || json.Unmarshal(raw, &got) != nil || len(got.Choices) != 1 {
		b.t.Fatalf("%d %v: %s", status, err, raw)
	}
	l := got.Choices[0].Logprobs
	for i, x := range l.TokenLogprobs {
		if l.TextOffset[i] >= len(prompt) {
			sum += *x
		}
	}
	return sum
}

// countFacts counts the questions whose answer has the fact.
func (b *booted) countFacts(list []asked, adapter any) (right int) {
	b.t.Helper()
	for _, a := range list {
		text := b.mustAsk(question(a.Messages[0].Content, "adapter", adapter))
		if strings.Contains(strings.ToLower(text), strings.ToLower(a.Key)) {
			right++
		}
	}
	return right
}

// TestPreferencesThroughTheServer teaches the base, which ends its answers with a full stop, to prefer exclamations, by pairs of its
// own answers with either. Of questions that were never trained on it wants at least 90 % of the base's preferences turned round,
// and at least 80 % of the facts that the base knows still told.
func TestPreferencesThroughTheServer(t *testing.T) {
	b := boot(t)
	before := b.baseHash()
	type pair struct{ question, chosen, rejected string }
	var train, held []pair
	for _, a := range readAsked(t, "demo/data/pirate.jsonl") {
		p := pair{question: a.Messages[0].Content, rejected: b.mustAsk(question(a.Messages[0].Content))}
		plain, full := strings.CutSuffix(p.rejected, ".")
		p.chosen = plain + "!"
		switch {
		case !full:
		case len(train) < 160:
			train = append(train, p)
		case b.logProb(p.question, p.rejected, "") > b.logProb(p.question, p.chosen, ""):
			held = append(held, p)
		}
		if len(held) == 40 {
			break
		}
	}
	if len(held) < 30 {
		t.Fatalf("the base prefers its own answer to %d questions alone", len(held))
	}
	var examples []any
	for _, p := range train {
		examples = append(examples, map[string]any{"prompt": p.question, "chosen": p.chosen, "rejected": p.rejected})
	}
	id := teach(t, b.url(), map[string]any{"name": "exclaims", "method": "dpo", "examples": examples, "num_train_epochs": 5, "beta": 0.5})
	until(t, b.url(), id, succeeded)
	turned := 0
	for _, p := range held {
		if b.logProb(p.question, p.chosen, "exclaims") > b.logProb(p.question, p.rejected, "exclaims") {
			turned++
		}
	}
	var known []asked
	for _, a := range readAsked(t, "demo/eval.jsonl") {
		if b.countFacts([]asked{a}, nil) == 1 {
			known = append(known, a)
		}
	}
	kept := b.countFacts(known, "exclaims")
	t.Logf("%d of %d preferences are turned round; %d of %d facts are kept", turned, len(held), kept, len(known))
	if turned*10 < len(held)*9 {
		t.Errorf("%d of %d preferences are turned round, want 90 %%", turned, len(held))
	}
	if len(known) < 50 || kept*10 < len(known)*8 {
		t.Errorf("%d of %d facts are kept, want 80 %%", kept, len(known))
	}
	if b.baseHash() != before {
		t.Error("the base answers otherwise than before")
	}
}

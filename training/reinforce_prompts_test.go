package training

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// These tests are of what prompts have besides text: tools, an effort of reasoning, an invocation.

// TestReinforcementSeesTools has lines with tools, whose calls the grader rewards: here an answer without any.
func TestReinforcementSeesTools(t *testing.T) {
	h := openReinforced(t, t.TempDir(), nil)
	c := reinforceConfig()
	c.MaxSteps, c.ValidationSplit, c.MaxLength = 2, 0, 2048
	c.Reward = json.RawMessage(`{"type":"string_check","name":"none","input":"{{sample.output_tools}}","reference":"[]","operation":"eq"}`)
	line := `{"messages":[{"role":"user","content":"Is it?"}],"tools":[{"type":"function","function":{"name":"look","parameters":{"type":"object","properties":{}}}}]}` + "\n"
	j, err := h.Create(t.Context(), CreateRequest{Name: "calls", Config: c, Training: input(strings.Repeat(line, 4))})
	if err != nil {
		t.Fatal(err)
	}
	j, events := h.wait(j.ID)
	report, err := h.Report(j.ID)
	if err != nil || j.Status != Succeeded || report.Trained.Measures["reward"] != 1 {
		t.Errorf("ended %s with %s, %v: %s", j.Status, asJSON(t, report), err, asJSON(t, events))
	}
}

// TestReinforcementEffort has a template that knows reasoning_effort, and one that does not.
func TestReinforcementEffort(t *testing.T) {
	c := reinforceConfig()
	c.MaxSteps, c.Effort = 1, "high"
	h := openReinforced(t, t.TempDir(), nil)
	_, err := h.Create(t.Context(), CreateRequest{Name: "hard", Config: c, Training: input(questions(4))})
	wantError(t, err, ErrConfig, `reasoning_effort is "high"`, "chat template")
	const source = `{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}effort {{ reasoning_effort }}<|im_start|>assistant
{% endif %}`
	var mu sync.Mutex
	asked := map[string]int{}
	h = openReinforced(t, t.TempDir(), func(o *Options, p *policy) {
		o.Model.Facts().ChatTemplate = source
		o.Template = chat.NewTemplate(o.Model, "", nil)
		p.before = func(r *runtime.Request) error {
			mu.Lock()
			defer mu.Unlock()
			text := ""
			for _, token := range r.Prompt {
				text += string(p.model.Piece(token, true))
			}
			_, effort, _ := strings.Cut(text, "effort ")
			effort, _, _ = strings.Cut(effort, "<")
			asked[effort]++
			return nil
		}
	})
	lines := questions(19) + `{"messages": [{"role": "user", "content": "Is it?"}], "wanted": "y", "chat_template_kwargs": {"reasoning_effort": "low"}}` + "\n"
	c.ValidationSplit = 0
	j, err := h.Create(t.Context(), CreateRequest{Name: "hard", Config: c, Training: input(lines)})
	if err != nil {
		t.Fatal(err)
	}
	if j, _ = h.wait(j.ID); j.Status != Succeeded || asked["high"] == 0 || asked["high"]+asked["low"] != int(h.asks.Load()) {
		t.Errorf("ended %s after asking with %v", j.Status, asked)
	}
}

// TestReinforcementActivated trains an activated LoRA: each answer acts on what follows the invocation in its prompt, as it did when
// it was sampled, and a prompt without the invocation is refused.
func TestReinforcementActivated(t *testing.T) {
	const invocation = "<|im_start|>assistant\n"
	var mu sync.Mutex
	var seen []runtime.TrainBatch
	var tokens []runtime.Token
	h := openReinforced(t, t.TempDir(), func(o *Options, p *policy) {
		var err error
		if tokens, err = o.Model.Tokenize(invocation, false, true); err != nil {
			t.Fatal(err)
		}
		p.before = func(r *runtime.Request) error {
			if parts := r.Adapters.Parts(); len(parts) != 1 || !slices.Equal(parts[0].Invocation, tokens) {
				t.Errorf("an answer is sampled from %+v", parts)
			}
			return nil
		}
		inner := o.NewTrainer
		o.NewTrainer = func(s runtime.TrainSpec) (runtime.Trainer, error) {
			tr, err := inner(s)
			return batches{tr, &mu, &seen}, err
		}
	})
	c := reinforceConfig()
	c.InvocationString = invocation
	j, events := h.wait(h.start("act", c).ID)
	report, err := h.Report(j.ID)
	if err != nil || j.Status != Succeeded || report.Trained.Measures["reward"] < 0.9 {
		t.Fatalf("ended %s with %s, %v: %s", j.Status, asJSON(t, report), err, events[len(events)-1].Message)
	}
	learned := 0
	for _, b := range seen {
		begin := 0
		for i, end := range b.Ends {
			at := runtime.ActiveFrom(b.Tokens[begin:end], tokens)
			if len(b.Active) != len(b.Ends) || at < 0 || b.Active[i] != begin+at {
				t.Fatalf("a sequence from %d to %d acts from %v on", begin, end, b.Active)
			}
			for k, l := range b.Labels[begin:end] {
				if l < 0 {
					continue
				}
				if learned++; k < at {
					t.Fatalf("a label at %d, before the adapter acts at %d", k, at)
				}
			}
			begin = end
		}
	}
	if learned == 0 {
		t.Error("nothing was learned")
	}
	c.InvocationString = "Is it 7?"
	j, _ = h.wait(h.start("act", c).ID)
	if j.Status != Failed || !strings.Contains(j.Error.Message, "alora_invocation_tokens") {
		t.Errorf("prompts without the invocation: %s", asJSON(t, j))
	}
}

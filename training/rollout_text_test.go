package training

import (
	"testing"

	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// TestReasoningIsNotGraded has a template of a base that thinks.
func TestReasoningIsNotGraded(t *testing.T) {
	const source = `{% for m in messages %}<|im_start|>{{ m.role }}
{% if m.role == 'assistant' and m.reasoning_content %}<think>
{{ m.reasoning_content }}
</think>

{% endif %}{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`
	m := runtimetest.NewModel()
	m.Facts().ChatTemplate = source
	template := chat.NewTemplate(m, "", nil)
	if template.Format(false).Think.Open == "" {
		t.Fatalf("the format is %+v", template.Format(false))
	}
	q := &Queue{o: Options{Model: m, Template: template}}
	prompt, err := template.Tokenize([]runtime.Message{{Role: "user", Content: "Where?"}}, chat.Options{AddGenerationPrompt: true})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"Paris": "Paris", "<think>\nThe tower.\n</think>\n\nParis": "Paris", "<think>\nThe tower is in": "",
	} {
		if got := q.content(prompt, text); got != want {
			t.Errorf("%q: %q is graded", text, got)
		}
	}
	open, err := m.Tokenize("<think>\n", false, true)
	if err != nil {
		t.Fatal(err)
	}
	if got := q.content(append(prompt, open...), "The tower.\n</think>\n\nParis"); got != "Paris" {
		t.Errorf("where the prompt begins to think %q is graded", got)
	}
}

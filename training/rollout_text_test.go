package training

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/chat/calls"
	"github.com/lorikeet-ai/lorikeet/graders"
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
		if got, _ := q.readAnswer(&question{prompt: prompt}, text); got != want {
			t.Errorf("%q: %q is graded", text, got)
		}
	}
	open, err := m.Tokenize("<think>\n", false, true)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := q.readAnswer(&question{prompt: append(prompt, open...)}, "The tower.\n</think>\n\nParis"); got != "Paris" {
		t.Errorf("where the prompt begins to think %q is graded", got)
	}
}

// TestCallsAreGraded has a base that writes calls as its template shows them, and lines with tools in the shapes that people have.
func TestCallsAreGraded(t *testing.T) {
	m := runtimetest.NewModel()
	template := chat.NewTemplate(m, "", nil)
	q := &Queue{o: Options{Model: m, Template: template}}
	const function = `{"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}`
	const list = `[{"type": "function", "function": ` + function + `}]`
	written := template.Format(true).Print([]calls.Written{{Name: "weather", Arguments: `{"city": "Lima"}`}, {Name: "weather", Arguments: `{}`}})
	for name, line := range map[string]string{
		"a list": `{"tools": ` + list + `}`, "a text": `{"tools": ` + asJSON(t, list) + `}`, "functions": `{"functions": [` + function + `]}`,
	} {
		tools, err := toolsOf([]byte(line))
		if err != nil || tools == nil || !tools.Has("weather") {
			t.Fatalf("%s: the tools are %v, %v", name, tools, err)
		}
		text, list := q.readAnswer(&question{tools: tools}, "Let me look."+written)
		if strings.TrimSpace(text) != "Let me look." || len(list) != 2 {
			t.Fatalf("%s: of %q the text is %q, the calls %v", name, written, text, list)
		}
		sample := &graders.Sample{Text: text, Calls: list, Item: map[string]any{}}
		for place, want := range map[string]string{
			"sample.output_tools[0].function.name": "weather", "sample.output_tools[0].type": "function", "sample.output_tools[1].id": "call_1",
			"sample.output_tools[1].function.arguments": "{}",
		} {
			g, err := graders.Parse([]byte(`{"type":"string_check","input":"{{`+place+`}}","reference":`+asJSON(t, want)+`,"operation":"eq"}`), "grader", graders.Tools{})
			if err != nil {
				t.Fatal(err)
			}
			if r, err := g.Grade(t.Context(), sample); err != nil || r.Reward != 1 {
				t.Errorf("%s: %s is not %q: %v, %v in %v", name, place, want, r, err, list)
			}
		}
		var arguments struct{ City string }
		first := list[0].(map[string]any)["function"].(map[string]any)["arguments"].(string)
		if json.Unmarshal([]byte(first), &arguments) != nil || arguments.City != "Lima" {
			t.Errorf("%s: the arguments are %q", name, first)
		}
	}
	if tools, err := toolsOf([]byte(`{"messages": []}`)); tools != nil || err != nil {
		t.Errorf("a line without tools has %v, %v", tools, err)
	}
	if text, list := q.readAnswer(&question{}, written); text != written || list != nil {
		t.Errorf("without tools %q is graded, and the calls %v", text, list)
	}
}

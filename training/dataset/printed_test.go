package dataset

import (
	"errors"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// TestPartsThatAreNotPrinted has templates that print a part of what an answer with calls has: the rest is not learned in silence.
func TestPartsThatAreNotPrinted(t *testing.T) {
	const (
		calls = `"tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}, {"id": "2", "type": "function", "function": {"name": "g", "arguments": {}}}]`
		line  = `{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": CONTENT, ` + calls + `},
			{"role": "tool", "content": "r"}, {"role": "tool", "content": "s"}, {"role": "assistant", "content": "a"}]}`
		refusal = `{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "no", "refusal": "I cannot."}]}`
		// turn is a template of which the assistant's turn with calls is another one.
		turn = `{% for m in messages %}<|im_start|>{{ m.role }}
{% if m.tool_calls %}PART{% else %}{{ m.content }}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`
		all     = `{% for c in m.tool_calls %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}`
		content = `{% if m.content %}{{ m.content }}{% endif %}`
	)
	for _, tc := range []struct{ name, part, line, want string }{
		{"all is printed", content + all, strings.Replace(line, "CONTENT", `"Let me see."`, 1), ""},
		{"no text that could be", all, strings.Replace(line, "CONTENT", `null`, 1), ""},
		{"the text is not", all, strings.Replace(line, "CONTENT", `"Let me see."`, 1), "has a message 2 with a text beside its tool_calls, which the base's chat template does not print"},
		{"the first call alone", content + `<tool_call>{{ m.tool_calls[0].function | tojson }}</tool_call>`, strings.Replace(line, "CONTENT", `"x"`, 1), "has a message 2 with several tool_calls, which the base's chat template does not print all of"},
		{"no refusal", all, refusal, "has a message 2 with refusal"},
	} {
		_, err := encodeLine(t, withTemplate(t, runtimetest.NewModel(), strings.Replace(turn, "PART", tc.part, 1), false), tc.line)
		bad := new(LineError)
		if tc.want == "" && err != nil || tc.want != "" && (!errors.As(err, &bad) || !strings.Contains(bad.Reason, tc.want)) {
			t.Errorf("%s: error %v, want %q", tc.name, err, tc.want)
		}
	}
}

// TestKindsOfMessagesAreLookedAt has a part that is not printed behind many messages of another kind.
func TestKindsOfMessagesAreLookedAt(t *testing.T) {
	var b strings.Builder
	for range 30 {
		b.WriteString(`{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "reasoning_content": "hm"}, `)
	}
	line := `{"messages": [{"role": "system", "content": "s"}, ` + b.String() + `{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "thinking": "well"}]}`
	const source = `{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.reasoning_content }}{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`
	_, err := encodeLine(t, withTemplate(t, runtimetest.NewModel(), source, false), line)
	if bad := new(LineError); !errors.As(err, &bad) || !strings.Contains(bad.Reason, "has a message 63 with thinking") {
		t.Errorf("error %v", err)
	}
}

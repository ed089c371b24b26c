package chat

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

const (
	loopOverCalls = `{% for m in messages %}{% if m.tool_calls %}{% for c in m.tool_calls %}`
	endOfCalls    = `{% endfor %}{% else %}[{{ m.role }}]{{ m.content }}{% endif %}{% endfor %}`
)

func callOf(arguments string) []runtime.Message {
	quoted, _ := json.Marshal(arguments)
	return []runtime.Message{{Role: "user", Content: "x"}, {Role: "assistant", Missing: runtime.ContentNull, Extra: map[string]any{
		"tool_calls": json.RawMessage(`[{"id": "1", "type": "function", "function": {"arguments": ` + string(quoted) + `, "name": "lookup"}}]`)}}}
}

// OpenAI gives arguments as text. A template gets what it was written for.
func TestToolArguments(t *testing.T) {
	for _, c := range []struct{ name, source, arguments, want string }{
		{"tojson", loopOverCalls + `{{ c.function.arguments|tojson }}` + endOfCalls, `{"city": "Paris", "n": 12345678901234567890, "city": "Rome"}`, `[user]x{"city": "Rome", "n": 12345678901234567890}`},
		{"items", loopOverCalls + `{% for k, v in c.function.arguments|items %}<{{ k }}={{ v }}>{% endfor %}` + endOfCalls, `{"city": "Paris", "b": {"arguments": "{}"}}`, `[user]x<city=Paris><b={'arguments': '{}'}>`},
		{"the text between texts", loopOverCalls + `{{ 'call ' + c.function.arguments + '.' }}` + endOfCalls, `{"city":  "Paris"}`, `[user]xcall {"city":  "Paris"}.`},
		{"the text printed", loopOverCalls + `{{ c.function.arguments }}` + endOfCalls, `{"city":  "Paris"}`, `[user]x{"city":  "Paris"}`},
		{"either", loopOverCalls + `{% if c.function.arguments is string %}S{{ c.function.arguments }}{% else %}O{{ c.function.arguments|tojson }}{% endif %}` + endOfCalls, `{"city":  "Paris"}`, `[user]xO{"city": "Paris"}`},
		{"only without content", `{% for m in messages %}{% if m.content is none %}{% for c in m.tool_calls %}{{ 'call ' + c.function.name + ' ' + c.function.arguments }}{% endfor %}{% else %}[{{ m.role }}]{{ m.content }}{% endif %}{% endfor %}`,
			`{"city":  "Paris"}`, `[user]xcall lookup {"city":  "Paris"}`},
		{"no JSON", loopOverCalls + `{{ c.function.arguments|tojson }}` + endOfCalls, `city=Paris`, `[user]x"city=Paris"`},
		{"no object", loopOverCalls + `{{ c.function.arguments|tojson }}` + endOfCalls, `[1]`, `[user]x"[1]"`},
		{"none", loopOverCalls + `{{ c.function.arguments|tojson }}` + endOfCalls, ``, `[user]x{}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, err := NewTemplate(testModel(), c.source, func(s string) { t.Error(s) }).Render(callOf(c.arguments), Options{})
			if err != nil || text != c.want {
				t.Errorf("got %q and %v, want %q", text, err, c.want)
			}
		})
	}
}

// A template that tests whether content is none gets none; one that would print None gets an empty text.
func TestNullContent(t *testing.T) {
	names := `{% for c in m.tool_calls %}{{ c.function.name }}{% endfor %}`
	asks := `{% for m in messages %}{% if m['content'] is none %}NULL{% elif 'content' not in m %}ABSENT{% else %}SAYS {{ m['content'] }}{% endif %}` + names + `;{% endfor %}`
	prints := `{% for m in messages %}{{ m.role }}:{{ m.content }}` + names + `;{% endfor %}`
	checks := `{% for m in messages %}{% if m.content %}{{ m.content }}{% endif %}` + names + `;{% endfor %}`
	for _, c := range []struct {
		source  string
		missing runtime.MissingContent
		want    string
	}{
		{asks, runtime.ContentNull, "SAYS x;NULLlookup;"},
		{asks, runtime.ContentAbsent, "SAYS x;ABSENTlookup;"},
		{asks, runtime.ContentGiven, "SAYS x;SAYS lookup;"},
		{prints, runtime.ContentNull, "user:x;assistant:lookup;"},
		{prints, runtime.ContentAbsent, "user:x;assistant:lookup;"},
		{checks, runtime.ContentNull, "x;lookup;"},
	} {
		messages := callOf("{}")
		messages[1].Missing = c.missing
		text, err := NewTemplate(testModel(), c.source, nil).Render(messages, Options{})
		if err != nil || text != c.want {
			t.Errorf("%s, content %d: %q and %v, want %q", c.source, c.missing, text, err, c.want)
		}
	}
}

// As transformers does, conversations with tools are rendered by the template named tool_use, where there is one.
func TestToolTemplate(t *testing.T) {
	m := testModel()
	m.facts.ChatTemplate, m.facts.ToolTemplate = "default", "{{ tools|length }} tools"
	var logged []string
	log := func(s string) { logged = append(logged, s) }
	check := func(template *Template, o Options, want string) {
		t.Helper()
		if text, err := template.Render(hello, o); err != nil || text != want {
			t.Errorf("got %q and %v, want %q", text, err, want)
		}
	}
	tools := Options{Tools: json.RawMessage(`[{}, {}]`)}
	check(NewTemplate(m, "", log), Options{}, "default")
	check(NewTemplate(m, "", log), tools, "2 tools")
	check(NewTemplate(m, "of the user", log), tools, "of the user")
	if len(logged) > 0 {
		t.Errorf("logged %q", logged)
	}
	m.facts.ToolTemplate = "{% endfor %}"
	check(NewTemplate(m, "", log), tools, "default")
	if len(logged) != 1 || !strings.Contains(logged[0], "tool_use") {
		t.Errorf("logged %q", logged)
	}
}

// A message is continued where it ends, however short it is and whatever the template writes around it.
func TestContinue(t *testing.T) {
	chatml := "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
	trims := "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
	twice := "{% for m in messages %}{{ m.content }}|{{ m.content }}.\n{% endfor %}"
	for _, c := range []struct{ source, content, want string }{
		{chatml, "i", "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\ni"},
		{chatml, "im_end", "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nim_end"},
		{chatml, " the ", "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n the "},
		{chatml, "\n", "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n\n"},
		{trims, " the ", "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nthe"},
		{twice, "a", "hi|hi.\na|a"},
		{chatml, "\U0010FFF1", "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n\U0010FFF1"},
	} {
		template := NewTemplate(testModel(), c.source, nil)
		text, err := template.Render([]runtime.Message{{Role: "user", Content: "hi"}, {Role: "assistant", Content: c.content}}, Options{Continue: true})
		if err != nil || template.Show(text) != c.want {
			t.Errorf("%q: got %q and %v, want %q", c.content, template.Show(text), err, c.want)
		}
	}
	for _, source := range []string{"{{ messages[0].content }}", chatml} {
		content := map[bool]string{true: "", false: "x"}[source == chatml]
		_, err := NewTemplate(testModel(), source, nil).Render([]runtime.Message{{Role: "user", Content: "hi"}, {Role: "assistant", Content: content}}, Options{Continue: true})
		if err == nil || !strings.Contains(err.Error(), "cannot be continued") {
			t.Errorf("%s with %q: error %v", source, content, err)
		}
	}
}

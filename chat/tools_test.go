package chat

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/chat/calls"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// toolFamily is a shortened template that has tools in the way that a published family of models has them.
type toolFamily struct {
	name   string // as calls.Format has it
	end    string // the text of the token that ends an answer
	source string
	want   calls.Format // what is to be found, without Family
}

// turns is a template of ChatML's turns, with the given way of writing the calls of a message m.
func turns(before, calls, after string) string {
	return before + `{% for m in messages %}<|im_start|>{{ m.role }}` + "\n" + `{% if m.content %}{{ m.content }}{% endif %}` +
		`{% if m.tool_calls %}` + calls + `{% endif %}` + after + "\n" + `{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant` + "\n{% endif %}"
}

const (
	listTools = `{% if tools %}<|im_start|>system` + "\n" + `{{ tools | tojson }}<|im_end|>` + "\n" + `{% endif %}`
	bar       = "｜"
)

var toolFamilies = []toolFamily{
	{"hermes", "<|im_end|>", turns(listTools, `{% for c in m.tool_calls %}{{ '\n' if not loop.first or m.content else '' }}<tool_call>`+"\n"+
		`{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}`+"\n"+`</tool_call>{% endfor %}`, "<|im_end|>"),
		calls.Format{Marker: "<tool_call>", Begin: "<tool_call>\n{\"name\": \"", Middle: `", "arguments": `, Finish: "}\n</tool_call>", Separator: "\n", Parallel: true}},
	{"qwen-coder", "<|im_end|>", turns(listTools, `{% for c in m.tool_calls %}{{ '\n' if not loop.first or m.content else '' }}<tool_call>`+"\n"+
		`<function={{ c.function.name }}>{{ '\n' }}{% for k, v in c.function.arguments | items %}<parameter={{ k }}>{{ '\n' }}`+
		`{{ v if v is string else v | tojson }}{{ '\n' }}</parameter>{{ '\n' }}{% endfor %}</function>`+"\n"+`</tool_call>{% endfor %}`, "<|im_end|>"),
		calls.Format{Marker: "<tool_call>", Begin: "<tool_call>\n<function=", Middle: ">\n", Finish: "</function>\n</tool_call>", Separator: "\n", Parallel: true,
			Parameters: &calls.Parameters{Open: "<parameter=", Middle: ">\n", Close: "\n</parameter>\n"}}},
	{"glm", "<|user|>", turns(listTools, `{% for c in m.tool_calls %}{{ '\n' }}<tool_call>{{ c.function.name }}{{ '\n' }}{% for k, v in c.function.arguments | items %}`+
		`<arg_key>{{ k }}</arg_key>{{ '\n' }}<arg_value>{{ v if v is string else v | tojson }}</arg_value>{{ '\n' }}{% endfor %}</tool_call>{% endfor %}`, "<|user|>"),
		calls.Format{Marker: "<tool_call>", Begin: "<tool_call>", Middle: "\n", Finish: "</tool_call>", Separator: "\n", Parallel: true,
			Parameters: &calls.Parameters{Open: "<arg_key>", Middle: "</arg_key>\n<arg_value>", Close: "</arg_value>\n"}}},
	{"llama-3", "<|eot_id|>", turns(listTools+`{# <|python_tag|> #}`, `{% if m.tool_calls | length != 1 %}{{ raise_exception('one call at a time') }}{% endif %}`+
		`{"name": "{{ m.tool_calls[0].function.name }}", "parameters": {{ m.tool_calls[0].function.arguments | tojson }}}`, "<|eot_id|>"),
		calls.Format{Begin: `{"name": "`, Middle: `", "parameters": `, Finish: "}", Tag: "<|python_tag|>"}},
	{"mistral", "</s>", `{{ bos_token }}{% if tools %}[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }}[/INST]` +
		`{% elif m.role == 'tool' %}[TOOL_RESULTS] {"content": {{ m.content | tojson }}, "call_id": "{{ m.tool_call_id }}"}[/TOOL_RESULTS]{% elif m.tool_calls %}` +
		`{{ m.content or '' }}[TOOL_CALLS] [{% for c in m.tool_calls %}{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}, "id": "{{ c.id }}"}{{ ', ' if not loop.last }}{% endfor %}]</s>` +
		`{% else %} {{ m.content }}</s>{% endif %}{% endfor %}`,
		calls.Format{Marker: "[TOOL_CALLS]", Section: calls.Pair{Open: "[TOOL_CALLS] [", Close: "]"}, Begin: `{"name": "`, Middle: `", "arguments": `,
			Finish: ", \"id\": \"\x00\"}", Separator: ", ", Parallel: true}},
	{"mistral", "</s>", `{{ bos_token }}{% if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]` +
		`{% elif m.role == 'tool' %}[TOOL_RESULTS]{{ m.content }}[/TOOL_RESULTS]{% else %}{{ m.content or '' }}` +
		`{% for c in m.tool_calls %}[TOOL_CALLS]{{ c.function.name }}[ARGS]{{ c.function.arguments | tojson }}{% endfor %}</s>{% endif %}{% endfor %}`,
		calls.Format{Marker: "[TOOL_CALLS]", Begin: "[TOOL_CALLS]", Middle: "[ARGS]", Parallel: true}},
	{"granite", "<|end_of_text|>", turns(listTools, `<|tool_call|>[{% for c in m.tool_calls %}{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}{{ ', ' if not loop.last }}{% endfor %}]`, "<|end_of_text|>"),
		calls.Format{Marker: "<|tool_call|>", Section: calls.Pair{Open: "<|tool_call|>[", Close: "]"}, Begin: `{"name": "`, Middle: `", "arguments": `, Finish: "}", Separator: ", ", Parallel: true}},
	{"deepseek", "<" + bar + "end▁of▁sentence" + bar + ">", deepseek("\n```json\n", "\n```", "function<"+bar+"tool▁sep"+bar+">", "\n"),
		calls.Format{Marker: "<" + bar + "tool▁calls▁begin" + bar + ">", Section: calls.Pair{Open: "<" + bar + "tool▁calls▁begin" + bar + ">", Close: "<" + bar + "tool▁calls▁end" + bar + ">"},
			Begin: "<" + bar + "tool▁call▁begin" + bar + ">function<" + bar + "tool▁sep" + bar + ">", Middle: "\n```json\n", Finish: "\n```<" + bar + "tool▁call▁end" + bar + ">", Separator: "\n", Parallel: true}},
	{"deepseek", "<" + bar + "end▁of▁sentence" + bar + ">", deepseek("<"+bar+"tool▁sep"+bar+">", "", "", ""),
		calls.Format{Marker: "<" + bar + "tool▁calls▁begin" + bar + ">", Section: calls.Pair{Open: "<" + bar + "tool▁calls▁begin" + bar + ">", Close: "<" + bar + "tool▁calls▁end" + bar + ">"},
			Begin: "<" + bar + "tool▁call▁begin" + bar + ">", Middle: "<" + bar + "tool▁sep" + bar + ">", Finish: "<" + bar + "tool▁call▁end" + bar + ">", Parallel: true}},
	{"functionary", "<|eot_id|>", turns(listTools, `{% for c in m.tool_calls %}<function={{ c.function.name }}>{{ c.function.arguments | tojson }}</function>{% endfor %}`, "<|eot_id|>"),
		calls.Format{Marker: "<function=", Begin: "<function=", Middle: ">", Finish: "</function>", Parallel: true}},
	{"functionary", "<|eot_id|>", `{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>` + "\n\n" +
		`{% if m.role == 'assistant' %}{% if m.content %}>>>all` + "\n" + `{{ m.content }}{% endif %}{% for c in m.tool_calls %}>>>{{ c.function.name }}` + "\n" + `{{ c.function.arguments | tojson }}{% endfor %}` +
		`{% else %}{{ m.content }}{% endif %}<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>` + "\n\n" + `>>>{% endif %}`,
		calls.Format{TextOpen: "all\n", Marker: ">>>", Middle: "\n", Separator: ">>>", Parallel: true}},
	{"glm", "<|user|>", turns(listTools, `{% for c in m.tool_calls %}<tool_call>{{ c.function.name }}{% for k, v in c.function.arguments | items %}`+
		`<arg_key>{{ k }}</arg_key><arg_value>{{ v if v is string else v | tojson }}</arg_value>{% endfor %}</tool_call>{% endfor %}`, "<|user|>"),
		calls.Format{Marker: "<tool_call>", Begin: "<tool_call>", Finish: "</tool_call>", Parallel: true,
			Parameters: &calls.Parameters{Open: "<arg_key>", Middle: "</arg_key><arg_value>", Close: "</arg_value>"}}},
	{"kimi", "<|im_end|>", turns(listTools, `<|tool_calls_section_begin|>{% for c in m.tool_calls %}<|tool_call_begin|>functions.{{ c.function.name }}:{{ loop.index0 }}<|tool_call_argument_begin|>`+
		`{{ c.function.arguments | tojson }}<|tool_call_end|>{% endfor %}<|tool_calls_section_end|>`, "<|im_end|>"),
		calls.Format{Marker: "<|tool_calls_section_begin|>", Section: calls.Pair{Open: "<|tool_calls_section_begin|>", Close: "<|tool_calls_section_end|>"},
			Begin: "<|tool_call_begin|>functions.", Middle: ":\x01<|tool_call_argument_begin|>", Finish: "<|tool_call_end|>", Parallel: true}},
	{"command", "<|END_OF_TURN_TOKEN|>", turns(listTools, `<|START_ACTION|>[{% for c in m.tool_calls %}{"tool_call_id": "{{ loop.index0 }}", "tool_name": "{{ c.function.name }}", "parameters": {{ c.function.arguments | tojson }}}`+
		`{{ ', ' if not loop.last }}{% endfor %}]<|END_ACTION|>`, "<|END_OF_TURN_TOKEN|>"),
		calls.Format{Marker: "<|START_ACTION|>", Section: calls.Pair{Open: "<|START_ACTION|>[", Close: "]<|END_ACTION|>"}, Begin: "{\"tool_call_id\": \"\x01\", \"tool_name\": \"",
			Middle: `", "parameters": `, Finish: "}", Separator: ", ", Parallel: true}},
	{"", "<|end|>", turns(listTools, `<|tool_calls|>{% for c in m.tool_calls %}<|call:begin|>{{ c.id }}<|call:name|>{{ c.function.name }}<|call:args|>{{ c.function.arguments | tojson }}<|call:end|>{% endfor %}`, "<|end|>"),
		calls.Format{Marker: "<|tool_calls|>", Section: calls.Pair{Open: "<|tool_calls|>"}, Begin: "<|call:begin|>\x00<|call:name|>", Middle: "<|call:args|>", Finish: "<|call:end|>", Parallel: true}},
	{"gpt-oss", "<|call|>", `{% if tools %}<|start|>developer<|message|>{{ tools | tojson }}<|end|>{% endif %}{% for m in messages %}{% if m.role == 'assistant' %}` +
		`{% if m.content %}<|start|>assistant<|channel|>commentary<|message|>{{ m.content }}<|end|>{% endif %}{% for c in m.tool_calls %}<|start|>assistant to=functions.{{ c.function.name }}` +
		`<|channel|>commentary json<|message|>{{ c.function.arguments | tojson }}<|call|>{% endfor %}{% else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}` +
		`{% if add_generation_prompt %}<|start|>assistant{% endif %}`,
		calls.Format{Think: calls.Pair{Open: "<|channel|>analysis<|message|>", Close: "<|end|>"}, Channels: true, Marker: "<|channel|>commentary to=functions.",
			Begin: "<|channel|>commentary to=functions.", Middle: " <|constrain|>json<|message|>"}},
	{"json", "<|im_end|>", turns(listTools, `[{% for c in m.tool_calls %}{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}{{ ', ' if not loop.last }}{% endfor %}]`, "<|im_end|>"),
		calls.Format{Section: calls.Pair{Open: "[", Close: "]"}, Begin: `{"name": "`, Middle: `", "arguments": `, Finish: "}", Separator: ", ", Parallel: true}},
}

// deepseek is the family's template, whose versions differ in what stands around the name.
func deepseek(middle, finish, before, between string) string {
	q := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	return `{{ bos_token }}{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{% if m.role == 'user' %}<` + bar + `User` + bar + `>{{ m.content }}` +
		`{% elif m.role == 'tool' %}<` + bar + `tool▁output▁begin` + bar + `>{{ m.content }}<` + bar + `tool▁output▁end` + bar + `>{% else %}<` + bar + `Assistant` + bar + `>{{ m.content or '' }}` +
		`{% if m.tool_calls %}<` + bar + `tool▁calls▁begin` + bar + `>{% for c in m.tool_calls %}{{ ` + q(between) + ` if not loop.first }}<` + bar + `tool▁call▁begin` + bar + `>` + before + `{{ c.function.name }}{{ ` +
		q(middle) + ` }}{{ c.function.arguments | tojson }}{{ ` + q(finish) + ` }}<` + bar + `tool▁call▁end` + bar + `>{% endfor %}<` + bar + `tool▁calls▁end` + bar + `>{% endif %}<` + bar +
		`end▁of▁sentence` + bar + `>{% endif %}{% endfor %}{% if add_generation_prompt %}<` + bar + `Assistant` + bar + `>{% endif %}`
}

// toolSet are the tools of a test.
type toolSet map[string]map[string]bool // tool -> the parameters that are texts

func (s toolSet) Has(name string) bool               { return s[name] != nil }
func (s toolSet) IsText(tool, parameter string) bool { return s[tool][parameter] }

// readCall is a call that was read from an answer.
type readCall struct{ name, arguments string }

// read divides an answer that comes in the given pieces.
func read(t *testing.T, p *calls.Parser, pieces ...string) (text, reasoning string, list []readCall) {
	t.Helper()
	var parts []calls.Part
	for _, piece := range pieces {
		parts = p.Write(parts, piece)
	}
	open := false
	for _, part := range p.Close(parts) {
		if !utf8.ValidString(part.Text) {
			t.Errorf("part %q is not whole", part.Text)
		}
		switch part.Kind {
		case calls.Text:
			text += part.Text
		case calls.Reasoning:
			reasoning += part.Text
		case calls.Call:
			list, open = append(list, readCall{name: part.Name}), true
		case calls.Arguments:
			list[len(list)-1].arguments += part.Text
		case calls.Done:
			open = false
		}
		if part.Kind >= calls.Call && part.Index != len(list)-1 || open != (part.Kind == calls.Call || part.Kind == calls.Arguments) {
			t.Errorf("part %+v is out of order", part)
		}
	}
	if open {
		t.Error("a call has no end")
	}
	return text, reasoning, list
}

// The formats that are found are those of the families, and what a template writes is read back however it is cut.
func TestFamilies(t *testing.T) {
	tools := toolSet{"get_weather": {"city": true, "note": true}, "f2": {}}
	arguments := []string{`{"city": "Zürich <b>", "days": 3, "note": "a \"b\"\n{[c]} d", "deep": {"x": [1, "}"], "y": null}}`, `{}`, `{"k": true}`}
	for i, f := range slices.Concat(toolFamilies, literalFamilies) {
		t.Run(fmt.Sprint(i, "-", f.name), func(t *testing.T) {
			m := testModel()
			m.facts.EOSText = f.end
			template := NewTemplate(m, f.source, func(s string) { t.Error(s) })
			got := *template.Format(true)
			want := f.want
			want.Family, want.Calls = f.name, true
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("format\n%+v, want\n%+v", got, want)
			}
			if reason := template.GenericTools(); reason != "" {
				t.Error(reason)
			}
			for _, said := range []string{"", "Let me look: 1 < 2 [ok]"} {
				if said != "" && got.Marker == "" {
					continue // a call stands alone
				}
				for n := 1; n <= 3 && (n == 1 || got.Parallel); n++ {
					testReadBack(t, template, tools, said, arguments[:n], f.end)
				}
			}
		})
	}
}

// testReadBack renders a turn with calls and reads it.
func testReadBack(t *testing.T, template *Template, tools toolSet, said string, arguments []string, end string) {
	t.Helper()
	var list []string
	var want []readCall
	for i, a := range arguments {
		name := []string{"get_weather", "f2", "get_weather"}[i]
		list = append(list, probeCall(fmt.Sprintf("abcdefgh%d", i), name, a))
		want = append(want, readCall{name, a})
	}
	user := runtime.Message{Role: "user", Content: "x"}
	prompt, err := template.Render([]runtime.Message{user}, Options{Tools: probeToolList, AddGenerationPrompt: true})
	if err != nil {
		t.Fatal(err)
	}
	turn := runtime.Message{Role: "assistant", Content: said, Extra: map[string]any{"tool_calls": json.RawMessage("[" + strings.Join(list, ",") + "]")}}
	text, err := template.Render([]runtime.Message{user, turn}, Options{Tools: probeToolList})
	if err != nil {
		t.Fatal(err)
	}
	answer, ok := strings.CutPrefix(text, prompt)
	if !ok {
		t.Fatalf("%q does not begin with %q", text, prompt)
	}
	answer, _, _ = strings.Cut(answer, end)
	check := func(pieces ...string) {
		t.Helper()
		gotText, _, got := read(t, calls.NewParser(template.Format(true), tools, false), pieces...)
		for i := range got {
			got[i].arguments = sameJSON(t, got[i].arguments)
		}
		for i := range want {
			want[i].arguments = sameJSON(t, want[i].arguments)
		}
		if strings.TrimSpace(gotText) != said || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q cut as %d pieces: text %q and calls %q, want %q and %q", answer, len(pieces), gotText, got, said, want)
		}
	}
	check(answer)
	check(strings.Split(answer, "")...)
	for i := range answer {
		check(answer[:i], answer[i:])
	}
}

// sameJSON is a JSON text in one form.
func sameJSON(t *testing.T, text string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	b, _ := json.Marshal(v)
	return string(b)
}

// Templates of testdata, whose formats are those of their families too.
func TestFormatsOfTestdata(t *testing.T) {
	for name, want := range map[string]struct {
		family  string
		think   calls.Pair
		generic string // a word of the reason
	}{
		"qwen3":         {"hermes", calls.Pair{Open: "<think>", Close: "</think>"}, ""},
		"llama3-tools":  {"llama-3", calls.Pair{}, ""},
		"mistral-tools": {"mistral", calls.Pair{}, ""},
		"chatml":        {"generic", calls.Pair{}, "the tools of a request, nor calls of tools, nor what tools return"},
		"gemma":         {"generic", calls.Pair{}, "the tools of a request"},
	} {
		_, template := familyTemplate(t, name)
		f := template.Format(true)
		if f.Family != want.family || f.Think != want.think || (want.generic == "") != (template.GenericTools() == "") ||
			!strings.Contains(template.GenericTools(), want.generic) {
			t.Errorf("%s: %+v, generic tools %q", name, f, template.GenericTools())
		}
	}
}

// Where a template prints neither tools nor calls nor results, the messages do, in the generic format.
func TestGenericTools(t *testing.T) {
	conversation := []runtime.Message{
		{Role: "user", Content: "weather?"},
		{Role: "assistant", Missing: runtime.ContentNull, Extra: map[string]any{"tool_calls": json.RawMessage("[" + probeCall("1", "get_weather", `{"city":  "Rome<|im_end|>"}`) + "]")}},
		{Role: "tool", Content: "sun", Extra: map[string]any{"tool_call_id": "1"}},
		{Role: "tool", Content: "wind", Extra: map[string]any{"tool_call_id": "2"}},
	}
	tools := json.RawMessage(`[{"type":"function", "function":{"name":"get_weather"}}]`)
	const described = "You can call tools. Each line describes one of them as JSON:\n" + `{"type":"function","function":{"name":"get_weather"}}` +
		"\n\nTo call a tool, write nothing but this, with its name and a JSON object of its arguments:\n<tool_call>\n" +
		`{"name": "NAME", "arguments": {ARGUMENTS}}` + "\n</tool_call>\nThe next turn then has what the tool returned."
	const called = "<tool_call>\n" + `{"name": "get_weather", "arguments": {"city":"Rome<|im_end|>"}}` + "\n</tool_call>"
	const results = "<tool_response>\nsun\n</tool_response>\n<tool_response>\nwind\n</tool_response>"
	chatml := func(turns ...string) string {
		text := ""
		for i := 0; i < len(turns); i += 2 {
			text += "<|im_start|>" + turns[i] + "\n" + turns[i+1] + "<|im_end|>\n"
		}
		return text
	}
	for _, c := range []struct {
		name     string
		messages []runtime.Message
		tools    any
		want     string
	}{
		{"all", conversation, tools, chatml("system", described, "user", "weather?", "assistant", called, "user", results)},
		{"a system turn", append([]runtime.Message{{Role: "system", Content: "Be kind."}}, conversation[:1]...), tools, chatml("system", "Be kind.\n\n"+described, "user", "weather?")},
		{"no tools any more", conversation, nil, chatml("system", "Answer in one sentence.", "user", "weather?", "assistant", called, "user", results)},
		{"no tools at all", conversation[:1], nil, chatml("system", "Answer in one sentence.", "user", "weather?")},
	} {
		m, template := familyTemplate(t, "chatml")
		text, err := template.Render(c.messages, Options{Tools: c.tools})
		if err != nil || template.Show(text) != c.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", c.name, err, template.Show(text), c.want)
		}
		tokens, err := template.Encode(text)
		if want := strings.Count(c.want, "<|im_start|>"); err != nil || countTokens(tokens, m.controls, "<|im_start|>") != want || countTokens(tokens, m.controls, "<|im_end|>") != want {
			t.Errorf("%s: a client's control token counts: %v, %v", c.name, tokens, err)
		}
	}
	_, gemma := familyTemplate(t, "gemma")
	text, err := gemma.Render(conversation[:1], Options{Tools: tools, AddGenerationPrompt: true})
	if err != nil || !strings.Contains(text, "<start_of_turn>user\n"+described+"\n\nweather?<end_of_turn>") {
		t.Errorf("without a system turn: %q, %v", text, err)
	}
}

func countTokens(tokens []runtime.Token, controls []string, text string) (n int) {
	for _, token := range tokens {
		if token >= 1000 && controls[token-1000] == text {
			n++
		}
	}
	return n
}

// Where a template wants identifiers of nine letters and digits, others are replaced, those of calls and results alike.
func TestIdentifiers(t *testing.T) {
	const check = `{% if c.id is not defined or c.id|length != 9 %}{{ raise_exception('ids have 9 characters') }}{% endif %}`
	var source string
	for _, f := range toolFamilies {
		if f.name == "mistral" && f.want.Middle != "[ARGS]" {
			source = strings.Replace(f.source, `{"name": "{{ c.function`, check+`{"name": "{{ c.function`, 1)
		}
	}
	m := testModel()
	template := NewTemplate(m, source, func(s string) { t.Error(s) })
	for id, same := range map[string]bool{"abcdEF012": true, "call_0123456789abcdef": false, "toolu_01": false, "abcd-f012": false} {
		text, err := template.Render([]runtime.Message{
			{Role: "user", Content: "a"},
			{Role: "assistant", Missing: runtime.ContentNull, Extra: map[string]any{"tool_calls": json.RawMessage("[" + probeCall(id, "f", "{}") + "]")}},
			{Role: "tool", Content: "r", Extra: map[string]any{"tool_call_id": json.RawMessage(`"` + id + `"`)}},
		}, Options{Tools: probeToolList})
		want := calls.Identifier(id)
		if err != nil || (want == id) != same || strings.Count(text, want) != 2 || !same && strings.Contains(text, id) {
			t.Errorf("%s: %q, %v", id, text, err)
		}
	}
}

// OpenAI's older names of calls and results are read as the newer ones where the template does not know them.
func TestOlderCalls(t *testing.T) {
	older := []runtime.Message{
		{Role: "user", Content: "a"},
		{Role: "assistant", Missing: runtime.ContentNull, Extra: map[string]any{"function_call": json.RawMessage(`{"name": "f", "arguments": "{\"x\": 1}"}`)}},
		{Role: "function", Content: "r", Extra: map[string]any{"name": json.RawMessage(`"f"`)}},
	}
	_, qwen := familyTemplate(t, "qwen3")
	text, err := qwen.Render(older, Options{Tools: probeToolList})
	if err != nil || !strings.Contains(text, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>") || !strings.Contains(text, "<tool_response>\nr\n</tool_response>") {
		t.Errorf("%q, %v", text, err)
	}
	if older[1].Extra["tool_calls"] != nil || older[2].Role != "function" {
		t.Error("the messages were changed")
	}
	_, mistral := familyTemplate(t, "mistral-tools")
	text, err = mistral.Render(older, Options{Tools: probeToolList})
	if err != nil || strings.Count(text, calls.Identifier("1f")) != 2 {
		t.Errorf("%q, %v", text, err)
	}
	knows := NewTemplate(testModel(), `{% for m in messages %}{{ m.role }}:{{ m.content or '' }}{% if m.function_call %}{{ m.function_call.name }}{{ m.function_call.arguments | tojson }}{% endif %};{% endfor %}`, nil)
	if text, err = knows.Render(older, Options{}); err != nil || text != `user:a;assistant:f{"x": 1};function:r;` {
		t.Errorf("%q, %v", text, err)
	}
	_, chatml := familyTemplate(t, "chatml")
	text, err = chatml.Render(older, Options{})
	if err != nil || !strings.Contains(text, `{"name": "f", "arguments": {"x":1}}`) || !strings.Contains(text, "<tool_response>\nr\n</tool_response>") {
		t.Errorf("%q, %v", text, err)
	}
}

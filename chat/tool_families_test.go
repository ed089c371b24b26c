package chat

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/chat/calls"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// gemmaValue writes a value as Gemma's templates do, with the given quotes around texts.
func gemmaValue(quote string) string {
	return `{% macro value(v) %}{% if v is string %}` + quote + `{{ v }}` + quote + `{% elif v is boolean %}{{ 'true' if v else 'false' }}` +
		`{% elif v is mapping %}{{ '{' }}{% for k, e in v | dictsort %}{{ k }}:{{ value(e) }}{{ ',' if not loop.last }}{% endfor %}{{ '}' }}` +
		`{% elif v is sequence %}[{% for e in v %}{{ value(e) }}{{ ',' if not loop.last }}{% endfor %}]{% else %}{{ v }}{% endif %}{% endmacro %}`
}

// gemma is a template of Gemma's turns: open and end stand around a turn, callOpen and callEnd around a call.
func gemma(open, end, callOpen, callEnd, quote, after string) string {
	return gemmaValue(quote) + `{{ bos_token }}{% if tools %}` + open + `system` + "\n" + `{{ tools | tojson }}` + end + "\n" + `{% endif %}` +
		`{% for m in messages %}` + open + `{{ 'model' if m.role == 'assistant' else m.role }}` + "\n" + `{{ m.content or '' }}` +
		`{% for c in m.tool_calls %}` + callOpen + `call:{{ c.function.name }}{{ '{' }}{% for k, v in c.function.arguments | dictsort %}{{ k }}:{{ value(v) }}{{ ',' if not loop.last }}{% endfor %}` +
		`{{ '}' }}` + callEnd + `{% endfor %}{% if m.tool_calls %}` + after + `{% else %}` + end + "\n" + `{% endif %}{% endfor %}` +
		`{% if add_generation_prompt %}` + open + "model\n" + `{% endif %}`
}

// pythonCalls writes calls as those of functions in Python.
const pythonCalls = `{% for c in m.tool_calls %}{{ ', ' if not loop.first }}{{ c.function.name }}({% for k, v in c.function.arguments.items() %}{{ ', ' if not loop.first }}{{ k }}=` +
	`{% if v is string %}'{{ v }}'{% elif v is mapping %}{{ v | tojson }}{% else %}{{ v | string }}{% endif %}{% endfor %}){% endfor %}`

// xmlCalls writes calls in tags, whose names and attributes are given.
func xmlCalls(section, sectionEnd, call, callEnd, name, text, other, nameEnd string) string {
	return section + `{% for c in m.tool_calls %}` + call + `{{ c.function.name }}">` + "{{ '\\n' }}" +
		`{% for k, v in c.function.arguments.items() %}` + name + `{{ k }}{% if v is string %}` + text + `{{ v }}{% else %}` + other + `{{ v | tojson }}{% endif %}` + nameEnd + "{{ '\\n' }}{% endfor %}" +
		callEnd + "{{ '\\n' }}{% endfor %}" + sectionEnd
}

const dsml = bar + "DSML" + bar

// literalFamilies are those that write arguments one by one in other ways than with tags alone.
var literalFamilies = []toolFamily{
	{"gemma", "<turn|>", gemma("<|turn>", "<turn|>", "<|tool_call>", "<tool_call|>", `<|"|>`, "<|tool_response>"),
		calls.Format{Marker: "<|tool_call>", Section: calls.Pair{Close: "<|tool_response>"}, Begin: "<|tool_call>call:", Middle: "{", Finish: "}<tool_call|>", Parallel: true,
			Parameters: &calls.Parameters{Middle: ":", Separator: ",", Quotes: calls.Pair{Open: `<|"|>`, Close: `<|"|>`}, Sorted: true}}},
	{"gemma", "<end_of_turn>", gemma("<start_of_turn>", "<end_of_turn>", "<start_function_call>", "<end_function_call>", `<escape>`, "<start_function_response>"),
		calls.Format{Marker: "<start_function_call>", Section: calls.Pair{Close: "<start_function_response>"}, Begin: "<start_function_call>call:", Middle: "{", Finish: "}<end_function_call>", Parallel: true,
			Parameters: &calls.Parameters{Middle: ":", Separator: ",", Quotes: calls.Pair{Open: `<escape>`, Close: `<escape>`}, Sorted: true}}},
	{"lfm", "<|im_end|>", turns(listTools, `<|tool_call_start|>[`+pythonCalls+`]<|tool_call_end|>`, "<|im_end|>"),
		calls.Format{Marker: "<|tool_call_start|>", Section: calls.Pair{Open: "<|tool_call_start|>[", Close: "]<|tool_call_end|>"}, Middle: "(", Finish: ")", Separator: ", ", Parallel: true,
			Parameters: &calls.Parameters{Middle: "=", Separator: ", ", Quotes: calls.Pair{Open: "'", Close: "'"}, Python: true}}},
	{"deepseek-xml", "<" + bar + "end▁of▁sentence" + bar + ">", turns(listTools, xmlCalls("<"+dsml+"tool_calls>\n", "</"+dsml+"tool_calls>", "<"+dsml+`invoke name="`, "</"+dsml+"invoke>",
		"<"+dsml+`parameter name="`, `" string="true">`, `" string="false">`, "</"+dsml+"parameter>"), "<"+bar+"end▁of▁sentence"+bar+">"),
		calls.Format{Marker: "<" + dsml + "tool_calls>", Section: calls.Pair{Open: "<" + dsml + "tool_calls>\n", Close: "</" + dsml + "tool_calls>"}, Begin: "<" + dsml + `invoke name="`, Middle: "\">\n",
			Finish: "</" + dsml + "invoke>\n", Parallel: true, Parameters: &calls.Parameters{Open: "<" + dsml + `parameter name="`, Middle: `" string="false">`, TextMiddle: `" string="true">`, Close: "</" + dsml + "parameter>\n"}}},
	{"minimax", "[e~[", turns(listTools, xmlCalls("<minimax:tool_call>\n", "</minimax:tool_call>", `<invoke name="`, "</invoke>", `<parameter name="`, `">`, `">`, "</parameter>"), "[e~["),
		calls.Format{Marker: "<minimax:tool_call>", Section: calls.Pair{Open: "<minimax:tool_call>\n", Close: "</minimax:tool_call>"}, Begin: `<invoke name="`, Middle: "\">\n", Finish: "</invoke>\n", Parallel: true,
			Parameters: &calls.Parameters{Open: `<parameter name="`, Middle: `">`, Close: "</parameter>\n"}}},
	{"minicpm", "<|im_end|>", turns(listTools, `{% for c in m.tool_calls %}{{ '\n' if not loop.first or m.content else '' }}<function name="{{ c.function.name }}">{% for k, v in c.function.arguments.items() %}<param name="{{ k }}">`+
		`{% if v is string and ('<' in v or '&' in v or '\n' in v) %}<![CDATA[{{ v }}]]>{% else %}{{ v }}{% endif %}</param>{% endfor %}</function>{% endfor %}`, "<|im_end|>"),
		calls.Format{Marker: `<function name="`, Begin: `<function name="`, Middle: `">`, Finish: "</function>", Separator: "\n", Parallel: true,
			Parameters: &calls.Parameters{Open: `<param name="`, Middle: `">`, Close: "</param>", Wrap: calls.Pair{Open: "<![CDATA[", Close: "]]>"}}}},
	{"", "<|im_end|>", turns(listTools, "<function_calls>\n"+`{% for c in m.tool_calls %}{{ '\n' if not loop.first }}{{ c.function.name }}({% for k, v in c.function.arguments.items() %}{{ ', ' if not loop.first }}{{ k }}={{ v | tojson }}{% endfor %}){% endfor %}`+
		"{{ '\\n' }}</function_calls>", "<|im_end|>"),
		calls.Format{Marker: "<function_calls>", Section: calls.Pair{Open: "<function_calls>\n", Close: "</function_calls>"}, Middle: "(", Finish: ")\n", Parallel: true,
			Parameters: &calls.Parameters{Middle: "=", Separator: ", ", Quotes: calls.Pair{Open: `"`, Close: `"`}}}},
}

// Where a template prints tools and no calls, the tokens of the vocabulary tell how the model writes them, and so they
// are written in the history.
func TestFormatsByTokens(t *testing.T) {
	const plainTurns = `{% for m in messages %}<|im_start|>{{ m.role }}` + "\n" + `{{ m.content }}<|im_end|>` + "\n" + `{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant` + "\n" + `{% endif %}`
	for _, c := range []struct {
		controls []string
		source   string
		family   string
		want     string // the calls below in the history
	}{
		{[]string{"<|im_start|>", "<|im_end|>", "<|tool_call_start|>", "<|tool_call_end|>"}, listTools + plainTurns, "lfm",
			`<|tool_call_start|>[get_weather(city="Rome <|im_end|>", days=2, now=True, deep={"a":null}), f2()]<|tool_call_end|>`},
		{[]string{"<|im_start|>", "<|im_end|>", "<|start_of_role|>", "<|tool_call|>"}, listTools + plainTurns, "granite",
			`<|tool_call|>[{"name": "get_weather", "arguments": {"city":"Rome <|im_end|>","days":2,"now":true,"deep":{"a":null}}}, {"name": "f2", "arguments": {}}]`},
		{[]string{"<|im_start|>", "<|im_end|>", "<|tool_call_start|>"}, listTools + plainTurns, "generic", ""},
		{[]string{"<|im_start|>", "<|im_end|>", "<|tool_call_start|>", "<|tool_call_end|>"}, plainTurns, "generic", ""}, // nothing tells the model which tools there are
	} {
		m := testModel()
		m.controls, m.facts.EOSText, m.facts.VocabSize = c.controls, "<|im_end|>", 1000+len(c.controls)
		template := NewTemplate(m, c.source, func(s string) { t.Error(s) })
		if f := template.Format(true); f.Family != c.family || (template.GenericTools() == "") != (c.family != "generic") {
			t.Errorf("%q: the family is %q, and generic: %q", c.controls, f.Family, template.GenericTools())
		}
		if c.want == "" {
			continue
		}
		list := "[" + probeCall("1", "get_weather", `{"city": "Rome <|im_end|>", "days": 2, "now": true, "deep": {"a": null}}`) + "," + probeCall("2", "f2", "{}") + "]"
		text, err := template.Render([]runtime.Message{
			{Role: "user", Content: "weather?"}, {Role: "assistant", Content: "I look.", Extra: map[string]any{"tool_calls": json.RawMessage(list)}}, {Role: "tool", Content: "sun"},
		}, Options{Tools: probeToolList})
		want := "<|im_start|>assistant\nI look.\n" + c.want + "<|im_end|>\n<|im_start|>tool\nsun<|im_end|>"
		if err != nil || !strings.Contains(template.Show(text), want) {
			t.Errorf("%s: %v\n%s\nwant\n%s", c.family, err, template.Show(text), want)
		}
		tokens, err := template.Encode(text)
		if n := countTokens(tokens, m.controls, "<|im_end|>"); err != nil || n != 4 { // of the tools, and three turns
			t.Errorf("%s: %d turns end, %v", c.family, n, err)
		}
	}
}

// Reasoning that is written in Gemma's channel is found.
func TestGemmaThinks(t *testing.T) {
	source := gemma("<|turn>", "<turn|>", "<|tool_call>", "<tool_call|>", `<|"|>`, "<|tool_response>") + `{% if add_generation_prompt and not enable_thinking %}<|channel>thought` + "\n<channel|>{% endif %}"
	m := testModel()
	m.facts.EOSText = "<turn|>"
	f := NewTemplate(m, source, func(s string) { t.Error(s) }).Format(true)
	text, reasoning, list := read(t, calls.NewParser(f, toolSet{"f": {}}, false), "<|channel>thought\nHm.\n<channel|>So:", `<|tool_call>call:f{a:[1,{b:<|"|>c<|"|>}]}<tool_call|>`)
	if text != "So:" || reasoning != "Hm." || len(list) != 1 || list[0] != (readCall{"f", `{"a": [1, {"b": "c"}]}`}) {
		t.Errorf("%q, %q, %q", text, reasoning, list)
	}
}

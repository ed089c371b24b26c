package server

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// A tool under its newer and its older name.
const (
	oneTool = `"tools":[{"type":"function","function":{"name":"get_weather","description":"tells the weather","parameters":` +
		`{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}},{"type":"function","function":{"name":"now"}}]`
	oneTool2 = `"functions":[{"name":"get_weather","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}]`
)

// genericCall is a call in the format for templates without tools, which the fake model's is.
func genericCall(name, arguments string) string {
	return "<tool_call>\n{\"name\": \"" + name + "\", \"arguments\": " + arguments + "}\n</tool_call>"
}

// delta is what a chunk says of its choice.
type delta struct {
	Index int
	Delta struct {
		Role      *string
		Content   *string
		Reasoning *string `json:"reasoning_content"`
		Calls     []struct {
			Index    int
			ID       string
			Type     string
			Function struct{ Name, Arguments string }
		} `json:"tool_calls"`
		Legacy *struct{ Name, Arguments string } `json:"function_call"`
	}
	Finish *string `json:"finish_reason"`
}

// assembled puts a stream together as OpenAI's clients do, and prints it.
func assembled(t *testing.T, body []byte) string {
	t.Helper()
	var content, reasoning, legacy, finish string
	var list []openapi.ToolCall
	for _, data := range dataOf(string(body)) {
		var chunk struct{ Choices []delta }
		if data == "[DONE]" {
			continue
		}
		if err := json.Unmarshal([]byte(data), &chunk); err != nil {
			t.Fatal(err)
		}
		for _, c := range chunk.Choices {
			if c.Delta.Content != nil {
				content += *c.Delta.Content
			}
			if c.Delta.Reasoning != nil {
				reasoning += *c.Delta.Reasoning
			}
			if l := c.Delta.Legacy; l != nil {
				legacy += l.Name + l.Arguments
			}
			for _, d := range c.Delta.Calls {
				if d.Index == len(list) {
					list = append(list, openapi.ToolCall{Id: d.ID, Type: d.Type})
				} else if d.Index != len(list)-1 || d.ID != "" || d.Function.Name != "" {
					t.Errorf("delta %+v after %d calls", d, len(list))
				}
				f := &list[len(list)-1].Function
				f.Name, f.Arguments = f.Name+d.Function.Name, f.Arguments+d.Function.Arguments
			}
			if c.Finish != nil {
				finish += *c.Finish
			}
		}
	}
	return printed(content, reasoning, legacy, list, finish)
}

// printed is an answer as a test compares it, without the identifiers of its calls.
func printed(content, reasoning, legacy string, list []openapi.ToolCall, finish string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q thinking %q %s", content, reasoning, finish)
	for _, c := range list {
		fmt.Fprintf(&b, "; %s %s %s", c.Type, c.Function.Name, c.Function.Arguments)
	}
	if legacy != "" {
		b.WriteString("; legacy " + legacy)
	}
	return b.String()
}

// whole prints an answer that came in one.
func whole(t *testing.T, got openapi.ChatCompletion) string {
	t.Helper()
	m := got.Choices[0].Message
	var content, reasoning, legacy string
	var list []openapi.ToolCall
	if m.Content != nil {
		content = *m.Content
	}
	if m.ReasoningContent != nil {
		reasoning = *m.ReasoningContent
	}
	if m.FunctionCall != nil {
		legacy = m.FunctionCall.Name + m.FunctionCall.Arguments
	}
	if m.ToolCalls != nil {
		list = *m.ToolCalls
	}
	if (m.Content == nil) != (content == "" && len(list)+len(legacy) > 0) {
		t.Errorf("the content of %+v", m)
	}
	return printed(content, reasoning, legacy, list, string(got.Choices[0].FinishReason))
}

// An answer that calls tools has the calls apart, whole and as a stream.
func TestToolCalls(t *testing.T) {
	city := `{"city": "Zürich \"x\" }"}`
	call, now := genericCall("get_weather", city), genericCall("now", "{}")
	const sayHi = "Hi <tool_cal"
	for _, c := range []struct{ name, says, fields, want string }{
		{"a call", call, oneTool, `"" thinking "" tool_calls; function get_weather ` + city},
		{"two calls", call + "\n" + now, oneTool, `"" thinking "" tool_calls; function get_weather ` + city + `; function now {}`},
		{"text and a call", "Let me look.\n\n" + now, oneTool, `"Let me look." thinking "" tool_calls; function now {}`},
		{"text", sayHi, oneTool, `"` + sayHi + `" thinking "" stop`},
		{"a tool that is not there", genericCall("rm", "{}"), oneTool, fmt.Sprintf(`%q thinking "" stop`, genericCall("rm", "{}"))},
		{"no tools", call, ``, fmt.Sprintf(`%q thinking "" stop`, call)},
		{"tools that are not to be used", now, oneTool + `,"tool_choice":"none"`, fmt.Sprintf(`%q thinking "" stop`, now)},
		{"a tool that is not allowed", now, oneTool + `,"tool_choice":{"type":"function","function":{"name":"get_weather"}}`, fmt.Sprintf(`%q thinking "" stop`, now)},
		{"cut off", call, oneTool + `,"max_tokens":60`, `"" thinking "" length; function get_weather {"city": "Z`},
		{"a stop string", call, oneTool + `,"stop":"rich"`, `"" thinking "" stop; function get_weather {"city": "Zü`},
		{"the older names", call, oneTool2, `"" thinking "" function_call; legacy get_weather` + city},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := open(t, saying(c.says))
			fields := []string{c.fields}
			if c.fields == "" {
				fields = nil
			}
			var got openapi.ChatCompletion
			h.post("/v1/chat/completions", chatBody("a", fields...), &got)
			if s := whole(t, got); s != c.want {
				t.Errorf("whole: %s\nwant   %s", s, c.want)
			}
			r := h.do("POST", "/v1/chat/completions", chatBody("a", append(fields, `"stream":true`)...))
			if s := assembled(t, r.body); s != c.want {
				t.Errorf("stream: %s\nwant    %s\n%s", s, c.want, r.body)
			}
		})
	}
}

// The first delta of a call has its id and name, and the others the pieces of its arguments.
func TestToolCallDeltas(t *testing.T) {
	h := open(t, saying(genericCall("now", `{"a":1}`)))
	r := h.do("POST", "/v1/chat/completions", chatBody("a", oneTool, `"stream":true`))
	var got []string
	for _, data := range dataOf(string(r.body)) {
		_, choice, ok := strings.Cut(data, `"choices":[`)
		if ok {
			got = append(got, strings.TrimSuffix(choice, "]}"))
		}
	}
	const rest = `,"logprobs":null,"finish_reason":null}`
	if len(got) < 5 || got[0] != `{"index":0,"delta":{"role":"assistant","content":null}`+rest ||
		!strings.HasPrefix(got[1], `{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_`) ||
		!strings.HasSuffix(got[1], `","type":"function","function":{"name":"now","arguments":""}}]}`+rest) ||
		got[2] != `{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}`+rest ||
		got[len(got)-1] != `{"index":0,"delta":{},"logprobs":null,"finish_reason":"tool_calls"}` {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
}

// Identifiers of calls are unique, also among the choices of one request.
func TestCallsHaveIdentifiers(t *testing.T) {
	h := open(t, saying(genericCall("now", "{}")+"\n"+genericCall("now", "{}")))
	var got openapi.ChatCompletion
	h.post("/v1/chat/completions", chatBody("a", oneTool, `"n":3`), &got)
	seen := map[string]bool{}
	for _, c := range got.Choices {
		for _, call := range *c.Message.ToolCalls {
			if seen[call.Id] || !strings.HasPrefix(call.Id, "call_") {
				t.Errorf("id %q", call.Id)
			}
			seen[call.Id] = true
		}
	}
	if len(seen) != 6 {
		t.Errorf("%d ids", len(seen))
	}
}

// The card of the base says what becomes of tools.
func TestCardOfTools(t *testing.T) {
	h := open(t)
	var card openapi.Model
	h.get("/v1/models/fake", &card)
	c := card.Facts.ChatTemplate
	if c.ToolFormat != "generic" || c.GenericTools == nil || !strings.Contains(*c.GenericTools, "does not print the tools") || c.Reasoning {
		t.Errorf("%+v", c)
	}
}

// Where the model's template wants identifiers of nine letters and digits, calls are given such.
func TestShortIdentifiers(t *testing.T) {
	const source = `{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}` + "\n" + `{{ m.content or '' }}{% if m.tool_calls %}` +
		`[TOOL_CALLS] [{% for c in m.tool_calls %}{% if c.id|length != 9 %}{{ raise_exception('no') }}{% endif %}{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}, "id": "{{ c.id }}"}{{ ', ' if not loop.last }}{% endfor %}]{% endif %}<|im_end|>` +
		"\n" + `{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant` + "\n" + `{% endif %}`
	h := open(t, saying(`[TOOL_CALLS] [{"name": "now", "arguments": {}, "id": "abcdefgh1"}]`), func(p *setup) {
		p.facts = func(f *runtime.Facts) { f.ChatTemplate = source }
	})
	var got openapi.ChatCompletion
	h.post("/v1/chat/completions", chatBody("a", oneTool), &got)
	if s := whole(t, got); s != `"" thinking "" tool_calls; function now {}` {
		t.Fatal(s)
	}
	if id := (*got.Choices[0].Message.ToolCalls)[0].Id; len(id) != 9 {
		t.Errorf("id %q", id)
	}
	history := `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":null,"tool_calls":[{"id":"call_of_another_server","type":"function","function":{"name":"now","arguments":"{}"}}]},` +
		`{"role":"tool","tool_call_id":"call_of_another_server","content":"noon"}],` + oneTool + `}`
	if r := h.do("POST", "/v1/chat/completions", history); r.status != 200 {
		t.Errorf("a history of another server: %d %s", r.status, r.body)
	}
}

// A call is forced by OpenAI's word for that and by Mistral's.
func TestForcedCalls(t *testing.T) {
	h := open(t)
	for _, choice := range []string{`"required"`, `"any"`, `{"type":"function","function":{"name":"now"}}`} {
		var got openapi.ChatCompletion
		h.post(chatURL, chatBody("a", `"tools":[{"type":"function","function":{"name":"now"}}],"tool_choice":`+choice), &got)
		if s := whole(t, got); s != `"" thinking "" tool_calls; function now {}` {
			t.Errorf("%s: %s", choice, s)
		}
	}
}

package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/chat/calls"
	"github.com/lorikeet-ai/lorikeet/openapi"
)

const messagesURL = "/v1/messages"

// messagesBody is a request with one message and more fields.
func messagesBody(text string, fields ...string) string {
	return fmt.Sprintf(`{"model":"fake","max_tokens":50,"messages":[{"role":"user","content":%q}]%s}`, text, more(fields))
}

// namedEvents are the events of a stream as "name data", their names being those in the data.
func namedEvents(t *testing.T, body string) (list []string) {
	t.Helper()
	for _, event := range strings.Split(strings.TrimSuffix(body, "\n\n"), "\n\n") {
		name, data, found := strings.Cut(event, "\n")
		name, named := strings.CutPrefix(name, "event: ")
		data, hasData := strings.CutPrefix(data, "data: ")
		var e struct{ Type string }
		if !found || !named || !hasData || json.Unmarshal([]byte(data), &e) != nil || e.Type != name {
			t.Fatalf("the event %q", event)
		}
		if name != "ping" {
			list = append(list, data)
		}
	}
	return list
}

func TestMessages(t *testing.T) {
	h := open(t, saying("hello you"))
	pirate := h.add("pirate", 1)
	var m openapi.Message
	h.post(messagesURL, messagesBody("hi"), &m)
	if len(m.Content) != 1 || m.Content[0].Type != "text" || *m.Content[0].Text != "hello you" || text(m.StopReason) != "end_turn" || m.StopSequence != nil ||
		m.Role != "assistant" || m.Type != "message" || !strings.HasPrefix(m.Id, "msg_") || m.Model != "fake" || m.Usage.OutputTokens != 10 || m.Usage.InputTokens == 0 {
		t.Errorf("%+v", m)
	}
	first := m.Usage.InputTokens
	if h.post(messagesURL, messagesBody("hi"), &m); m.Usage.CacheReadInputTokens == 0 || m.Usage.CacheReadInputTokens+m.Usage.InputTokens != first {
		t.Errorf("the second time: %+v", m.Usage)
	}
	h.post(messagesURL, messagesBody("hi", `"stop_sequences":["xyz","o y"]`), &m)
	if *m.Content[0].Text != "hell" || text(m.StopReason) != "stop_sequence" || text(m.StopSequence) != "o y" {
		t.Errorf("with a stop sequence: %+v", m)
	}
	h.post(messagesURL, strings.Replace(messagesBody("hi"), `"max_tokens":50`, `"max_tokens":3`, 1), &m)
	if *m.Content[0].Text != "hel" || text(m.StopReason) != "max_tokens" {
		t.Errorf("with 3 tokens: %+v", m)
	}
	for _, body := range []string{
		messagesBody("hi", `"adapter":"pirate"`), strings.Replace(messagesBody("hi"), `"fake"`, `"pirate"`, 1), messagesBody("hi", `"lora":[{"id":0}]`),
	} {
		h.post(messagesURL, body, &m)
		if want := `"pirate@` + pirate.Version + `"`; string(*m.Adapter) != want {
			t.Errorf("%s is answered by %s, not by %s", body, *m.Adapter, want)
		}
	}
}

// What the model is given is what the same conversation is as a chat completion.
func TestMessagesAreTranslated(t *testing.T) {
	h := open(t)
	prompt := func(chat string) int {
		var tokens openapi.Tokens
		h.post("/tokenize", chat, &tokens)
		return tokens.Count
	}
	for _, c := range []struct{ name, messages, chat string }{
		{"texts", `{"model":"fake","system":"be brief","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"ho"},{"role":"user","content":"hu"}]}`,
			`[{"role":"system","content":"be brief"},{"role":"user","content":"hi"},{"role":"assistant","content":"ho"},{"role":"user","content":"hu"}]`},
		{"blocks", `{"model":"fake","system":[{"type":"text","text":"be","cache_control":{"type":"ephemeral"}},{"type":"text","text":"brief"}],"messages":[{"role":"user","content":[{"type":"text","text":"h"},{"type":"text","text":"i"}]}]}`,
			`[{"role":"system","content":"be\n\nbrief"},{"role":"user","content":"hi"}]`},
		{"a result before a text", `{"model":"fake","messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"12"}]},{"type":"text","text":"so?"}]}]}`,
			`[{"role":"tool","content":"12"},{"role":"user","content":"so?"}]`},
		{"a result that is an error", `{"model":"fake","messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","is_error":true,"content":"no"}]}]}`,
			`[{"role":"tool","content":"Error: no"}]`},
	} {
		var got openapi.MessageTokens
		h.post("/v1/messages/count_tokens", c.messages, &got)
		if want := prompt(`{"messages":` + c.chat + `}`); got.InputTokens != want {
			t.Errorf("%s: %d tokens, want %d", c.name, got.InputTokens, want)
		}
	}
	// The answer goes on with the assistant's last message.
	var begun, whole openapi.MessageTokens
	h.post("/v1/messages/count_tokens", `{"model":"fake","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"It is"}]}`, &begun)
	h.post("/v1/messages/count_tokens", `{"model":"fake","messages":[{"role":"user","content":"hi"}]}`, &whole)
	if begun.InputTokens != whole.InputTokens+len("It is") {
		t.Errorf("a message that is gone on with: %d tokens, want %d", begun.InputTokens, whole.InputTokens+len("It is"))
	}
}

func TestMessageHistory(t *testing.T) {
	var req openapi.MessagesRequest
	err := json.Unmarshal([]byte(`{"model":"m","messages":[
		{"role":"user","content":"weather?"},
		{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"x"},{"type":"redacted_thinking","data":"x"},{"type":"text","text":"I look"},
			{"type":"tool_use","id":"t1","name":"weather","input":{"city":"Köln"}},{"type":"tool_use","id":"t2","name":"time"}]},
		{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"rain"},{"type":"tool_result","tool_use_id":"t2"}]}],
		"tools":[{"name":"weather","description":"d","input_schema":{"type":"object"}},{"type":"custom","name":"time","input_schema":{}}],
		"tool_choice":{"type":"tool","name":"time","disable_parallel_tool_use":true},"thinking":{"type":"enabled","budget_tokens":1024},
		"output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}}}`), &req)
	if err != nil {
		t.Fatal(err)
	}
	got, err := translateMessages(&req)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`{"role":"user","content":"weather?"}`,
		`{"role":"assistant","content":"I look","reasoning_content":"hm","tool_calls":[{"id":"t1","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Köln\"}"}},{"id":"t2","type":"function","function":{"name":"time","arguments":"{}"}}]}`,
		`{"role":"tool","content":"rain","tool_call_id":"t1","name":"weather"}`,
		`{"role":"tool","content":"","tool_call_id":"t2","name":"time"}`,
	}
	for i, m := range got.request.Messages {
		if i >= len(want) || string(m) != want[i] {
			t.Errorf("message %d is %s", i, m)
		}
	}
	if tools := string(got.request.Tools); tools != `[{"type":"function","function":{"name":"weather","description":"d","parameters":{"type":"object"}}},{"type":"function","function":{"name":"time","parameters":{}}}]` {
		t.Errorf("the tools are %s", tools)
	}
	if choice := string(got.request.ToolChoice); choice != `{"function":{"name":"time"},"type":"function"}` {
		t.Errorf("the choice is %s", choice)
	}
	if format := string(got.request.ResponseFormat); format != `{"json_schema":{"name":"answer","schema":{"type":"object"}},"type":"json_schema"}` {
		t.Errorf("the format is %s", format)
	}
	if flag(got.request.ParallelToolCalls, true) || string(got.request.ChatTemplateKwargs["enable_thinking"]) != "true" || got.request.ContinueFinalMessage != nil {
		t.Errorf("%+v", got.request)
	}
}

func TestMessageStream(t *testing.T) {
	h := open(t, saying("hello you"), slowly(time.Millisecond))
	r := h.do("POST", messagesURL, messagesBody("hi", `"stream":true`, `"stop_sequences":["you"]`))
	if kind := r.header.Get("Content-Type"); r.status != 200 || !strings.HasPrefix(kind, "text/event-stream") {
		t.Fatalf("%d %s", r.status, kind)
	}
	var types []string
	var said strings.Builder
	for _, data := range namedEvents(t, string(r.body)) {
		var e openapi.MessageEvent
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			t.Fatalf("%v in %s", err, data)
		}
		if len(types) == 0 || types[len(types)-1] != e.Type {
			types = append(types, e.Type)
		}
		switch e.Type {
		case "message_start":
			if e.Message.Usage.InputTokens == 0 || len(e.Message.Content) != 0 || e.Message.StopReason != nil {
				t.Errorf("%s", data)
			}
		case "content_block_delta":
			said.WriteString((*e.Delta)["text"].(string))
		case "message_delta":
			if (*e.Delta)["stop_reason"] != "stop_sequence" || (*e.Delta)["stop_sequence"] != "you" || e.Usage.OutputTokens == 0 {
				t.Errorf("%s", data)
			}
		}
	}
	if got := strings.Join(types, " "); got != "message_start content_block_start content_block_delta content_block_stop message_delta message_stop" {
		t.Errorf("the events are %s", got)
	}
	if said.String() != "hello " {
		t.Errorf("the stream says %q", said.String())
	}
}

// parts is an answer that thinks, says something and calls two tools.
func parts() []part {
	p := func(kind calls.Kind, text string, index int, name, id string) part {
		return part{Part: calls.Part{Kind: kind, Text: text, Index: index, Name: name}, id: id}
	}
	return []part{
		p(calls.Reasoning, "hm", 0, "", ""), p(calls.Reasoning, ", so", 0, "", ""), p(calls.Text, "I ", 0, "", ""), p(calls.Text, "look", 0, "", ""),
		p(calls.Call, "", 0, "weather", "call_1"), p(calls.Arguments, `{"city":`, 0, "", ""), p(calls.Arguments, `"Köln"}`, 0, "", ""), p(calls.Done, "", 0, "", ""),
		p(calls.Call, "", 1, "time", "call_2"), p(calls.Arguments, `{}`, 1, "", ""), p(calls.Done, "", 1, "", ""),
		{Part: calls.Part{Kind: calls.End}, finish: openapi.ToolCalls},
	}
}

// written is what a form makes of an answer as a stream.
func written(f form, r *reply, list []part) string {
	b := f.open(f.begin(nil, r), 0)
	for _, p := range list {
		b = f.part(b, 0, p)
	}
	return string(f.finish(f.wait(b), r))
}

// wholeChoice is the answer of parts as a choice.
func wholeChoice() choice {
	return choice{
		text: "I look", reasoning: "hm, so", finish: openapi.ToolCalls,
		calls: []call{{"call_1", "weather", `{"city":"Köln"}`}, {"call_2", "time", "{}"}},
	}
}

// emptyReply is a reply that no engine answers.
func emptyReply(id string) *reply {
	return &reply{id: id, model: &model{name: "m", label: json.RawMessage("null")}, prompts: []prompt{{}}, generation: generation{n: 1}}
}

func TestMessageFormWithCalls(t *testing.T) {
	r := emptyReply("msg_1")
	f := &messageForm{reply: r}
	whole, err := json.Marshal(f.whole(r, []choice{wholeChoice()}))
	if err != nil {
		t.Fatal(err)
	}
	content := `[{"type":"thinking","thinking":"hm, so","signature":""},{"type":"text","text":"I look"},` +
		`{"type":"tool_use","id":"call_1","name":"weather","input":{"city":"Köln"}},{"type":"tool_use","id":"call_2","name":"time","input":{}}]`
	if !strings.Contains(string(whole), `"content":`+content+`,"stop_reason":"tool_use"`) {
		t.Errorf("the answer is %s", whole)
	}
	// A stream's events, put together as clients do, are the same content.
	var blocks []map[string]any
	for _, data := range namedEvents(t, written(f, r, parts())) {
		var e openapi.MessageEvent
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			t.Fatal(err)
		}
		switch e.Type {
		case "content_block_start":
			var block map[string]any
			raw, _ := json.Marshal(e.ContentBlock)
			_ = json.Unmarshal(raw, &block)
			block["partial"] = ""
			if blocks = append(blocks, block); *e.Index != len(blocks)-1 {
				t.Errorf("the blocks begin with %s", data)
			}
		case "content_block_delta":
			d := *e.Delta
			key := map[any]string{"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial"}[d["type"]]
			from := map[string]string{"partial": "partial_json"}[key]
			if from == "" {
				from = key
			}
			blocks[*e.Index][key] = blocks[*e.Index][key].(string) + d[from].(string)
		}
	}
	for _, b := range blocks {
		if b["partial"] != "" {
			b["input"] = json.RawMessage(b["partial"].(string))
		}
		delete(b, "partial")
	}
	var want []map[string]any
	_ = json.Unmarshal([]byte(content), &want)
	if got, expected := asJSON(blocks), asJSON(want); string(got) != string(expected) {
		t.Errorf("the stream's blocks are %s, want %s", got, expected)
	}
}

// Errors have Anthropic's shape, and name the fields of its API.
func TestMessageErrors(t *testing.T) {
	h := open(t, func(p *setup) { p.options.Keys = []string{"k"} })
	key := map[string]string{"X-Api-Key": "k", "Anthropic-Version": "2023-06-01", "Content-Type": "application/json"}
	for _, c := range []struct {
		body, kind, message string
		status              int
	}{
		{`{"model":"fake","messages":[]}`, "invalid_request_error", "max_tokens is missing", 400},
		{`{"model":"fake","max_tokens":5,"messages":[]}`, "invalid_request_error", "messages is missing", 400},
		{`{"model":"nobody","max_tokens":5,"messages":[{"role":"user","content":"a"}]}`, "not_found_error", "nobody", 404},
		{messagesBody("a", `"temperature":3`), "invalid_request_error", "temperature is 3", 400},
		{messagesBody("a", `"stop_sequences":[""]`), "invalid_request_error", "stop_sequences has an entry", 400},
		{messagesBody("a", `"system":[{"type":"image"}]`), "invalid_request_error", `system[0].type is "image"`, 400},
		{`{"model":"fake","max_tokens":1,"messages":[{"role":"user","content":[{"type":"text"}]}]}`, "invalid_request_error", "messages[0].content[0].text is missing", 400},
		{messagesBody("a", `"system":[{"type":"text","text":null}]`), "invalid_request_error", "system[0].text is missing", 400},
		{messagesBody("a", `"mcp_servers":[{"type":"url","url":"https://mcp.example"}]`), "invalid_request_error", "mcp_servers is not supported", 400},
		{messagesBody("a", `"container":"c"`), "invalid_request_error", "container is not supported", 400},
		{messagesBody("a", `"tools":[{"type":"web_search_20250305","name":"web_search"}]`), "invalid_request_error", `tools[0].type is "web_search_20250305"`, 400},
		{messagesBody("a", `"tools":[{"name":"x"}]`), "invalid_request_error", "tools[0].input_schema must be an object", 400},
		{messagesBody("a", `"tool_choice":{"type":"tool"}`), "invalid_request_error", "tool_choice.name is missing", 400},
		{messagesBody("a", `"tool_choice":{"type":"some"}`), "invalid_request_error", "tool_choice.type", 400},
		{messagesBody("a", `"thinking":{"type":"deep"}`), "invalid_request_error", "thinking.type", 400},
		{messagesBody("a", `"output_config":{"format":{"type":"xml"}}`), "invalid_request_error", "output_config.format.type", 400},
		{messagesBody("a", `"output_config":{"format":{"type":"json_schema"}}`), "invalid_request_error", "output_config.format.schema is missing", 400},
		{`{"model":"fake","max_tokens":5,"messages":[{"role":"user","content":[{"type":"image","source":{}}]}]}`, "invalid_request_error", `messages[0].content[0].type is "image"`, 400},
		{`{"model":"fake","max_tokens":5,"messages":[{"role":"user","content":[{"type":"tool_use","name":"x"}]}]}`, "invalid_request_error", `messages[0].content[0].type is "tool_use"`, 400},
		{`{"model":"fake","max_tokens":5,"messages":[{"role":"assistant","content":[{"type":"tool_result","tool_use_id":"x"}]}]}`, "invalid_request_error", `messages[0].content[0].type is "tool_result"`, 400},
		{`{"model":"fake","max_tokens":5,"messages":[{"role":"tool","content":"a"}]}`, "invalid_request_error", `messages[0].role is "tool"`, 400},
		{`{"model":"fake","max_tokens":5,"system":"x","messages":[{"content":"a"}]}`, "invalid_request_error", "messages[0].role is missing", 400},
		{`{"model":"fake","max_tokens":5,"messages":["a"]}`, "invalid_request_error", "messages[0] must be an object", 400},
		{`{`, "invalid_request_error", "not valid JSON", 400},
	} {
		r := h.ask(t, "POST", messagesURL, c.body, key)
		var e openapi.MessagesErrorResponse
		if err := json.Unmarshal(r.body, &e); err != nil || r.status != c.status || e.Type != "error" || e.Error.Type != c.kind ||
			!strings.Contains(e.Error.Message, c.message) || text(e.RequestId) != r.header.Get("X-Request-Id") || r.header.Get("Request-Id") != r.header.Get("X-Request-Id") {
			t.Errorf("%s: %d %s", c.body, r.status, r.body)
		}
	}
	for headers, status := range map[string]int{"": 401, "X-Api-Key: no": 401, "X-Api-Key: k": 200, "Authorization: Bearer k": 200} {
		name, value, _ := strings.Cut(headers, ": ")
		sent := map[string]string{"Content-Type": "application/json"}
		if name != "" {
			sent[name] = value
		}
		r := h.ask(t, "POST", messagesURL, messagesBody("a"), sent)
		if r.status != status || status == 401 && !strings.Contains(string(r.body), `"type":"authentication_error"`) {
			t.Errorf("with %q: %d %s", headers, r.status, r.body)
		}
	}
}

// A stream that fails says so in an event of Anthropic's.
func TestMessageStreamFails(t *testing.T) {
	f := &messageForm{reply: emptyReply("msg_1")}
	got := string(f.fail(nil, newError(serverFault, "decode_failed", "", "it broke")))
	if got != "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"it broke\"}}\n\n" {
		t.Errorf("%q", got)
	}
	if status, _ := describe(errBusy); messagesError(status, openapi.Error{}, "").Error.Type != "overloaded_error" || status != http.StatusServiceUnavailable {
		t.Error("a busy server is not overloaded")
	}
}

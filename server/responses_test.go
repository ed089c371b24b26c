package server

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/responses"
)

const responsesURL = "/v1/responses"

// keepingResponses gives the server a store of responses.
func keepingResponses(t *testing.T) func(*setup) {
	return func(p *setup) {
		store, err := responses.Open(responses.Options{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		p.options.Responses = store
	}
}

// responseBody is a request with a text and more fields.
func responseBody(text string, fields ...string) string {
	return fmt.Sprintf(`{"model":"fake","input":%q%s}`, text, more(fields))
}

// saidBy joins the output texts of a response.
func saidBy(r *openapi.Response) (text string) {
	for _, item := range r.Output {
		if item.Type == "message" {
			for _, p := range *item.Content {
				text += p.Text
			}
		}
	}
	return text
}

func TestResponses(t *testing.T) {
	h := open(t, saying("hello you"), keepingResponses(t))
	pirate := h.add("pirate", 1)
	var first, second, got openapi.Response
	h.post(responsesURL, responseBody("hi", `"instructions":"be brief"`, `"metadata":{"a":"b"}`), &first)
	if saidBy(&first) != "hello you" || first.Status != "completed" || !first.Store || first.Object != "response" || first.Usage.OutputTokens != 10 ||
		first.Usage.InputTokens+10 != first.Usage.TotalTokens || first.Metadata["a"] != "b" || text(first.Instructions) != "be brief" || first.CompletedAt == nil {
		t.Errorf("%+v", first)
	}
	if h.get(responsesURL+"/"+first.Id, &got); string(asJSON(got)) != string(asJSON(first)) {
		t.Errorf("kept is %s, answered %s", asJSON(got), asJSON(first))
	}
	// The second turn's prompt is the conversation, without the first turn's instructions.
	h.post(responsesURL, responseBody("and?", `"previous_response_id":"`+first.Id+`"`), &second)
	var tokens openapi.Tokens
	h.post("/tokenize", `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"hello you"},{"role":"user","content":"and?"}]}`, &tokens)
	if second.Usage.InputTokens != tokens.Count || text(second.PreviousResponseId) != first.Id {
		t.Errorf("the second turn has %d tokens, want %d", second.Usage.InputTokens, tokens.Count)
	}
	var items openapi.ResponseItemList
	if h.get(responsesURL+"/"+second.Id+"/input_items", &items); len(items.Data) != 1 || !strings.Contains(string(items.Data[0]), `"and?"`) || items.HasMore {
		t.Errorf("the input is %s", asJSON(items))
	}
	h.post(responsesURL, responseBody("hi", `"max_output_tokens":3`, `"store":false`), &got)
	if saidBy(&got) != "hel" || got.Status != "incomplete" || got.IncompleteDetails.Reason != "max_output_tokens" || got.Store {
		t.Errorf("%+v", got)
	}
	refused(t, h.do("GET", responsesURL+"/"+got.Id, ""), 404, "response_not_found", "response_id", "store is false")
	for _, body := range []string{responseBody("hi", `"adapter":"pirate"`), strings.Replace(responseBody("hi"), `"fake"`, `"pirate"`, 1), responseBody("hi", `"lora":[{"id":0}]`)} {
		h.post(responsesURL, body, &got)
		if want := `"pirate@` + pirate.Version + `"`; string(*got.Adapter) != want {
			t.Errorf("%s is answered by %s", body, *got.Adapter)
		}
	}
	var gone openapi.ResponseDeleted
	h.ok(h.do("DELETE", responsesURL+"/"+first.Id, ""), &gone)
	refused(t, h.do("DELETE", responsesURL+"/"+first.Id, ""), 404, "response_not_found", "response_id", first.Id)
	refused(t, h.do("POST", responsesURL, responseBody("so?", `"previous_response_id":"`+second.Id+`"`)), 404, "previous_response_not_found", "previous_response_id", first.Id)
}

// A server that keeps nothing answers all the same, and says so.
func TestResponsesWithoutStore(t *testing.T) {
	h := open(t, saying("x"))
	var got openapi.Response
	if h.post(responsesURL, responseBody("hi"), &got); got.Store {
		t.Errorf("%+v", got)
	}
	refused(t, h.do("GET", responsesURL+"/"+got.Id, ""), 404, "response_not_found", "response_id", "")
	refused(t, h.do("POST", responsesURL, responseBody("hi", `"previous_response_id":"`+got.Id+`"`)), 400, codeUnsupported, "previous_response_id", "keeps no responses")
}

func TestInputItems(t *testing.T) {
	h := open(t, saying("x"), keepingResponses(t))
	var got openapi.Response
	h.post(responsesURL, `{"input":[{"role":"user","content":"a"},{"type":"message","role":"user","content":[{"type":"input_text","text":"b"}]},{"id":"mine","role":"user","content":"c"}]}`, &got)
	read := func(query string) (texts, ids []string, more bool) {
		var list openapi.ResponseItemList
		h.get(responsesURL+"/"+got.Id+"/input_items"+query, &list)
		for _, raw := range list.Data {
			var it responseItem
			_ = json.Unmarshal(raw, &it)
			text, err := itemText(it.Content, "")
			if err != nil || it.Type != "message" {
				t.Errorf("%s %v", raw, err)
			}
			texts, ids = append(texts, text), append(ids, it.ID)
		}
		return texts, ids, list.HasMore
	}
	texts, ids, more := read("?order=asc&limit=2")
	if fmt.Sprint(texts) != "[a b]" || !more {
		t.Errorf("%q %v", texts, more)
	}
	if texts, _, more = read("?order=asc&after=" + ids[1]); fmt.Sprint(texts) != "[c]" || more {
		t.Errorf("the second page: %q %v", texts, more)
	}
	if texts, ids, _ = read(""); fmt.Sprint(texts) != "[c b a]" || ids[0] != "mine" {
		t.Errorf("the newest first: %q %q", texts, ids)
	}
	refused(t, h.do("GET", responsesURL+"/"+got.Id+"/input_items?after=none", ""), 400, codeValue, "after", "no item")
	// An item of a kept response may be named instead of sent.
	reference := fmt.Sprintf(`{"input":[{"role":"user","content":"a"},{"type":"item_reference","id":%q},{"role":"user","content":"b"}]}`, got.Output[0].Id)
	var again openapi.Response
	h.post(responsesURL, reference, &again)
	var tokens openapi.Tokens
	h.post("/tokenize", `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"x"},{"role":"user","content":"b"}]}`, &tokens)
	if again.Usage.InputTokens != tokens.Count {
		t.Errorf("with a reference %d tokens, want %d", again.Usage.InputTokens, tokens.Count)
	}
	for _, id := range []string{"", "msg_x_o0", got.Output[0].Id + "9", "nothing"} {
		refused(t, h.do("POST", responsesURL, fmt.Sprintf(`{"input":[{"type":"item_reference","id":%q}]}`, id)), 404, "item_not_found", "input[0].id", "no item")
	}
}

func TestResponseStream(t *testing.T) {
	h := open(t, saying("hello you"), slowly(time.Millisecond), keepingResponses(t))
	r := h.do("POST", responsesURL, responseBody("hi", `"stream":true`))
	var types []string
	var last openapi.ResponseEvent
	said := ""
	for i, data := range namedEvents(t, string(r.body)) {
		var e openapi.ResponseEvent
		if err := json.Unmarshal([]byte(data), &e); err != nil || e.SequenceNumber != i {
			t.Fatalf("event %d is %s", i, data)
		}
		if len(types) == 0 || types[len(types)-1] != e.Type {
			types = append(types, e.Type)
		}
		if e.Type == "response.output_text.delta" {
			said += *e.Delta
		}
		last = e
	}
	want := "response.created response.in_progress response.output_item.added response.content_part.added response.output_text.delta " +
		"response.output_text.done response.content_part.done response.output_item.done response.completed"
	if got := strings.Join(types, " "); got != want || said != "hello you" {
		t.Errorf("the events are %s, they say %q", got, said)
	}
	var kept openapi.Response
	if h.get(responsesURL+"/"+last.Response.Id, &kept); string(asJSON(kept)) != string(asJSON(last.Response)) || saidBy(&kept) != "hello you" {
		t.Errorf("kept is %s", asJSON(kept))
	}
	r = h.do("POST", responsesURL, responseBody("hi", `"stream":true`, `"max_output_tokens":2`))
	if events := namedEvents(t, string(r.body)); !strings.Contains(events[len(events)-1], `"response.incomplete"`) {
		t.Errorf("the last event is %s", events[len(events)-1])
	}
}

// A stream's events, put together as clients do, are the answer without stream, with reasoning as content and as summary.
func TestResponseFormWithCalls(t *testing.T) {
	for _, summary := range []bool{false, true} {
		newForm := func() (*responseForm, *reply) {
			r := emptyReply("resp_0123")
			return &responseForm{reply: r, asked: &openapi.ResponseRequest{}, summary: summary}, r
		}
		f, r := newForm()
		whole := f.whole(r, []choice{wholeChoice()}).(*openapi.Response)
		f, r = newForm()
		var items []openapi.ResponseItem
		var streamed *openapi.Response
		texts := map[string]string{}
		for _, data := range dataOf(written(f, r, parts())) {
			var e openapi.ResponseEvent
			if err := json.Unmarshal([]byte(data), &e); err != nil {
				t.Fatal(err)
			}
			switch {
			case e.Type == "response.output_item.done":
				items = append(items, *e.Item)
			case strings.HasSuffix(e.Type, ".delta"):
				texts[*e.ItemId] += *e.Delta
			case e.Type == "response.completed":
				streamed = e.Response
			}
		}
		if a, b := asJSON(items), asJSON(whole.Output); string(a) != string(b) || string(asJSON(streamed.Output)) != string(b) {
			t.Errorf("summary %v: the stream's items are %s, want %s", summary, a, b)
		}
		var got []string
		for _, it := range items {
			got = append(got, it.Type+":"+texts[it.Id])
		}
		if fmt.Sprint(got) != `[reasoning:hm, so message:I look function_call:{"city":"Köln"} function_call:{}]` {
			t.Errorf("the pieces are %q", got)
		}
		thoughts := *items[0].Content
		if summary {
			thoughts = *items[0].Summary
		}
		if len(thoughts) != 1 || thoughts[0].Text != "hm, so" || *items[2].CallId != "call_1" || *items[2].Name != "weather" {
			t.Errorf("%+v", items)
		}
	}
}

func TestResponseHistory(t *testing.T) {
	var req openapi.ResponseRequest
	err := json.Unmarshal([]byte(`{"instructions":"be brief","input":[
		{"role":"developer","content":"and kind"},{"role":"user","content":"weather?"},
		{"type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"hm"}]},
		{"type":"message","role":"assistant","content":[{"type":"output_text","text":"I look"}]},
		{"type":"function_call","call_id":"c1","name":"weather","arguments":"{}"},{"type":"function_call","call_id":"c2","name":"time","arguments":"{\"z\":1}"},
		{"type":"function_call_output","call_id":"c1","output":"rain"},{"type":"function_call_output","call_id":"c2","output":[{"type":"input_text","text":"12"}]},
		{"type":"reasoning","summary":[{"type":"summary_text","text":"so"}]},{"type":"function_call","call_id":"c3","name":"time","arguments":"{}"},
		{"type":"message","role":"assistant","content":"done"}],
		"tools":[{"type":"function","name":"weather","parameters":{"type":"object"},"strict":true},{"type":"function","name":"time","parameters":null}],
		"tool_choice":{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"time"}]},
		"parallel_tool_calls":false,"text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object"},"strict":true}},"reasoning":{"effort":"none"}}`), &req)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := (&Server{}).translateResponse(caller{}, &req, nil, "resp_1")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`{"role":"system","content":"be brief\n\nand kind"}`, `{"role":"user","content":"weather?"}`,
		`{"role":"assistant","content":"I look","reasoning_content":"hm","tool_calls":[{"id":"c1","type":"function","function":{"name":"weather","arguments":"{}"}},{"id":"c2","type":"function","function":{"name":"time","arguments":"{\"z\":1}"}}]}`,
		`{"role":"tool","content":"rain","tool_call_id":"c1","name":"weather"}`, `{"role":"tool","content":"12","tool_call_id":"c2","name":"time"}`,
		`{"role":"assistant","content":null,"reasoning_content":"so","tool_calls":[{"id":"c3","type":"function","function":{"name":"time","arguments":"{}"}}]}`,
		`{"role":"assistant","content":"done"}`,
	}
	for i, m := range got.request.Messages {
		if i >= len(want) || string(m) != want[i] {
			t.Errorf("message %d is %s", i, m)
		}
	}
	if len(got.request.Messages) != len(want) {
		t.Errorf("%d messages", len(got.request.Messages))
	}
	if tools := string(got.request.Tools); tools != `[{"type":"function","function":{"name":"weather","parameters":{"type":"object"},"strict":true}},{"type":"function","function":{"name":"time"}}]` {
		t.Errorf("the tools are %s", tools)
	}
	if choice := string(got.request.ToolChoice); choice != `{"allowed_tools":{"mode":"required","tools":[{"function":{"name":"time"},"type":"function"}]},"type":"allowed_tools"}` {
		t.Errorf("the choice is %s", choice)
	}
	if flag(got.request.ParallelToolCalls, true) || text(got.request.ReasoningEffort) != "none" || string(got.request.ChatTemplateKwargs["enable_thinking"]) != "false" {
		t.Errorf("%s", asJSON(got.request))
	}
	if format := string(got.request.ResponseFormat); format != `{"json_schema":{"name":"n","schema":{"type":"object"},"strict":true},"type":"json_schema"}` {
		t.Errorf("the format is %s", format)
	}
}

func TestResponseErrors(t *testing.T) {
	h := open(t, keepingResponses(t))
	for _, c := range []struct {
		body, code, param, message string
		status                     int
	}{
		{`{}`, codeMissing, "input", "is missing", 400},
		{`{"input":[]}`, codeMissing, "input", "is missing", 400},
		{`{"input":7}`, codeType, "input", "must be a string or an array", 400},
		{`{"input":["a"]}`, codeType, "input[0]", "must be an object", 400},
		{`{"input":[{"role":"user"}]}`, codeMissing, "input[0].content", "is missing", 400},
		{`{"input":[{"content":"a"}]}`, codeMissing, "input[0].role", "is missing", 400},
		{`{"input":[{"role":"robot","content":"a"}]}`, codeValue, "input[0].role", "robot", 400},
		{`{"input":[{"role":"user","content":[{"type":"input_image","image_url":"x"}]}]}`, codeUnsupported, "input[0].content[0].type", "input_image", 400},
		{`{"input":[{"type":"web_search_call","id":"x"}]}`, codeUnsupported, "input[0].type", "web_search_call", 400},
		{`{"input":[{"type":"function_call","name":"x"}]}`, codeMissing, "input[0].call_id", "", 400},
		{`{"input":[{"type":"function_call_output","output":"x"}]}`, codeMissing, "input[0].call_id", "", 400},
		{responseBody("a", `"model":"nobody"`), codeModel, "model", "nobody", 404},
		{responseBody("a", `"temperature":9`), codeValue, "temperature", "between 0 and 2", 400},
		{responseBody("a", `"max_output_tokens":0`), codeValue, "max_output_tokens", "is 0", 400},
		{responseBody("a", `"tools":[{"type":"web_search"}]`), codeUnsupported, "tools[0].type", "web_search", 400},
		{responseBody("a", `"tool_choice":{"type":"mcp"}`), codeUnsupported, "tool_choice.type", "mcp", 400},
		{responseBody("a", `"text":{"format":{"type":"xml"}}`), codeValue, "text.format.type", "xml", 400},
		{responseBody("a", `"text":{"format":{"type":"json_schema","name":"n"}}`), codeMissing, "text.format.schema", "is missing", 400},
		{responseBody("a", `"metadata":{"a":"`+strings.Repeat("x", 513)+`"}`), codeValue, "metadata", "513 bytes", 400},
		{responseBody("a", `"background":true`), codeUnsupported, "background", "", 400},
		{responseBody("a", `"conversation":"conv_1"`), codeUnsupported, "conversation", "", 400},
		{responseBody("a", `"previous_response_id":"resp_none"`), "previous_response_not_found", "previous_response_id", "resp_none", 404},
		{responseBody(strings.Repeat("long ", 3000)), "context_length_exceeded", "input", "your input resulted in", 400},
	} {
		refused(t, h.do("POST", responsesURL, c.body), c.status, c.code, c.param, c.message)
	}
	refused(t, h.do("GET", responsesURL+"/resp_1?stream=true", ""), 400, codeUnsupported, "stream", "whole")
	f := &responseForm{reply: emptyReply("resp_1"), asked: &openapi.ResponseRequest{}, sequence: 4}
	failed := string(f.fail(nil, newError(serverFault, "decode_failed", "", "it broke")))
	if !strings.HasPrefix(failed, "event: error\ndata: {\"type\":\"error\",\"sequence_number\":4,\"code\":\"decode_failed\",\"message\":\"it broke\"}\n\nevent: response.failed\ndata: {") ||
		!strings.Contains(failed, `"status":"failed","error":{"code":"decode_failed","message":"it broke"}`) {
		t.Errorf("%s", failed)
	}
}

// Log-probabilities come with the text where they are asked for, the same ones whole, in the deltas and at the stream's end.
func TestResponseLogprobs(t *testing.T) {
	h := open(t, saying("hello"), keepingResponses(t))
	var whole openapi.Response
	h.post(responsesURL, responseBody("hi", `"top_logprobs":2`, `"seed":1`), &whole)
	list := *(*whole.Output[0].Content)[0].Logprobs
	var first openapi.TokenLogprob
	if len(list) < 5 || json.Unmarshal(list[0], &first) != nil || first.Token != "h" || len(first.TopLogprobs) != 2 {
		t.Fatalf("%s", asJSON(whole.Output))
	}
	var deltas []json.RawMessage
	var last openapi.ResponseEvent
	for _, data := range namedEvents(t, string(h.do("POST", responsesURL, responseBody("hi", `"stream":true,"top_logprobs":2,"seed":1`)).body)) {
		var e openapi.ResponseEvent
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			t.Fatal(err)
		}
		if e.Type == "response.output_text.delta" {
			deltas = append(deltas, *e.Logprobs...)
		}
		last = e
	}
	streamed := *(*last.Response.Output[0].Content)[0].Logprobs
	if string(asJSON(deltas)) != string(asJSON(list)) || string(asJSON(streamed)) != string(asJSON(list)) {
		t.Errorf("the deltas have %s, the stream's end %s, the answer %s", asJSON(deltas), asJSON(streamed), asJSON(list))
	}
	h.post(responsesURL, responseBody("hi", `"include":["message.output_text.logprobs","reasoning.encrypted_content"]`), &whole)
	if list := *(*whole.Output[0].Content)[0].Logprobs; len(list) < 5 {
		t.Errorf("with include: %s", asJSON(whole.Output))
	}
	h.post(responsesURL, responseBody("hi"), &whole)
	if list := *(*whole.Output[0].Content)[0].Logprobs; len(list) != 0 {
		t.Errorf("without: %s", asJSON(whole.Output))
	}
	refused(t, h.do("POST", responsesURL, responseBody("hi", `"top_logprobs":21`)), 400, codeValue, "top_logprobs", "between 0 and 20")
	refused(t, h.do("POST", responsesURL, responseBody("hi", `"include":[7]`)), 400, codeType, "include[0]", "must be a string")
}

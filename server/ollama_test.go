package server

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/openapi"
)

// ollamaLines are the objects of a stream.
func ollamaLines(t *testing.T, body string) (list []openapi.OllamaAnswer) {
	t.Helper()
	for _, line := range strings.Split(strings.TrimSuffix(body, "\n"), "\n") {
		var a openapi.OllamaAnswer
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		list = append(list, a)
	}
	return list
}

func TestOllamaChat(t *testing.T) {
	h := open(t, saying("hello you"))
	pirate := h.add("pirate", 1)
	body := `{"model":"fake:latest","messages":[{"role":"user","content":"hi"}]%s}`
	r := h.do("POST", "/api/chat", fmt.Sprintf(body, ""))
	if kind := r.header.Get("Content-Type"); kind != "application/x-ndjson" {
		t.Errorf("a stream is %s", kind)
	}
	lines := ollamaLines(t, string(r.body))
	said := ""
	for i, l := range lines {
		said += l.Message.Content
		if last := i == len(lines)-1; l.Done != last || l.Model != "fake:latest" || l.Message.Role != "assistant" || (l.EvalCount != nil) != last {
			t.Errorf("line %d is %s", i, asJSON(l))
		}
	}
	if last := lines[len(lines)-1]; said != "hello you" || *last.DoneReason != "stop" || *last.EvalCount != 10 || *last.PromptEvalCount == 0 || *last.TotalDuration == 0 {
		t.Errorf("%q, %s", said, asJSON(last))
	}
	var whole openapi.OllamaAnswer
	h.post("/api/chat", fmt.Sprintf(body, `,"stream":false,"options":{"num_predict":3,"num_ctx":99,"stop":["zzz"]}`), &whole)
	if whole.Message.Content != "hel" || !whole.Done || *whole.DoneReason != "length" || whole.Response != nil {
		t.Errorf("%s", asJSON(whole))
	}
	for _, fields := range []string{`"model":"pirate"`, `"model":"pirate:latest"`, `"model":"fake:pirate"`, `"model":"fake","adapter":"pirate"`, `"model":"fake","lora":[{"id":0}]`} {
		h.post("/api/chat", `{"stream":false,"messages":[{"role":"user","content":"hi"}],`+fields+`}`, &whole)
		if want := `"pirate@` + pirate.Version + `"`; whole.Adapter == nil || string(*whole.Adapter) != want {
			t.Errorf("%s is answered by %v", fields, whole.Adapter)
		}
	}
	h.post("/api/chat", `{"model":"pirate"}`, &whole)
	if !whole.Done || *whole.DoneReason != "load" || whole.Message.Content != "" {
		t.Errorf("a model is loaded: %s", asJSON(whole))
	}
	h.post("/api/chat", fmt.Sprintf(body, `,"stream":false,"options":{"num_predict":-1,"repeat_last_n":-1}`), &whole)
	if whole.Message.Content != "hello you" {
		t.Errorf("%s", asJSON(whole))
	}
}

func TestOllamaGenerate(t *testing.T) {
	h := open(t, saying("hello you"))
	var tokens openapi.Tokens
	var whole openapi.OllamaAnswer
	h.post("/api/generate", `{"model":"fake","prompt":"hi","system":"be brief","stream":false}`, &whole)
	h.post("/tokenize", `{"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"}]}`, &tokens)
	if *whole.Response != "hello you" || whole.Message != nil || *whole.PromptEvalCount != tokens.Count {
		t.Errorf("%s", asJSON(whole))
	}
	h.post("/api/generate", `{"model":"fake","prompt":"assistant\n","raw":true,"stream":false,"options":{"num_predict":5}}`, &whole)
	if *whole.Response != "hello" || *whole.PromptEvalCount != len("assistant\n") {
		t.Errorf("with raw: %s", asJSON(whole))
	}
	said := ""
	for _, l := range ollamaLines(t, string(h.do("POST", "/api/generate", `{"model":"fake","prompt":"hi"}`).body)) {
		said += *l.Response
	}
	if said != "hello you" {
		t.Errorf("the stream says %q", said)
	}
	h.post("/api/generate", `{"model":"fake"}`, &whole)
	if *whole.DoneReason != "load" || *whole.Response != "" {
		t.Errorf("a model is loaded: %s", asJSON(whole))
	}
}

func TestOllamaFormats(t *testing.T) {
	for format, want := range map[string]string{
		`"json"`: `{"type":"json_object"}`, `""`: "", "null": "",
		`{"type":"object"}`: `{"json_schema":{"name":"answer","schema":{"type":"object"}},"type":"json_schema"}`,
	} {
		got, err := newOllama("m", nil, nil, nil, json.RawMessage(format), nil, nil)
		if err != nil || string(got.request.ResponseFormat) != want {
			t.Errorf("%s becomes %s, error %v", format, got.request.ResponseFormat, err)
		}
	}
	for think, want := range map[string]string{"true": "true", "false": "false", `"high"`: "true", "null": ""} {
		got, err := newOllama("m", nil, nil, nil, nil, json.RawMessage(think), nil)
		if err != nil || string(got.request.ChatTemplateKwargs["enable_thinking"]) != want {
			t.Errorf("think %s becomes %s, error %v", think, got.request.ChatTemplateKwargs, err)
		}
	}
}

// Results of tools find their calls, which have no ids in Ollama's messages.
func TestOllamaHistory(t *testing.T) {
	tr := &translation{}
	var waiting callQueue
	for i, m := range []string{
		`{"role":"user","content":"weather?"}`,
		`{"role":"assistant","content":"","thinking":"hm","tool_calls":[{"function":{"name":"weather","arguments":{"city":"Köln"}}},{"function":{"name":"time"}}]}`,
		`{"role":"tool","tool_name":"time","content":"12"}`,
		`{"role":"tool","content":"rain"}`,
	} {
		if err := tr.ollamaMessage(json.RawMessage(m), fmt.Sprint("messages[", i, "]"), &waiting); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		`{"role":"user","content":"weather?"}`,
		`{"role":"assistant","content":"","reasoning_content":"hm","tool_calls":[{"id":"call_1_0","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Köln\"}"}},{"id":"call_1_1","type":"function","function":{"name":"time","arguments":"{}"}}]}`,
		`{"role":"tool","content":"12","tool_call_id":"call_1_1","name":"time"}`,
		`{"role":"tool","content":"rain","tool_call_id":"call_1_0","name":"weather"}`,
	}
	for i, m := range tr.request.Messages {
		if string(m) != want[i] {
			t.Errorf("message %d is %s", i, m)
		}
	}
	if c, found := waiting.take("", ""); found {
		t.Errorf("%v waits", c)
	}
}

func TestOllamaFormWithCalls(t *testing.T) {
	r := emptyReply("x")
	whole := (&ollamaForm{reply: r, chat: true}).whole(r, []choice{wholeChoice()}).(openapi.OllamaAnswer)
	var said, thought string
	var called []openapi.OllamaCall
	for _, l := range ollamaLines(t, written(&ollamaForm{reply: r, chat: true}, r, parts())) {
		said += l.Message.Content
		thought += text(l.Message.Thinking)
		if l.Message.ToolCalls != nil {
			called = append(called, *l.Message.ToolCalls...)
		}
	}
	if said != whole.Message.Content || thought != *whole.Message.Thinking || string(asJSON(called)) != string(asJSON(whole.Message.ToolCalls)) {
		t.Errorf("the stream has %q %q %s, the answer is %s", said, thought, asJSON(called), asJSON(whole))
	}
	if got := string(asJSON(called)); got != `[{"id":"call_1","function":{"name":"weather","arguments":{"city":"Köln"}}},{"id":"call_2","function":{"name":"time","arguments":{}}}]` {
		t.Errorf("the calls are %s", got)
	}
}

func TestOllamaModels(t *testing.T) {
	h := open(t, saying("x"))
	h.add("pirate", 1)
	h.add("shout", 2)
	names := func(path string) string {
		var list openapi.OllamaModels
		h.get(path, &list)
		var names []string
		for _, m := range list.Models {
			names = append(names, m.Name)
			if m.Digest == "" || m.Size == 0 && m.Name != "fake:latest" || m.Details.Format != "gguf" {
				t.Errorf("%+v", m)
			}
		}
		return strings.Join(names, " ")
	}
	if got := names("/api/tags"); got != "fake:latest pirate:latest shout:latest" {
		t.Errorf("the models are %s", got)
	}
	if r := h.do("POST", chatURL, chatBody("a", `"adapter":"pirate"`)); r.status != 200 {
		t.Fatal(string(r.body))
	}
	if got := names("/api/ps"); got != "fake:latest pirate:latest" {
		t.Errorf("in memory are %s", got)
	}
	var show openapi.OllamaShow
	h.post("/api/show", `{"model":"pirate:latest"}`, &show)
	if !strings.HasPrefix(show.Modelfile, "FROM fake\nADAPTER pirate@") || show.Details.ParentModel != "fake" || show.ModelInfo["general.architecture"] == nil {
		t.Errorf("%+v", show)
	}
	var version openapi.OllamaVersion
	if h.get("/api/version", &version); version.Version == "" || version.Lorikeet != "test" {
		t.Errorf("%+v", version)
	}
	var e openapi.OllamaEmbeddings
	h.post("/api/embed", `{"model":"pirate","input":["a","b"],"dimensions":3}`, &e)
	var vector []float64
	if len(e.Embeddings) != 2 || json.Unmarshal(e.Embeddings[0], &vector) != nil || len(vector) != 3 || e.PromptEvalCount == 0 || e.Adapter == nil {
		t.Errorf("%s", asJSON(e))
	}
	whole := strings.Repeat("x", h.server.context+500)
	if h.post("/api/embed", `{"model":"fake","input":["`+whole+`","a"]}`, &e); len(e.Embeddings) != 2 || e.PromptEvalCount != h.server.context+1 {
		t.Errorf("a text that is cut has %d tokens with another of one", e.PromptEvalCount)
	}
	if r := h.do("POST", "/api/embed", `{"model":"fake","input":"`+whole+`","truncate":false}`); r.status != 400 || !strings.Contains(string(r.body), "maximum context length") {
		t.Errorf("not cut: %d %s", r.status, r.body)
	}
	for size, want := range map[int64]string{7_600_000_000: "7.6B", 494_032_768: "494.0M", 12_345: "12.3K", 12: "12"} {
		if got := parameterSize(size); got != want {
			t.Errorf("%d is %s", size, got)
		}
	}
}

// Errors have Ollama's shape, a text, and name the fields of its API.
func TestOllamaErrors(t *testing.T) {
	h := open(t, func(p *setup) { p.options.Keys = []string{"k"} })
	one := `"messages":[{"role":"user","content":"a"}]`
	for _, c := range []struct {
		path, body, message string
		status              int
	}{
		{"/api/chat", `{"model":"nobody",` + one + `}`, "nobody", 404},
		{"/api/chat", `{"model":"nobody"}`, "nobody", 404},
		{"/api/chat", `{"model":"fake",` + one + `,"options":{"temperature":9}}`, "options.temperature is 9", 400},
		{"/api/chat", `{"model":"fake",` + one + `,"options":{"stop":[""]}}`, "options.stop has an entry", 400},
		{"/api/chat", `{"model":"fake",` + one + `,"options":7}`, "options must be an object", 400},
		{"/api/chat", `{"model":"fake",` + one + `,"format":"xml"}`, `format is "xml"`, 400},
		{"/api/chat", `{"model":"fake",` + one + `,"format":7}`, "format must be", 400},
		{"/api/chat", `{"model":"fake",` + one + `,"think":7}`, "think must be", 400},
		{"/api/chat", `{"model":"fake","messages":[{"role":"user","content":"a","images":["x"]}]}`, "messages[0].images", 400},
		{"/api/chat", `{"model":"fake","messages":[{"role":"robot","content":"a"}]}`, "messages[0]", 400},
		{"/api/chat", `{"model":"fake","messages":[{"role":"assistant","tool_calls":[{"function":{"name":"x","arguments":"{}"}}]}]}`, "messages[0].tool_calls[0].function.arguments must be an object", 400},
		{"/api/generate", `{"model":"fake","prompt":"a","images":["x"]}`, "images is given", 400},
		{"/api/generate", `{"model":"fake","prompt":"a","context":[1]}`, "context is not supported", 400},
		{"/api/generate", `{"model":"fake","prompt":"a","suffix":"x"}`, "suffix is not supported", 400},
		{"/api/generate", `{"model":"fake","prompt":"` + strings.Repeat("long ", 3000) + `"}`, "your prompt resulted in", 400},
		{"/api/embed", `{"model":"fake","input":7}`, "input must be", 400},
		{"/api/show", `{}`, "model is missing", 400},
		{"/api/chat", `{"messages":[{"role":"user","content":"a"}]}`, "model is missing", 400},
		{"/api/generate", `{"prompt":"a"}`, "model is missing", 400},
		{"/api/embed", `{"input":"a"}`, "model is missing", 400},
		{"/api/show", `{"model":"nobody"}`, "nobody", 404},
		{"/api/pull", `{}`, "no such URL", 404},
		{"/api/chat", `{`, "not valid JSON", 400},
	} {
		r := h.ask(t, "POST", c.path, c.body, map[string]string{"Authorization": "Bearer k"})
		var e openapi.OllamaErrorResponse
		if err := json.Unmarshal(r.body, &e); err != nil || r.status != c.status || !strings.Contains(e.Error, c.message) {
			t.Errorf("%s %s: %d %s", c.path, c.body, r.status, r.body)
		}
	}
	if r := h.do("GET", "/api/tags", ""); r.status != 401 || !strings.HasPrefix(string(r.body), `{"error":"`) {
		t.Errorf("without a key: %d %s", r.status, r.body)
	}
	if got := string((&ollamaForm{}).fail(nil, newError(serverFault, "decode_failed", "", "it broke"))); got != "{\"error\":\"it broke\"}\n" {
		t.Errorf("%q", got)
	}
}

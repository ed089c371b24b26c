package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// refused checks that a response is an error of OpenAI's shape.
func refused(t testing.TB, r response, status int, code, param, message string) {
	t.Helper()
	var got openapi.ErrorResponse
	if err := json.Unmarshal(r.body, &got); err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
	e := got.Error
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	if r.status != status || text(e.Code) != code || text(e.Param) != param || !strings.Contains(e.Message, message) {
		t.Errorf("status %d code %q param %q message %q\nwant   %d code %q param %q message with %q",
			r.status, text(e.Code), text(e.Param), e.Message, status, code, param, message)
	}
	if want := map[bool]string{true: serverFault, false: requestFault}[status >= 500]; e.Type != want && status != 429 {
		t.Errorf("type is %q, want %q", e.Type, want)
	}
}

func TestRequestErrors(t *testing.T) {
	h := open(t)
	h.add("pirate", 1)
	const chatURL, textURL = "/v1/chat/completions", "/v1/completions"
	cases := []struct{ url, body, code, param, message string }{
		{chatURL, ``, codeJSON, "", "the body is empty"},
		{chatURL, ` `, codeJSON, "", "the body is empty"},
		{chatURL, `[]`, codeType, "", "the body must be an object, not an array"},
		{chatURL, `7`, codeType, "", "the body must be an object, not a number"},
		{chatURL, "{\n  \"messages\": [}", codeJSON, "", "not valid JSON at line 2, column 16 (byte 17): invalid character '}'"},
		{chatURL, `{"messages":`, codeJSON, "", "unexpected end of JSON input"},
		{chatURL, `{} {}`, codeJSON, "", "line 1, column 4 (byte 3): invalid character '{' after top-level value"},
		{chatURL, "{\"a\":\"\xff\"}", codeJSON, "", "not UTF-8 at line 1, column 7 (byte 6)"},
		{chatURL, strings.Repeat("[", 20000), codeJSON, "", "exceeded max depth"},

		{chatURL, `{}`, codeMissing, "messages", "messages is missing"},
		{chatURL, `{"messages":[]}`, codeMissing, "messages", "at least one"},
		{chatURL, `{"messages":"hi"}`, codeType, "messages", "messages must be an array, not a string"},
		{chatURL, `{"messages":[7]}`, codeType, "messages[0]", "must be an object, not a number"},
		{chatURL, `{"messages":[null]}`, codeType, "messages[0]", "must be an object, not a null"},
		{chatURL, `{"messages":[{"content":"a"}]}`, codeMissing, "messages[0].role", "is missing"},
		{chatURL, `{"messages":[{"role":"","content":"a"}]}`, codeValue, "messages[0].role", "is empty"},
		{chatURL, `{"messages":[{"role":1,"content":"a"}]}`, codeType, "messages[0].role", "must be a string, not a number"},
		{chatURL, `{"messages":[{"role":"user"}]}`, codeMissing, "messages[0].content", "is missing"},
		{chatURL, `{"messages":[{"role":"user","content":7}]}`, codeType, "messages[0].content", "not a number"},
		{chatURL, `{"messages":[{"role":"user","content":["a"]}]}`, codeType, "messages[0].content[0]", "must be an object, not a string"},
		{chatURL, `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]}`, codeUnsupported,
			"messages[0].content[0].type", `"image_url"`},
		{chatURL, `{"messages":[{"role":"user","content":[{"text":"a"}]}]}`, codeMissing, "messages[0].content[0].type", "missing"},
		{chatURL, `{"messages":[{"role":"user","content":[{"type":"text"}]}]}`, codeMissing, "messages[0].content[0].text", "missing"},

		{chatURL, chat("a", `"temperature":"hot"`), codeType, "temperature", "temperature must be a number, not a string"},
		{chatURL, chat("a", `"temperature":2.5`), codeValue, "temperature", "temperature is 2.5, it must be between 0 and 2"},
		{chatURL, chat("a", `"temperature":1e999`), codeType, "temperature", "not 1e999"},
		{chatURL, chat("a", `"n":1.5`), codeType, "n", "n must be an integer, not 1.5"},
		{chatURL, chat("a", `"n":true`), codeType, "n", "not a boolean"},
		{chatURL, chat("a", `"seed":9223372036854775808`), codeType, "seed", "must be an integer"},
		{chatURL, chat("a", `"stream":"yes"`), codeType, "stream", "must be a boolean, not a string"},
		{chatURL, chat("a", `"stream":true,"stream_options":{"include_usage":1}`), codeType, "stream_options.include_usage", "must be a boolean"},
		{chatURL, chat("a", `"stream_options":{"include_usage":true}`), codeValue, "stream_options", "with stream"},
		{chatURL, chat("a", `"stop":7`), codeType, "stop", "must be a string or an array"},
		{chatURL, chat("a", `"stop":["a",7]`), codeType, "stop", "must be a string, not a number"},
		{chatURL, chat("a", `"stop":["a",""]`), codeValue, "stop", "0 bytes"},
		{chatURL, chat("a", `"stop":[`+strings.Repeat(`"a",`, 32)+`"a"]`), codeValue, "stop", "33 entries, at most 32"},
		{chatURL, chat("a", `"stop":"`+strings.Repeat("a", 1025)+`"`), codeValue, "stop", "1025 bytes"},
		{chatURL, chat("a", `"grammar":"`+strings.Repeat("a", 65537)+`"`), codeValue, "grammar", "65537 bytes"},
		{chatURL, chat("a", `"grammar":"x ::= \"a\""`), codeValue, "grammar", "no rule named root"},
		{chatURL, chat("a", `"logit_bias":[]`), codeType, "logit_bias", "must be an object, not an array"},
		{chatURL, chat("a", `"logit_bias":{"x":1}`), codeValue, "logit_bias", `the key "x"`},
		{chatURL, chat("a", `"logit_bias":{"-1":1}`), codeValue, "logit_bias", `the key "-1"`},
		{chatURL, chat("a", `"logit_bias":{"5":101}`), codeValue, "logit_bias", "is 101 for token 5"},
		{chatURL, chat("a", `"logit_bias":{"100000":1}`), codeValue, "logit_bias", "100000"},
		{chatURL, chat("a", `"repeat_penalty":1.1,"repetition_penalty":1.2`), codeValue, "repetition_penalty", "one thing"},
		{chatURL, chat("a", `"max_tokens":1,"max_completion_tokens":2`), codeValue, "max_tokens", "one thing"},
		{chatURL, chat("a", `"top_logprobs":3`), codeValue, "top_logprobs", "logprobs"},
		{chatURL, chat("a", `"response_format":{"type":"json_schema"}`), codeUnsupported, "response_format", "json_schema is not supported"},
		{chatURL, chat("a", `"response_format":{"type":"xml"}`), codeValue, "response_format.type", `"xml"`},
		{chatURL, chat("a", `"response_format":"text"`), codeType, "response_format", "must be an object"},
		{chatURL, chat("a", `"response_format":{"type":"json_object"},"grammar":"root ::= \"a\""`), codeValue, "response_format", "grammar"},
		{chatURL, chat("a", `"tools":{}`), codeType, "tools", "must be an array"},
		{chatURL, chat("a", `"tools":["x"]`), codeType, "tools[0]", "must be an object"},
		{chatURL, chat("a", `"tool_choice":"required"`), codeUnsupported, "tool_choice", "cannot be forced"},
		{chatURL, chat("a", `"chat_template_kwargs":[]`), codeType, "chat_template_kwargs", "must be an object"},

		{chatURL, chat("a", `"adapter":7`), codeType, "adapter", "must be a name, an object, or an array"},
		{chatURL, chat("a", `"adapter":""`), codeValue, "adapter", "name is empty"},
		{chatURL, chat("a", `"adapter":"a b"`), codeValue, "adapter", `"a b"`},
		{chatURL, chat("a", `"adapter":"pirate@xyz"`), codeValue, "adapter", "hexadecimal"},
		{chatURL, chat("a", `"adapter":{}`), codeMissing, "adapter.name", "missing"},
		{chatURL, chat("a", `"adapter":{"name":7}`), codeType, "adapter.name", "must be a string"},
		{chatURL, chat("a", `"adapter":{"name":"pirate","scale":17}`), codeValue, "adapter.scale", "between -16 and 16"},
		{chatURL, chat("a", `"adapter":["pirate",{"name":"pirate","scale":"x"}]`), codeType, "adapter[1].scale", "must be a number"},
		{chatURL, chat("a", `"adapter":["a","b","c","d","e"]`), codeValue, "adapter", "5 entries, at most 4"},
		{chatURL, chat("a", `"adapter":{"name":"pirate@0123","version":"0123"}`), codeValue, "adapter.version", "name has a version"},
		{chatURL, chat("a", `"model":"pirate","adapter":"json"`), codeValue, "adapter", "does not name pirate"},
		{chatURL, chat("a", `"model":"pirate","adapter":[]`), codeValue, "adapter", "does not name pirate"},
		{chatURL, chat("a", `"model":7`), codeType, "model", "must be a string"},

		{textURL, `{}`, codeMissing, "prompt", "missing"},
		{textURL, `{"prompt":7}`, codeType, "prompt", "must be a string or an array"},
		{textURL, `{"prompt":""}`, codeValue, "prompt", "is empty"},
		{textURL, `{"prompt":[]}`, codeValue, "prompt", "empty"},
		{textURL, `{"prompt":[[]]}`, codeValue, "prompt[0]", "empty"},
		{textURL, `{"prompt":["a",7]}`, codeType, "prompt[1]", "not a number"},
		{textURL, `{"prompt":[97,"a"]}`, codeType, "prompt", "must be an integer, not a string"},
		{textURL, `{"prompt":[97,260]}`, codeValue, "prompt[1]", "is 260, the model has tokens 0 to 259"},
		{textURL, `{"prompt":[97,-1]}`, codeValue, "prompt[1]", "is -1"},
		{textURL, `{"prompt":[[97],[97,300]]}`, codeValue, "prompt[1][1]", "is 300"},
		{textURL, `{"prompt":[` + strings.Repeat(`"a",`, 64) + `"a"]}`, codeValue, "prompt", "65 entries, at most 64"},
		{textURL, completion("a", `"suffix":"b"`), codeUnsupported, "suffix", "not supported"},
		{textURL, completion("a", `"best_of":3`), codeUnsupported, "best_of", "not n"},
		{textURL, completion("a", `"echo":true,"logprobs":1`), codeUnsupported, "echo", "logprobs"},
		{textURL, completion("a", `"logprobs":true`), codeType, "logprobs", "must be an integer, not a boolean"},

		{"/tokenize", `{}`, codeMissing, "content", "missing"},
		{"/tokenize", `{"content":"a","prompt":"b"}`, codeValue, "prompt", "together"},
		{"/tokenize", `{"content":"a","messages":[{"role":"user","content":"a"}]}`, codeValue, "messages", "together"},
		{"/detokenize", `{}`, codeMissing, "tokens", "missing"},
		{"/detokenize", `{"tokens":[1.5]}`, codeType, "tokens", "not 1.5"},
		{"/detokenize", `{"tokens":[99999]}`, codeValue, "tokens[0]", "is 99999"},
		{"/adapters", `{"path":"x"}`, codeMissing, "name", "missing"},
		{"/adapters", `{"name":"x"}`, codeMissing, "path", "missing"},
		{"/adapters", `{"name":"x y","path":"x"}`, codeValue, "name", `"x y"`},
		{"/adapters", `{"name":"x","path":"x"}`, "path_not_allowed", "path", "not in an adapter folder"},
		{"/v1/load_lora_adapter", `{"lora_name":"pirate","lora_path":"x"}`, codeValue, "lora_name", "is taken"},
		{"/v1/load_lora_adapter", `{"lora_path":"x"}`, codeMissing, "lora_name", "missing"},
		{"/v1/load_lora_adapter", `{"lora_name":"x","lora_path":"x"}`, "path_not_allowed", "lora_path", "not in an adapter folder"},
		{"/v1/unload_lora_adapter", `{}`, codeMissing, "lora_name", "missing"},
	}
	for _, c := range cases {
		t.Run(c.url+" "+c.body[:min(len(c.body), 60)], func(t *testing.T) {
			refused(t, h.do("POST", c.url, c.body), http.StatusBadRequest, c.code, c.param, c.message)
		})
	}
}

func TestNotFound(t *testing.T) {
	h := open(t)
	h.add("pirate", 1)
	info := h.add("shout", 2)
	for _, c := range []struct{ method, url, body, code, param, message string }{
		{"POST", "/v1/chat/completions", chat("a", `"adapter":"pirat"`), "adapter_not_found", "adapter", `adapter "pirat" does not exist; did you mean pirate`},
		{"POST", "/v1/chat/completions", chat("a", `"adapter":["shout","nobody"]`), "adapter_not_found", "adapter", `"nobody" does not exist`},
		{"POST", "/v1/chat/completions", chat("a", `"adapter":"shout@0000"`), "adapter_not_found", "adapter", info.Version},
		{"POST", "/v1/chat/completions", chat("a", `"model":"shuot"`), codeModel, "model", `model "shuot" does not exist; the base model is "fake", adapters of about that name are shout`},
		{"POST", "/v1/completions", completion("a", `"model":"gpt-4o"`), codeModel, "model", `"gpt-4o"`},
		{"POST", "/v1/completions", completion("a", `"model":"fake:nobody"`), codeModel, "model", `"fake:nobody"`},
		{"POST", "/v1/completions", completion("a", `"model":"org/model"`), codeModel, "model", `"org/model"`},
		{"GET", "/v1/models/nobody", "", codeModel, "model", `"nobody"`},
		{"GET", "/adapters/pirat", "", "adapter_not_found", "name", "pirate"},
		{"GET", "/adapters/nobody/versions", "", "adapter_not_found", "name", "nobody"},
		{"DELETE", "/adapters/nobody", "", "adapter_not_found", "name", "nobody"},
		{"POST", "/v1/unload_lora_adapter", `{"lora_name":"nobody"}`, "adapter_not_found", "lora_name", "nobody"},
		{"GET", "/nowhere", "", "unknown_url", "", "no such URL"},
		{"GET", "/v1/", "", "unknown_url", "", "no such URL"},
	} {
		t.Run(c.method+" "+c.url+" "+c.body, func(t *testing.T) {
			refused(t, h.do(c.method, c.url, c.body), http.StatusNotFound, c.code, c.param, c.message)
		})
	}
	r := h.do("GET", "/v1/chat/completions", "")
	refused(t, r, http.StatusMethodNotAllowed, "method_not_allowed", "", "other methods")
	if r.header.Get("Allow") != "POST" {
		t.Errorf("Allow is %q", r.header.Get("Allow"))
	}
	refused(t, h.do("GET", "/adapters/a%20b", ""), http.StatusBadRequest, codeValue, "name", `"a b"`)
}

func TestContextLength(t *testing.T) {
	h := open(t)
	r := h.do("POST", "/v1/chat/completions", chat(strings.Repeat("a", 5000)))
	refused(t, r, 400, "context_length_exceeded", "messages",
		"This model's maximum context length is 4096 tokens. However, your messages resulted in 50")
	r = h.do("POST", "/v1/completions", completion(strings.Repeat("a", 5000)))
	refused(t, r, 400, "context_length_exceeded", "prompt",
		"maximum context length is 4096 tokens. However, your prompt resulted in 5000 tokens. Please reduce the length of the prompt.")
}

func TestTemplateError(t *testing.T) {
	h := open(t, func(p *plan) {
		p.facts = func(f *runtime.Facts) {
			f.ChatTemplate = `{% if messages[0].role == 'tool' %}{{ raise_exception('tools come later') }}{% endif %}x`
		}
	})
	r := h.do("POST", "/v1/chat/completions", `{"messages":[{"role":"tool","content":"a"}]}`)
	refused(t, r, 400, "template_error", "messages", "tools come later")
}

func TestQueueFull(t *testing.T) {
	h := open(t, slowly(5*time.Millisecond), func(p *plan) { p.limits.Sequences, p.engine.MaxQueue = 1, 1 })
	var open sync.WaitGroup
	for range 2 {
		open.Go(func() { h.do("POST", "/v1/completions", completion("a", `"ignore_eos":true,"max_tokens":100`)) })
	}
	until(t, "both requests are in", time.Second, func() bool { s := h.engine.Stats(); return s.Running+s.Waiting == 2 })
	for _, body := range []string{completion("b"), completion("b", `"stream":true`)} {
		r := h.do("POST", "/v1/completions", body)
		refused(t, r, http.StatusTooManyRequests, "queue_full", "", "queue is full")
		if r.header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After is %q", r.header.Get("Retry-After"))
		}
	}
	open.Wait()
}

func TestDecodeErrorEndsTheRequestOnly(t *testing.T) {
	fail := true
	h := open(t, func(p *plan) {
		p.before = func([]runtime.Row) error {
			if fail {
				return errors.New("the device caught fire in /secret/place")
			}
			return nil
		}
	})
	r := h.do("POST", "/v1/completions", completion("a"))
	refused(t, r, http.StatusInternalServerError, "decode_failed", "", "decoding failed")
	if strings.Contains(string(r.body), "secret") {
		t.Errorf("the client is told too much: %s", r.body)
	}
	// The same before the first token of a stream, which therefore has a status.
	refused(t, h.do("POST", "/v1/completions", completion("a", `"stream":true`)), http.StatusInternalServerError, "decode_failed", "", "")
	fail = false
	if r := h.do("POST", "/v1/completions", completion("a")); r.status != 200 {
		t.Errorf("afterwards: %s", r.body)
	}
	t.Cleanup(func() {
		if !strings.Contains(h.log.String(), "/secret/place") {
			t.Errorf("the log does not say what happened: %s", h.log)
		}
	})
}

func TestDeadline(t *testing.T) {
	h := open(t, slowly(20*time.Millisecond), func(p *plan) { p.engine.Deadline = 50 * time.Millisecond })
	r := h.do("POST", "/v1/completions", completion("a", `"max_tokens":500,"ignore_eos":true`))
	refused(t, r, http.StatusGatewayTimeout, "deadline_exceeded", "", "deadline")
}

// Every row of the table is reached by an error that wraps its sentinel, and what is the server's own fault
// does not leak.
func TestTable(t *testing.T) {
	for _, r := range table {
		status, e := describe(fmt.Errorf("detail: %w", r.is))
		if status != r.status || e.Code == nil || *e.Code != r.code || e.Type != r.kind {
			t.Errorf("%v: %d %+v", r.is, status, e)
		}
		if leaks := strings.Contains(e.Message, "detail"); leaks != (r.status < 500) {
			t.Errorf("%v: the message is %q", r.is, e.Message)
		}
	}
	if status, e := describe(errors.New("detail")); status != 500 || strings.Contains(e.Message, "detail") {
		t.Errorf("an unknown error: %d %+v", status, e)
	}
	if _, e := describe(at("lora_name", adapters.ErrName)); *e.Param != "lora_name" {
		t.Errorf("param is %q", *e.Param)
	}
}

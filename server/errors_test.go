package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/training"
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
	for _, c := range requestErrors {
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
		{"POST", "/v1/chat/completions", chatBody("a", `"adapter":"pirat"`), "adapter_not_found", "adapter", `adapter "pirat" does not exist; did you mean pirate`},
		{"POST", "/v1/chat/completions", chatBody("a", `"adapter":["shout","nobody"]`), "adapter_not_found", "adapter", `"nobody" does not exist`},
		{"POST", "/v1/chat/completions", chatBody("a", `"adapter":"shout@0000"`), "adapter_not_found", "adapter", info.Version},
		{"POST", "/v1/chat/completions", chatBody("a", `"model":"shuot"`), codeModel, "model", `model "shuot" does not exist; the base model is "fake", adapters of about that name are shout`},
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
	r := h.do("POST", "/v1/chat/completions", chatBody(strings.Repeat("a", 5000)))
	refused(t, r, 400, "context_length_exceeded", "messages",
		"This model's maximum context length is 4096 tokens. However, your messages resulted in 50")
	r = h.do("POST", "/v1/completions", completion(strings.Repeat("a", 5000)))
	refused(t, r, 400, "context_length_exceeded", "prompt",
		"maximum context length is 4096 tokens. However, your prompt resulted in 5000 tokens. Please reduce the length of the prompt.")
}

// TestTextTooLong: a text that cannot fit whatever its tokens are is refused before it is tokenized.
func TestTextTooLong(t *testing.T) {
	h := open(t, func(p *setup) { p.facts = func(f *runtime.Facts) { f.TokenBytes = 2 } })
	long := strings.Repeat("a", 2*4096+2)
	const message = "However, your %s resulted in at least 4097 tokens"
	refused(t, h.do("POST", "/v1/completions", completion(long)), 400, "context_length_exceeded", "prompt", fmt.Sprintf(message, "prompt"))
	refused(t, h.do("POST", "/tokenize", `{"content":"`+long+`"}`), 400, "context_length_exceeded", "content", fmt.Sprintf(message, "content"))
	refused(t, h.do("POST", "/v1/chat/completions", chatBody(long)), 400, "context_length_exceeded", "messages", "at least 41")
	if r := h.do("POST", "/tokenize", `{"content":"`+long[2:]+`"}`); r.status != 200 {
		t.Errorf("a text that may fit: %d %s", r.status, r.body)
	}
}

func TestTemplateError(t *testing.T) {
	h := open(t, func(p *setup) {
		p.facts = func(f *runtime.Facts) {
			f.ChatTemplate = `{% if messages[0].role == 'assistant' %}{{ raise_exception('answers come later') }}{% endif %}x`
		}
	})
	r := h.do("POST", "/v1/chat/completions", `{"messages":[{"role":"assistant","content":"a"}]}`)
	refused(t, r, 400, "template_error", "messages", "answers come later")
}

func TestQueueFull(t *testing.T) {
	h := open(t, slowly(5*time.Millisecond), func(p *setup) { p.limits.Sequences, p.engine.MaxQueue = 1, 1 })
	var open sync.WaitGroup
	for range 2 {
		open.Go(func() { h.do("POST", "/v1/completions", completion("a", `"ignore_eos":true,"max_tokens":100`)) })
	}
	waitUntil(t, "both requests are in", time.Second, func() bool { s := h.engine.Stats(); return s.Running+s.Waiting == 2 })
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
	h := open(t, func(p *setup) {
		p.before = func([]runtime.Row) error {
			if fail {
				return errors.New("the device failed in /secret/place")
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

// An answer that no token can follow is not one that has come to its end.
func TestNoTokenIsPossible(t *testing.T) {
	h := open(t, func(p *setup) {
		p.answer = func(text string) (runtime.Token, bool) {
			if strings.HasSuffix(text, "xyz") {
				return -1, true
			}
			return runtime.Token("xyz"[strings.Count(text, "x")+strings.Count(text, "y")]), true
		}
	})
	refused(t, h.do("POST", "/v1/completions", completion("a")), http.StatusBadRequest, "no_token", "", "the answer cannot go on: none is possible")
	r := h.do("POST", "/v1/completions", completion("a", `"stream":true`))
	if text := string(r.body); r.status != 200 || !strings.Contains(text, `"text":"z"`) || !strings.Contains(text, `"code":"no_token"`) || strings.Contains(text, "[DONE]") {
		t.Errorf("the stream is %s", text)
	}
	// A grammar's end that may not be drawn is the end of the answer.
	if r := h.do("POST", "/v1/completions", completion("a", `"ignore_eos":true,"grammar":"root ::= \"xyz\""`)); r.status != 200 || !strings.Contains(string(r.body), `"text":"xyz"`) {
		t.Errorf("with ignore_eos: %s", r.body)
	}
}

// An answer that a damaged weight ends is not the client's fault, whatever the request says.
func TestNoLogitIsANumber(t *testing.T) {
	h := open(t, func(p *setup) { p.answer = func(string) (runtime.Token, bool) { return -2, true } })
	for _, extra := range []string{`"n":1`, `"ignore_eos":true,"grammar":"root ::= \"xyz\""`} {
		refused(t, h.do("POST", "/v1/completions", completion("a", extra)), http.StatusInternalServerError, "logits_not_numbers", "", "logits are not numbers")
	}
}

func TestDeadline(t *testing.T) {
	h := open(t, slowly(20*time.Millisecond), func(p *setup) { p.engine.Deadline = 50 * time.Millisecond })
	r := h.do("POST", "/v1/completions", completion("a", `"max_tokens":500,"ignore_eos":true`))
	refused(t, r, http.StatusGatewayTimeout, "deadline_exceeded", "", "deadline")
}

// Every row of the table is reached by an error that wraps its sentinel, and what is the server's own fault
// does not leak.
func TestTable(t *testing.T) {
	for _, r := range errorTable {
		status, e := describe(fmt.Errorf("detail: %w", r.is))
		if status != r.status || e.Code == nil || *e.Code != r.code || e.Type != r.kind {
			t.Errorf("%v: %d %+v", r.is, status, e)
		}
		if leaks := strings.Contains(e.Message, "detail"); leaks != r.exposed() {
			t.Errorf("%v: the message is %q", r.is, e.Message)
		}
	}
	for _, full := range []error{syscall.ENOSPC, fmt.Errorf("%w: %w", training.ErrDataset, &fs.PathError{Op: "write", Path: "/secret", Err: syscall.EDQUOT})} {
		if status, e := describe(full); status != 507 || *e.Code != "no_space" || strings.Contains(e.Message, "secret") {
			t.Errorf("%v: %d %+v", full, status, e)
		}
	}
	if status, e := describe(errors.New("detail")); status != 500 || strings.Contains(e.Message, "detail") {
		t.Errorf("an unknown error: %d %+v", status, e)
	}
	for _, around := range []error{runtime.ErrAdapter, runtime.ErrSampling, runtime.ErrDecode} {
		status, e := describe(fmt.Errorf("%w: %w: the process holds 3 GiB", around, runtime.ErrMemory))
		if status != http.StatusServiceUnavailable || *e.Code != "out_of_memory" || !strings.Contains(e.Message, "3 GiB") {
			t.Errorf("no memory in %q: %d %+v", around, status, e)
		}
	}
	if _, e := describe(withParam("lora_name", adapters.ErrName)); *e.Param != "lora_name" {
		t.Errorf("param is %q", *e.Param)
	}
}

// A grammar's fault names the field that the grammar was made of.
func TestGrammarFaultsNameTheirField(t *testing.T) {
	for want, r := range map[string]*reply{
		"grammar":         {generation: generation{ruled: true}},
		"response_format": {generation: generation{formatted: true}},
		"tools":           {tooled: true},
	} {
		for _, err := range []error{
			fmt.Errorf("choice 0: %w", runtime.ErrGrammarCost), fmt.Errorf("%w: the grammar has no root", runtime.ErrSampling),
		} {
			if status, e := describe(r.locate(err)); status != http.StatusBadRequest || e.Param == nil || *e.Param != want {
				t.Errorf("%v of %s: %d %+v", err, want, status, e)
			}
		}
		if _, e := describe(r.locate(fmt.Errorf("%w: logit_bias has token 9", runtime.ErrSampling))); *e.Param != "logit_bias" {
			t.Errorf("%+v", e)
		}
	}
}

// TestBadParameters wants what a URL has in the wrong form called by its name, in words that are not the router's.
func TestBadParameters(t *testing.T) {
	h := open(t)
	for url, want := range map[string][2]string{
		"/v1/files?limit=x":                    {"limit", "limit must be an integer"},
		"/v1/batches?limit=1.5":                {"limit", "limit must be an integer"},
		"/v1/fine_tuning/jobs?limit=1&limit=2": {"limit", "limit is given more than once"},
	} {
		refused(t, h.do("GET", url, ""), 400, codeType, want[0], want[1])
	}
}

// TestMalformedHTTP wants no part of a request that is no HTTP sent back or logged: a key may be in it.
func TestMalformedHTTP(t *testing.T) {
	_, e := describe(fiber.NewError(http.StatusBadRequest,
		`error when reading request headers: too many host headers: buffer size=79, contents: "GET / HTTP/1.1\r\nAuthorization: Bearer secret"`))
	if e.Message != "error when reading request headers: too many host headers" {
		t.Errorf("the client is told %q", e.Message)
	}
}

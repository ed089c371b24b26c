package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// withoutVariableParts replaces what differs from answer to answer.
func withoutVariableParts(body []byte) string {
	s := regexp.MustCompile(`"(chatcmpl|cmpl)-[0-9a-f]{24}"`).ReplaceAllString(string(body), `"ID"`)
	return regexp.MustCompile(`"created":[0-9]+`).ReplaceAllString(s, `"created":0`)
}

func TestChatStreamToTheByte(t *testing.T) {
	h := open(t, saying("Hi"))
	r := h.do("POST", "/v1/chat/completions", chatBody("a", `"stream":true`))
	head := `data: {"id":"ID","object":"chat.completion.chunk","created":0,"model":"fake","system_fingerprint":"fp_fake-fingerp","adapter":null,"choices":[`
	want := head + `{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}` + "\n\n" +
		head + `{"index":0,"delta":{"content":"H"},"logprobs":null,"finish_reason":null}]}` + "\n\n" +
		head + `{"index":0,"delta":{"content":"i"},"logprobs":null,"finish_reason":null}]}` + "\n\n" +
		head + `{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}` + "\n\n" +
		"data: [DONE]\n\n"
	if got := withoutVariableParts(r.body); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if r.header.Get("Content-Type") != "text/event-stream; charset=utf-8" || r.header.Get("Cache-Control") != "no-cache" {
		t.Errorf("headers are %v", r.header)
	}
}

func TestCompletionStreamToTheByte(t *testing.T) {
	h := open(t, saying("H"))
	info := h.add("pirate", 1)
	r := h.do("POST", "/v1/completions", completion("assistant\n", `"stream":true,"echo":true,"model":"pirate"`, `"stream_options":{"include_usage":true}`))
	head := `data: {"id":"ID","object":"text_completion","created":0,"model":"pirate","system_fingerprint":"fp_fake-fingerp","adapter":"pirate@` + info.Version + `","choices":[`
	want := head + `{"index":0,"text":"assistant\n","logprobs":null,"finish_reason":null}],"usage":null}` + "\n\n" +
		head + `{"index":0,"text":"H","logprobs":null,"finish_reason":null}],"usage":null}` + "\n\n" +
		head + `{"index":0,"text":"","logprobs":null,"finish_reason":"stop"}],"usage":null}` + "\n\n" +
		head + `],"usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}},"timings":`
	got := withoutVariableParts(r.body)
	if !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "}}\n\ndata: [DONE]\n\n") {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestStreamOfChoices(t *testing.T) {
	h := open(t)
	body := completion("a", `"n":3,"seed":1,"ignore_eos":true,"logprobs":1`)
	var whole openapi.Completion
	h.post("/v1/completions", body, &whole)
	r := h.do("POST", "/v1/completions", body[:len(body)-1]+`,"stream":true}`)
	texts, ends := make([]string, 3), make([]int, 3)
	for _, data := range dataOf(string(r.body)) {
		if data == "[DONE]" {
			continue
		}
		var chunk openapi.Completion
		if err := json.Unmarshal([]byte(data), &chunk); err != nil {
			t.Fatal(err)
		}
		c := chunk.Choices[0]
		if c.Logprobs != nil && c.Logprobs.TextOffset[0] != len([]rune(texts[c.Index])) {
			t.Errorf("the offset is %d after %q", c.Logprobs.TextOffset[0], texts[c.Index])
		}
		texts[c.Index] += c.Text
		if c.FinishReason != nil {
			ends[c.Index]++
		}
	}
	for i := range texts {
		if texts[i] != whole.Choices[i].Text || ends[i] != 1 {
			t.Errorf("choice %d streams as %q with %d ends, whole it is %q", i, texts[i], ends[i], whole.Choices[i].Text)
		}
	}
}

func TestStreamLogprobs(t *testing.T) {
	h := open(t, saying("Hi"))
	r := h.do("POST", "/v1/chat/completions", chatBody("a", `"stream":true,"logprobs":true,"top_logprobs":1`))
	tokens := ""
	for _, data := range dataOf(string(r.body)) {
		var chunk openapi.ChatCompletionChunk
		if json.Unmarshal([]byte(data), &chunk) == nil && chunk.Choices[0].Logprobs != nil {
			for _, e := range chunk.Choices[0].Logprobs.Content {
				tokens += e.Token
			}
		}
	}
	if tokens != "Hi" {
		t.Errorf("the tokens are %q in\n%s", tokens, r.body)
	}
}

func TestHeartbeat(t *testing.T) {
	h := open(t, slowly(1200*time.Millisecond), saying("x"))
	start := time.Now()
	resp, err := http.Post(h.url+"/v1/chat/completions", "", strings.NewReader(chatBody("a", `"stream":true,"max_tokens":1`)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	buf := make([]byte, 100)
	n, err := resp.Body.Read(buf)
	if err != nil || string(buf[:n]) != ": waiting\n\n" {
		t.Errorf("the first is %q, %v", buf[:n], err)
	}
	if took := time.Since(start); took < heartbeat || took > 3*heartbeat {
		t.Errorf("it took %v", took)
	}
}

func TestErrorInStream(t *testing.T) {
	decodes := 0
	h := open(t, func(p *setup) {
		p.before = func([]runtime.Row) error {
			if decodes++; decodes == 4 {
				return errors.New("a failure in /secret/place")
			}
			return nil
		}
	})
	r := h.do("POST", "/v1/completions", completion("a", `"stream":true,"ignore_eos":true`))
	data := dataOf(string(r.body))
	if r.status != 200 || len(data) < 2 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	refused(t, response{status: 500, body: []byte(data[len(data)-1])}, 500, "decode_failed", "", "decoding failed")
	if strings.Contains(string(r.body), "secret") || strings.Contains(string(r.body), "[DONE]") {
		t.Errorf("%s", r.body)
	}
}

// A failing stream does not take the connection with it.
func TestConnectionServesOn(t *testing.T) {
	h := open(t, saying("ok"))
	for i := range 3 {
		r := h.do("POST", "/v1/chat/completions", chatBody(fmt.Sprint(i), `"stream":true`))
		if !strings.HasSuffix(string(r.body), "[DONE]\n\n") {
			t.Errorf("%s", r.body)
		}
		if r := h.do("POST", "/v1/chat/completions", chatBody("a", `"n":0`)); r.status != 400 {
			t.Errorf("%s", r.body)
		}
		var whole openapi.ChatCompletion
		h.post("/v1/chat/completions", chatBody("a"), &whole)
	}
}

func TestControlTokensAreNoText(t *testing.T) {
	h := open(t, func(p *setup) {
		p.answer = func(string) (runtime.Token, bool) { return runtimetest.TurnEnd, true }
	})
	r := h.do("POST", "/v1/chat/completions", chatBody("a", `"stream":true`))
	if strings.Contains(string(r.body), "im_end") || len(dataOf(string(r.body))) != 3 {
		t.Errorf("%s", r.body)
	}
}

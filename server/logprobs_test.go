package server

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

func TestLogprobs(t *testing.T) {
	h := open(t, saying("a\xc3\xa9b")) // the middle character has two tokens
	var got openapi.ChatCompletion
	h.post("/v1/chat/completions", chatBody("a", `"logprobs":true,"top_logprobs":2`), &got)
	l := got.Choices[0].Logprobs
	if l == nil || len(l.Content) < 4 {
		t.Fatalf("logprobs are %+v", l)
	}
	if e := l.Content[0]; e.Token != "a" || !slices.Equal(e.Bytes, []int{'a'}) || len(e.TopLogprobs) != 2 || e.TopLogprobs[0].Logprob != e.Logprob {
		t.Errorf("the first is %+v", e)
	}
	if e := l.Content[1]; e.Token != "\uFFFD" || !slices.Equal(e.Bytes, []int{0xc3}) {
		t.Errorf("half a character is %+v", e)
	}
	h.post("/v1/chat/completions", chatBody("a", `"logprobs":true`), &got)
	if l := got.Choices[0].Logprobs; l == nil || l.Content[0].TopLogprobs == nil || len(l.Content[0].TopLogprobs) != 0 {
		t.Errorf("logprobs without top_logprobs are %+v", l)
	}

	var text openapi.Completion
	h.post("/v1/completions", completion("assistant\n", `"logprobs":1`), &text)
	tl := text.Choices[0].Logprobs
	if !slices.Equal(tl.Tokens[:4], []string{"a", `bytes:\xc3`, `bytes:\xa9`, "b"}) || len(tl.TopLogprobs) != len(tl.Tokens) {
		t.Errorf("%+v", tl)
	}
	if !slices.Equal(tl.TextOffset[:4], []int{0, 1, 1, 2}) || tl.TopLogprobs[0]["a"] != *tl.TokenLogprobs[0] {
		t.Errorf("%+v", tl)
	}
	h.post("/v1/completions", completion("assistant\n", `"logprobs":0`), &text)
	if tl := text.Choices[0].Logprobs; tl == nil || tl.TopLogprobs != nil || len(tl.TokenLogprobs) < 4 {
		t.Errorf("logprobs 0 gives %+v", tl)
	}
}

// Log-probabilities of a prompt, as evaluations ask for them: alone and beside an answer, of many prompts, whole and as
// a stream, with an adapter. A token of an answer has the same ones when it comes back in a prompt.
func TestLogprobsOfAPrompt(t *testing.T) {
	h := open(t)
	h.add("pirate", 1)
	for _, fields := range []string{`"max_tokens":0`, `"max_tokens":3`, `"max_tokens":3,"model":"pirate"`, `"max_tokens":0,"n":2`} {
		body := `{"echo":true,"logprobs":2,"temperature":0,"ignore_eos":true,"prompt":["One\u00e9n","t"],` + fields + `}`
		var got openapi.Completion
		h.post("/v1/completions", body, &got)
		n := len(got.Choices) / 2
		for i, c := range got.Choices {
			l, prompt := c.Logprobs, []int{6, 1}[i/n]
			if !strings.HasPrefix(c.Text, []string{"One\u00e9n", "t"}[i/n]) || c.FinishReason == nil || *c.FinishReason != "length" {
				t.Errorf("%s: choice %d is %+v", fields, i, c)
			}
			answer := got.Usage.CompletionTokens / len(got.Choices)
			if len(l.Tokens) != prompt+answer || len(l.TokenLogprobs) != prompt+answer || len(l.TopLogprobs) != prompt+answer {
				t.Fatalf("%s: choice %d has logprobs %+v", fields, i, l)
			}
			if l.TokenLogprobs[0] != nil || l.TopLogprobs[0] != nil {
				t.Errorf("%s: the first token has %v and %v", fields, *l.TokenLogprobs[0], l.TopLogprobs[0])
			}
			for k, p := range l.TokenLogprobs[1:] {
				if p == nil || *p > 0 || len(l.TopLogprobs[k+1]) != 2 {
					t.Errorf("%s: token %d of choice %d has %v, %v", fields, k+1, i, p, l.TopLogprobs[k+1])
				}
			}
			if i < n && !slices.Equal(l.TextOffset[:6], []int{0, 1, 2, 3, 3, 4}) {
				t.Errorf("offsets are %v", l.TextOffset)
			}
		}
		streamed := h.do("POST", "/v1/completions", body[:len(body)-1]+`,"stream":true}`)
		checkStreamedLogprobs(t, streamed, got)
	}
	score := func(prompt, model string) *openapi.CompletionLogprobs {
		var got openapi.Completion
		h.post("/v1/completions", fmt.Sprintf(`{"echo":true,"logprobs":1,"max_tokens":4,"temperature":0,"ignore_eos":true,"prompt":%q,"model":%q}`, prompt, model), &got)
		return got.Choices[0].Logprobs
	}
	for _, model := range []string{"fake", "pirate"} {
		first := score("What is it?", model)
		again := score(strings.Join(first.Tokens, ""), model)
		for i := 11; i < len(first.Tokens); i++ {
			if *first.TokenLogprobs[i] != *again.TokenLogprobs[i] || first.TextOffset[i] != again.TextOffset[i] {
				t.Errorf("%s: token %d was sampled with %g and is scored %g", model, i, *first.TokenLogprobs[i], *again.TokenLogprobs[i])
			}
		}
	}
}

// checkStreamedLogprobs compares the chunks of a stream with the whole answer to the same request.
func checkStreamedLogprobs(t *testing.T, r response, want openapi.Completion) {
	t.Helper()
	got := make([]openapi.CompletionLogprobs, len(want.Choices))
	for _, line := range strings.Split(string(r.body), "\n") {
		data, ok := strings.CutPrefix(line, "data: {")
		if !ok {
			continue
		}
		var chunk openapi.Completion
		if err := json.Unmarshal([]byte("{"+data), &chunk); err != nil {
			t.Fatal(err)
		}
		for _, c := range chunk.Choices {
			if l := c.Logprobs; l != nil {
				into := &got[c.Index]
				into.Tokens, into.TokenLogprobs = append(into.Tokens, l.Tokens...), append(into.TokenLogprobs, l.TokenLogprobs...)
				into.TopLogprobs, into.TextOffset = append(into.TopLogprobs, l.TopLogprobs...), append(into.TextOffset, l.TextOffset...)
			}
		}
	}
	for i, c := range want.Choices {
		if !reflect.DeepEqual(&got[i], c.Logprobs) {
			t.Errorf("choice %d streams %+v, whole it is %+v", i, got[i], *c.Logprobs)
		}
	}
}

func TestTokenOffsets(t *testing.T) {
	for _, c := range []struct {
		text   string
		pieces []string
		want   []int
	}{
		{"ab cd", []string{"ab", " cd"}, []int{0, 2}},
		{"ab cd", []string{"<s>", "ab", " cd"}, []int{0, 0, 2}},
		{"ab cd", []string{"<s>", " ab", " cd"}, []int{0, 0, 2}},
		{"ab cd", []string{" ab", " cd"}, []int{0, 2}},
		{"\u00e9\U0001F600x", []string{"\xc3", "\xa9\xf0", "\x9f\x98\x80", "x"}, []int{0, 0, 1, 2}},
		{"a", []string{"b", "ccc", "d"}, []int{0, 0, 1}},
	} {
		var tokens []runtime.TokenText
		for _, p := range c.pieces {
			tokens = append(tokens, runtime.TokenText{Bytes: []byte(p)})
		}
		if got := tokenOffsets(c.text, tokens); !slices.Equal(got, c.want) {
			t.Errorf("%q of %q begin at %v, want %v", c.pieces, c.text, got, c.want)
		}
	}
}

// The token that ends an answer is among those of a prompt's request: evaluations leave the last token out.
func TestLogprobsOfAnAnswersEnd(t *testing.T) {
	h := open(t, saying("x"))
	var got openapi.Completion
	h.post("/v1/completions", `{"echo":true,"logprobs":1,"max_tokens":1,"prompt":"assistant\nx"}`, &got)
	l := got.Choices[0].Logprobs
	if n := len(l.Tokens); got.Choices[0].Text != "assistant\nx" || n != 12 || l.Tokens[n-1] != "<|im_end|>" || l.TokenLogprobs[n-1] == nil || l.TextOffset[n-1] != 11 {
		t.Errorf("%+v", l)
	}
	h.post("/v1/completions", `{"logprobs":1,"max_tokens":1,"prompt":"assistant\nx"}`, &got)
	if l := got.Choices[0].Logprobs; len(l.Tokens) != 0 {
		t.Errorf("without echo: %+v", l)
	}
}

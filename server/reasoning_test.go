package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// thinkingTemplate is one of a model that thinks, where it is asked to with enable_thinking, or where it wants to.
const thinkingTemplate = `{% for m in messages %}<|im_start|>{{ m.role }}` + "\n" + `{% if m.reasoning_content %}<think>` + "\n" + `{{ m.reasoning_content }}` + "\n</think>\n\n" +
	`{% endif %}{{ m.content }}<|im_end|>` + "\n" + `{% endfor %}{% if add_generation_prompt %}{{ reasoning_effort }}<|im_start|>assistant` + "\n" +
	`{% if enable_thinking is defined %}{% if enable_thinking %}<think>` + "\n" + `{% else %}<think>` + "\n\n</think>\n\n" + `{% endif %}{% endif %}{% endif %}`

// thinkingAs is a model with that template which says a text after the end of a prompt, with what it is held to at each X.
func thinkingAs(t *testing.T, says, after string) func(*setup) {
	return func(p *setup) {
		saying(says)(p)
		p.facts = func(f *runtime.Facts) { f.ChatTemplate = thinkingTemplate }
		say := p.answer
		p.answer = func(history string) (runtime.Token, bool) {
			i := strings.LastIndex(history, after)
			if i < 0 {
				t.Errorf("the prompt is %q", history)
				return say(history)
			}
			token, ok := say("assistant\n" + history[i+len(after):])
			return token, ok && token != 'X'
		}
	}
}

// What the model thinks is told from what it says: where it opens the block itself, where the prompt opens it, and where
// neither does.
func TestReasoning(t *testing.T) {
	thought := "<think>\nHm, 1 < 2.\n</think>\n\nYes."
	opened, closed := "assistant\n<think>\n", "assistant\n<think>\n\n</think>\n\n"
	for _, c := range []struct {
		name, after, says, want string
		fields                  []string
		off                     bool
	}{
		{"the model opens it", "assistant\n", thought, `"Yes." thinking "Hm, 1 < 2." stop`, nil, false},
		{"it does not think", "assistant\n", " Yes.", `" Yes." thinking "" stop`, nil, false},
		{"the prompt opens it", opened, "Hm.\n</think>\n\nYes.", `"Yes." thinking "Hm." stop`, []string{`"chat_template_kwargs":{"enable_thinking":true}`}, false},
		{"the prompt closes it", closed, "Yes.", `"Yes." thinking "" stop`, []string{`"chat_template_kwargs":{"enable_thinking":false}`}, false},
		{"no effort", closed, "Yes.", `"Yes." thinking "" stop`, []string{`"reasoning_effort":"none"`}, false},
		{"it never ends", "assistant\n", "<think>Hm", `"" thinking "Hm" stop`, nil, false},
		{"a call after it", "assistant\n", "<think>\nHm\n</think>\n\n" + genericCall("now", "{}"), `"" thinking "Hm" tool_calls; function now {}`, []string{oneTool}, false},
		{"a schema after it", opened, "Hm.\n</think>\n\n[1]", `"[1]" thinking "Hm." stop`, []string{`"chat_template_kwargs":{"enable_thinking":true},"response_format":{"type":"json_schema","json_schema":{"schema":{"type":"array"}}}`}, false},
		{"it is switched off, and a call follows", opened, "Hm.\n</think>\n\n" + genericCall("now", "{}"), `"Hm.\n</think>" thinking "" tool_calls; function now {}`,
			[]string{`"chat_template_kwargs":{"enable_thinking":true}`, oneTool}, true},
		{"it is switched off", "assistant\n", thought, fmt.Sprintf(`%q thinking "" stop`, thought), nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := open(t, thinkingAs(t, c.says, c.after), func(p *setup) { p.options.NoReasoning = c.off })
			var got openapi.ChatCompletion
			h.post("/v1/chat/completions", chatBody("a", c.fields...), &got)
			if s := whole(t, got); s != c.want {
				t.Errorf("whole: %s, want %s", s, c.want)
			}
			r := h.do("POST", "/v1/chat/completions", chatBody("a", append(c.fields, `"stream":true`)...))
			if s := assembled(t, r.body); s != c.want {
				t.Errorf("stream: %s, want %s\n%s", s, c.want, r.body)
			}
		})
	}
	if got := promptOf(t, `{"messages":[{"role":"user","content":"a"}],"reasoning_effort":"high","chat_template_kwargs":{"mood":"x"}}`); got != "[user:a]x>" {
		t.Errorf("%q", got)
	}
}

// Reasoning that has used its budget is ended, and how many tokens it had is in the usage, whole and streamed. A token of the
// fake model is a byte.
func TestReasoningBudget(t *testing.T) {
	const opened, plain = "assistant\n<think>\n", "assistant\n"
	enabled := `"chat_template_kwargs":{"enable_thinking":true}`
	for _, c := range []struct {
		name, after, says string
		fields            string
		want              string
		tokens            int
	}{
		{"the prompt opens it", opened, "Hm hmXXXXXXXX\n\nYes.", enabled + `,"thinking_token_budget":5`, `"Yes." thinking "Hm hm" stop`, 13},
		{"no budget", opened, "Hm hm</think>\n\nYes.", enabled, `"Yes." thinking "Hm hm" stop`, 13},
		{"it ends before", opened, "Hm</think>\n\nYes.", enabled + `,"thinking_token_budget":5`, `"Yes." thinking "Hm" stop`, 10},
		{"it is ending", opened, "Hm</tXXXXXYes.", enabled + `,"thinking_token_budget":5`, `"Yes." thinking "Hm" stop`, 10},
		{"none at all", opened, "XXXXXXXXYes.", enabled + `,"thinking_token_budget":0`, `"Yes." thinking "" stop`, 8},
		{"the model opens it", plain, "<think>HmXXXXXXXX\nYes.", `"thinking_token_budget":9`, `"Yes." thinking "Hm" stop`, 17},
		{"it does not think", plain, "Yes, a <think> tag </thi.", `"thinking_token_budget":3`, `"Yes, a <think> tag </thi." thinking "" stop`, 0},
		{"a call", opened, "Hm hmXXXXXXXX\n\n" + genericCall("now", "{}"), enabled + `,"thinking_token_budget":5,` + oneTool, `"" thinking "Hm hm" tool_calls; function now {}`, 13},
		{"a call of a model that opens it", plain, "<think>HmXXXXXXXX\n" + genericCall("now", "{}"), `"thinking_token_budget":9,` + oneTool, `"" thinking "Hm" tool_calls; function now {}`, 17},
		{"a schema", opened, "Hm hmXXXXXXXX[1]", enabled + `,"thinking_token_budget":5,"response_format":{"type":"json_schema","json_schema":{"schema":{"type":"array"}}}`, `"[1]" thinking "Hm hm" stop`, 13},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := open(t, thinkingAs(t, c.says, c.after))
			var got openapi.ChatCompletion
			h.post("/v1/chat/completions", chatBody("a", c.fields), &got)
			if s := whole(t, got); s != c.want || got.Usage.CompletionTokensDetails.ReasoningTokens != c.tokens {
				t.Errorf("whole: %s with %d tokens of reasoning, want %s with %d", s, got.Usage.CompletionTokensDetails.ReasoningTokens, c.want, c.tokens)
			}
			r := h.do("POST", "/v1/chat/completions", chatBody("a", c.fields, `"stream":true,"stream_options":{"include_usage":true}`))
			if s := assembled(t, r.body); s != c.want || !strings.Contains(string(r.body), fmt.Sprintf(`"reasoning_tokens":%d}`, c.tokens)) {
				t.Errorf("stream: %s, want %s with %d tokens of reasoning\n%s", s, c.want, c.tokens, r.body)
			}
		})
	}
	h := open(t, thinkingAs(t, "Hm hmXXXXXXXX\n\nYes.", opened))
	var m openapi.Message
	h.post("/v1/messages", `{"model":"fake","temperature":0,"max_tokens":50,"messages":[{"role":"user","content":"a"}],"thinking":{"type":"enabled","budget_tokens":5}}`, &m)
	if len(m.Content) != 2 || text(m.Content[0].Thinking) != "Hm hm" || text(m.Content[1].Text) != "Yes." {
		t.Errorf("%s", asJSON(m))
	}
	var answered openapi.Response
	h.post("/v1/responses", `{"input":"a","temperature":0,"reasoning":{"effort":"high"},"max_output_tokens":8}`, &answered)
	if answered.Usage.OutputTokensDetails.ReasoningTokens != 8 {
		t.Errorf("%s", asJSON(answered))
	}
	refused(t, h.do("POST", "/v1/chat/completions", chatBody("a", `"thinking_token_budget":-1`)), 400, codeValue, "thinking_token_budget", "-1")
	r := h.do("POST", "/v1/messages", `{"model":"fake","max_tokens":5,"messages":[{"role":"user","content":"a"}],"thinking":{"type":"enabled","budget_tokens":-1}}`)
	if r.status != 400 || !strings.Contains(string(r.body), "thinking.budget_tokens") {
		t.Errorf("%d %s", r.status, r.body)
	}
}

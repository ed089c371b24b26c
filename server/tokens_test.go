package server

import (
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

func TestTokenizerInfo(t *testing.T) {
	h := open(t, func(p *setup) { p.facts = func(f *runtime.Facts) { f.Tokenizer = "bytes" } })
	var info openapi.TokenizerInfo
	h.get("/tokenizer_info", &info)
	if info.TokenizerClass != "bytes" || *info.BosToken != "<s>" || *info.EosToken != "<|im_end|>" || info.ModelMaxLength != 4096 || !strings.Contains(*info.ChatTemplate, "im_start") {
		t.Errorf("%+v", info)
	}
	var text openapi.Text
	if h.post("/detokenize", `{"tokens":[72,105]}`, &text); text.Prompt != "Hi" || text.Content != "Hi" {
		t.Errorf("%+v", text)
	}
}

// A conversation is tokenized as it would be answered: with its tools, its variables and the template of its adapter.
func TestTokenizeConversation(t *testing.T) {
	h := open(t)
	h.addWithTemplates("own", 1, map[string]string{"chat_template.jinja": `{% for t in tools %}{{ t.function.name }},{% endfor %}{% for m in messages %}{{ m.content or '' }}{% for c in m.tool_calls %}<call>{{ c.function.name }}:{{ c.function.arguments | tojson }}</call>{% endfor %};{% endfor %}` +
		`{{ mood }}{% if add_generation_prompt %}>{% endif %}`})
	for _, c := range []struct{ model, extra, want string }{
		{"own", "", "a;>"},
		{"own", `,"add_generation_prompt":false`, "a;"},
		{"own", `,"chat_template_kwargs":{"mood":"glad"}`, "a;glad>"},
		{"own", "," + oneTool, "get_weather,now,a;>"},
		{"", "", "<s><|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"},
	} {
		body := chatBody("a", `"model":"`+c.model+`","return_token_strs":true`+c.extra)
		var got openapi.Tokens
		h.post("/tokenize", body, &got)
		if text := strings.Join(got.TokenStrs, ""); strings.TrimPrefix(text, "<s>") != strings.TrimPrefix(c.want, "<s>") || got.Count != len(got.Tokens) {
			t.Errorf("%s: %q, want %q", body, text, c.want)
		}
		var rendered openapi.RenderedPrompt
		h.post("/apply-template", body, &rendered)
		if rendered.Prompt != strings.TrimPrefix(c.want, "<s>") {
			t.Errorf("%s renders %q, want %q", body, rendered.Prompt, c.want)
		}
	}
	refused(t, h.do("POST", "/tokenize", chatBody("a", `"model":"nobody"`)), 404, codeModel, "model", "nobody")
	refused(t, h.do("POST", "/tokenize", chatBody("a", `"tools":[{"type":"x"}]`)), 400, codeUnsupported, "tools[0].type", "x")
}

// The tokens of a response's prompt are counted without an answer, also where it goes on from another one.
func TestCountResponseTokens(t *testing.T) {
	h := open(t, keepingResponses(t))
	var first openapi.Response
	h.post("/v1/responses", `{"input":"a","max_output_tokens":2}`, &first)
	for _, body := range []string{`{"input":"a"}`, `{"input":"b","previous_response_id":"` + first.Id + `"}`, `{"input":"a","tools":[{"type":"function","name":"now","parameters":{"type":"object"}}]}`} {
		var count openapi.ResponseTokens
		h.post("/v1/responses/input_tokens", body, &count)
		var answered openapi.Response
		h.post("/v1/responses", strings.Replace(body, "{", `{"max_output_tokens":1,`, 1), &answered)
		if count.Object != "response.input_tokens" || count.InputTokens == 0 || count.InputTokens != answered.Usage.InputTokens {
			t.Errorf("%s: %+v, and the answer has %d", body, count, answered.Usage.InputTokens)
		}
	}
	refused(t, h.do("POST", "/v1/responses/input_tokens", `{"input":[{"type":"x"}]}`), 400, codeUnsupported, "input[0].type", "x")
}

// Clients that were told no model name one all the same; an adapter of that name is meant where there is one.
func TestUnnamedModels(t *testing.T) {
	h := open(t)
	h.add("tgi", 1)
	for model, adapter := range map[string]bool{"dummy": false, "tgi": true, "": false} {
		var got openapi.ChatCompletion
		h.post(chatURL, chatBody("a", `"max_tokens":1,"model":"`+model+`"`), &got)
		if (got.Adapter != nil) != adapter {
			t.Errorf("%q is answered by the adapter %v", model, got.Adapter)
		}
	}
}

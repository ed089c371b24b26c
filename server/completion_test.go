package server

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

func TestChat(t *testing.T) {
	h := open(t, saying("Polly wants a cracker."))
	var got openapi.ChatCompletion
	h.post("/v1/chat/completions", chatBody("hello"), &got)
	said := "Polly wants a cracker."
	want := openapi.ChatChoice{Message: openapi.AssistantMessage{Role: "assistant", Content: &said}, FinishReason: "stop"}
	if len(got.Choices) != 1 || !reflect.DeepEqual(got.Choices[0], want) {
		t.Errorf("choices are %+v", got.Choices)
	}
	if got.Model != "fake" || got.SystemFingerprint != "fp_fake-fingerp" || !strings.HasPrefix(got.Id, "chatcmpl-") || got.Created == 0 {
		t.Errorf("%+v", got)
	}
	// Two control tokens and the texts of two turns, one token per byte.
	prompt := len("user\nhello\nassistant\n") + 3
	if u := got.Usage; u.PromptTokens != prompt || u.CompletionTokens != 22+1 || u.TotalTokens != prompt+23 {
		t.Errorf("usage is %+v, the prompt has %d tokens", u, prompt)
	}
	if tm := got.Timings; tm.PredictedN != 23 || tm.PromptN != prompt || tm.PromptMs <= 0 || tm.PredictedPerSecond <= 0 {
		t.Errorf("timings are %+v", tm)
	}
}

// What reaches the model, as the fake tells it.
func promptOf(t *testing.T, body string) string {
	t.Helper()
	var heard string
	h := open(t, func(p *setup) {
		p.answer = func(text string) (runtime.Token, bool) { heard = text; return runtimetest.TurnEnd, true }
		p.facts = func(f *runtime.Facts) {
			f.ChatTemplate = `{% for m in messages %}[{{ m.role }}:{{ m.content }}{% if m.name %}({{ m.name }}){% endif %}]{% endfor %}` +
				`{% if tools %}{{ tools | tojson }}{% endif %}{{ mood }}{% if add_generation_prompt %}>{% endif %}`
		}
	})
	if r := h.do("POST", "/v1/chat/completions", body); r.status != 200 {
		t.Fatalf("%s", r.body)
	}
	return heard
}

// toolInstructions is what a model is told whose template prints tools, but no calls that could be read back.
const toolInstructions = "To call a tool, write nothing but this, with its name and a JSON object of its arguments:\n<tool_call>\n" +
	`{"name": "NAME", "arguments": {ARGUMENTS}}` + "\n</tool_call>\nThe next turn then has what the tool returned."

func TestMessagesReachTheTemplate(t *testing.T) {
	for body, want := range map[string]string{
		`{"messages":[{"role":"user","content":"a"}]}`:                                                                                                                          "[user:a]>",
		`{"messages":[{"role":"developer","content":"a"},{"role":"user","content":"b","name":"Al"}]}`:                                                                           "[system:a][user:b(Al)]>",
		`{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}`:                                                                      "[user:ab]>",
		`{"messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]}],"add_generation_prompt":false}`: "[assistant:<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>]",
		`{"messages":[{"role":"user","content":"a"}],"chat_template_kwargs":{"mood":"glad"}}`:                                                                                   "[user:a]glad>",
		`{"messages":[{"role":"user","content":"a"}],"tools":[{"type":"function","function":{"name":"f","b":1,"a":2}}]}`:                                                        `[system:` + toolInstructions + `][user:a][{"type": "function", "function": {"name": "f", "b": 1, "a": 2}}]>`,
		`{"messages":[{"role":"user","content":"a"}],"tools":[{"type":"f"}],"tool_choice":"none"}`:                                                                              "[user:a]>",
		`{"messages":[{"role":"user","content":"a"}],"tools":[],"tool_choice":null,"temperature":null,"x":1}`:                                                                   "[user:a]>",
		`{"messages":[{"role":"user","content":"ab"},{"role":"assistant","content":"ab ","prefix":true}]}`:                                                                      "[user:ab][assistant:ab ",
		`{"messages":[{"role":"user","content":"ab"},{"role":"assistant","content":"ab ","prefix":false}]}`:                                                                     "[user:ab][assistant:ab ]>",
		`{"messages":[{"role":"user","content":"ab"},{"role":"assistant","content":"ab "}],"continue_final_message":true}`:                                                      "[user:ab][assistant:ab ",
		`{"messages":[{"role":"user","content":"<|im_end|>"}],"response_format":{"type":"text"}}`:                                                                               "[user:<|im_end|>]>",
	} {
		if got := promptOf(t, body); got != want {
			t.Errorf("%s\ngives %q\nwant  %q", body, got, want)
		}
	}
}

func TestStop(t *testing.T) {
	h := open(t, saying("one, two, three"))
	for stop, want := range map[string]string{
		`", t"`: "one", `["three","two"]`: "one, ", `[]`: "one, two, three", `""`: "one, two, three", `null`: "one, two, three",
	} {
		var got openapi.ChatCompletion
		h.post("/v1/chat/completions", chatBody("a", `"stop":`+stop), &got)
		if c := got.Choices[0]; *c.Message.Content != want || c.FinishReason != "stop" {
			t.Errorf("stop %s gives %+v", stop, c)
		}
	}
	var got openapi.ChatCompletion
	h.post("/v1/chat/completions", chatBody("a", `"max_completion_tokens":5`), &got)
	if c := got.Choices[0]; *c.Message.Content != "one, " || c.FinishReason != "length" {
		t.Errorf("max_completion_tokens 5 gives %+v", c)
	}
}

func TestSeedsAndChoices(t *testing.T) {
	h := open(t)
	texts := func(fields ...string) []string {
		var got openapi.Completion
		h.post("/v1/completions", completion("a", append(fields, `"ignore_eos":true`)...), &got)
		var list []string
		for i, c := range got.Choices {
			if c.Index != i {
				t.Errorf("choice %d has index %d", i, c.Index)
			}
			list = append(list, c.Text)
		}
		return list
	}
	three := texts(`"n":3`, `"seed":7`)
	if len(three) != 3 || three[0] == three[1] || three[1] == three[2] {
		t.Errorf("three choices are %q", three)
	}
	if again := texts(`"n":3`, `"seed":7`); !slices.Equal(again, three) {
		t.Errorf("the same seed gives %q and %q", three, again)
	}
	if second := texts(`"seed":8`); second[0] != three[1] {
		t.Errorf("choice 1 of seed 7 is %q, seed 8 gives %q", three[1], second)
	}
	if a, b := texts(), texts(); slices.Equal(a, b) {
		t.Errorf("without a seed the same comes twice: %q", a)
	}
	if a, b := texts(`"temperature":0`), texts(`"temperature":0`); !slices.Equal(a, b) {
		t.Errorf("at temperature 0: %q and %q", a, b)
	}
	if a, b := texts(`"seed":-1`), texts(`"seed":-1`); !slices.Equal(a, b) {
		t.Errorf("with seed -1: %q and %q", a, b)
	}
}

func TestPrompts(t *testing.T) {
	h := open(t)
	one := func(prompt string) []openapi.CompletionChoice {
		var got openapi.Completion
		h.post("/v1/completions", `{"temperature":0,"prompt":`+prompt+`}`, &got)
		if got.Usage.PromptTokens == 0 || got.Object != "text_completion" || !strings.HasPrefix(got.Id, "cmpl-") {
			t.Errorf("%+v", got)
		}
		return got.Choices
	}
	ab, cd := one(`"ab"`)[0].Text, one(`"cd"`)[0].Text
	if ab == cd {
		t.Fatal("the fake says the same to both prompts")
	}
	if len([]rune(ab)) > 16 {
		t.Errorf("%q is more than the 16 tokens of the default", ab)
	}
	for prompt, want := range map[string][]string{
		`["ab","cd"]`: {ab, cd}, `[97,98]`: {ab}, `[[97,98],[99,100]]`: {ab, cd}, `["ab",[99,100]]`: {ab, cd},
	} {
		choices := one(prompt)
		var texts []string
		for _, c := range choices {
			texts = append(texts, c.Text)
		}
		if !slices.Equal(texts, want) {
			t.Errorf("prompt %s gives %q, want %q", prompt, texts, want)
		}
	}
}

func TestEcho(t *testing.T) {
	h := open(t, saying("x"))
	for prompt, want := range map[string]string{`"assistant\n"`: "assistant\nx", `[97,115,115,105,115,116,97,110,116,10]`: "assistant\nx"} {
		var got openapi.Completion
		h.post("/v1/completions", `{"echo":true,"n":2,"best_of":2,"prompt":`+prompt+`}`, &got)
		if len(got.Choices) != 2 || got.Choices[0].Text != want || got.Choices[1].Text != want {
			t.Errorf("%+v", got.Choices)
		}
	}
}

func TestPrefixCache(t *testing.T) {
	h := open(t, saying("x"))
	h.add("pirate", 1)
	long := strings.Repeat("tell me more ", 20)
	cached := func(fields ...string) int {
		var got openapi.ChatCompletion
		h.post("/v1/chat/completions", chatBody(long, fields...), &got)
		return got.Usage.PromptTokensDetails.CachedTokens
	}
	if n := cached(); n != 0 {
		t.Errorf("%d cached tokens at first", n)
	}
	if n := cached(); n < len(long) {
		t.Errorf("%d cached tokens the second time", n)
	}
	if n := cached(`"adapter":"pirate"`); n != 0 {
		t.Errorf("%d cached tokens of the base serve an adapter", n)
	}
	if n := cached(`"cache_prompt":false`); n != 0 {
		t.Errorf("%d cached tokens with cache_prompt false", n)
	}
}

// The sampling that the engine is asked for, as a function of the request.
func TestSampling(t *testing.T) {
	h := open(t)
	sampling := func(fields ...string) runtime.Sampling {
		t.Helper()
		r, err := h.server.chatReply(caller{}, []byte(chatBody("a", fields...)))
		if err != nil {
			t.Fatal(err)
		}
		r.sampling.Seed = 0
		return r.sampling
	}
	standard := runtime.Sampling{Temperature: 1, TopP: 1, TypicalP: 1, RepeatPenalty: 1, RepeatLastN: 64}
	if got := sampling(); fmt.Sprint(got) != fmt.Sprint(standard) {
		t.Errorf("the defaults are %+v", got)
	}
	all := sampling(`"temperature":0.5,"top_p":0,"top_k":-1,"min_p":0.1,"typical_p":0.9,"presence_penalty":-1,"frequency_penalty":2,`+
		`"repetition_penalty":1.5,"repeat_last_n":8,"logit_bias":{"5":-100},"grammar":"root ::= \"a\"","ignore_eos":true`, `"seed":5`)
	want := runtime.Sampling{
		Temperature: 0.5, TopP: smallestP, MinP: 0.1, TypicalP: 0.9, PresencePenalty: -1, FrequencyPenalty: 2, RepeatPenalty: 1.5,
		RepeatLastN: 8, LogitBias: map[runtime.Token]float32{5: -100}, Grammar: `root ::= "a"`, IgnoreEOS: true,
	}
	if fmt.Sprint(all) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", all, want)
	}
	if got := sampling(`"repeat_penalty":1.5,"repeat_last_n":0`); got.RepeatPenalty != 1 {
		t.Errorf("repeat_last_n 0 leaves a penalty of %g", got.RepeatPenalty)
	}
	if got := sampling(`"response_format":{"type":"json_object"}`); got.Constraint == nil || got.Grammar != "" {
		t.Errorf("json_object gives the constraint %v, grammar %q", got.Constraint, got.Grammar)
	}
	if got := sampling(`"json_schema":{"type":"integer"}`); got.Constraint == nil {
		t.Error("json_schema gives no constraint")
	}
	for _, neutral := range []string{`"guided_json":null`, `"guided_choice":[]`, `"min_tokens":0`, `"n_predict":-1`, `"n_probs":0`, `"stop_token_ids":null`} {
		if got := sampling(neutral); got.Constraint != nil || got.Grammar != "" {
			t.Errorf("%s gives a constraint", neutral)
		}
	}
}

// TestMoreAnswersThanFit wants a request for more answers than the server ever takes refused as such: to try again, as a
// full queue asks to, would not help.
func TestMoreAnswersThanFit(t *testing.T) {
	h := open(t)
	prompts := strings.Repeat(`"a",`, 63) + `"a"`
	r := h.do("POST", textURL, `{"prompt":[`+prompts+`],"n":16}`)
	refused(t, r, 400, codeValue, "n", "asks for 1024 answers at once, 16 to each prompt: this server takes")
}

func TestTokens(t *testing.T) {
	h := open(t)
	for body, want := range map[string][]int32{
		`{"content":"ab"}`:                               {97, 98},
		`{"prompt":"ab"}`:                                {97, 98},
		`{"content":""}`:                                 {},
		`{"content":"a<|im_end|>"}`:                      {97, 259},
		`{"content":"a</s>","parse_special":false}`:      {97, 60, 47, 115, 62},
		`{"messages":[{"role":"user","content":"a"}]}`:   nil,
		`{"content":"é","with_pieces":true}`:             {0xc3, 0xa9},
		`{"content":"a","add_special":true,"unknown":1}`: {97},
	} {
		var got openapi.Tokens
		h.post("/tokenize", body, &got)
		if want == nil {
			want, _ = h.model.Tokenize("<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n", false, true)
		}
		if !slices.Equal(got.Tokens, want) || got.Count != len(want) || got.MaxModelLen != 4096 {
			t.Errorf("%s gives %+v, want %v", body, got, want)
		}
		if strings.Contains(body, "pieces") && !slices.Equal(got.Pieces, []string{"\uFFFD", "\uFFFD"}) {
			t.Errorf("pieces are %q", got.Pieces)
		}
	}
	var text openapi.Text
	h.post("/detokenize", `{"tokens":[97,195,169,259]}`, &text)
	if text.Content != "aé<|im_end|>" {
		t.Errorf("detokenize gives %q", text.Content)
	}
}

// appendString is held against encoding/json.
func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "a", "\"\\\n\r\t\x00\x1f\x7f", "é\u2028", "\xff\xc3", "<&>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var got string
		if err := json.Unmarshal(jsonvalue.AppendString(nil, s), &got); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		want, _ := json.Marshal(s)
		var same string
		json.Unmarshal(want, &same)
		if got != same {
			t.Errorf("%q reads back as %q, encoding/json's as %q", s, got, same)
		}
	})
}

// The decoder takes whatever comes without a panic, and what it refuses has a status below 500.
func FuzzRequests(f *testing.F) {
	h := open(f)
	for _, body := range []string{
		chatBody("a"), completion("a"), chatBody("a", `"adapter":[{"name":"a","scale":2},"b@0123"]`), chatBody("a", `"stop":["x"],"n":2`),
		completion("a", `"logit_bias":{"1":2},"stream":true,"stream_options":{}`), `{"prompt":[[1,2],"x"],"echo":true}`,
		chatBody("a", `"tools":[{}],"tool_choice":"none","response_format":{"type":"json_object"}`), `{"messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, decode := range []func([]byte) (*reply, error){func(b []byte) (*reply, error) { return h.server.chatReply(caller{}, b) }, func(b []byte) (*reply, error) { return h.server.textReply(caller{}, b) }} {
			r, err := decode(body)
			if err == nil {
				if len(r.prompts) == 0 || r.n < 1 || r.n > maxChoices || len(r.stop) > maxStops {
					t.Errorf("%s gives %+v", body, r.generation)
				}
				r.close()
				continue
			}
			if status, e := describe(err); status >= 500 || e.Message == "" {
				t.Errorf("%s gives %d: %v", body, status, err)
			}
		}
	})
}

// Keys match exactly, and of a key that stands twice the last one counts.
func TestKeysMatchExactly(t *testing.T) {
	h := open(t)
	for _, c := range []struct {
		body string
		want int
	}{
		{completion("a", `"max_tokens":3,"Max_Tokens":5,"MAX_TOKENS":6,"ignore_eos":true`), 3},
		{completion("a", `"max_tokens":3,"max_tokens":4,"ignore_eos":true`), 4},
		{`{"prompt":"b","PROMPT":7,"prompt":"a","max_tokens":2,"ignore_eos":true}`, 2},
	} {
		var got openapi.Completion
		h.post("/v1/completions", c.body, &got)
		if got.Usage.CompletionTokens != c.want {
			t.Errorf("%s: %d tokens, want %d", c.body, got.Usage.CompletionTokens, c.want)
		}
	}
}

// TestPromptWithBOS: BOS is put before a prompt that does not begin with it, and not a second time before one that does.
func TestPromptWithBOS(t *testing.T) {
	h := open(t, func(p *setup) { p.facts = func(f *runtime.Facts) { f.AddBOS = true } })
	for prompt, tokens := range map[string]int{"ab": 3, "<s>ab": 3, "a<s>b": 4} {
		var got openapi.Completion
		h.post("/v1/completions", completion(prompt, `"max_tokens":1`), &got)
		if got.Usage == nil || got.Usage.PromptTokens != tokens {
			t.Errorf("%q: %+v, want %d tokens", prompt, got.Usage, tokens)
		}
	}
}

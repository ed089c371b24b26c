package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// invocation is what the fake model's template prints last: there an activated LoRA of the tests begins to act.
const invocation = "<|im_start|>assistant\n"

// addActivated stores the adapter that add stores, to act from the invocation on.
func (h *testServer) addActivated(name string, seed float32) {
	h.t.Helper()
	tokens, err := h.model.Tokenize(invocation, false, true)
	if err != nil {
		h.t.Fatal(err)
	}
	files := peftFiles(h.t, seed)
	config := strings.TrimSuffix(string(files["adapter_config.json"]), "}")
	files["adapter_config.json"] = []byte(config + `,"alora_invocation_tokens":` + strings.ReplaceAll(fmt.Sprint(tokens), " ", ",") + `}`)
	if r := h.upload(name, files); r.status != 201 {
		h.t.Fatalf("%d %s", r.status, r.body)
	}
}

// A conversation with the base is gone on with by an activated LoRA, which finds the base's prefix cached, and the other
// way round; the answers are those that nothing cached gives.
func TestActivatedAdapterSharesTheBasesPrefix(t *testing.T) {
	h := open(t)
	h.addActivated("act", 1)
	long := strings.Repeat("tell me more ", 20)
	ask := func(fields ...string) (text string, cached int) {
		t.Helper()
		var got openapi.ChatCompletion
		h.post("/v1/chat/completions", chatBody(long, append(fields, `"temperature":0,"max_tokens":12`)...), &got)
		return *got.Choices[0].Message.Content, got.Usage.PromptTokensDetails.CachedTokens
	}
	cold, _ := ask(`"adapter":"act","cache_prompt":false`)
	base, n := ask()
	if n != 0 {
		t.Errorf("%d cached tokens at first", n)
	}
	got, n := ask(`"adapter":"act"`)
	if n < len(long) || got != cold {
		t.Errorf("with %d cached tokens the adapter answers %q, without any %q", n, got, cold)
	}
	if got == base {
		t.Error("the adapter changes nothing")
	}
	again, more := ask(`"adapter":"act"`)
	if more <= n || again != cold {
		t.Errorf("the second time it finds %d cached tokens, the first time %d, and answers %q", more, n, again)
	}
	if half, n := ask(`"adapter":{"name":"act","scale":0.5}`); n < len(long) || half == cold {
		t.Errorf("at half its scale it finds %d cached tokens and answers %q", n, half)
	}
	if text, n := ask(); n < len(long) || text != base {
		t.Errorf("the base finds %d cached tokens and answers %q, before %q", n, text, base)
	}
	if n := h.value(`lorikeet_cached_tokens_total{adapter="act"}`); n < float64(2*len(long)) {
		t.Errorf("the metric counts %v cached tokens", n)
	}
	// Without the invocation the base answers.
	var plain, act openapi.Completion
	h.post("/v1/completions", completion("once upon", `"temperature":0`), &plain)
	h.post("/v1/completions", completion("once upon", `"temperature":0,"adapter":"act"`), &act)
	if plain.Choices[0].Text != act.Choices[0].Text {
		t.Errorf("without its invocation it answers %q, the base %q", act.Choices[0].Text, plain.Choices[0].Text)
	}
}

func TestActivatedAdapterIsShown(t *testing.T) {
	h := open(t)
	h.addActivated("act", 1)
	h.add("plain", 1)
	var got openapi.Adapter
	h.ok(h.do("GET", "/adapters/act", ""), &got)
	tokens, err := h.model.Tokenize(invocation, false, true)
	if err != nil {
		t.Fatal(err)
	}
	var shown []runtime.Token
	if got.AloraInvocationTokens != nil {
		for _, token := range *got.AloraInvocationTokens {
			shown = append(shown, runtime.Token(token))
		}
	}
	if !slices.Equal(shown, tokens) {
		t.Errorf("it acts from %v on, want %v", shown, tokens)
	}
	if r := h.do("GET", "/adapters/plain", ""); strings.Contains(string(r.body), "alora") {
		t.Errorf("a plain adapter is shown with an invocation: %s", r.body)
	}
	for value, message := range map[string]string{
		"[]": "at least one token", "[1,\"a\"]": "alora_invocation_tokens is not a list of tokens", "[99999]": "alora_invocation_tokens has 99999",
	} {
		files := peftFiles(t, 2)
		config := strings.TrimSuffix(string(files["adapter_config.json"]), "}")
		files["adapter_config.json"] = []byte(config + `,"alora_invocation_tokens":` + value + `}`)
		if r := h.upload("bad", files); r.status != 400 || !strings.Contains(string(r.body), message) {
			t.Errorf("%s: %d %s, want 400 with %q", value, r.status, r.body, message)
		}
	}
}

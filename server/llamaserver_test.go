package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/openapi"
)

func TestLoraAdapters(t *testing.T) {
	h := open(t, saying("x"))
	h.add("zoe", 1)
	nextMillisecond() // the list is in the order of dates, which have milliseconds
	h.add("ann", 2)
	list := func() (text string) {
		var got []openapi.LoraAdapter
		h.get("/lora-adapters", &got)
		for _, a := range got {
			text += fmt.Sprintf("%d:%s*%g ", a.Id, a.Name, a.Scale)
		}
		return strings.TrimSpace(text)
	}
	label := func(fields ...string) string {
		var got openapi.ChatCompletion
		h.post(chatURL, chatBody("a", fields...), &got)
		if got.Adapter == nil {
			return "null"
		}
		return string(*got.Adapter)
	}
	if got := list(); got != "0:zoe*0 1:ann*0" {
		t.Errorf("the adapters are %s", got)
	}
	ann, zoe := h.add("ann", 2).Version, h.add("zoe", 1).Version
	for lora, want := range map[string]string{
		`[{"id":1,"scale":1}]`:                           `"ann@` + ann + `"`,
		`[{"id":0,"scale":0},{"id":1,"scale":0.5}]`:      `"ann@` + ann + `*0.5"`,
		`[{"name":"zoe"}]`:                               `"zoe@` + zoe + `"`,
		`[{"name":"zoe","scale":2},{"id":1,"scale":-1}]`: `["ann@` + ann + `*-1","zoe@` + zoe + `*2"]`,
		`[]`: "null", `null`: "null", `[{"id":0,"scale":0}]`: "null",
	} {
		if got := label(`"lora":`+lora, `"model":"fake"`); got != want {
			t.Errorf("lora %s answers with %s, want %s", lora, got, want)
		}
	}
	var set openapi.LoraAdaptersSet
	h.post("/lora-adapters", `[{"id":1,"scale":0.5}]`, &set)
	if got := list(); got != "0:zoe*0 1:ann*0.5" || !set.Success {
		t.Errorf("after it is set: %s", got)
	}
	for fields, want := range map[string]string{
		`"model":"fake"`: `"ann@` + ann + `*0.5"`, `"adapter":null`: `"ann@` + ann + `*0.5"`,
		`"adapter":"zoe"`: `"zoe@` + zoe + `"`, `"model":"zoe"`: `"zoe@` + zoe + `"`, `"lora":[]`: "null", `"adapter":[]`: "null",
	} {
		if got := label(fields); got != want {
			t.Errorf("%s answers with %s, want %s", fields, got, want)
		}
	}
	// A number stays its adapter's: others that come or go do not move it.
	h.ok(h.do("DELETE", "/adapters/zoe", ""), &openapi.AdapterDeleted{})
	h.add("bob", 3)
	if got := list(); got != "1:ann*0.5 2:bob*0" {
		t.Errorf("after a change: %s", got)
	}
	h.ok(h.do("DELETE", "/adapters/ann", ""), &openapi.AdapterDeleted{})
	if got := label(); got != "null" {
		t.Errorf("with the adapter of POST /lora-adapters gone: %s", got)
	}
	refused(t, h.do("POST", chatURL, chatBody("a", `"lora":[{"id":0,"scale":1}]`)), 404, "adapter_not_found", "lora[0]", "zoe")
	refused(t, h.do("POST", "/lora-adapters", `{}`), 400, codeType, "lora", "must be an array")
	refused(t, h.do("POST", "/lora-adapters", `[{"id":7,"scale":1}]`), 400, codeValue, "lora[0].id", "GET /lora-adapters")
	refused(t, h.do("POST", "/lora-adapters", `[`), 400, codeJSON, "", "")
}

func TestLoraIsChecked(t *testing.T) {
	h := open(t)
	h.add("pirate", 1)
	for _, c := range []struct{ fields, code, param, message string }{
		{`"lora":7`, codeType, "lora", "must be an array"},
		{`"lora":[7]`, codeType, "lora[0]", "must be an object"},
		{`"lora":[{}]`, codeMissing, "lora[0].id", "is missing"},
		{`"lora":[{"id":1.5}]`, codeType, "lora[0].id", "integer"},
		{`"lora":[{"id":1e300}]`, codeType, "lora[0].id", "integer"},
		{`"lora":[{"id":-1}]`, codeValue, "lora[0].id", "no adapter has"},
		{`"lora":[{"id":0,"name":"pirate"}]`, codeValue, "lora[0].name", "beside id"},
		{`"lora":[{"id":0,"scale":17}]`, codeValue, "lora[0].scale", "between -16 and 16"},
		{`"lora":[{"id":0,"scale":"1"}]`, codeType, "lora[0].scale", "must be a number"},
		{`"lora":[{"id":0},{"id":0},{"id":0},{"id":0},{"id":0}]`, codeValue, "lora", "more than 4"},
		{`"lora":[{"id":0}],"adapter":"pirate"`, codeValue, "lora", "give one of them"},
		{`"lora":[{"id":0}],"model":"pirate"`, codeValue, "lora", "give one of them"},
	} {
		refused(t, h.do("POST", chatURL, chatBody("a", c.fields)), 400, c.code, c.param, c.message)
	}
}

func TestPropsAndSlots(t *testing.T) {
	h := open(t, slowly(5*time.Millisecond), func(p *setup) { p.engine.Parallel = 2 })
	var props openapi.Props
	h.get("/props", &props)
	if props.TotalSlots != 2 || props.ModelAlias != "fake" || props.DefaultGenerationSettings.NCtx != h.engine.Context() ||
		props.DefaultGenerationSettings.Params.TopP != 1 || props.BuildInfo != "lorikeet test" || props.Device != nil || props.DeviceLayers != 0 {
		t.Errorf("%+v", props)
	}
	busy := func() (n int) {
		var slots []openapi.Slot
		h.get("/slots", &slots)
		if len(slots) != 2 {
			t.Fatalf("%+v", slots)
		}
		for _, s := range slots {
			if s.IsProcessing {
				n++
			}
		}
		return n
	}
	if n := busy(); n != 0 {
		t.Errorf("%d slots are taken at first", n)
	}
	done := make(chan response, 2)
	for range 2 {
		go func() { done <- h.do("POST", textURL, completion("a", `"max_tokens":200,"ignore_eos":true`)) }()
	}
	waitUntil(t, "both slots are taken", 2*time.Second, func() bool { return busy() == 2 })
	if r := h.do("GET", "/slots?fail_on_no_slot=1", ""); r.status != http.StatusServiceUnavailable || !strings.Contains(string(r.body), "no slot is free") {
		t.Errorf("with no slot free: %d %s", r.status, r.body)
	}
	for range 2 {
		if r := <-done; r.status != 200 {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
}

func TestApplyTemplate(t *testing.T) {
	h := open(t)
	var got openapi.RenderedPrompt
	h.post("/apply-template", chatBody("hello"), &got)
	if !strings.Contains(got.Prompt, "hello") || !strings.HasSuffix(got.Prompt, "assistant\n") {
		t.Errorf("the prompt is %q", got.Prompt)
	}
	var tokens openapi.Tokens
	h.post("/tokenize", chatBody("hello"), &tokens)
	var text openapi.Text
	list, err := json.Marshal(tokens.Tokens)
	if err != nil {
		t.Fatal(err)
	}
	if h.post("/detokenize", `{"tokens":`+string(list)+`}`, &text); text.Content != got.Prompt {
		t.Errorf("a chat completion is given %q, not %q", text.Content, got.Prompt)
	}
	refused(t, h.do("POST", "/apply-template", `{"messages":[]}`), 400, codeMissing, "messages", "is missing")
}

// Models are deleted as OpenAI's clients delete fine-tuned ones.
func TestDeleteModel(t *testing.T) {
	h := open(t)
	first := h.add("pupil", 1)
	second := h.add("pupil", 2)
	var gone openapi.ModelDeleted
	h.ok(h.do("DELETE", "/v1/models/pupil@"+second.Version, ""), &gone)
	if !gone.Deleted || gone.Id != "pupil@"+second.Version || gone.Object != "model" {
		t.Errorf("%+v", gone)
	}
	if info, err := h.store.Get(adapters.Ref{Name: "pupil", Scale: 1}); err != nil || info.Version != first.Version {
		t.Errorf("the name points at %+v, error %v", info, err)
	}
	h.ok(h.do("DELETE", "/v1/models/fake:pupil@"+first.Version, ""), &gone)
	if r := h.do("GET", "/v1/models/pupil", ""); r.status != 404 {
		t.Errorf("without versions: %d", r.status)
	}
	h.add("pupil", 1)
	h.add("pupil", 2)
	h.ok(h.do("DELETE", "/v1/models/pupil", ""), &gone)
	refused(t, h.do("DELETE", "/v1/models/pupil", ""), 404, codeModel, "model", "does not exist")
	refused(t, h.do("DELETE", "/v1/models/fake", ""), 400, codeValue, "model", "base model")
	refused(t, h.do("DELETE", "/v1/models/a/b", ""), 404, codeModel, "model", "does not exist")
}

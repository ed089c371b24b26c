package server

import (
	"archive/zip"
	"io"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// addWithTemplates registers an adapter that comes with chat templates.
func (h *testServer) addWithTemplates(name string, seed float32, sources map[string]string) {
	h.t.Helper()
	h.add(name, seed)
	e, err := h.store.Export(h.t.Context(), adapters.Ref{Name: name, Scale: 1}, adapters.PEFT)
	if err != nil {
		h.t.Fatal(err)
	}
	defer e.Close()
	z, err := zip.NewReader(e, e.Size)
	if err != nil {
		h.t.Fatal(err)
	}
	var parts []adapters.Part
	for file, source := range sources {
		parts = append(parts, adapters.Part{Name: file, Body: strings.NewReader(source), Size: int64(len(source))})
	}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			h.t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			h.t.Fatal(err)
		}
		parts = append(parts, adapters.Part{Name: f.Name, Body: strings.NewReader(string(data)), Size: int64(len(data))})
	}
	if _, err := h.store.PutUpload(h.t.Context(), name, parts, adapters.Note{}); err != nil {
		h.t.Fatal(err)
	}
}

// A request to an adapter that came with a chat template is rendered with it, and its calls are read in its format.
func TestTemplateOfAnAdapter(t *testing.T) {
	var heard string
	h := open(t, func(p *setup) {
		p.answer = func(history string) (runtime.Token, bool) {
			heard = history
			const says = `<function=now>{}</function>`
			i := strings.LastIndex(history, "assistant:")
			if i < 0 || len(history)-i-len("assistant:") >= len(says) {
				return runtimetest.TurnEnd, true
			}
			return runtime.Token(says[len(history)-i-len("assistant:")]), true
		}
	})
	h.add("plain", 1)
	const source = `{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{{ m.role }}:{{ m.content or '' }}{% for c in m.tool_calls %}<function={{ c.function.name }}>{{ c.function.arguments | tojson }}</function>{% endfor %};{% endfor %}` +
		`{% if add_generation_prompt %}assistant:{% endif %}`
	h.addWithTemplates("own", 2, map[string]string{adapters.TemplateFile: source})
	h.addWithTemplates("two", 3, map[string]string{adapters.TemplateFile: "{{ messages[0].content }}?", adapters.ToolTemplateFile: "tools:" + source})
	for model, want := range map[string]string{"own": "user:a;assistant:", "two": "a?", "plain": "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n", "fake": "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"} {
		h.post("/v1/chat/completions", chatBody("a", `"max_tokens":1,"model":"`+model+`"`), &openapi.ChatCompletion{})
		if heard != want {
			t.Errorf("%s is asked %q, want %q", model, heard, want)
		}
		var rendered openapi.RenderedPrompt
		h.post("/apply-template", chatBody("a", `"model":"`+model+`"`), &rendered)
		if rendered.Prompt != want {
			t.Errorf("%s renders %q, want %q", model, rendered.Prompt, want)
		}
	}
	var got openapi.ChatCompletion
	for model, begin := range map[string]string{"own": "[", "two": "tools:["} {
		h.post("/v1/chat/completions", chatBody("a", `"model":"`+model+`"`, oneTool), &got)
		if s := whole(t, got); s != `"" thinking "" tool_calls; function now {}` || !strings.HasPrefix(heard, begin) {
			t.Errorf("%s is asked %q and says %s", model, heard, s)
		}
	}
	h.post("/v1/chat/completions", chatBody("a", `"max_tokens":1,"adapter":["plain","own"]`), &got)
	if heard != "user:a;assistant:" {
		t.Errorf("a sum is asked %q", heard)
	}
}

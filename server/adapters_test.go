package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/openapi"
)

// peftFiles returns the two files of a PEFT adapter of q_proj in layer 0.
func peftFiles(t testing.TB, seed float32) map[string][]byte {
	t.Helper()
	const rank, width = 2, 8
	a, b := make([]float32, rank*width), make([]float32, width*rank)
	for i := range a {
		a[i], b[i] = seed+float32(i), seed-float32(i)
	}
	prefix := "base_model.model.model.layers.0.self_attn.q_proj."
	var file bytes.Buffer
	if err := peft.WriteTensors(&file, []peft.Tensor{
		peft.NewTensor(prefix+"lora_A.weight", []int64{rank, width}, a),
		peft.NewTensor(prefix+"lora_B.weight", []int64{width, rank}, b),
	}); err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"adapter_config.json":       []byte(`{"peft_type":"LORA","r":2,"lora_alpha":4,"target_modules":["q_proj"]}`),
		"adapter_model.safetensors": file.Bytes(),
	}
}

// uploadForm is a multipart form of a name, further fields and their values in turn, and files.
func uploadForm(t testing.TB, name string, files map[string][]byte, fields ...string) (kind string, body *bytes.Buffer) {
	t.Helper()
	body = &bytes.Buffer{}
	w := multipart.NewWriter(body)
	if name != "" {
		w.WriteField("name", name)
	}
	for i := 0; i < len(fields); i += 2 {
		w.WriteField(fields[i], fields[i+1])
	}
	for filename, content := range files {
		p, err := w.CreateFormFile("file", filename)
		if err != nil {
			t.Fatal(err)
		}
		p.Write(content)
	}
	w.Close()
	return w.FormDataContentType(), body
}

func (h *testServer) upload(name string, files map[string][]byte) response {
	h.t.Helper()
	kind, body := uploadForm(h.t, name, files)
	req, _ := http.NewRequest("POST", h.url+"/adapters", body)
	req.Header.Set("Content-Type", kind)
	return h.send(req)
}

func TestUploadAndItsVersions(t *testing.T) {
	h := open(t)
	var first, second openapi.Adapter
	r := h.upload("pirate", peftFiles(t, 1))
	h.ok(r, &first)
	if r.status != http.StatusCreated || first.Name != "pirate" || first.Rank != 2 || first.Alpha != 4 || !first.Current ||
		!slices.Equal(first.Targets, []string{"q_proj"}) || first.Bytes == 0 || first.Loaded || first.Origin != "upload" ||
		time.Since(time.Unix(first.CreatedAt, 0)) > time.Minute {
		t.Errorf("%d %+v", r.status, first)
	}
	h.ok(h.upload("pirate", peftFiles(t, 2)), &second)
	if second.Version == first.Version {
		t.Error("another content has the same version")
	}
	var list openapi.AdapterList
	h.get("/adapters", &list)
	if list.Object != "list" || len(list.Data) != 1 || list.Data[0].Version != second.Version {
		t.Errorf("%+v", list)
	}
	h.get("/adapters/pirate/versions", &list)
	if len(list.Data) != 2 || list.Data[0].Version != second.Version || list.Data[1].Current {
		t.Errorf("%+v", list)
	}
	var got openapi.Adapter
	h.get("/adapters/pirate", &got)
	if got.Version != second.Version {
		t.Errorf("%+v", got)
	}
	h.get("/adapters/pirate@"+first.Version, &got)
	if got.Version != first.Version || got.Current {
		t.Errorf("%+v", got)
	}
	h.post("/v1/chat/completions", chatBody("a", `"adapter":"pirate"`), &openapi.ChatCompletion{})
	h.get("/adapters/pirate", &got)
	if !got.Loaded {
		t.Error("it is used and not loaded")
	}
	var deleted openapi.AdapterDeleted
	h.ok(h.do("DELETE", "/adapters/pirate", ""), &deleted)
	if !deleted.Deleted || deleted.Name != "pirate" {
		t.Errorf("%+v", deleted)
	}
	refused(t, h.do("GET", "/adapters/pirate", ""), 404, "adapter_not_found", "name", "pirate")
	refused(t, h.do("DELETE", "/adapters/pirate@0123", ""), 400, codeValue, "name", "all its versions")
}

func TestUploadErrors(t *testing.T) {
	h := open(t, func(p *setup) { p.options.MaxUpload = 100 << 10 })
	good := peftFiles(t, 1)
	config := good["adapter_config.json"]
	many := map[string][]byte{}
	for i := range maxParts + 1 {
		many[fmt.Sprintf("f%d", i)] = []byte("x")
	}
	for name, c := range map[string]struct {
		name                 string
		files                map[string][]byte
		status               int
		code, param, message string
	}{
		"no name":     {"", good, 400, codeMissing, "name", "missing"},
		"bad name":    {"a/b", good, 400, codeValue, "name", `"a/b"`},
		"long name":   {strings.Repeat("a", 2000), good, 400, codeValue, "name", "longer than"},
		"the base's":  {"default", good, 400, codeValue, "name", "a name of the base model"},
		"no file":     {"a", nil, 400, codeMissing, "file", "missing"},
		"many":        {"a", many, 400, codeValue, "file", "more than 16 parts"},
		"half":        {"a", map[string][]byte{"adapter_config.json": config}, 400, "adapter_unreadable", "file", "adapter_model.safetensors"},
		"garbage":     {"a", map[string][]byte{"x.gguf": []byte("GGUFgarbage")}, 400, "adapter_unreadable", "file", "GGUF"},
		"too large":   {"a", map[string][]byte{"x.gguf": make([]byte, 150<<10)}, 413, codeTooLarge, "", "larger than 102400 bytes"},
		"much larger": {"a", map[string][]byte{"x.gguf": make([]byte, 3<<20)}, 413, codeTooLarge, "", "larger than 102400 bytes"},
		"unsupported": {"a", map[string][]byte{
			"adapter_config.json":       []byte(`{"peft_type":"LORA","r":2,"lora_alpha":4,"use_qalora":true,"target_modules":["q_proj"]}`),
			"adapter_model.safetensors": good["adapter_model.safetensors"],
		}, 400, "adapter_unsupported", "file", "use_qalora"},
		"mismatch": {"a", map[string][]byte{
			"adapter_config.json":       config,
			"adapter_model.safetensors": bytes.ReplaceAll(good["adapter_model.safetensors"], []byte("layers.0"), []byte("layers.7")),
		}, 400, "adapter_mismatch", "file", "layers.7"},
	} {
		t.Run(name, func(t *testing.T) {
			r := h.upload(c.name, c.files)
			refused(t, r, c.status, c.code, c.param, c.message)
		})
	}
	req, _ := http.NewRequest("POST", h.url+"/adapters", strings.NewReader("--x\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nab"))
	req.Header.Set("Content-Type", "multipart/form-data; boundary=x")
	refused(t, h.send(req), 400, "invalid_form", "", "cannot be read")
	if left, _ := os.ReadDir(h.server.tempDir); len(left) != 0 {
		t.Errorf("%d temporary files are left", len(left))
	}
}

func TestImport(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "shout"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range peftFiles(t, 3) {
		if err := os.WriteFile(filepath.Join(dir, "shout", name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var folders *adapters.Folders
	h := open(t, func(p *setup) {
		p.options.Import = func(ctx context.Context, name, path string) (adapters.Info, error) {
			return folders.ImportPath(ctx, name, path)
		}
	})
	var err error
	if folders, err = adapters.WatchFolders(adapters.FoldersOptions{Store: h.store, Dirs: []string{dir}}); err != nil {
		t.Fatal(err)
	}
	defer folders.Close()
	var got openapi.Adapter
	r := h.do("POST", "/adapters", `{"name":"loud","path":"shout"}`)
	h.ok(r, &got)
	if r.status != 201 || got.Name != "loud" || got.Origin != "path" {
		t.Errorf("%d %+v", r.status, got)
	}
	refused(t, h.do("POST", "/adapters", `{"name":"loud","path":"/etc"}`), 400, "path_not_allowed", "path", "/etc")

	r = h.do("POST", "/v1/load_lora_adapter", `{"lora_name":"loud","lora_path":"shout"}`)
	refused(t, r, 400, codeValue, "lora_name", "load_inplace")
	for _, c := range []struct{ url, body, want string }{
		{"/v1/load_lora_adapter", `{"lora_name":"loud","lora_path":"shout","load_inplace":true}`, "Success: LoRA adapter 'loud' added successfully."},
		{"/v1/load_lora_adapter", `{"lora_name":"new","lora_path":"shout"}`, "Success: LoRA adapter 'new' added successfully."},
		{"/v1/unload_lora_adapter", `{"lora_name":"loud"}`, "Success: LoRA adapter 'loud' removed successfully."},
	} {
		if r := h.do("POST", c.url, c.body); r.status != 200 || string(r.body) != c.want {
			t.Errorf("%s gives %d %s", c.body, r.status, r.body)
		}
	}
}

// Which adapter answers, by every way of asking.
func TestWhichAdapterAnswers(t *testing.T) {
	h := open(t)
	old := h.add("pirate", 1)
	pirate, shout := h.add("pirate", 2), h.add("shout", 3)
	p, o, s := "pirate@"+pirate.Version, "pirate@"+old.Version, "shout@"+shout.Version
	texts := map[string]string{}
	for _, c := range []struct{ fields, adapter, model string }{
		{`"n":1`, `null`, "fake"},
		{`"model":null,"adapter":null`, `null`, "fake"},
		{`"model":""`, `null`, "fake"},
		{`"model":"fake"`, `null`, "fake"},
		{`"model":"default","adapter":[]`, `null`, "default"},
		{`"adapter":"pirate"`, `"` + p + `"`, "fake"},
		{`"model":"pirate"`, `"` + p + `"`, "pirate"},
		{`"model":"fake:pirate"`, `"` + p + `"`, "fake:pirate"},
		{`"model":"default:pirate","adapter":"pirate"`, `"` + p + `"`, "default:pirate"},
		{`"model":"fake","adapter":{"name":"pirate"}`, `"` + p + `"`, "fake"},
		{`"adapter":{"name":"pirate","version":"` + pirate.Version + `","scale":1}`, `"` + p + `"`, "fake"},
		{`"adapter":["pirate"]`, `"` + p + `"`, "fake"},
		{`"adapter":"` + o + `"`, `"` + o + `"`, "fake"},
		{`"adapter":"pirate@` + old.Version[:6] + `"`, `"` + o + `"`, "fake"},
		{`"model":"` + o + `"`, `"` + o + `"`, o},
		{`"model":"` + o + `","adapter":"pirate"`, `"` + o + `"`, o},
		{`"model":"pirate","adapter":{"name":"pirate","scale":0.5}`, `"` + p + `*0.5"`, "pirate"},
		{`"adapter":{"name":"pirate","scale":0.5}`, `"` + p + `*0.5"`, "fake"},
		{`"adapter":["shout",{"name":"pirate","scale":-1}]`, `["` + p + `*-1","` + s + `"]`, "fake"},
		{`"adapter":[{"name":"pirate","scale":-1},"shout"]`, `["` + p + `*-1","` + s + `"]`, "fake"},
		{`"adapter":{"name":"pirate","scale":0}`, `null`, "fake"},
	} {
		var got openapi.Completion
		h.post("/v1/completions", completion("a", `"temperature":0`, c.fields), &got)
		if string(*orNull(got.Adapter)) != c.adapter || got.Model != c.model {
			t.Errorf("%s: adapter %s, want %s; model %q, want %q", c.fields, *orNull(got.Adapter), c.adapter, got.Model, c.model)
		}
		// The same function gives the same text, and another one another.
		if text, known := texts[c.adapter]; known && text != got.Choices[0].Text {
			t.Errorf("%s: %q, before it was %q", c.fields, got.Choices[0].Text, text)
		}
		texts[c.adapter] = got.Choices[0].Text
	}
	seen := map[string]string{}
	for adapter, text := range texts {
		if other, twice := seen[text]; twice {
			t.Errorf("%s and %s both say %q", adapter, other, text)
		}
		seen[text] = adapter
	}
	r := h.do("POST", "/v1/completions", completion("a", `"model":"`+o+`"`, `"adapter":"`+p+`"`))
	refused(t, r, 400, codeValue, "adapter", "names version")
}

// orNull undoes what decoding makes of null.
func orNull(a *openapi.AnsweredBy) *openapi.AnsweredBy {
	if a == nil {
		null := openapi.AnsweredBy("null")
		return &null
	}
	return a
}

func TestModels(t *testing.T) {
	h := open(t)
	h.add("shout", 2)
	info := h.add("pirate", 1)
	var list openapi.ModelList
	h.get("/v1/models", &list)
	var ids []string
	for _, m := range list.Data {
		ids = append(ids, m.Id)
		if isBase := m.Id == "fake"; isBase != (m.Parent == nil) || !isBase && *m.Parent != "fake" {
			t.Errorf("the parent of %s is %v", m.Id, m.Parent)
		}
	}
	if !slices.Equal(ids, []string{"fake", "pirate", "shout"}) {
		t.Errorf("the models are %v", ids)
	}
	var m openapi.Model
	h.get("/v1/models/default", &m)
	if m.Id != "fake" || m.Facts == nil || m.Facts.Architecture != "llama" || m.Facts.ChatTemplate.Source != "model" || m.MaxModelLen != 4096 {
		t.Errorf("%+v", m)
	}
	refused(t, h.do("GET", "/v1/models/org/model", ""), 404, codeModel, "model", `"org/model"`)
	for _, id := range []string{"pirate", "fake:pirate", "fake%3Apirate", "pirate@" + info.Version} {
		m = openapi.Model{}
		h.get("/v1/models/"+id, &m)
		if m.Id != strings.ReplaceAll(id, "%3A", ":") || m.Root != "pirate@"+info.Version || m.Adapter == nil || m.Adapter.Rank != 2 {
			t.Errorf("%s is %+v", id, m)
		}
	}
}

func TestFallbackOfTheTemplateIsReported(t *testing.T) {
	h := open(t, func(p *setup) { p.facts = noTemplate })
	var m openapi.Model
	h.get("/v1/models/fake", &m)
	if tpl := m.Facts.ChatTemplate; tpl.Source != "fallback" || tpl.FallbackReason == nil || !strings.Contains(*tpl.FallbackReason, "no chat template") {
		b, _ := json.Marshal(m.Facts)
		t.Errorf("%s", b)
	}
}

// A version is pinned by its digits in the body, the path or the query, and by none where it is the current one.
func TestPins(t *testing.T) {
	h := open(t)
	first, second := h.add("pirate", 1), h.add("pirate", 2)
	pinned := func(version string) bool {
		var a openapi.Adapter
		h.get("/adapters/pirate@"+version, &a)
		return a.Pinned
	}
	for _, c := range []struct {
		method, path, body string
		version            string
		want               bool
	}{
		{"POST", "/adapters/pirate/pin", `{"version":"` + first.Version + `"}`, first.Version, true},
		{"POST", "/adapters/pirate/pin", "", second.Version, true},
		{"DELETE", "/adapters/pirate/pin?version=" + first.Version, "", first.Version, false},
		{"POST", "/adapters/pirate@" + first.Version + "/pin", "{}", first.Version, true},
		{"DELETE", "/adapters/pirate/pin", "", second.Version, false},
		{"DELETE", "/adapters/pirate@" + first.Version + "/pin", "", first.Version, false},
	} {
		var a openapi.Adapter
		h.ok(h.do(c.method, c.path, c.body), &a)
		if a.Version != c.version || a.Pinned != c.want || pinned(c.version) != c.want {
			t.Errorf("%s %s %s: %+v", c.method, c.path, c.body, a)
		}
	}
	refused(t, h.do("POST", "/adapters/pirat/pin", ""), 404, "adapter_not_found", "name", "pirate")
	refused(t, h.do("POST", "/adapters/pirate/pin", `{"version":"0000"}`), 404, "adapter_not_found", "version", "no version")
	refused(t, h.do("POST", "/adapters/pirate/pin", `{"version":"latest"}`), 400, codeValue, "version", "hexadecimal")
	refused(t, h.do("DELETE", "/adapters/pirate/pin?version=!", ""), 400, codeValue, "version", "hexadecimal")
	refused(t, h.do("POST", "/adapters/pirate@"+first.Version+"/pin", `{"version":"`+first.Version+`"}`), 400, codeValue, "version", "the name has a version too")
	refused(t, h.do("POST", "/adapters/pirate/pin", `{"version":3}`), 400, codeType, "version", "string")
}

// A name is rolled back to a version: that answers, counts as the newest, and the later one is there to go forward to.
func TestRollBack(t *testing.T) {
	h := open(t)
	first, second := h.add("pirate", 1), h.add("pirate", 2)
	at := "/adapters/pirate/rollback"
	for _, version := range []string{first.Version, first.Version, second.Version[:4], first.Version} {
		var a, now openapi.Adapter
		h.ok(h.do("POST", at, `{"version":"`+version+`"}`), &a)
		if !strings.HasPrefix(a.Version, version) || !a.Current {
			t.Errorf("rolled back to %s: %+v", version, a)
		}
		if h.get("/adapters/pirate", &now); now.Version != a.Version {
			t.Errorf("after rolling back to %s, the name is %s", version, now.Version)
		}
	}
	var versions openapi.AdapterList
	h.get("/adapters/pirate/versions", &versions)
	if list := versions.Data; len(list) != 2 || list[0].Version != first.Version || list[1].Version != second.Version || list[1].Current {
		t.Errorf("the versions are %+v", list)
	}
	refused(t, h.do("POST", "/adapters/pirat/rollback", `{"version":"0000"}`), 404, "adapter_not_found", "version", "pirate")
	refused(t, h.do("POST", at, `{"version":"0000"}`), 404, "adapter_not_found", "version", "no version")
	refused(t, h.do("POST", at, `{"version":"latest"}`), 400, codeValue, "version", "hexadecimal")
	refused(t, h.do("POST", at, `{}`), 400, codeMissing, "version", "missing")
	refused(t, h.do("POST", "/adapters/pirate@"+first.Version+"/rollback", `{"version":"`+first.Version+`"}`), 400, codeValue, "version", "the name has a version too")
}

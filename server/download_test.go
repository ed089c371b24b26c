package server

import (
	"archive/zip"
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/quant"
)

// get asks with a header and returns the answer whole.
func (h *testServer) download(path, ifNoneMatch string) response {
	h.t.Helper()
	req, err := http.NewRequest("GET", h.url+path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	if ifNoneMatch != "" {
		req.Header.Set("If-None-Match", ifNoneMatch)
	}
	return h.send(req)
}

func TestDownload(t *testing.T) {
	h := open(t)
	var first openapi.Adapter
	h.ok(h.upload("pirate", peftFiles(t, 1)), &first)
	h.ok(h.upload("pirate", peftFiles(t, 2)), &openapi.Adapter{})
	want := peftFiles(t, 1)["adapter_model.safetensors"]

	r := h.download("/adapters/pirate@"+first.Version+"/download", "")
	if r.status != 200 || r.header.Get("Content-Type") != "application/zip" || r.header.Get("ETag") != `"`+first.Digest+`-peft"` ||
		r.header.Get("Content-Disposition") != `attachment; filename="pirate-`+first.Version+`.zip"` ||
		r.header.Get("Content-Length") != strconv.Itoa(len(r.body)) {
		t.Fatalf("%d %v", r.status, r.header)
	}
	z, err := zip.NewReader(bytes.NewReader(r.body), int64(len(r.body)))
	if err != nil {
		t.Fatal(err)
	}
	f, err := z.Open("adapter_model.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(f); !bytes.Equal(got, want) {
		t.Error("the tensors are not those that were uploaded")
	}
	if again := h.download("/adapters/pirate@"+first.Version+"/download?format=peft", r.header.Get("ETag")); again.status != 304 || len(again.body) != 0 {
		t.Errorf("with its tag: %d, %d bytes", again.status, len(again.body))
	}
	if now := h.download("/adapters/pirate/download", r.header.Get("ETag")); now.status != 200 || bytes.Equal(now.body, r.body) {
		t.Errorf("another version with that tag: %d", now.status)
	}

	g := h.download("/adapters/pirate/download?format=gguf", r.header.Get("ETag"))
	file, err := quant.Read(bytes.NewReader(g.body), int64(len(g.body)))
	if err != nil || g.header.Get("Content-Type") != "application/octet-stream" || !strings.HasSuffix(g.header.Get("Content-Disposition"), `.gguf"`) {
		t.Fatalf("%v %v", err, g.header)
	}
	if alpha, _ := file.Metadata.Float("adapter.lora.alpha"); alpha != 4 || g.header.Get("Warning") != "" {
		t.Errorf("alpha is %v, warning %q", alpha, g.header.Get("Warning"))
	}
	// What was downloaded can be uploaded.
	for name, files := range map[string]map[string][]byte{"z": {"a.zip": r.body}, "g": {"a.gguf": g.body}} {
		if back := h.upload(name, files); back.status != 201 {
			t.Errorf("%s: %d %s", name, back.status, back.body)
		}
	}
}

func TestDownloadRefuses(t *testing.T) {
	h := open(t)
	h.add("pirate", 1)
	refused(t, h.download("/adapters/pirat/download", ""), 404, "adapter_not_found", "name", "did you mean pirate?")
	refused(t, h.download("/adapters/pirate@ffff/download", ""), 404, "adapter_not_found", "name", "ffff")
	refused(t, h.download("/adapters/.x/download", ""), 400, codeValue, "name", ".x")
	refused(t, h.download("/adapters/pirate/download?format=bin", ""), 400, codeValue, "format", "peft or gguf")
}

func TestMerge(t *testing.T) {
	h := open(t)
	h.add("a", 1)
	b := h.add("b", 2)
	var got openapi.Adapter
	r := h.do("POST", "/adapters/merge", `{"name":"ab","from":[{"name":"a","weight":0.5},{"name":"b@`+b.Version+`","weight":-0.25}]}`)
	h.ok(r, &got)
	if r.status != 201 || got.Name != "ab" || got.Origin != "merge" || got.Merge == nil || got.Merge.Method != "cat" ||
		len(got.Merge.From) != 2 || got.Merge.From[1].Version != b.Version || got.Merge.From[1].Weight != -0.25 {
		t.Errorf("%d %s", r.status, r.body)
	}
	var list openapi.AdapterList
	h.get("/adapters", &list)
	if len(list.Data) != 3 || list.Data[1].Name != "ab" || list.Data[1].Merge == nil || list.Data[0].Merge != nil {
		t.Errorf("%+v", list.Data)
	}
	var answer openapi.Completion
	h.post("/v1/completions", completion("x", `"adapter":"ab"`), &answer)
	if want := `"ab@` + got.Version + `"`; string(*orNull(answer.Adapter)) != want {
		t.Errorf("it is answered by %s, want %s", *orNull(answer.Adapter), want)
	}
	for _, body := range []string{
		`{"name":"m","from":[{"name":"a"},{"name":"b"}],"method":"linear"}`,
		`{"name":"m","from":[{"name":"a"},{"name":"b"}],"method":"svd","rank":1}`,
		`{"name":"m","from":[{"name":"a"},{"name":"b"}],"method":"dare_ties","density":0.5,"majority_sign_method":"frequency","seed":7}`,
	} {
		h.ok(h.do("POST", "/adapters/merge", body), &got)
	}
	if m := got.Merge; m == nil || *m.Density != 0.5 || *m.Seed != 7 || *m.MajoritySignMethod != "frequency" {
		t.Errorf("%+v", got.Merge)
	}
}

func TestMergeErrors(t *testing.T) {
	h := open(t)
	h.add("pirate", 1)
	for body, want := range map[string]struct {
		status               int
		code, param, message string
	}{
		`{"from":[{"name":"pirate"}]}`:              {400, codeMissing, "name", "missing"},
		`{"name":"a/b","from":[{"name":"pirate"}]}`: {400, codeValue, "name", "a/b"},
		`{"name":"m"}`:                                                                            {400, codeMissing, "from", "missing"},
		`{"name":"m","from":[{"name":"pirat"}]}`:                                                  {404, "adapter_not_found", "from[0].name", "did you mean pirate?"},
		`{"name":"m","from":[{"name":"pirate"},{}]}`:                                              {400, codeValue, "from[1].name", "empty"},
		`{"name":"m","from":[{"name":"pirate","weight":1e10}]}`:                                   {400, codeValue, "from[0].weight", "1e+10"},
		`{"name":"m","from":[{"name":"pirate","weight":"much"}]}`:                                 {400, codeType, "from[0].weight", "number"},
		`{"name":"m","from":[{"name":"pirate"}],"method":"mean"}`:                                 {400, codeValue, "method", "magnitude_prune"},
		`{"name":"m","from":[{"name":"pirate"}],"method":"ties"}`:                                 {400, codeValue, "density", "density"},
		`{"name":"m","from":[{"name":"pirate","scale":2}]}`:                                       {400, codeUnsupported, "from[0].scale", "is not a field"},
		`{"name":"m","from":[{"name":"pirate"}],"weights":[2]}`:                                   {400, codeUnsupported, "weights", "is not a field"},
		`{"name":"m","from":[{"name":"pirate"}],"method":"ties","density":0}`:                     {400, codeValue, "density", "above 0"},
		`{"name":"m","from":[{"name":"pirate"}],"method":"svd","rank":0}`:                         {400, codeValue, "rank", "between 1 and 512"},
		`{"name":"m","from":[{"name":"pirate"}],"method":"svd","seed":-1}`:                        {400, codeValue, "seed", "negative"},
		`{"name":"m","from":[{"name":"pirate"}],"majority_sign_method":"most"}`:                   {400, codeValue, "majority_sign_method", "most"},
		`{"name":"m","from":[` + strings.Repeat(`{"name":"pirate"},`, 16) + `{"name":"pirate"}]}`: {400, codeValue, "from", "17 adapters"},
	} {
		t.Run(body, func(t *testing.T) {
			refused(t, h.do("POST", "/adapters/merge", body), want.status, want.code, want.param, want.message)
		})
	}
}

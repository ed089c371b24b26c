package server

import (
	"encoding/json"
	"fmt"
	"math"
	"mime"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/lorikeet-ai/lorikeet/openapi"
)

// description is openapi.yaml, which every response of every test is held against.
var description = sync.OnceValues(func() (*openapi3.T, error) {
	return openapi3.NewLoader().LoadFromData(openapi.YAML)
})

// conform says how a response breaks the description, or nil. URLs that it does not have are not its business.
func conform(method, path string, r response) error {
	doc, err := description()
	if err != nil {
		return err
	}
	item := find(doc, path)
	if item == nil || item.GetOperation(method) == nil {
		return nil
	}
	stated := item.GetOperation(method).Responses.Status(r.status)
	if stated == nil {
		stated = item.GetOperation(method).Responses.Default()
	}
	if stated == nil {
		return fmt.Errorf("%s %s: status %d is not in openapi.yaml: %s", method, path, r.status, r.body)
	}
	if len(stated.Value.Content) == 0 && len(r.body) == 0 {
		return nil // 304
	}
	kind, _, err := mime.ParseMediaType(r.header.Get("Content-Type"))
	if err != nil {
		return fmt.Errorf("%s %s: Content-Type: %w", method, path, err)
	}
	m := stated.Value.Content.Get(kind)
	if m == nil {
		return fmt.Errorf("%s %s: status %d with %s is not in openapi.yaml", method, path, r.status, kind)
	}
	switch kind {
	case "application/json":
		return conformJSON(m.Schema.Value, r.body)
	case "application/x-ndjson":
		for _, line := range strings.Split(strings.TrimSuffix(string(r.body), "\n"), "\n") {
			schema := doc.Components.Schemas[fmt.Sprint(m.Extensions["x-data"])].Value
			if strings.HasPrefix(line, `{"error"`) {
				schema = doc.Components.Schemas["OllamaErrorResponse"].Value
			}
			if err := conformJSON(schema, []byte(line)); err != nil {
				return fmt.Errorf("%w in line %s", err, line)
			}
		}
	case "text/event-stream":
		for _, chunk := range dataOf(string(r.body)) {
			schema := doc.Components.Schemas[fmt.Sprint(m.Extensions["x-data"])].Value
			if strings.HasPrefix(chunk, `{"error"`) {
				schema = doc.Components.Schemas["ErrorResponse"].Value
			}
			if err := conformJSON(schema, []byte(chunk)); err != nil && chunk != "[DONE]" {
				return fmt.Errorf("%w in chunk %s", err, chunk)
			}
		}
	}
	return nil
}

func conformJSON(schema *openapi3.Schema, body []byte) error {
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return err
	}
	return schema.VisitJSON(v, openapi3.VisitAsResponse())
}

// find returns the path item of a URL's path; a path without parameters goes before those with them.
func find(doc *openapi3.T, path string) *openapi3.PathItem {
	path, _, _ = strings.Cut(path, "?")
	got := strings.Split(path, "/")
	var best *openapi3.PathItem
	least := len(got) + 1
	for pattern, item := range doc.Paths.Map() {
		want := strings.Split(pattern, "/")
		same := len(want) == len(got)
		for i := 0; same && i < len(want); i++ {
			same = want[i] == got[i] || strings.HasPrefix(want[i], "{")
		}
		if n := strings.Count(pattern, "{"); same && n < least {
			best, least = item, n
		}
	}
	return best
}

// dataOf returns the data of server-sent events.
func dataOf(body string) []string {
	var list []string
	for _, line := range strings.Split(body, "\n") {
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			list = append(list, data)
		}
	}
	return list
}

// The ranges in openapi.yaml are those of the code: the bounds are taken, what lies beyond is refused by name.
func TestRangesAreThoseOfTheDescription(t *testing.T) {
	h := open(t, saying("x"))
	doc, err := description()
	if err != nil {
		t.Fatal(err)
	}
	for endpoint, shapes := range map[string][]string{
		"/v1/chat/completions": {"GenerationParameters", "ChatCompletionRequest"},
		"/v1/completions":      {"GenerationParameters", "CompletionRequest"},
	} {
		for _, name := range shapes {
			shape := doc.Components.Schemas[name].Value
			for _, part := range append(openapi3.SchemaRefs{doc.Components.Schemas[name]}, shape.AllOf...) {
				if part.Ref != "" {
					continue
				}
				for field, p := range part.Value.Properties {
					if p.Value.Type.Is("number") || p.Value.Type.Is("integer") {
						h.checkRange(endpoint, field, p.Value)
					}
				}
			}
		}
	}
}

func (h *testServer) checkRange(endpoint, field string, p *openapi3.Schema) {
	h.t.Helper()
	body := func(v float64) string {
		extra := fmt.Sprintf(`%q:%v`, field, v)
		if p.Type.Is("integer") {
			extra = fmt.Sprintf(`%q:%d`, field, int64(v))
			if v >= math.MaxInt64 {
				extra = fmt.Sprintf(`%q:%d`, field, int64(math.MaxInt64))
			}
		}
		if field == "top_logprobs" {
			extra += `,"logprobs":true`
		}
		if field == "best_of" {
			extra += fmt.Sprintf(`,"n":%v`, min(max(v, 1), 16))
		}
		if strings.HasSuffix(endpoint, "chat/completions") {
			return chatBody("a", extra)
		}
		return completion("assistant\n", extra)
	}
	for _, v := range []float64{*p.Min, *p.Max} {
		if r := h.do("POST", endpoint, body(v)); r.status != 200 {
			h.t.Errorf("%s %s: %v is refused: %s", endpoint, field, v, r.body)
		}
	}
	if field == "seed" {
		return // what lies beyond is no number of its type
	}
	for _, v := range []float64{*p.Min - 1, *p.Max + 1} {
		var e openapi.ErrorResponse
		r := h.do("POST", endpoint, body(v))
		if err := json.Unmarshal(r.body, &e); err != nil || r.status != http.StatusBadRequest || e.Error.Param == nil || *e.Error.Param != field {
			h.t.Errorf("%s %s: %v gives %d %s", endpoint, field, v, r.status, r.body)
		}
	}
}

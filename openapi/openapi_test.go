package openapi

import (
	"os"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"go.yaml.in/yaml/v3"
)

func load(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(YAML)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return doc
}

// requestShapes are the schemas of what clients send.
var requestShapes = []string{
	"GenerationParameters", "AdapterChoice", "LoraChoice", "MessagesRequest", "ResponseRequest", "OllamaChatRequest", "OllamaGenerateRequest", "OllamaEmbedRequest", "OllamaShowRequest", "ChatCompletionRequest", "CompletionRequest", "ChatMessage", "TextPart",
	"AdapterPath", "AdapterUpload", "LoadLora", "UnloadLora", "MergeRequest", "MergePart", "TokenizeRequest", "DetokenizeRequest",
	"TrainingParameters", "TrainRequest", "TrainForm", "FineTuningRequest", "FineTuningParameters", "FileUpload",
}

// Every field has a description; what a client sends has a default or is required, and numbers have a range.
func TestEveryFieldSaysWhatItIs(t *testing.T) {
	doc := load(t)
	for name, ref := range doc.Components.Schemas {
		request := false
		for _, r := range requestShapes {
			request = request || r == name
		}
		for _, part := range append(openapi3.SchemaRefs{ref}, ref.Value.AllOf...) {
			if part != ref && part.Ref != "" {
				continue // a shape of its own
			}
			for field, p := range part.Value.Properties {
				checkField(t, name+"."+field, p, request, contains(part.Value.Required, field))
			}
		}
	}
}

func checkField(t *testing.T, name string, p *openapi3.SchemaRef, request, required bool) {
	t.Helper()
	v := p.Value
	if v.Description == "" && p.Ref == "" && len(v.AllOf) == 0 {
		t.Errorf("%s has no description", name)
	}
	if !request {
		return
	}
	if !required && v.Default == nil && !takesNull(v) {
		t.Errorf("%s is optional and has no default", name)
	}
	if v.Type.Is("number") || v.Type.Is("integer") {
		if v.Min == nil || v.Max == nil {
			t.Errorf("%s is a number without a range", name)
		}
	}
}

// takesNull reports whether null is a value of a schema: of itself, of one of its alternatives, or as any value.
func takesNull(s *openapi3.Schema) bool {
	for _, alternative := range append(s.OneOf, s.AllOf...) {
		if takesNull(alternative.Value) {
			return true
		}
	}
	return s.Nullable || s.Type == nil && len(s.OneOf)+len(s.AllOf) == 0
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// Every operation has a tag that the page shows, and every error has the one shape of its API.
func TestEveryOperationIsWhole(t *testing.T) {
	doc := load(t)
	for path, item := range doc.Paths.Map() {
		for method, o := range item.Operations() {
			if len(o.Tags) != 1 || doc.Tags.Get(o.Tags[0]) == nil {
				t.Errorf("%s %s: one tag of the list is needed, not %v", method, path, o.Tags)
			}
			shape := "/ErrorResponse"
			if strings.HasPrefix(path, "/v1/messages") {
				shape = "/MessagesErrorResponse"
			} else if strings.HasPrefix(path, "/api/") && !strings.HasPrefix(path, "/api/v1/") {
				shape = "/OllamaErrorResponse"
			}
			for status, r := range o.Responses.Map() {
				if status >= "400" {
					m := r.Value.Content.Get("application/json")
					if m == nil || !strings.HasSuffix(m.Schema.Ref, shape) {
						t.Errorf("%s %s: status %s is not of the shape %s", method, path, status, shape)
					}
				}
			}
		}
	}
}

func TestPageShowsEverything(t *testing.T) {
	page, err := Page()
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	doc := load(t)
	for path := range doc.Paths.Map() {
		if !strings.Contains(text, ">"+path+"<") {
			t.Errorf("the page lacks %s", path)
		}
	}
	for name, ref := range doc.Components.Schemas {
		if !strings.Contains(text, `id="`+name+`"`) {
			t.Errorf("the page lacks the shape %s", name)
		}
		for field := range ref.Value.Properties {
			if !strings.Contains(text, "<code>"+field+"</code>") {
				t.Errorf("the page lacks the field %s.%s", name, field)
			}
		}
	}
	for _, want := range []string{
		`<td><code>1</code></td><td>0 to 2</td>`,                     // temperature
		`<a href="#ChatCompletionRequest">ChatCompletionRequest</a>`, // a body
		`array of string`, `map of number`, `-100 to 100`, `1 to 1024 characters`, // types and ranges
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, bad := range []string{"<script", "http://", "src=", "@import"} {
		if strings.Contains(text, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
}

// The generated files are those of this description: each route of it is in the Fiber interface.
func TestGeneratedFilesFollow(t *testing.T) {
	source, err := os.ReadFile("server.gen.go")
	if err != nil {
		t.Fatal(err)
	}
	doc := load(t)
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			if want := "// (" + method + " " + path + ")"; !strings.Contains(string(source), want) {
				t.Errorf("server.gen.go lacks %s %s: run go generate ./openapi", method, path)
			}
		}
	}
}

// nullable means something beside a type alone (OpenAPI 3.0.3): where there are alternatives it stands in one of them.
func TestNullStandsBesideAType(t *testing.T) {
	var root yaml.Node
	if err := yaml.Unmarshal(YAML, &root); err != nil {
		t.Fatal(err)
	}
	var visit func(n *yaml.Node)
	visit = func(n *yaml.Node) {
		keys := map[string]*yaml.Node{}
		for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
			keys[n.Content[i].Value] = n.Content[i+1]
		}
		if v := keys["nullable"]; v != nil && v.Kind == yaml.ScalarNode && keys["type"] == nil {
			t.Errorf("openapi.yaml:%d: nullable without a type", v.Line)
		}
		for _, child := range n.Content {
			visit(child)
		}
	}
	visit(&root)
}

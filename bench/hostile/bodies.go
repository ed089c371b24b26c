package hostile

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// operation is one of the API's.
type operation struct {
	method, path string
	body         map[string]any // the schema of its JSON body; nil: it has none
	form         bool           // it takes a multipart form
}

// spec is the description of the API.
type spec struct {
	operations []operation
	schemas    map[string]any
}

// skipped are operations whose success is not an answer but an effect on the run itself, or a stream without an end.
var skipped = []string{"/metrics", "/docs", "/openapi.yaml"}

// operations reads openapi.yaml as plain values.
func operations(text []byte) (*spec, error) {
	var doc struct {
		Paths      map[string]map[string]any
		Components struct{ Schemas map[string]any }
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	s := &spec{schemas: doc.Components.Schemas}
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		if slices.Contains(skipped, path) {
			continue
		}
		for _, method := range slices.Sorted(maps.Keys(doc.Paths[path])) {
			o, ok := doc.Paths[path][method].(map[string]any)
			if !ok || method == "parameters" {
				continue
			}
			content := nested(o, "requestBody", "content")
			op := operation{method: strings.ToUpper(method), path: path, form: nested(content, "multipart/form-data") != nil}
			op.body = nested(content, "application/json", "schema")
			s.operations = append(s.operations, op)
		}
	}
	if len(s.operations) < 10 {
		return nil, fmt.Errorf("the description has %d operations only", len(s.operations))
	}
	return s, nil
}

// nested follows keys into nested objects.
func nested(m map[string]any, keys ...string) map[string]any {
	for _, k := range keys {
		m, _ = m[k].(map[string]any)
	}
	return m
}

// input makes a request to some operation, nearly right or far off.
func (s *spec) input(r *rand.Rand) Input {
	op := pick(r, s.operations...)
	in := Input{Method: op.method, Path: s.fillPath(r, op.path)}
	switch {
	case op.method == http.MethodGet || op.method == http.MethodDelete:
		in.Path += "?" + query(r)
	case op.form && (op.body == nil || r.IntN(2) == 0):
		in.ContentType, in.Body = form(r, map[string]string{"name": text(r), "purpose": "fine-tune"}, map[string][]byte{"file": []byte(text(r))})
	default:
		in.ContentType = pick(r, "application/json", "application/json", "application/json", "text/plain", "")
		in.Body = encode(bounded(s.instance(r, op.body, 5)))
		if r.IntN(4) == 0 {
			in.Body = damage(r, in.Body)
		}
	}
	return in
}

// fillPath puts something in the place of a path's parameters.
func (s *spec) fillPath(r *rand.Rand, path string) string {
	for {
		open := strings.IndexByte(path, '{')
		if open < 0 {
			return path
		}
		end := open + strings.IndexByte(path[open:], '}')
		path = path[:open] + url.PathEscape(pick(r, "pirate", "pirate@step-1", "nobody", short(r))) + path[end+1:]
	}
}

// short is a text for an address, which with all its headers must fit into what a server reads of them.
func short(r *rand.Rand) string {
	s := text(r)
	return s[:min(len(s), 1000)]
}

func query(r *rand.Rand) string {
	q := url.Values{}
	for range r.IntN(3) {
		q.Set(pick(r, "limit", "after", "format", "purpose", "stream", short(r)), pick(r, "0", "-1", "100000000000000000000", "svg", "peft", "true", short(r)))
	}
	if r.IntN(8) == 0 {
		return "%zz&=&&" + q.Encode()
	}
	return q.Encode()
}

// instance makes a value for a schema, in which now and then something is missing, of another type, or out of range.
func (s *spec) instance(r *rand.Rand, schema map[string]any, deep int) any {
	if deep < 0 || r.IntN(12) == 0 {
		return value(r, 3)
	}
	if ref, ok := schema["$ref"].(string); ok {
		target, _ := s.schemas[ref[strings.LastIndexByte(ref, '/')+1:]].(map[string]any)
		return s.instance(r, target, deep-1)
	}
	for _, key := range []string{"oneOf", "anyOf"} {
		if list, ok := schema[key].([]any); ok && len(list) > 0 {
			choice, _ := pick(r, list...).(map[string]any)
			return s.instance(r, choice, deep-1)
		}
	}
	if enum, ok := schema["enum"].([]any); ok && r.IntN(5) > 0 {
		return pick(r, enum...)
	}
	switch schema["type"] {
	case "string":
		return text(r)
	case "integer", "number":
		return number(r)
	case "boolean":
		return r.IntN(2) == 0
	case "array":
		items, _ := schema["items"].(map[string]any)
		list := make([]any, r.IntN(4))
		for i := range list {
			list[i] = s.instance(r, items, deep-1)
		}
		return list
	}
	return s.object(r, schema, deep)
}

// object makes an object of a schema's properties, those of allOf among them.
func (s *spec) object(r *rand.Rand, schema map[string]any, deep int) any {
	object := map[string]any{}
	if list, ok := schema["allOf"].([]any); ok {
		for _, part := range list {
			p, _ := part.(map[string]any)
			if more, ok := s.instance(r, p, deep-1).(map[string]any); ok {
				maps.Copy(object, more)
			}
		}
	}
	properties, _ := schema["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if r.IntN(3) == 0 {
			p, _ := properties[name].(map[string]any)
			object[name] = s.instance(r, p, deep-1)
		}
	}
	if r.IntN(6) == 0 {
		object[text(r)] = value(r, 2)
	}
	return object
}

// bounded keeps what a valid request may ask for small, so that many can be made: the server answers the rest as it does in use.
func bounded(v any) any {
	object, ok := v.(map[string]any)
	if !ok {
		return v
	}
	for _, key := range []string{"max_tokens", "max_completion_tokens", "n", "max_steps", "num_train_epochs"} {
		if _, ok := object[key].(json.RawMessage); ok || object[key] == nil {
			object[key] = 1
		}
	}
	return object
}

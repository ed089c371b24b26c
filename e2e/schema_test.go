package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
)

// At a high temperature too a model answers what the schema asks for: grammar and sampler together.
func TestAnswersFollowTheirSchema(t *testing.T) {
	b := boot(t)
	type shape = map[string]any
	for name, c := range map[string]struct {
		schema string
		valid  func(v any) bool
	}{
		"object": {`{"type":"object","properties":{"name":{"type":"string","maxLength":12},"age":{"type":"integer"},"tags":{"type":"array","items":{"enum":["a","b"]},"minItems":1,"maxItems":3}},"required":["name","tags"]}`,
			func(v any) bool {
				o, _ := v.(shape)
				_, text := o["name"].(string)
				tags, _ := o["tags"].([]any)
				age, has := o["age"]
				whole, isNumber := age.(float64)
				return text && len(tags) >= 1 && len(tags) <= 3 && (!has || isNumber && whole == float64(int64(whole))) && len(o) <= 3 &&
					!slices.ContainsFunc(tags, func(t any) bool { return t != "a" && t != "b" })
			}},
		"choice": {`{"anyOf":[{"type":"null"},{"const":7},{"type":"string","format":"date"}]}`,
			func(v any) bool {
				s, text := v.(string)
				return v == nil || v == 7.0 || text && len(s) == 10 && s[4] == '-' && s[7] == '-'
			}},
		"tuple": {`{"type":"array","prefixItems":[{"type":"boolean"},{"type":"integer"}]}`,
			func(v any) bool {
				l, _ := v.([]any)
				if len(l) != 2 {
					return false
				}
				_, flag := l[0].(bool)
				_, number := l[1].(float64)
				return flag && number
			}},
		"tree": {`{"$ref":"#/$defs/node","$defs":{"node":{"type":"object","properties":{"left":{"anyOf":[{"type":"null"},{"$ref":"#/$defs/node"}]},"value":{"type":"boolean"}},"required":["left","value"]}}}`,
			func(v any) bool {
				for v != nil {
					o, _ := v.(shape)
					if _, flag := o["value"].(bool); !flag || len(o) != 2 {
						return false
					}
					v = o["left"]
				}
				return true
			}},
	} {
		whole := 0
		for seed := range 6 {
			text, finish := b.underSchema(c.schema, question("What is the capital of France?", "temperature", 1.8, "seed", seed, "max_tokens", 300))
			if finish != "stop" {
				continue // cut off: a number or a tree may go on for long
			}
			whole++
			var v any
			if err := json.Unmarshal([]byte(text), &v); err != nil || !c.valid(v) {
				t.Error(fmt.Sprintf("%s, seed %d: %s", name, seed, text), err)
			}
		}
		if whole < 3 {
			t.Errorf("%s: %d of 6 answers came to an end", name, whole)
		}
	}
}

// underSchema returns the text of the answer that a request gets under a schema, and why it ended.
func (b *booted) underSchema(schema string, request map[string]any) (text, finish string) {
	b.t.Helper()
	request["response_format"] = map[string]any{"type": "json_schema", "json_schema": map[string]any{"name": "x", "strict": true, "schema": json.RawMessage(schema)}}
	status, answer, err := b.post("/v1/chat/completions", request)
	if err != nil || status != 200 {
		b.t.Fatalf("%s: status %d %s %v", schema, status, answer, err)
	}
	var out struct {
		Choices []struct {
			Message struct{ Content string }
			Finish  string `json:"finish_reason"`
		}
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		b.t.Fatal(err)
	}
	return out.Choices[0].Message.Content, out.Choices[0].Finish
}

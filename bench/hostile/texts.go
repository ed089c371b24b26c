package hostile

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
)

// completion asks for two tokens of a completion with further fields.
func completion(fields map[string]any) Input {
	fields["prompt"], fields["max_tokens"] = "The capital of France", 2
	return Input{Method: http.MethodPost, Path: "/v1/completions", ContentType: "application/json", Body: encode(fields)}
}

// grammarInput sends a grammar put together from pieces of GBNF, in which mostly something is wrong.
func grammarInput(r *rand.Rand) Input {
	pieces := []string{
		"root ::= ", "a ::= ", "b ::= ", `"x"`, `"\"\\"`, `"\u00e9"`, `"\xff"`, "[a-z]", "[^\"]", "[z-a]", "[\\x00-\\U0010FFFF]", "(", ")", "*", "+", "?", "{2}", "{0,3}",
		"{3,1}", "{1000000}", "{,5}", "|", " | ", "a", "b", "root", ".", "\n", "\n", "# comment \" [ ( \n", "::=", "\\", "\t", "\r\n", "[]", "\"", "[", "{", "<[1]>", "<think>", "!<[5]>",
		"( a | b )*", "( ( a )* )*", `( "x" | "x" )+`,
	}
	var b strings.Builder
	if r.IntN(4) > 0 {
		b.WriteString("root ::= a b\na ::= [a-z]+\nb ::= a | \"x\" b?\n")
	}
	for range r.IntN(60) {
		b.WriteString(pick(r, pieces...))
	}
	grammar := b.String()
	switch r.IntN(12) {
	case 0:
		grammar = "root ::= " + strings.Repeat("(", 1<<r.IntN(14)) + `"a"` + strings.Repeat(")", 1<<r.IntN(14))
	case 1:
		grammar = "root ::= " + strings.Repeat(`( "a" `, 1+r.IntN(12)) + strings.Repeat(fmt.Sprintf("){%d}", 1+r.IntN(40)), 1+r.IntN(12))
	case 2:
		grammar = string(damage(r, []byte(grammar)))
	}
	return completion(map[string]any{"grammar": grammar})
}

// schemaInput sends a JSON schema.
func schemaInput(r *rand.Rand) Input {
	schema := schemaOf(r, 5)
	if r.IntN(10) == 0 {
		deep := 1 << r.IntN(12)
		schema = json.RawMessage(strings.Repeat(`{"items":`, deep) + "{}" + strings.Repeat("}", deep))
	}
	return completion(map[string]any{"response_format": map[string]any{"type": "json_schema", "json_schema": map[string]any{"name": "x", "schema": schema}}})
}

func schemaOf(r *rand.Rand, deep int) any {
	if deep == 0 || r.IntN(15) == 0 {
		return value(r, 2)
	}
	schema := map[string]any{"type": pick[any](r, "object", "array", "string", "integer", "number", "boolean", "null", []any{"string", "null"}, value(r, 1))}
	for range r.IntN(5) {
		switch r.IntN(9) {
		case 0:
			properties := map[string]any{}
			for range r.IntN(5) {
				properties[text(r)] = schemaOf(r, deep-1)
			}
			schema["properties"] = properties
		case 1:
			schema["items"] = schemaOf(r, deep-1)
		case 2:
			schema[pick(r, "anyOf", "oneOf", "allOf", "prefixItems")] = []any{schemaOf(r, deep-1), schemaOf(r, deep-1)}
		case 3:
			schema["$ref"] = pick(r, "#", "#/$defs/a", "#/properties/x", "#/a/b/c", "http://x", text(r))
		case 4:
			schema["$defs"] = map[string]any{"a": schemaOf(r, deep-1), "b": map[string]any{"$ref": "#/$defs/a"}}
		case 5:
			schema[pick(r, "enum", "required")] = []any{text(r), text(r), value(r, 1)}
		case 6:
			schema[pick(r, "minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum", "multipleOf")] = number(r)
		case 7:
			schema[pick(r, "pattern", "format", "title", "const")] = text(r)
		case 8:
			schema[pick(r, "additionalProperties", "not", "if", "uniqueItems")] = value(r, 1)
		}
	}
	return schema
}

// conversationInput sends a conversation with roles, contents, tools and template variables of any kind.
func conversationInput(r *rand.Rand) Input {
	messages := make([]any, r.IntN(6))
	for i := range messages {
		m := map[string]any{"role": pick(r, "system", "user", "assistant", "tool", "developer", text(r)), "content": pick[any](r, text(r), nil, value(r, 2),
			[]any{map[string]any{"type": "text", "text": text(r)}})}
		if r.IntN(4) == 0 {
			m["tool_calls"] = []any{map[string]any{"id": text(r), "type": "function", "function": map[string]any{"name": text(r), "arguments": pick[any](r, "{}", "{", text(r), value(r, 2))}}}
		}
		if r.IntN(8) == 0 {
			m[text(r)] = value(r, 3)
		}
		messages[i] = m
	}
	body := map[string]any{"messages": messages, "max_tokens": 2}
	if r.IntN(3) == 0 {
		body["tools"] = pick[any](r, []any{map[string]any{"type": "function", "function": map[string]any{"name": text(r), "parameters": schemaOf(r, 3)}}}, value(r, 3))
	}
	if r.IntN(4) == 0 {
		body["chat_template_kwargs"] = pick[any](r, map[string]any{text(r): value(r, 4), "enable_thinking": value(r, 1)}, value(r, 2))
	}
	if r.IntN(4) == 0 {
		body["adapter"] = pick[any](r, "pirate", "pirate@step-1", value(r, 2), []any{"pirate", "pirate", map[string]any{"name": "pirate", "scale": number(r)}})
	}
	if r.IntN(6) == 0 {
		body["stop"] = pick[any](r, text(r), []any{text(r), text(r)}, value(r, 1))
		body["continue_final_message"], body["add_generation_prompt"] = true, r.IntN(2) == 0
	}
	return Input{Method: http.MethodPost, Path: "/v1/chat/completions", ContentType: "application/json", Body: encode(body)}
}

package grammar

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// randomSchema puts keywords together at random, on values that are few, so that they often meet.
func randomSchema(r *rand.Rand, depth int) map[string]any {
	s := map[string]any{}
	pick := func(list ...any) any { return list[r.IntN(len(list))] }
	sub := func() any {
		if depth <= 0 || r.IntN(8) == 0 {
			return pick(true, true, map[string]any{"type": "integer"}, map[string]any{"enum": []any{"a", 1, nil}}, map[string]any{"maximum": 3})
		}
		return randomSchema(r, depth-1)
	}
	subs := func() (out []any) {
		for range 1 + r.IntN(3) {
			out = append(out, sub())
		}
		return out
	}
	names := []any{"a", "b", "c", "ab"}
	keywords := map[string]func() any{
		"type": func() any {
			return pick("integer", "number", "string", "object", "object", "array", "array", []any{"object", "null"}, []any{"string", "integer"})
		},
		"enum": func() any {
			return []any{pick("a", "ab", 1), pick(2, 2.5, nil), pick(true, map[string]any{"a": 1}, []any{1})}
		},
		"const":                 func() any { return pick("a", 1, 2.5, nil, map[string]any{"a": 1}) },
		"minimum":               func() any { return pick(-2, 0, 1, 1.5) },
		"exclusiveMaximum":      func() any { return pick(2, 3.5, 10) },
		"multipleOf":            func() any { return pick(2, 0.5, 3) },
		"minLength":             func() any { return pick(0, 1, 2) },
		"maxLength":             func() any { return pick(2, 3, 5) },
		"pattern":               func() any { return pick("^a", "b$", "^[ab]*$", "a{2}", "(?<!a)b", "^\\ba", "^[a-c]{1,30}$") },
		"items":                 sub,
		"prefixItems":           func() any { return subs() },
		"minItems":              func() any { return pick(0, 1, 2) },
		"maxItems":              func() any { return pick(1, 2, 3) },
		"uniqueItems":           func() any { return pick(true, false) },
		"contains":              sub,
		"maxContains":           func() any { return pick(1, 2) },
		"properties":            func() any { return map[string]any{pick(names...).(string): sub(), pick(names...).(string): sub()} },
		"required":              func() any { return []any{pick(names...)} },
		"additionalProperties":  func() any { return pick(false, true, sub()) },
		"unevaluatedProperties": func() any { return pick(false, false, sub()) },
		"unevaluatedItems":      func() any { return pick(false, false, sub()) },
		"$ref":                  func() any { return pick("#/$defs/x", "#y") },
		"$dynamicRef":           func() any { return pick("#y", "#/$defs/x") },
		"patternProperties":     func() any { return map[string]any{pick("^a", "b").(string): sub()} },
		"propertyNames":         func() any { return map[string]any{"maxLength": pick(1, 2)} },
		"minProperties":         func() any { return pick(0, 1, 2) },
		"maxProperties":         func() any { return pick(1, 2, 3) },
		"dependentRequired":     func() any { return map[string]any{pick(names...).(string): []any{pick(names...)}} },
		"dependentSchemas":      func() any { return map[string]any{pick(names...).(string): sub()} },
		"allOf":                 func() any { return subs() },
		"anyOf":                 func() any { return subs() },
		"oneOf":                 func() any { return subs() },
		"not":                   sub,
		"if":                    sub,
		"then":                  sub,
		"else":                  sub,
	}
	all := slices.Sorted(maps.Keys(keywords))
	for range 1 + r.IntN(5) {
		k := all[r.IntN(len(all))]
		s[k] = keywords[k]()
	}
	return s
}

// Whatever keywords come together: a schema that is accepted has answers, and all of them are valid.
func TestRandomSchemas(t *testing.T) {
	v := newVocabulary(600)
	tokens := v.tokens()
	accepted, refused := 0, map[string]int{}
	n := 2500
	if testing.Short() {
		n = 300
	}
	for seed := range uint64(n) {
		r := rand.New(rand.NewPCG(seed, 77))
		schema := randomSchema(r, 2)
		x, y := randomSchema(r, 1), randomSchema(r, 1)
		y["$dynamicAnchor"] = "y"
		schema["$defs"] = map[string]any{"x": x, "y": y}
		raw, err := json.Marshal(schema)
		if err != nil {
			t.Fatal(err)
		}
		part, err := Schema("p", raw)
		if err != nil {
			e, ok := err.(*SchemaError)
			if !ok {
				t.Fatalf("%s: %v", raw, err)
			}
			reason, _, _ := strings.Cut(fmt.Sprint(e.Reason), " is ")
			refused[reason]++
			continue
		}
		accepted++
		check := validator(t, string(raw))
		c := New(part)
		for range 3 {
			m := c.NewMatcher(tokens)
			text, done := drawAnswer(t, r, m, v)
			if !done {
				t.Fatalf("%s: the answer does not end: %.300s", raw, text)
			}
			doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
			if err == nil {
				err = check.Validate(doc)
			}
			if err != nil {
				t.Fatalf("seed %d, %s: the answer %s: %v", seed, raw, text, err)
			}
		}
	}
	t.Logf("%d accepted, refused: %v", accepted, refused)
	if accepted < n/2 {
		t.Errorf("%d of %d are accepted: %v", accepted, n, refused)
	}
}

// Items that are objects and arrays of few values are told apart, and no array is begun that cannot be filled.
func TestRandomUniqueItems(t *testing.T) {
	v := newVocabulary(500)
	tokens := v.tokens()
	var item func(r *rand.Rand, depth int) map[string]any
	item = func(r *rand.Rand, depth int) map[string]any {
		small := []map[string]any{{"enum": []any{"x", "xy", 1}}, {"type": "boolean"}, {"type": "integer", "minimum": 8, "maximum": 11}, {"const": nil}, {"type": "string", "maxLength": 1, "pattern": "^[ab]*$"}}
		switch kind := r.IntN(6); {
		case depth == 0 || kind == 0:
			return small[r.IntN(len(small))]
		case kind == 1:
			return map[string]any{"anyOf": []any{item(r, depth-1), item(r, depth-1)}}
		case kind == 2:
			return map[string]any{"type": "array", "items": item(r, depth-1), "minItems": r.IntN(2), "maxItems": 1 + r.IntN(2)}
		}
		s := map[string]any{"type": "object", "properties": map[string]any{"a": item(r, depth-1), "ab": item(r, depth-1), "c": item(r, depth-1)}, "required": []any{[]any{"a", "c"}[r.IntN(2)]}}
		if r.IntN(3) == 0 {
			s["maxProperties"] = 2
		}
		if r.IntN(3) == 0 {
			s["minProperties"] = 2
		}
		return s
	}
	accepted := 0
	for seed := range uint64(1200) {
		r := rand.New(rand.NewPCG(seed, 5))
		raw, err := json.Marshal(map[string]any{"type": "array", "uniqueItems": true, "items": item(r, 2), "minItems": r.IntN(6), "maxItems": 6 + r.IntN(4)})
		if err != nil {
			t.Fatal(err)
		}
		part, err := Schema("p", raw)
		if err != nil {
			continue
		}
		accepted++
		check := validator(t, string(raw))
		m := New(part).NewMatcher(tokens)
		checked := 0
		text, done := answer(t, r, m, v, 120, func() {
			if checked++; checked%16 == 0 {
				checkMask(t, m, v)
			}
		})
		if !done {
			continue
		}
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err == nil {
			err = check.Validate(doc)
		}
		if err != nil {
			t.Fatalf("seed %d, %s: the answer %s: %v", seed, raw, text, err)
		}
	}
	if accepted < 800 {
		t.Errorf("%d are accepted", accepted)
	}
}

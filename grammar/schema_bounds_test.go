package grammar

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// manyParts writes n parts, with commas between them, made from a format that has their number where it has @.
func manyParts(n int, format string) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = strings.ReplaceAll(format, "@", fmt.Sprint(i))
	}
	return strings.Join(parts, ",")
}

// Whatever a schema asks for, it is answered soon: with a grammar, or with the name of what is too large.
func TestLargeSchemas(t *testing.T) {
	nested := func(n int, open, inner, end string) string {
		return strings.Repeat(open, n) + inner + strings.Repeat(end, n)
	}
	for name, c := range map[string]struct{ schema, param, reason string }{
		"required":    {`{"type":"object","required":[` + manyParts(40000, `"a@"`) + `]}`, "p", "makes a grammar of more than 65536 bytes"},
		"references":  {`{"$defs":{` + manyParts(2000, `"d@":{"type":"string"}`) + `},"anyOf":[` + manyParts(2000, `{"$ref":"#/$defs/d@"}`) + `]}`, "p", "makes a grammar"},
		"one target":  {`{"$defs":{"d":{"type":"string"}},"anyOf":[` + manyParts(9000, `{"$ref":"#/$defs/d"}`) + `]}`, "p", "makes a grammar"},
		"types":       {nested(20, `{"type":["object","object","object","object"],"properties":{"a":`, "{}", "}}"), "p", "makes a grammar of more than"},
		"others":      {`{"required":[` + manyParts(20000, `"a@"`) + `],"additionalProperties":{"enum":[1,2,3]}}`, "p", "makes a grammar of more than"},
		"values":      {`{"enum":[` + manyParts(60000, `@`) + `]}`, "p.enum[49998]", "more than 50000 values"},
		"bytes":       {`{"description":"` + strings.Repeat("a", 2<<20) + `"}`, "p", "at most 1048576 are read"},
		"deep const":  {`{"const":` + nested(5000, "[", "", "]") + `}`, "p.const" + strings.Repeat("[0]", 400), "nested deeper than 400 values"},
		"deep":        {nested(3000, `{"items":`, "{}", "}"), "p" + strings.Repeat(".items", 401), "nested deeper than 400 values"},
		"long names":  {`{"properties":{"` + strings.Repeat("x", 100_000) + `":{"anyOf":[` + manyParts(20000, `{"not":{}}`) + `]}}}`, "p.properties." + strings.Repeat("x", 79) + "....anyOf[0].not", "is not supported"},
		"a long type": {`{"type":"` + strings.Repeat("x", 100_000) + `"}`, "p.type", `is "` + strings.Repeat("x", 80) + `...", which`},
		"optional":    {`{"properties":{` + manyParts(300, `"a@":{}`) + `}}`, "p", "128 ways"},
		"array":       {`{"prefixItems":[` + manyParts(5000, `{"type":"string","maxLength":2000}`) + `]}`, "p", "makes a grammar"},
		"elements":    {`{"prefixItems":[` + manyParts(400, `{"type":"string","minLength":2000}`) + `]}`, "p", "makes a grammar that cannot be followed: line"},
		"not JSON":    {`{"type":}`, "p.type", "cannot be read"},
		"two values":  {`{} {}`, "p", "not one JSON value"},
	} {
		start := time.Now()
		_, err := FromSchema("p", []byte(c.schema))
		var e *SchemaError
		if !errors.As(err, &e) || e.Param != c.param || !strings.Contains(e.Reason, c.reason) {
			t.Errorf("%s: %.300v; want %s %s", name, err, c.param, c.reason)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("%s takes %v", name, took)
		}
	}
}

// An enumeration of any number of values that fit is served: what they begin with is written once.
func TestLargeEnumerations(t *testing.T) {
	for name, values := range map[string][]any{
		"numbers": slices.Collect(func(yield func(any) bool) {
			for i := range 3000 {
				_ = yield(i * 7)
			}
		}),
		"words": slices.Collect(func(yield func(any) bool) {
			for i := range 800 {
				_ = yield(fmt.Sprintf("word %d é☕%c", i%97, 'a'+i/97))
			}
		}),
		"prefixes": slices.Collect(func(yield func(any) bool) {
			for i := range 150 {
				_ = yield(strings.Repeat("x", i))
			}
		}),
		"mixed": append([]any{nil, true, 1.5, "é", "è", "日", "本", "\u2028\n\"\\", []any{1, 2}, map[string]any{"a": 1}}, slices.Collect(func(yield func(any) bool) {
			for i := range 60 {
				_ = yield(strings.Repeat("é", i))
			}
		})...),
	} {
		raw, err := json.Marshal(map[string]any{"enum": values})
		if err != nil {
			t.Fatal(err)
		}
		text, err := FromSchema("p", raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		g, err := Parse(text, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			literal, _ := json.Marshal(v)
			if !g.admits(string(literal)) {
				t.Errorf("%s: the grammar does not admit %s", name, literal)
			}
			if g.admits(string(literal)+"x") || g.admits("x"+string(literal)) {
				t.Errorf("%s: the grammar admits more than %s", name, literal)
			}
		}
	}
}

// admits reports whether a grammar without repetitions and recursion admits a text as a whole.
func (g *Grammar) admits(text string) bool {
	var rests func(all alternatives, texts map[string]bool) map[string]bool
	rests = func(all alternatives, texts map[string]bool) map[string]bool {
		out := map[string]bool{}
		for _, s := range all {
			now := texts
			for _, part := range s {
				next := map[string]bool{}
				switch part.kind {
				case literal:
					for t := range now {
						if rest, ok := strings.CutPrefix(t, string(part.text)); ok {
							next[rest] = true
						}
					}
				case reference:
					next = rests(g.rules[part.target].body, now)
				}
				if now = next; len(now) == 0 {
					break
				}
			}
			for t := range now {
				out[t] = true
			}
		}
		return out
	}
	return rests(g.rules[g.root].body, map[string]bool{text: true})[""]
}

// A schema is refused with a path, or has a grammar that is accepted. Neither takes long.
func FuzzFromSchema(f *testing.F) {
	for _, schema := range []string{
		`{"type":"object","properties":{"a":{"type":["string","null"],"minLength":1,"maxLength":3}},"required":["a","b"],"additionalProperties":{"enum":[1,"x"]}}`,
		`{"$ref":"#/$defs/a~1b","$defs":{"a/b":{"type":"array","items":{"$ref":"#/$defs/a~1b"},"minItems":1}}}`,
		`{"anyOf":[{"const":{"a":[1, 2]}},{"prefixItems":[{},true],"items":false,"maxItems":2},{"type":"string","format":"date-time"}]}`,
		`{"allOf":[{"oneOf":[{"type":"integer"}]}],"description":"é\u00e9"}`, `{"$ref":"#"}`, `7`, `{"type":}`, "", `{"a":1}{}`,
	} {
		f.Add([]byte(schema))
	}
	f.Fuzz(func(t *testing.T, schema []byte) {
		start := time.Now()
		text, err := FromSchema("p", schema)
		if took := time.Since(start); took > 5*time.Second {
			t.Fatalf("it takes %v", took)
		}
		if e := (*SchemaError)(nil); err != nil && (!errors.As(err, &e) || !strings.HasPrefix(e.Param, "p") || e.Reason == "") {
			t.Fatalf("error %v", err)
		}
		if err == nil {
			if g, err := Parse(text, nil); err != nil || len(text) > MaxBytes {
				t.Fatalf("%s\n%v", text, err)
			} else if _, err := g.Compile(); err != nil {
				t.Fatalf("%s\n%v", text, err)
			}
		}
	})
}

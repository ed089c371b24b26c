package grammar

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/grammar/grammartest"
)

func TestSchemasAreRefusedByPath(t *testing.T) {
	for schema, want := range map[string][2]string{
		`7`:                {"p", "must be a schema, not a number"},
		`false`:            {"p", "admits no value"},
		`{"type":"strin"}`: {"p.type", `"strin"`},
		`{"type":7}`:       {"p.type", "must be"},
		`{"type":[]}`:      {"p.type", "empty"},
		`{"enum":[]}`:      {"p.enum", "empty"},
		`{"enum":7}`:       {"p.enum", "must be an array"},
		`{"type":"string","pattern":"(?=a\\b)b"}`:             {"p.pattern", "within a look-ahead, which is not supported"},
		`{"properties":{"a":{"pattern":"^(a)\\1$"}}}`:         {"p.properties.a.pattern", "refers back to a group"},
		`{"patternProperties":{"[":{}}}`:                      {"p.patternProperties.[", "not closed"},
		`{"properties":{"a":{"items":{"$dynamicRef":"#x"}}}}`: {"p.properties.a.items.$dynamicRef", "does not have"},
		`{"$id":"http://x/a","$ref":"b","$defs":{"b":{"$id":"b","$dynamicRef":"#y","$dynamicAnchor":"y"},"c":{"$id":"c","$dynamicAnchor":"y"}}}`: {"p.$defs.b.$dynamicRef", "depends on which schema"},
		`{"$recursiveAnchor":true,"items":{"$id":"b","$recursiveAnchor":true,"items":{"$recursiveRef":"#"}}}`:                                    {"p.items.items.$recursiveRef", "depends on which schema"},
		`{"$ref":"other.json#/a","$defs":{"a":{"$id":"another.json"}}}`:                                                                          {"p.$ref", "pointers into the schema"},
		`{"$ref":"http://[x"}`:              {"p.$ref", "no URI reference"},
		`{"properties":[]}`:                 {"p.properties", "an object"},
		`{"required":[1]}`:                  {"p.required", "string"},
		`{"items":7}`:                       {"p.items", "must be a schema"},
		`{"items":[{}],"prefixItems":[{}]}`: {"p.items", "beside prefixItems"},
		`{"type":"array","uniqueItems":1}`:  {"p.uniqueItems", "boolean"},
		`{"type":"array","uniqueItems":true,"items":{"type":"object"}}`:               {"p.uniqueItems", "whose properties have no names"},
		`{"type":"array","uniqueItems":true,"minItems":3,"items":{"type":"boolean"}}`: {"p.minItems", "only 2 different items"},
		`{"type":"array","minItems":3,"maxItems":2}`:                                  {"p.maxItems", "less than minItems"},
		`{"type":"array","minItems":100000}`:                                          {"p.minItems", "between 0 and 65536"},
		`{"type":"array","items":false,"minItems":1}`:                                 {"p", "admits no value"},
		`{"type":"string","minLength":-1}`:                                            {"p.minLength", "whole number"},
		`{"type":"string","minLength":1.5}`:                                           {"p.minLength", "whole number"},
		`{"anyOf":{}}`:                                                                {"p.anyOf", "must be an array"},
		`{"allOf":[]}`:                                                                {"p.allOf", "empty"},
		`{"type":"integer","multipleOf":0}`:                                           {"p.multipleOf", "greater than 0"},
		`{"type":"integer","multipleOf":1234567}`:                                     {"p.multipleOf", "too large an automaton"},
		`{"type":"integer","minimum":"a"}`:                                            {"p.minimum", "must be a number"},
		`{"type":"integer","minimum":5,"maximum":4}`:                                  {"p", "admits no value"},
		`{"type":"integer","minimum":0.2,"maximum":0.9}`:                              {"p", "admits no value"},
		`{"type":"object","required":["a"],"properties":{"a":false}}`:                 {"p", "admits no value"},
		`{"allOf":[{"type":"string"},{"type":"integer"}]}`:                            {"p", "admits no value"},
		`{"type":"object","not":{"unevaluatedProperties":false,"allOf":[{}]}}`:        {"p.not.unevaluatedProperties", "beside allOf where it is negated"},
		`{"type":"array","not":{"unevaluatedItems":false,"contains":{}}}`:             {"p.not.unevaluatedItems", "negated"},
		`{"not":{"uniqueItems":true,"type":"array"},"type":"array"}`:                  {"p.not.uniqueItems", "negated"},
		`{"type":"object","properties":{"a":{"$ref":"#/x"}}}`:                         {"p.properties.a.$ref", "does not have"},
		`{"$ref":"#/a"}`:        {"p.$ref", "does not have"},
		`{"$ref":"http://x/y"}`: {"p.$ref", "pointers into the schema"},
		`{"$ref":"#"}`:          {"p.$ref", "itself alone"},
		`{"$ref":"#/$defs/a","$defs":{"a":{"anyOf":[{"$ref":"#/$defs/b"}]},"b":{"allOf":[{"$ref":"#/$defs/a"}]}}}`: {"p.$defs.b.allOf[0].$ref", "itself alone"},
		`{"type":"array","items":{"$ref":"#"},"minItems":1}`:                                                       {"p", "admits no value"},
	} {
		_, err := Schema("p", []byte(schema))
		var r *SchemaError
		if !errors.As(err, &r) || r.Param != want[0] || !strings.Contains(r.Reason, want[1]) {
			t.Errorf("%.80s: %v; want %s %s", schema, err, want[0], want[1])
		}
	}
}

// Whatever a schema asks for, it is answered soon: it is compiled, or what is too large is named.
func TestLargeSchemas(t *testing.T) {
	if testing.Short() {
		t.Skip("the bound on time does not hold for the slow code of the race detector")
	}
	nested := func(n int, open, inner, end string) string {
		return strings.Repeat(open, n) + inner + strings.Repeat(end, n)
	}
	for name, c := range map[string]struct{ schema, param, reason string }{
		"required":                     {`{"type":"object","required":[` + grammartest.ManyParts(40000, `"a@"`) + `]}`, "", ""},
		"references":                   {`{"$defs":{` + grammartest.ManyParts(2000, `"d@":{"type":"string"}`) + `},"anyOf":[` + grammartest.ManyParts(2000, `{"$ref":"#/$defs/d@"}`) + `]}`, "", ""},
		"one target":                   {`{"$defs":{"d":{"type":"string"}},"anyOf":[` + grammartest.ManyParts(9000, `{"$ref":"#/$defs/d"}`) + `]}`, "", ""},
		"types":                        {nested(20, `{"type":["object","object","object","object"],"properties":{"a":`, "{}", "}}"), "", ""},
		"others":                       {`{"required":[` + grammartest.ManyParts(20000, `"a@"`) + `],"additionalProperties":{"enum":[1,2,3]}}`, "", ""},
		"values":                       {`{"enum":[` + grammartest.ManyParts(60000, `1@`) + `]}`, "p.enum[49998]", "more than 50000 values"},
		"bytes":                        {`{"description":"` + strings.Repeat("a", 2<<20) + `"}`, "p", "at most 1048576 are read"},
		"deep const":                   {`{"const":` + nested(5000, "[", "", "]") + `}`, "p.const" + strings.Repeat("[0]", 400), "nested deeper than 400 values"},
		"deep":                         {nested(3000, `{"items":`, "{}", "}"), "p" + strings.Repeat(".items", 401), "nested deeper than 400 values"},
		"long names":                   {`{"properties":{"` + strings.Repeat("x", 100_000) + `":{"anyOf":[` + grammartest.ManyParts(20000, `{"$dynamicRef":"x"}`) + `]}}}`, "p.properties." + strings.Repeat("x", 79) + "....anyOf[0].$dynamicRef", "pointers into the schema"},
		"a long type":                  {`{"type":"` + strings.Repeat("x", 100_000) + `"}`, "p.type", `is "` + strings.Repeat("x", 80) + `...", which`},
		"optional":                     {`{"properties":{` + grammartest.ManyParts(3000, `"a@":{}`) + `}}`, "", ""},
		"array":                        {`{"prefixItems":[` + grammartest.ManyParts(5000, `{"type":"string","maxLength":2000}`) + `]}`, "", ""},
		"many alike":                   {`{"properties":{` + grammartest.ManyParts(8000, `"a@":{"type":["string","number","object"]}`) + `}}`, "", ""},
		"not JSON":                     {`{"type":}`, "p.type", "cannot be read"},
		"two values":                   {`{} {}`, "p", "not one JSON value"},
		"conditions":                   {`{"allOf":[` + grammartest.ManyParts(30, `{"if":{"properties":{"a@":{"const":1}}},"then":{"required":["b@"]}}`) + `],"type":"object"}`, "p.allOf", "ways to put a value together"},
		"one of many":                  {`{"oneOf":[` + grammartest.ManyParts(60, `{"type":"object","properties":{"a@":{"type":"integer"}},"required":["a@"]}`) + `]}`, "", ""},
		"a long repetition":            {`{"pattern":"^((a|b){1,60000}c){1,60000}$"}`, "p.pattern", "needs too large an automaton"},
		"products":                     {`{"allOf":[{"pattern":"^(.{997})*$"},{"pattern":"^(.{991})*$"}],"type":"string"}`, "p", "needs too large an automaton"},
		"two enumerations":             {`{"allOf":[{"enum":[` + grammartest.ManyParts(20000, `1@`) + `]},{"enum":[` + grammartest.ManyParts(20000, `1@1`) + `]}]}`, "", ""},
		"alternatives of enumerations": {`{"oneOf":[` + grammartest.ManyParts(20, `{"enum":[`+grammartest.ManyParts(1000, `"a#@"`)+`]}`) + `]}`, "", ""},
		"any of many patterns":         {`{"type":"string","anyOf":[` + grammartest.ManyParts(100, `{"pattern":"^.*a.{11}@$"}`) + `]}`, "", ""},
		"patterns and values":          {`{"enum":[` + grammartest.ManyParts(3000, `"word @"`) + `],"allOf":[` + grammartest.ManyParts(30, `{"pattern":"^.*w.{11}|@"}`) + `]}`, "", ""},
		"patterns of keys":             {`{"patternProperties":{` + grammartest.ManyParts(200, `"^.*a.{9}@$":{"const":@}`) + `},"minProperties":1,"additionalProperties":false}`, "", ""},
		"long patterns":                {`{"type":"object","properties":{` + grammartest.ManyParts(200, `"a@":{"pattern":"^x@(?:.a){1500}$"}`) + `}}`, "", "states"},
	} {
		start := time.Now()
		_, err := Schema("p", []byte(c.schema))
		var e *SchemaError
		switch {
		case c.reason == "" && err == nil:
		case !errors.As(err, &e) || c.param != "" && !strings.HasPrefix(e.Param, c.param) || !strings.Contains(e.Reason, c.reason):
			t.Errorf("%s: %.300v; want %s %s", name, err, c.param, c.reason)
		}
		if took := time.Since(start); took > 5*time.Second { // a second at most where nothing else runs
			t.Errorf("%s takes %v", name, took)
		}
	}
}

// A schema is refused with a path, or compiled. Neither takes long.
func FuzzSchema(f *testing.F) {
	for _, schema := range []string{
		`{"type":"object","properties":{"a":{"type":["string","null"],"minLength":1,"maxLength":3}},"required":["a","b"],"additionalProperties":{"enum":[1,"x"]}}`,
		`{"$ref":"#/$defs/a~1b","$defs":{"a/b":{"type":"array","items":{"$ref":"#/$defs/a~1b"},"minItems":1}}}`,
		`{"anyOf":[{"const":{"a":[1, 2]}},{"prefixItems":[{},true],"items":false,"maxItems":2},{"type":"string","format":"date-time"}]}`,
		`{"allOf":[{"oneOf":[{"type":"integer"}]}],"description":"é\u00e9"}`, `{"$ref":"#"}`, `7`, `{"type":}`, "", `{"a":1}{}`,
		`{"type":"array","uniqueItems":true,"items":{"pattern":"^(a|b){2,3}$"},"contains":{"const":"aa"}}`,
		`{"patternProperties":{"^a":{"minimum":3.5}},"propertyNames":{"maxLength":3},"if":{"required":["a"]},"then":{"minProperties":2}}`,
	} {
		f.Add([]byte(schema))
	}
	tokens := newVocabulary(300).tokens()
	f.Fuzz(func(t *testing.T, schema []byte) {
		start := time.Now()
		part, err := Schema("p", schema)
		if took := time.Since(start); took > 5*time.Second {
			t.Fatalf("it takes %v", took)
		}
		if e := (*SchemaError)(nil); err != nil {
			if !errors.As(err, &e) || !strings.HasPrefix(e.Param, "p") || e.Reason == "" {
				t.Fatalf("error %v", err)
			}
			return
		}
		m := New(part).NewMatcher(tokens)
		bits := make([]uint64, tokens.Words())
		for range 20 {
			if err := m.Mask(bits); err != nil {
				t.Fatal(err)
			}
			last := int32(-1)
			for i := range int32(len(tokens.pieces)) {
				if bits[i/64]>>(i%64)&1 != 0 {
					last = i
				}
			}
			if last < 0 {
				t.Fatalf("after %q no token is possible", m.text)
			}
			if err := m.Accept(last); err != nil {
				t.Fatal(err)
			}
		}
	})
}

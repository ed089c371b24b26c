package grammar

import (
	"errors"
	"strings"
	"testing"
)

func TestSchemaGrammars(t *testing.T) {
	for schema, want := range map[string]string{
		`true`:              "root ::= value\n",
		`{}`:                "root ::= value\n",
		`{"type":"string"}`: "root ::= string\n",
		`{"type":["integer","null"],"description":"an annotation"}`:                                "root ::= s1\ns1 ::= integer | null\n",
		`{"enum":["a\"b",1,null],"type":["string","integer","null"]}`:                              `root ::= s1` + "\n" + `s1 ::= "\"a\\\"b\"" | "1" | "null"` + "\n",
		`{"const":{"a":[1, 2]}}`:                                                                   `root ::= s1` + "\n" + `s1 ::= "{\"a\":[1,2]}"` + "\n",
		`{"type":"string","minLength":2,"maxLength":5}`:                                            `root ::= s1` + "\n" + `s1 ::= "\"" char{2,5} "\""` + "\n",
		`{"type":"string","format":"date"}`:                                                        `root ::= s1` + "\n" + `s1 ::= "\"" date "\""` + "\n",
		`{"type":"string","format":"email"}`:                                                       "root ::= string\n",
		`{"anyOf":[{"type":"integer"},{"type":"boolean"}]}`:                                        "root ::= s1\ns1 ::= integer | boolean\n",
		`{"properties":{"b":{"type":"integer"},"a":{}},"required":["a","b"]}`:                      `root ::= s2` + "\n" + `s1 ::= "," space "\"a\"" space ":" space value space` + "\n" + `s2 ::= "{" space "\"b\"" space ":" space integer space s1 "}"` + "\n",
		`{"type":"object","properties":{}}`:                                                        `root ::= s1` + "\n" + `s1 ::= "{" space "}"` + "\n",
		`{"type":"object","additionalProperties":{"type":"integer"}}`:                              `root ::= s2` + "\n" + `s1 ::= string space ":" space integer space` + "\n" + `s2 ::= "{" space ( s1 ( "," space s1 )* )? "}"` + "\n",
		`{"type":"array","items":{"type":"integer"}}`:                                              `root ::= s1` + "\n" + `s1 ::= "[" space ( integer space ( "," space integer space ){0,} )? "]"` + "\n",
		`{"type":"array","items":{"type":"integer"},"minItems":2,"maxItems":3}`:                    `root ::= s1` + "\n" + `s1 ::= "[" space integer space ( "," space integer space ){1,2} "]"` + "\n",
		`{"type":"array","prefixItems":[{"type":"integer"},{"type":"null"}]}`:                      `root ::= s1` + "\n" + `s1 ::= "[" space integer space "," space null space "]"` + "\n",
		`{"type":"array","maxItems":0}`:                                                            `root ::= s1` + "\n" + `s1 ::= "[" space "]"` + "\n",
		`{"$ref":"#/$defs/a~1b","$defs":{"a/b":{"type":"array","items":{"$ref":"#/$defs/a~1b"}}}}`: `root ::= ref1` + "\n" + `s1 ::= "[" space ( ref1 space ( "," space ref1 space ){0,} )? "]"` + "\nref1 ::= s1\n",
	} {
		got, err := FromSchema("p", []byte(schema))
		if err != nil || got != want+jsonRules {
			t.Errorf("%s:\n%s%v\nwant\n%s", schema, strings.TrimSuffix(got, jsonRules), err, want)
		}
	}
}

func TestSchemasAreRefusedByPath(t *testing.T) {
	for schema, want := range map[string][2]string{
		`7`:                               {"p", "must be a schema, not a number"},
		`false`:                           {"p", "must be a schema, not a boolean"},
		`{"type":"strin"}`:                {"p.type", `"strin"`},
		`{"type":7}`:                      {"p.type", "must be"},
		`{"type":[]}`:                     {"p.type", "empty"},
		`{"enum":[]}`:                     {"p.enum", "empty"},
		`{"type":"string","pattern":"a"}`: {"p.pattern", "not supported"},
		`{"properties":{"a":{"items":{"not":{}}}}}`:                      {"p.properties.a.items.not", "not supported"},
		`{"properties":[]}`:                                              {"p.properties", "an object"},
		`{"required":[1]}`:                                               {"p.required", "string"},
		`{"items":[{}]}`:                                                 {"p.items", "prefixItems"},
		`{"type":"array","uniqueItems":true}`:                            {"p.uniqueItems", "not supported"},
		`{"type":"array","minItems":3,"maxItems":2}`:                     {"p.maxItems", "less than minItems"},
		`{"type":"array","maxItems":5000}`:                               {"p.maxItems", "between 0 and 2000"},
		`{"type":"array","items":false,"minItems":1}`:                    {"p.minItems", "more items"},
		`{"type":"string","minLength":-1}`:                               {"p.minLength", "between"},
		`{"anyOf":[{}],"type":"object"}`:                                 {"p.type", "beside anyOf"},
		`{"allOf":[{},{}]}`:                                              {"p.allOf", "one is supported"},
		`{"$ref":"#/a"}`:                                                 {"p.$ref", "does not have"},
		`{"$ref":"http://x/y"}`:                                          {"p.$ref", "pointers into the schema"},
		`{"$ref":"#"}`:                                                   {"p.$ref", "itself alone"},
		`{"const":"` + strings.Repeat("x", 70<<10) + `"}`:                {"p", "makes a grammar of"},
		strings.Repeat(`{"items":`, 80) + "{}" + strings.Repeat("}", 80): {"p" + strings.Repeat(".items", 65), "nested deeper"},
	} {
		_, err := FromSchema("p", []byte(schema))
		var r *SchemaError
		if !errors.As(err, &r) || r.Param != want[0] || !strings.Contains(r.Reason, want[1]) {
			t.Errorf("%.80s: %v; want %s %s", schema, err, want[0], want[1])
		}
	}
}

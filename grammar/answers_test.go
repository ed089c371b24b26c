package grammar

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/dlclark/regexp2"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/lorikeet-ai/lorikeet/grammar/grammartest"
)

// validator compiles a schema with another project's validator, which also holds the formats.
func validator(t testing.TB, schema string) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.UseRegexpEngine(func(text string) (jsonschema.Regexp, error) {
		e, err := regexp2.Compile(text, regexp2.ECMAScript|regexp2.Unicode)
		return ecmaRegexp{e}, err
	})
	if strings.Contains(schema, `"additionalItems"`) || strings.Contains(schema, `"dependencies"`) {
		c.DefaultDraft(jsonschema.Draft7)
	}
	if strings.Contains(schema, `"exclusiveMaximum":true`) {
		c.DefaultDraft(jsonschema.Draft4)
	}
	if err := c.AddResource("test.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("test.json")
	if err != nil {
		t.Fatalf("%.300s: %v", schema, err)
	}
	return s
}

// ecmaRegexp is a regular expression as ECMA-262 has them.
type ecmaRegexp struct{ *regexp2.Regexp }

func (e ecmaRegexp) MatchString(text string) bool {
	ok, err := e.Regexp.MatchString(text)
	return ok && err == nil
}

// Whatever tokens are drawn, an answer under a schema is valid under it, and it always comes to an end.
func TestAnswersAreValid(t *testing.T) {
	v := newVocabulary(1200)
	tokens := v.tokens()
	set := grammartest.Schemas()
	t.Logf("%d schemas", len(set))
	for name, schema := range set {
		t.Run(name, func(t *testing.T) {
			check := validator(t, schema)
			start := time.Now()
			part, err := Schema("p", json.RawMessage(schema))
			if err != nil {
				t.Fatalf("%.400s: %v", schema, err)
			}
			if took := time.Since(start); took > 40*time.Millisecond {
				t.Logf("compiled in %v", took)
			}
			c := New(part)
			r := rand.New(rand.NewPCG(3, uint64(len(schema))))
			for ended := 0; ended < 3; {
				m := c.NewMatcher(tokens)
				text, done := drawAnswer(t, r, m, v)
				if !done {
					t.Fatalf("%.300s: the answer does not end: %.600s", schema, text)
				}
				doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
				if err != nil {
					t.Fatalf("%.300s: the answer %.600q: %v", schema, text, err)
				}
				if err := check.Validate(doc); err != nil {
					t.Fatalf("%.300s: the answer %.600q: %v", schema, text, err)
				}
				ended++
			}
		})
	}
}

// Masks say of every token what reading it byte by byte says, with and without masks that other answers have left.
func TestMasksAgreeWithReadingByteByByte(t *testing.T) {
	v := newVocabulary(700)
	tokens := v.tokens()
	r := rand.New(rand.NewPCG(5, 6))
	checked := 0
	for name, schema := range grammartest.Schemas() {
		part, err := Schema("p", json.RawMessage(schema))
		if err != nil {
			t.Fatal(name, err)
		}
		m := New(part).NewMatcher(tokens)
		_, _ = answer(t, r, m, v, 12, func() {
			checkMask(t, m, v)
			checked++
		})
	}
	t.Logf("%d masks of %d tokens", checked, len(v.pieces))
}

// naive reads an answer byte by byte with no memory of what it read before: every reading anew from the beginning.
func naive(c *Constraint, t *Tokens, text string) (complete, possible bool) {
	m := c.NewMatcher(t)
	for i, b := range []byte(text) {
		m.text = append(m.text[:i:i], b)
		var next []thread
		for k := range m.threads {
			next = m.step(&m.threads[k], b, next)
		}
		m.threads = next // readings at one place are not joined
		if len(next) == 0 {
			return false, false
		}
	}
	return m.CanEnd(), true
}

// Joining readings that stand at one place changes nothing: neither which texts are read nor where they may end.
func TestJoinedReadings(t *testing.T) {
	v := newVocabulary(500)
	tokens := v.tokens()
	r := rand.New(rand.NewPCG(7, 8))
	for name, schema := range grammartest.Schemas() {
		if strings.HasPrefix(name, "large/") {
			continue
		}
		part, err := Schema("p", json.RawMessage(schema))
		if err != nil {
			t.Fatal(name, err)
		}
		c := New(part)
		for range 2 {
			m := c.NewMatcher(tokens)
			text, _ := answer(t, r, m, v, 10, nil)
			for cut := 0; cut <= len(text); cut += 1 + len(text)/6 {
				joined := c.NewMatcher(tokens)
				for _, b := range []byte(text[:cut]) {
					if err := joined.Accept(int32(b)); err != nil {
						t.Fatalf("%s: after %q: %v", name, text[:cut], err)
					}
				}
				if end, possible := naive(c, tokens, text[:cut]); !possible || end != joined.CanEnd() {
					t.Errorf("%s: %q is possible: %v, complete: %v; joined complete: %v", name, text[:cut], possible, end, joined.CanEnd())
				}
			}
		}
	}
}

// Values that are valid are read, but for their order of properties, spelling and space, and ones that are not are not.
func TestValuesAreRead(t *testing.T) {
	tokens := newVocabulary(400).tokens()
	for schema, texts := range map[string]map[string]bool{
		`{"type":"number","minimum":0}`:     {"12.50": true, "0": true, "0.0": true, "-1": false, "-0.5": false, "007": false, "1.": false},
		`{"type":"number"}`:                 {"12.50": true, "-0": true, "1e5": true, "1E-07": true, "+1": false, ".5": false},
		`{"type":"integer"}`:                {"12": true, "-7": true, "1.0": false, "-0": false, "00": false},
		`{"enum":[1.50,"a"]}`:               {"1.50": true, `"a"`: true, "1.5": false},
		`{"type":"string"}`:                 {`"a\u00e9\n☕\/"`: true, `"\ud83d"`: false, "\"\n\"": false, `"`: false},
		`{"type":"string","maxLength":2}`:   {`"☕é"`: true, `"\n\u0041"`: true, `"abc"`: false, `""`: true},
		`{"type":"string","minLength":2}`:   {`"☕"`: false, `"\n\u0041"`: true, `"abc"`: true},
		`{"type":"string","format":"uuid"}`: {`"123e4567-e89b-42d3-a456-426614174000"`: true, `"123e4567-e89b-02d3-a456-426614174000"`: false, `"123e4567-e89b-42d3-c456-426614174000"`: false},
		`{"type":"string","format":"date"}`: {`"2024-02-29"`: true, `"2023-02-29"`: false, `"1900-02-29"`: false, `"2000-02-29"`: true, `"2024-04-31"`: false},
		`{"type":"string","format":"ipv6"}`: {`"::1"`: true, `"2001:db8::8a2e:370:7334"`: true, `"1::2::3"`: false, `"1:2:3:4:5:6:7:8"`: true, `":::"`: false},
		`{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},"required":["b"]}`: {`{"b":1}`: true, "{\n  \"a\": 1,\n  \"b\" : 2\n}": true, `{"b":1,"a":2}`: false, `{"a":1}`: false, `{"a":1,"a":1,"b":1}`: false, `{"b":1,}`: false, `{"c":1,"b":1}`: false},
		`{"type":"object","additionalProperties":{"type":"integer"}}`:                                     {`{"x":1,"y":2}`: true, `{"x":1,"x":2}`: false, `{"x":1,"xx":2}`: true, `{}`: true, `{"x":"1"}`: false},
		`{"type":"array","items":{"type":"integer"},"uniqueItems":true}`:                                  {`[1, 12, 2]`: true, `[1,2,1]`: false, `[]`: true, `[12,1]`: true, `[1,1]`: false},
		`{"type":"array","items":{"type":"string"},"uniqueItems":true}`:                                   {`["a","ab"]`: true, `["a","a"]`: false, `["a","A"]`: true, `["","" ]`: false},
		`{"type":"object"}`:                                                {`{"a":[1,{"b":null}]}`: true, `[]`: false, ` {}`: false, `{} `: false},
		`{"type":"array","prefixItems":[{"const":1}]}`:                     {`[1]`: true, `[]`: false, `[1,2]`: false},
		`{"type":"array","prefixItems":[{"const":1}],"items":{"const":2}}`: {`[1,2,2]`: true, `[2]`: false},
	} {
		part, err := Schema("p", json.RawMessage(schema))
		if err != nil {
			t.Fatal(schema, err)
		}
		c := New(part)
		for text, want := range texts {
			if got, _ := naive(c, tokens, text); got != want {
				t.Errorf("%s: %s is read: %v", schema, text, got)
			}
		}
	}
}

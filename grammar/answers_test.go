package grammar

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/dlclark/regexp2"
	"github.com/santhosh-tekuri/jsonschema/v6"
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
	set := schemaSet()
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

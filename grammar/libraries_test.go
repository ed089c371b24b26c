package grammar

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/internal/testtools"
)

// The schemas that zod makes of its types are all accepted, and zod parses their answers.
func TestZod(t *testing.T) {
	node, folder := testtools.Node(t, "zod@4.6.7")
	source, err := os.ReadFile("testdata/zod_types.mjs")
	if err != nil {
		t.Fatal(err)
	}
	// Node finds packages beside the script.
	script := filepath.Join(folder, "zod_types.mjs")
	if err := os.WriteFile(script, source, 0o644); err != nil {
		t.Fatal(err)
	}
	checkLibrary(t, []string{node, script}, []string{node, script, "parse"})
}

// The same with pydantic.
func TestPydantic(t *testing.T) {
	python := testtools.Python(t, "pydantic==2.14.4", "email-validator==2.3.0")
	checkLibrary(t, []string{python, "testdata/pydantic_types.py"}, []string{python, "testdata/pydantic_types.py"})
}

// checkLibrary answers the schemas that a command prints and gives the answers to another one, which prints faults.
func checkLibrary(t *testing.T, schemas, parse []string) {
	t.Helper()
	out, err := exec.Command(schemas[0], schemas[1:]...).Output()
	if err != nil {
		t.Fatalf("%v: %v", schemas, err)
	}
	var list map[string]json.RawMessage
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if len(list) < 20 {
		t.Errorf("there are %d schemas", len(list))
	}
	v := newVocabulary(900)
	tokens := v.tokens()
	r := rand.New(rand.NewPCG(1, 2))
	answers := map[string][]string{}
	for name, schema := range list {
		part, err := Schema("p", schema)
		if err != nil {
			t.Errorf("%s: %v: %s", name, err, schema)
			continue
		}
		c := New(part)
		kind, _, _ := strings.Cut(name, " as input")
		for range 5 {
			text, done := drawAnswer(t, r, c.NewMatcher(tokens), v)
			if !done {
				t.Fatalf("%s: the answer does not end: %.500s", name, text)
			}
			answers[kind] = append(answers[kind], text)
		}
	}
	data, err := json.Marshal(answers)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "answers.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err = exec.Command(parse[0], append(parse[1:], file)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

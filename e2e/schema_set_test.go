package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/lorikeet-ai/lorikeet/bench/randmodel"
	"github.com/lorikeet-ai/lorikeet/grammar/grammartest"
)

// Answers at a high temperature are valid under schemas of many kinds, as another project's validator reads them, those of the
// demo model and those of one whose weights are random; what cannot be held to is refused before the first token, by its path.
func TestAnswersAreValidUnderTheirSchemas(t *testing.T) {
	dir := t.TempDir()
	words, random := filepath.Join(dir, "words.gguf"), filepath.Join(dir, "random.gguf")
	shape := randmodel.Shape{Embedding: 64, FeedForward: 64, Heads: 2, KVHeads: 1, Layers: 1, Vocab: 8192, Context: 4096}
	err := randmodel.WriteModel(words, shape, 1)
	if err == nil {
		err = randmodel.WriteVocabulary(random, words, grammartest.Pieces(shape.Vocab)[256:])
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, flags := range map[string][]string{"demo": nil, "random": {"--model", random}} {
		t.Run(name, func(t *testing.T) { testAnswersAreValid(t, boot(t, flags...)) })
	}
}

func testAnswersAreValid(t *testing.T, b *booted) {
	schemas := grammartest.Schemas()
	ended := 0
	names := []string{"numbers/03", "numbers/07", "strings/08", "formats/00", "formats/09", "arrays/12", "arrays/21", "objects/07", "objects/09", "objects/15",
		"together/05", "together/08", "together/09", "together/18", "large/order", "large/enum words", "large/half required", "large/conditions"}
	for _, name := range names {
		schema := schemas[name]
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
		if err != nil {
			t.Fatal(name, err)
		}
		c := jsonschema.NewCompiler()
		c.AssertFormat()
		if err := c.AddResource("schema.json", doc); err != nil {
			t.Fatal(name, err)
		}
		check, err := c.Compile("schema.json")
		if err != nil {
			t.Fatal(name, err)
		}
		for seed := range 2 {
			text, finish := b.underSchema(schema, question("Say anything.", "temperature", 1.9, "seed", seed, "max_tokens", 400))
			if finish == "length" {
				continue
			}
			ended++
			value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
			if err == nil {
				err = check.Validate(value)
			}
			if err != nil || finish != "stop" {
				t.Errorf("%s, seed %d: %s, %s: %v", name, seed, text, finish, err)
			}
		}
	}
	if ended < len(names) {
		t.Errorf("%d of %d answers came to an end", ended, 2*len(names))
	}
	body := question("Say anything.", "response_format", map[string]any{"type": "json_schema", "json_schema": map[string]any{"name": "x",
		"schema": json.RawMessage(`{"type":"object","properties":{"a":{"items":{"pattern":"(x)\\1"}}}}`)}})
	status, answer, err := b.post("/v1/chat/completions", body)
	if err != nil || status != 400 || !strings.Contains(string(answer), "schema.properties.a.items.pattern") {
		t.Errorf("a pattern with a back-reference: status %d %s %v", status, answer, err)
	}
}

//go:build cgo && linux

package llama

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/lorikeet-ai/lorikeet/grammar"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

func constraint(t testing.TB, schema string) *grammar.Constraint {
	t.Helper()
	part, err := grammar.Schema("schema", json.RawMessage(schema))
	if err != nil {
		t.Fatal(err)
	}
	return grammar.New(part)
}

// Answers of the demo model, cold and hot, with penalties and with biases, are valid under their schemas, beside a row
// that is held to nothing and whose answer they do not change.
func TestConstrainedAnswers(t *testing.T) {
	m := openDemo(t)
	d := openDevice(t, m, DeviceOptions{Sequences: 6, Cells: 4096, Batch: 512, Threads: 1})
	alone, err := generate(t, m, d, 0, question, runtime.Sampling{IgnoreEOS: true}, 40)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Truncate(0, 0); err != nil {
		t.Fatal(err)
	}
	prompt, err := m.Tokenize(question, true, true)
	if err != nil {
		t.Fatal(err)
	}
	schemas := []string{
		`{"type":"object","properties":{"name":{"type":"string","maxLength":20},"age":{"type":"integer","minimum":0,"maximum":150},"id":{"type":"string","format":"uuid"}},"required":["name","age","id"],"additionalProperties":false}`,
		`{"type":"array","items":{"enum":["red","green","blue"]},"uniqueItems":true,"minItems":2}`,
		`{"type":"object","properties":{"when":{"type":"string","format":"date-time"},"tags":{"type":"array","items":{"type":"string","pattern":"^[a-z]{2,8}$"},"maxItems":3}},"required":["when","tags"]}`,
	}
	for round, s := range []runtime.Sampling{{}, {Temperature: 1.5, Seed: 3, FrequencyPenalty: 0.5}, {Temperature: 2, TopK: 50, RepeatPenalty: 1.3, Seed: 9},
		{Temperature: 1, Seed: 5, LogitBias: map[runtime.Token]float32{'a': 5}, TopP: 0.9}} {
		samplings := []runtime.Sampling{{IgnoreEOS: true}}
		for _, schema := range schemas {
			s.Constraint = constraint(t, schema)
			samplings = append(samplings, s)
		}
		var rows []runtime.Row
		samplers, answers := make([]runtime.Sampler, len(samplings)), make([]strings.Builder, len(samplings))
		for i, s := range samplings {
			if samplers[i], err = m.NewSampler(s, prompt); err != nil {
				t.Fatal(err)
			}
			defer samplers[i].Close()
			for pos, token := range prompt {
				rows = append(rows, runtime.Row{Token: token, Seq: i, Pos: pos, Top: -1})
			}
			rows[len(rows)-1].Sampler, rows[len(rows)-1].Top = samplers[i], 2
		}
		for pos := len(prompt); pos < 600 && len(rows) > 0; pos++ {
			choices, err := d.Decode(rows)
			if err != nil {
				t.Fatal(err)
			}
			var last []runtime.Row
			for _, r := range rows {
				if r.Sampler != nil {
					last = append(last, r)
				}
			}
			rows = rows[:0]
			for k, c := range choices {
				if c.Err != nil {
					t.Fatal(c.Err)
				}
				if len(c.Top) != 2 || c.Logprob > c.Top[0].Logprob || math.IsInf(float64(c.Logprob), 0) {
					t.Fatalf("log-probability %g, of the best %+v", c.Logprob, c.Top)
				}
				seq := last[k].Seq
				if m.EndOfGeneration(c.Token) || seq == 0 && pos > len(prompt)+60 {
					continue
				}
				answers[seq].Write(m.Piece(c.Token, false))
				rows = append(rows, runtime.Row{Token: c.Token, Seq: seq, Pos: pos, Sampler: samplers[seq], Top: 2})
			}
		}
		if len(rows) > 0 {
			t.Errorf("round %d: %d answers do not end: %q", round, len(rows), answers[rows[0].Seq].String())
		}
		if got := answers[0].String(); !strings.HasPrefix(got, alone) {
			t.Errorf("round %d: beside constrained rows the answer is %q, alone %q", round, got, alone)
		}
		for i, schema := range schemas {
			checkAnswer(t, schema, answers[i+1].String())
		}
		for seq := range samplings {
			if _, err := d.Truncate(seq, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func checkAnswer(t *testing.T, schema, answer string) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(answer))
	if err == nil {
		err = s.Validate(value)
	}
	if err != nil {
		t.Errorf("the answer %q: %v", answer, err)
	}
}

// The distribution under a constraint is the model's, of the admitted tokens.
func TestConstrainedDistribution(t *testing.T) {
	m := openDemo(t)
	c := grammar.New(grammar.Choice(grammar.Literal("a"), grammar.Literal("b"), grammar.Literal("cd")))
	counts := map[string]int{}
	d := openDevice(t, m, DeviceOptions{Sequences: 1, Cells: 256, Batch: 128, Threads: 1})
	prompt, err := m.Tokenize(question, true, true)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{}
	for seed := range uint64(400) {
		s, err := m.NewSampler(runtime.Sampling{Temperature: 2, Seed: seed, Constraint: c}, prompt)
		if err != nil {
			t.Fatal(err)
		}
		var rows []runtime.Row
		from := 0
		if seed > 0 {
			from = len(prompt) - 1
		}
		for pos := from; pos < len(prompt); pos++ {
			rows = append(rows, runtime.Row{Token: prompt[pos], Pos: pos, Top: -1})
		}
		rows[len(rows)-1].Sampler = s
		choices, err := d.Decode(rows)
		if err != nil || choices[0].Err != nil {
			t.Fatal(err, choices)
		}
		counts[string(m.Piece(choices[0].Token, false))]++
		if seed == 0 {
			logits, err := d.Logits(len(rows) - 1)
			if err != nil {
				t.Fatal(err)
			}
			sum := 0.0
			for token := range runtime.Token(m.facts.VocabSize) {
				if text := string(m.Piece(token, false)); text == "a" || text == "b" || text == "c" || text == "cd" {
					want[text] = math.Exp(float64(logits[token]) / 2)
					sum += want[text]
				}
			}
			for text := range want {
				want[text] /= sum
			}
		}
		s.Close()
		if _, err := d.Truncate(0, len(prompt)-1); err != nil {
			t.Fatal(err)
		}
	}
	for text, p := range want {
		if got := float64(counts[text]) / 400; math.Abs(got-p) > 0.1 {
			t.Errorf("%q comes with %.3f, want %.3f", text, got, p)
		}
	}
	for text := range counts {
		if want[text] == 0 {
			t.Errorf("%q comes", text)
		}
	}
}

// A model without a vocabulary cannot be held to anything.
func TestConstraintsNeedAVocabulary(t *testing.T) {
	m := openModel(t, Options{Path: tiny.file(t)})
	_, err := m.NewSampler(runtime.Sampling{Constraint: grammar.New(grammar.Object())}, nil)
	if !errors.Is(err, runtime.ErrSampling) || !strings.Contains(err.Error(), "grammar: the model has no tokens") {
		t.Error(err)
	}
}

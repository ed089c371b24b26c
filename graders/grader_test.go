package graders

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// full has every tool: it allows one model and one URL.
func full() Tools {
	only := func(want string) func(string) error {
		return func(got string) error {
			if got != want {
				return fmt.Errorf("is %q, which is not allowed", got)
			}
			return nil
		}
	}
	return Tools{
		CheckModel: only("judge"),
		Ask: func(_ context.Context, q Question) (Reply, error) {
			last := q.Messages[len(q.Messages)-1].Content
			switch {
			case strings.Contains(last, "refuse"):
				return Reply{Refusal: "I would rather not"}, nil
			case strings.Contains(last, "fail"):
				return Reply{}, errors.New("no route")
			case strings.Contains(last, "chatter"):
				return Reply{Text: "a good answer"}, nil
			case strings.Contains(last, "number"):
				return Reply{Text: " 0.8\n"}, nil
			}
			return Reply{Text: fmt.Sprintf(`{"result": %d}`, len(last)), Tokens: 7}, nil
		},
		CheckURL: only("https://grade.example/v1"),
		Post: func(_ context.Context, url string, header map[string]string, body []byte) ([]byte, error) {
			var in struct {
				Sample struct {
					Text  string `json:"output_text"`
					JSON  any    `json:"output_json"`
					Tools []any  `json:"output_tools"`
				} `json:"sample"`
				Item map[string]any `json:"item"`
			}
			if err := json.Unmarshal(body, &in); err != nil {
				return nil, err
			}
			if in.Sample.Text == "bad" {
				return []byte(`{"score": "high"}`), nil
			}
			return []byte(fmt.Sprintf(`{"score": %v}`, in.Item["points"])), nil
		},
		Run: func(_ context.Context, input []byte) ([]byte, error) {
			if strings.Contains(string(input), "boom") {
				return []byte("Traceback"), nil
			}
			return []byte("0.25\n"), nil
		},
		Embed: func(_ context.Context, texts []string) ([][]float32, error) {
			return [][]float32{{1, 0}, {0.6, 0.8}}, nil
		},
	}
}

func item(t *testing.T, raw string) map[string]any {
	t.Helper()
	v, err := decode([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return v.(map[string]any)
}

func TestGrades(t *testing.T) {
	it := item(t, `{"reference": "Paris", "points": 0.75, "long": 12345678901234567890, "deep": {"list": [{"a b": "x"}]}}`)
	for _, c := range []struct {
		name, grader, text string
		want               float64
		fault              Fault
	}{
		{"eq", `{"type":"string_check","name":"n","input":"{{sample.output_text}}","reference":"{{ item.reference }}","operation":"eq"}`, "Paris", 1, ""},
		{"eq is exact", `{"type":"string_check","input":"{{sample.output_text}}","reference":"{{ item.reference }}","operation":"eq"}`, "paris", 0, ""},
		{"ne", `{"type":"string_check","input":"{{sample.output_text}}","reference":"{{ item.reference }}","operation":"ne"}`, "paris", 1, ""},
		{"like", `{"type":"string_check","input":"{{sample.output_text}}","reference":"{{ item.reference }}","operation":"like"}`, "It is Paris.", 1, ""},
		{"ilike", `{"type":"string_check","input":"{{sample.output_text}}","reference":"{{ item.reference }}","operation":"ilike"}`, "it is PARIS.", 1, ""},
		{"like minds case", `{"type":"string_check","input":"{{sample.output_text}}","reference":"{{ item.reference }}","operation":"like"}`, "it is PARIS.", 0, ""},
		{"numbers as written", `{"type":"string_check","input":"{{ item.long }}/{{item.points}}","reference":"12345678901234567890/0.75","operation":"eq"}`, "", 1, ""},
		{"paths", `{"type":"string_check","input":"{{ item.deep.list[0]['a b'] }}{{ item.deep }}","reference":"x{\"list\":[{\"a b\":\"x\"}]}","operation":"eq"}`, "", 1, ""},
		{"output_json", `{"type":"string_check","input":"{{ sample.output_json.city }}","reference":"{{ item.reference }}","operation":"eq"}`, `{"city": "Paris"}`, 1, ""},
		{"output_json of text", `{"type":"string_check","input":"{{ sample.output_json.city }}","reference":"x","operation":"eq"}`, `Paris`, 0, SampleFault},
		{"output_json without the field", `{"type":"string_check","input":"{{ sample.output_json.city }}","reference":"x","operation":"eq"}`, `{}`, 0, SampleFault},
		{"no such field of the item", `{"type":"string_check","input":"{{ item.deep.b }}","reference":"x","operation":"eq"}`, ``, 0, VariableFault},
		{"choices", `{"type":"string_check","input":"{{ sample.choices[0].message.content }}/{{ sample.choices[0].finish_reason }}","reference":"Paris/stop","operation":"eq"}`, "Paris", 1, ""},
		{"no calls", `{"type":"string_check","input":"{{ sample.output_tools }}","reference":"[]","operation":"eq"}`, "Paris", 1, ""},
		{"no such call", `{"type":"string_check","input":"{{ sample.output_tools[0].function.name }}","reference":"x","operation":"eq"}`, "Paris", 0, SampleFault},
		{"similarity", `{"type":"text_similarity","input":"{{sample.output_text}}","reference":"{{ item.reference }}","evaluation_metric":"fuzzy_match"}`, "Pari", 8.0 / 9, ""},
		{"cosine", `{"type":"text_similarity","input":"{{sample.output_text}}","reference":"{{ item.reference }}","evaluation_metric":"cosine"}`, "Pari", 0.6, ""},
		{"too long", `{"type":"text_similarity","input":"{{sample.output_text}}","reference":"x","evaluation_metric":"fuzzy_match"}`, strings.Repeat("a", maxCompared+1), 0, TruncatedFault},
		{"model", `{"type":"score_model","model":"judge","range":[0,10],"input":[{"role":"system","content":"judge"},{"role":"user","content":"{{sample.output_text}}"}]}`, "12345", 5, ""},
		{"model, parts", `{"type":"score_model","model":"judge","range":[0,10],"input":[{"role":"user","content":[{"type":"input_text","text":"{{sample.output_text}}"},{"type":"text","text":"!"}]}]}`, "12345", 6, ""},
		{"model, beyond the range", `{"type":"score_model","model":"judge","input":[{"role":"user","content":"{{sample.output_text}}"}]}`, "12345", 1, ""},
		{"model, text", `{"type":"score_model","model":"judge","input":[{"role":"user","content":"chatter"}]}`, "", 0, ModelParseFault},
		{"model, a number alone", `{"type":"score_model","model":"judge","input":[{"role":"user","content":"number"}]}`, "", 0.8, ""},
		{"model, refusal", `{"type":"score_model","model":"judge","input":[{"role":"user","content":"refuse"}]}`, "", 0, RefusalFault},
		{"model, failure", `{"type":"score_model","model":"judge","input":[{"role":"user","content":"fail"}]}`, "", 0, ModelFault},
		{"endpoint", `{"type":"endpoint","url":"https://grade.example/v1","headers":{"X-Key":"1"}}`, "x", 0.75, ""},
		{"endpoint, no number", `{"type":"endpoint","url":"https://grade.example/v1"}`, "bad", 0, OtherFault},
		{"python", `{"type":"python","source":"def grade(sample, item):\n  return 0.25"}`, "x", 0.25, ""},
		{"python, traceback", `{"type":"python","source":"def grade(sample, item):\n  boom"}`, "x", 0, PythonRuntimeFault},
		{"multi", `{"type":"multi","calculate_output":"0.5 * same + max(0, close ^ 2) / 2","graders":{` +
			`"same":{"type":"string_check","input":"{{sample.output_text}}","reference":"{{item.reference}}","operation":"eq"},` +
			`"close":{"type":"text_similarity","input":"{{sample.output_text}}","reference":"{{item.reference}}","evaluation_metric":"fuzzy_match"}}}`, "Paris", 1, ""},
		{"multi, no value", `{"type":"multi","calculate_output":"1 / same","graders":{` +
			`"same":{"type":"string_check","input":"{{sample.output_text}}","reference":"{{item.reference}}","operation":"eq"}}}`, "Rome", 0, FormulaFault},
		{"multi, one fails", `{"type":"multi","calculate_output":"a + b","graders":{` +
			`"a":{"type":"string_check","input":"1","reference":"1","operation":"eq"},` +
			`"b":{"type":"string_check","name":"second","input":"{{item.none}}","reference":"1","operation":"eq"}}}`, "", 0, VariableFault},
	} {
		g, err := Parse(json.RawMessage(c.grader), "grader", full())
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		r, err := g.Grade(context.Background(), &Sample{Item: it, Text: c.text})
		var f *Failure
		switch {
		case c.fault == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.fault != "" && (!errors.As(err, &f) || f.Fault != c.fault || f.Grader == ""):
			t.Errorf("%s: %v, want a %s", c.name, err, c.fault)
		case r.Reward < c.want-1e-6 || r.Reward > c.want+1e-6:
			t.Errorf("%s: reward %v, want %v", c.name, r.Reward, c.want)
		}
	}
}

func TestMultiTellsItsParts(t *testing.T) {
	g, err := Parse(json.RawMessage(`{"type":"multi","calculate_output":"a - b","graders":{`+
		`"a":{"type":"score_model","model":"judge","range":[0,9],"input":[{"role":"user","content":"123"}]},`+
		`"b":{"type":"score_model","model":"judge","range":[0,9],"input":[{"role":"user","content":"1"}]}}}`), "grader", full())
	if err != nil {
		t.Fatal(err)
	}
	r, err := g.Grade(context.Background(), &Sample{})
	if err != nil || r.Reward != 2 || r.Parts["a"] != 3 || r.Parts["b"] != 1 || r.Tokens["judge"] != 14 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestEndpointAnswers has an endpoint answer with what is a score, and with what is none.
func TestEndpointAnswers(t *testing.T) {
	answer := ""
	tools := full()
	tools.Post = func(context.Context, string, map[string]string, []byte) ([]byte, error) { return []byte(answer), nil }
	g, err := Parse(json.RawMessage(`{"type":"endpoint","name":"far","url":"https://grade.example/v1"}`), "grader", tools)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]float64{
		`0.5`: 0.5, " -2\n": -2, `{"score": 0.25}`: 0.25, `{"reward": 3, "why": "x"}`: 3, `{"score": 1, "reward": 2}`: 1, `{"score": 1e30}`: 1e30,
	} {
		answer = text
		if r, err := g.Grade(t.Context(), &Sample{}); err != nil || r.Reward != want {
			t.Errorf("%q gives %v, %v", text, r.Reward, err)
		}
	}
	for _, text := range []string{
		"", " ", "NaN", "Infinity", "null", "true", "[]", "[1]", `"0.5"`, "0.5 0.6", "1e999", "score", `{}`, `{"points": 1}`, `{"score": null}`,
		`{"score": NaN}`, `{"score": 1e999}`, `{"score": -1e999}`, `{"score": "0.5"}`, `{"score": [1]}`, `{"score": {}}`, `{"score": 1`, "\x00\xff",
		strings.Repeat(`{"score":`, 100_000), strings.Repeat("[", 1_000_000), `{"score": ` + strings.Repeat("9", 500) + `}`,
	} {
		answer = text
		var f *Failure
		r, err := g.Grade(t.Context(), &Sample{})
		if !errors.As(err, &f) || f.Fault != OtherFault || r.Reward != 0 || !strings.Contains(f.Reason, "https://grade.example/v1 answered") || len(f.Reason) > 500 {
			t.Errorf("%.40q gives %v, %v", text, r.Reward, err)
		}
	}
}

func TestGradingEndsWithItsContext(t *testing.T) {
	tools := full()
	tools.Post = func(ctx context.Context, _ string, _ map[string]string, _ []byte) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	g, err := Parse(json.RawMessage(`{"type":"endpoint","name":"slow","url":"https://grade.example/v1"}`), "grader", tools)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, err = g.Grade(ctx, &Sample{})
	if f := new(Failure); !errors.As(err, &f) || f.Fault != TimeFault || f.Grader != "slow" {
		t.Errorf("%v", err)
	}
}

func TestRefusals(t *testing.T) {
	check := func(fields string) string {
		return `{"type":"string_check","input":"a","reference":"b","operation":"eq"` + fields + `}`
	}
	for _, c := range []struct {
		grader, field, reason string
		tools                 Tools
		unsupported           bool
	}{
		{`[]`, "grader", "object is expected", full(), false},
		{`{}`, "grader.type", "is missing", full(), false},
		{`{"type":"magic"}`, "grader.type", `is "magic"`, full(), false},
		{`{"type":"label_model"}`, "grader.type", "no reward", full(), true},
		{`{"type":3}`, "grader.type", "is number: a string is expected", full(), false},
		{check(`,"referance":"x"`), "grader.referance", "not a field", full(), true},
		{`{"type":"string_check","reference":"b","operation":"eq"}`, "grader.input", "is missing", full(), false},
		{`{"type":"string_check","input":"a","reference":"b","operation":"=="}`, "grader.operation", `is "=="`, full(), false},
		{`{"type":"string_check","input":"{{ sample.output }}","reference":"b","operation":"eq"}`, "grader.input", "output_text", full(), false},
		{`{"type":"string_check","input":"{{ other.x }}","reference":"b","operation":"eq"}`, "grader.input", "item and sample", full(), false},
		{`{"type":"string_check","input":"a","reference":"{{ item.x | upper }}","operation":"eq"}`, "grader.reference", "filters", full(), false},
		{`{"type":"string_check","input":"a","reference":"{{ item.x","operation":"eq"}`, "grader.reference", "without its }}", full(), false},
		{`{"type":"string_check","input":"a","reference":"{{ item[-1] }}","operation":"eq"}`, "grader.reference", "[-1]", full(), false},
		{`{"type":"text_similarity","input":"a","reference":"b"}`, "grader.evaluation_metric", "is missing", full(), false},
		{`{"type":"text_similarity","input":"a","reference":"b","evaluation_metric":"meteor"}`, "grader.evaluation_metric", "WordNet", full(), true},
		{`{"type":"text_similarity","input":"a","reference":"b","evaluation_metric":"cosine"}`, "grader.evaluation_metric", "no embeddings", Tools{}, true},
		{`{"type":"score_model","model":"other","input":[{"role":"user","content":"x"}]}`, "grader.model", `is "other"`, full(), false},
		{`{"type":"score_model","model":"judge","input":[{"role":"tool","content":"x"}]}`, "grader.input[0].role", `is "tool"`, full(), false},
		{`{"type":"score_model","model":"judge","input":[{"role":"user","content":[{"type":"input_image"}]}]}`, "grader.input[0].content", "parts", full(), true},
		{`{"type":"score_model","model":"judge","input":[{"role":"user","content":"x"}],"range":[1,0]}`, "grader.range", "smaller one first", full(), false},
		{`{"type":"score_model","model":"judge","input":[{"role":"user","content":"x"}],"sampling_params":{"top_k":3}}`, "grader.sampling_params.top_k", "not a field", full(), true},
		{`{"type":"score_model","model":"judge","input":[{"role":"user","content":"x"}]}`, "grader.type", "no model", Tools{}, true},
		{`{"type":"endpoint","url":"http://169.254.169.254/latest"}`, "grader.url", "not allowed", full(), true},
		{`{"type":"endpoint","url":"https://grade.example/v1"}`, "grader.type", "--grader-endpoint", Tools{}, true},
		{`{"type":"endpoint","url":"https://grade.example/v1","headers":{"Host":"x"}}`, "grader.headers", `"Host"`, full(), false},
		{`{"type":"endpoint","url":"https://grade.example/v1","headers":{"X":"a\r\nHost: b"}}`, "grader.headers", `"X"`, full(), false},
		{`{"type":"python","source":"def grade(s, i): pass"}`, "grader.type", "--grader-sandbox", Tools{}, true},
		{`{"type":"python","source":"print(1)"}`, "grader.source", "must define grade", full(), false},
		{`{"type":"multi","calculate_output":"a"}`, "grader.graders", "are missing", full(), false},
		{`{"type":"multi","graders":{"a b":` + check("") + `},"calculate_output":"1"}`, "grader.graders", `"a b"`, full(), false},
		{`{"type":"multi","graders":{"a":` + check("") + `},"calculate_output":"b"}`, "grader.calculate_output", `"b" is neither`, full(), false},
		{`{"type":"multi","graders":{"a":` + check(`,"x":1`) + `},"calculate_output":"a"}`, "grader.graders.a.x", "not a field", full(), true},
		{`{"type":"multi","graders":{"a":{"type":"multi","graders":{"b":` + check("") + `},"calculate_output":"b"}},"calculate_output":"a"}`, "grader.graders.a.type", "within", full(), true},
		{check(`,"name":"` + strings.Repeat("n", 300) + `"`), "grader.name", "300 bytes", full(), false},
		{`{"type":"string_check","input":"` + strings.Repeat("x", MaxBytes) + `"}`, "grader", "at most", full(), false},
	} {
		_, err := Parse(json.RawMessage(c.grader), "grader", c.tools)
		f := new(FieldError)
		if !errors.As(err, &f) || !errors.Is(err, ErrGrader) {
			t.Errorf("%.80s: %v", c.grader, err)
			continue
		}
		if f.Field != c.field || !strings.Contains(f.Reason, c.reason) || f.Unsupported != c.unsupported {
			t.Errorf("%.80s: %v (unsupported: %v)\nwant %s ... %s", c.grader, f, f.Unsupported, c.field, c.reason)
		}
	}
}

package server

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/graders"
	"github.com/lorikeet-ai/lorikeet/openapi"
)

func TestGraders(t *testing.T) {
	s := open(t, func(p *setup) {
		p.options.Graders = func(owner string) graders.Tools {
			return graders.Tools{
				CheckModel: func(string) error { return nil },
				Ask: func(_ context.Context, q graders.Question) (graders.Reply, error) {
					return graders.Reply{Text: `{"result": 0.5}`, Tokens: 9}, nil
				},
			}
		}
	})
	const check = `{"type":"string_check","name":"same","input":"{{sample.output_text}}","reference":"{{item.answer}}","operation":"eq"}`
	const judge = `{"type":"score_model","model":"judge","input":[{"role":"user","content":"{{sample.output_text}}"}]}`
	run := func(grader, item, sample string) (r openapi.GraderRun) {
		t.Helper()
		s.post("/v1/fine_tuning/alpha/graders/run", `{"grader":`+grader+`,"item":`+item+`,"model_sample":`+sample+`}`, &r)
		return r
	}
	if r := run(check, `{"answer":"Paris"}`, `"Paris"`); r.Reward != 1 || r.Metadata.Name != "same" || r.Metadata.Type != "string_check" || r.Metadata.Scores["same"] != 1 || r.Metadata.TokenUsage != nil {
		t.Errorf("%+v", r)
	}
	if r := run(`{"type":"multi","graders":{"a":`+check+`,"b":`+judge+`},"calculate_output":"a + b"}`, `{"answer":"x"}`, `"x"`); r.Reward != 1.5 ||
		r.SubRewards["a"] != 1 || r.SubRewards["b"] != 0.5 || r.ModelGraderTokenUsagePerModel["judge"] != 9 || *r.Metadata.TokenUsage != 9 {
		t.Errorf("%+v", r)
	}
	r := run(check, `{}`, `"x"`)
	if r.Reward != 0 || !r.Metadata.Errors.InvalidVariableError || !strings.Contains(text(r.Metadata.Errors.Details), `grader "same": there is no item.answer`) {
		t.Errorf("%+v", r)
	}
	if r := run(check, `null`, `"x"`); !r.Metadata.Errors.InvalidVariableError {
		t.Errorf("%+v", r)
	}
	var valid openapi.GraderValidated
	s.post("/v1/fine_tuning/alpha/graders/validate", `{"grader":`+check+`}`, &valid)
	var a, b any
	if json.Unmarshal(valid.Grader, &a) != nil || json.Unmarshal([]byte(check), &b) != nil || len(a.(map[string]any)) != len(b.(map[string]any)) {
		t.Errorf("%s", valid.Grader)
	}
	post := func(path, body string) response { return s.do("POST", "/v1/fine_tuning/alpha/graders/"+path, body) }
	s.refusedWith(post("validate", `{}`), 400, "grader", "missing")
	s.refusedWith(post("validate", `{"grader":{"type":"string_check","input":"a","reference":"b","operation":"is"}}`), 400, "grader.operation", "eq, ne, like")
	s.refusedWith(post("validate", `{"grader":{"type":"python","source":"def grade(s, i): return 1"}}`), 400, "grader.type", "--grader-sandbox")
	s.refusedWith(post("validate", `{"grader":{"type":"endpoint","url":"http://localhost"}}`), 400, "grader.type", "--grader-endpoint")
	s.refusedWith(post("run", `{"grader":`+check+`}`), 400, "model_sample", "missing")
	s.refusedWith(post("run", `{"grader":`+check+`,"item":[],"model_sample":"x"}`), 400, "item", "object")
	s.refusedWith(post("run", `{"grader":`+check+`,"model_sample":"x","foo":1}`), 400, "foo")
	s.refusedWith(post("run", `{"grader":`+check), 400, "")
}

func TestGraderModels(t *testing.T) {
	s := open(t)
	s.add("judge", 1)
	for model, ok := range map[string]bool{"fake": true, "default": true, "judge": true, "fake:judge": true, "nobody": false, "": false} {
		if err := s.server.CheckGraderModel("", model); (err == nil) != ok {
			t.Errorf("%q: %v", model, err)
		}
	}
	if err := s.server.CheckGraderModel("gone", "fake"); err == nil {
		t.Error("an owner without keys may ask")
	}
}

package server

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/openapi"
)

// uploaded sends a file and returns its id.
func (s *trainingServer) uploaded(content string) string {
	s.t.Helper()
	var f openapi.File
	s.ok(s.form("/v1/files", "purpose", "fine-tune", "file:data.jsonl", content), &f)
	return f.Id
}

func TestFiles(t *testing.T) {
	s := openTraining(t, false)
	var ids []string
	for i := range 3 {
		ids = append(ids, s.uploaded(datasetLines(i+1)))
	}
	var f openapi.File
	s.get("/v1/files/"+ids[1], &f)
	if f.Filename != "data.jsonl" || f.Bytes != int64(len(datasetLines(2))) || f.Purpose != "fine-tune" || f.Object != "file" {
		t.Errorf("the file is %+v", f)
	}
	if r := s.do("GET", "/v1/files/"+ids[1]+"/content", ""); string(r.body) != datasetLines(2) {
		t.Errorf("its content is %q", r.body)
	}
	seen := map[string]bool{}
	for after, more := "", true; more; {
		var list openapi.FileList
		s.get("/v1/files?limit=2&after="+after, &list)
		for _, f := range list.Data {
			seen[f.Id] = true
		}
		after, more = *list.LastId, list.HasMore
	}
	if len(seen) != 3 {
		t.Errorf("the pages have %v", seen)
	}
	var deleted openapi.FileDeleted
	s.ok(s.do("DELETE", "/v1/files/"+ids[1], ""), &deleted)
	for _, r := range []response{
		s.do("GET", "/v1/files/"+ids[1], ""), s.do("DELETE", "/v1/files/"+ids[1], ""), s.do("GET", "/v1/files/"+ids[1]+"/content", ""),
	} {
		s.refusedWith(r, 404, "id")
	}
	s.refusedWith(s.form("/v1/files", "file:a", "x"), 400, "purpose")
	s.refusedWith(s.form("/v1/files", "file:a", "x", "purpose", "vision"), 400, "purpose", "vision", "fine-tune or batch")
	s.refusedWith(s.form("/v1/files", "purpose", "fine-tune"), 400, "file")
	s.refusedWith(s.form("/v1/files", "file:a", strings.Repeat("x", 70<<10), "purpose", "fine-tune"), 413, "")
	s.refusedWith(s.do("POST", "/v1/files", "{}"), 400, "file")
	var list openapi.FileList
	if s.get("/v1/files", &list); len(list.Data) != 2 {
		t.Errorf("refused files stay: %+v", list)
	}
}

func TestFineTuning(t *testing.T) {
	s := openTraining(t, false, saying("x"))
	train, valid := s.uploaded(datasetLines(12)), s.uploaded(datasetLines(3))
	var j openapi.FineTuningJob
	s.post("/v1/fine_tuning/jobs", fmt.Sprintf(`{"model":"fake","training_file":%q,"validation_file":%q,"suffix":"pupil","seed":7,
		"metadata":{"who":"me"},"method":{"type":"supervised","supervised":{"hyperparameters":
		{"n_epochs":2,"batch_size":"auto","learning_rate_multiplier":20}}}}`, train, valid), &j)
	if j.TrainingFile != train || *j.ValidationFile != valid || *j.UserProvidedSuffix != "pupil" || j.Seed != 7 || j.Model != "fake" ||
		j.FineTunedModel != nil || j.Method.Supervised.Hyperparameters.NEpochs != 2 || j.Hyperparameters.LearningRateMultiplier != 20 {
		t.Errorf("the job is %+v", j)
	}
	s.ended(j.Id)
	s.get("/v1/fine_tuning/jobs/"+j.Id, &j)
	if j.Status != "succeeded" || !strings.HasPrefix(text(j.FineTunedModel), "pupil@") || j.TrainedTokens == nil || j.FinishedAt == nil || j.Metadata["who"] != "me" {
		t.Fatalf("the job is %+v", j)
	}
	var answer openapi.ChatCompletion
	s.post("/v1/chat/completions", chatBody("hello", fmt.Sprintf(`"model":%q`, *j.FineTunedModel)), &answer)
	if want := fmt.Sprintf("%q", *j.FineTunedModel); answer.Adapter == nil || string(*answer.Adapter) != want {
		t.Errorf("the answer is of %v, not of %s", answer.Adapter, want)
	}

	var page openapi.FineTuningEventList
	var messages []string
	for after, more := "", true; more; {
		s.get("/v1/fine_tuning/jobs/"+j.Id+"/events?limit=3&after="+after, &page)
		for _, e := range page.Data {
			messages = append(messages, e.Message)
			after = e.Id
		}
		more = page.HasMore
	}
	streamed := dataOf(string(s.do("GET", "/v1/fine_tuning/jobs/"+j.Id+"/events?stream=true", "").body))
	if len(streamed) != len(messages)+1 || streamed[len(streamed)-1] != "[DONE]" {
		t.Fatalf("%d events in pages, and streamed %q", len(messages), streamed)
	}
	for i, data := range streamed[:len(messages)] {
		var e openapi.FineTuningEvent
		if err := json.Unmarshal([]byte(data), &e); err != nil || e.Message != messages[len(messages)-1-i] {
			t.Errorf("event %d is %s", i, data)
		}
	}
	var list openapi.FineTuningJobList
	if s.get("/v1/fine_tuning/jobs", &list); len(list.Data) != 1 || list.Data[0].Id != j.Id {
		t.Errorf("the list is %+v", list)
	}
}

func TestFineTuningCheckpoints(t *testing.T) {
	s := openTraining(t, false)
	j := s.accepted(s.do("POST", "/adapters/train", `{"name":"pupil","examples":`+array(12)+`,`+small+`}`))
	s.ended(j.Id)
	var list, rest openapi.FineTuningCheckpointList
	s.get("/v1/fine_tuning/jobs/"+j.Id+"/checkpoints?limit=1", &list)
	if len(list.Data) != 1 || !list.HasMore || *list.FirstId != list.Data[0].Id {
		t.Fatalf("the first page is %+v", list)
	}
	k := list.Data[0]
	if k.FineTuningJobId != j.Id || k.FineTunedModelCheckpoint != fmt.Sprintf("pupil@step-%d", k.StepNumber) || k.Metrics.TrainLoss <= 0 {
		t.Errorf("the checkpoint is %+v", k)
	}
	s.get("/v1/fine_tuning/jobs/"+j.Id+"/checkpoints?after="+k.Id, &rest)
	if len(rest.Data) == 0 || rest.HasMore || rest.Data[0].StepNumber >= k.StepNumber {
		t.Errorf("the rest is %+v", rest)
	}
	s.refusedWith(s.do("GET", "/v1/fine_tuning/jobs/"+j.Id+"/checkpoints?after=x", ""), 400, "after")
}

// A bad file fails the job, as OpenAI has it, and its lines are named.
func TestFineTuningOfABadFile(t *testing.T) {
	s := openTraining(t, false)
	var j openapi.FineTuningJob
	s.post("/v1/fine_tuning/jobs", fmt.Sprintf(`{"model":"fake","training_file":%q}`, s.uploaded("{}\n")), &j)
	if j.UserProvidedSuffix != nil || j.TrainingFile == "" {
		t.Errorf("the job is %+v", j)
	}
	own, _ := s.ended(j.Id)
	s.get("/v1/fine_tuning/jobs/"+j.Id, &j)
	if j.Status != "failed" || j.Error == nil || j.Error.Code != "invalid_training_file" || text(j.Error.Param) != "training_file" {
		t.Errorf("the job is %+v, its error %+v", j, j.Error)
	}
	if own.Error == nil || len(own.Error.Lines) != 1 || own.Error.Lines[0].Line != 1 {
		t.Errorf("its error is %+v", own.Error)
	}
}

func TestFineTuningRefusals(t *testing.T) {
	s := openTraining(t, true)
	s.add("bought", 1)
	id := s.uploaded(datasetLines(2))
	base := fmt.Sprintf(`"model":"fake","training_file":%q`, id)
	hyper := func(h string) string {
		return `{` + base + `,"method":{"type":"supervised","supervised":{"hyperparameters":` + h + `}}}`
	}
	for _, test := range []struct{ body, param string }{
		{`{"training_file":"x"}`, "model"},
		{`{"model":"fake"}`, "training_file"},
		{`{"model":"fake","training_file":"file-none"}`, "training_file"},
		{`{"model":"bought","training_file":"x"}`, "training_file"},
		{`{` + base + `,"validation_file":"file-none"}`, "validation_file"},
		{`{` + base + `,"suffix":"a b"}`, "suffix"},
		{`{` + base + `,"suffix":"train"}`, "suffix"},
		{`{` + base + `,"suffix":"` + strings.Repeat("a", 65) + `"}`, "suffix"},
		{`{` + base + `,"seed":-1}`, "seed"},
		{`{` + base + `,"integrations":[{"type":"wandb"}]}`, "integrations[0].wandb.project"},
		{`{` + base + `,"integrations":[{"type":"mlflow"}]}`, "integrations[0].type"},
		{`{` + base + `,"integrations":{}}`, "integrations"},
		{`{` + base + `,"integrations":[{},{},{},{},{},{}]}`, "integrations"},
		{`{` + base + `,"integrations":[{"type":"wandb","wandb":{"project":"x","tags":["` + strings.Repeat("a", 513) + `"]}}]}`, "integrations[0].wandb"},
		{`{` + base + `,"method":{"type":"ppo"}}`, "method.type"},
		{`{` + base + `,"method":{}}`, "method.type"},
		{`{` + base + `,"method":{"type":"dpo","dpo":{"hyperparameters":{"beta":0}}}}`, "method.dpo.hyperparameters.beta"},
		{`{` + base + `,"method":{"type":"dpo","dpo":{"hyperparameters":{"beta":1e9}}}}`, "method.dpo.hyperparameters.beta"},
		{hyper(`{"beta":0.1}`), "method.supervised.hyperparameters.beta"},
		{hyper(`{"compute_multiplier":1}`), "method.supervised.hyperparameters.compute_multiplier"},
		{hyper(`{"eval_interval":1}`), "method.supervised.hyperparameters.eval_interval"},
		{hyper(`{"eval_samples":1}`), "method.supervised.hyperparameters.eval_samples"},
		{hyper(`{"reasoning_effort":"low"}`), "method.supervised.hyperparameters.reasoning_effort"},
		{`{` + base + `,"method":{"type":"dpo","dpo":{"hyperparameters":{"compute_multiplier":1}}}}`, "method.dpo.hyperparameters.compute_multiplier"},
		{`{` + base + `,"method":{"type":"dpo","dpo":{"hyperparameters":{"eval_interval":1}}}}`, "method.dpo.hyperparameters.eval_interval"},
		{`{` + base + `,"method":{"type":"dpo","dpo":{"hyperparameters":{"eval_samples":1}}}}`, "method.dpo.hyperparameters.eval_samples"},
		{`{` + base + `,"method":{"type":"dpo","dpo":{"hyperparameters":{"reasoning_effort":"low"}}}}`, "method.dpo.hyperparameters.reasoning_effort"},
		{`{` + base + `,"method":{"type":"dpo","dpo":{"grader":{}}}}`, "method.dpo.grader"},
		{`{` + base + `,"method":{"type":"supervised","supervised":{"response_format":{}}}}`, "method.supervised.response_format"},
		{`{` + base + `,"hyperparameters":{"beta":1}}`, "hyperparameters.beta"},
		{hyper(`{"n_epochs":0}`), "method.supervised.hyperparameters.n_epochs"},
		{hyper(`{"n_epochs":1.5}`), "method.supervised.hyperparameters.n_epochs"},
		{`{` + base + `,"n_epochs":3}`, "n_epochs"},
		{`{` + base + `,"method":{"type":"supervised","supervised":{"n_epochs":3}}}`, "method.supervised.n_epochs"},
		{`{` + base + `,"method":{"type":"supervised","dpo":{}}}`, "method.dpo"},
		{`{` + base + `,"hyperparameters":{"n_epochs":1},"method":{"type":"supervised","supervised":{"hyperparameters":{"n_epochs":2}}}}`, "hyperparameters"},
		{hyper(`{"batch_size":"big"}`), "method.supervised.hyperparameters.batch_size"},
		{hyper(`{"r":8}`), "method.supervised.hyperparameters.r"},
		{`{` + base + `,"hyperparameters":{"learning_rate_multiplier":1e9}}`, "hyperparameters.learning_rate_multiplier"},
	} {
		s.refusedWith(s.do("POST", "/v1/fine_tuning/jobs", test.body), 400, test.param)
	}
	s.refusedWith(s.do("POST", "/v1/fine_tuning/jobs", `{"model":"gpt","training_file":"x"}`), 404, "model")
	s.refusedWith(s.do("GET", "/v1/fine_tuning/jobs/ftjob-none", ""), 404, "id")
	s.refusedWith(s.do("GET", "/v1/fine_tuning/jobs/ftjob-none/events", ""), 404, "id")
	s.refusedWith(s.do("GET", "/v1/fine_tuning/jobs/ftjob-none/events?after=x", ""), 400, "after")
	var j openapi.FineTuningJob
	s.post("/v1/fine_tuning/jobs", `{`+base+`}`, &j)
	s.post("/v1/fine_tuning/jobs/"+j.Id+"/cancel", "", &j)
	if j.Status != "cancelled" {
		t.Errorf("the job is %+v", j)
	}
	s.refusedWith(s.do("POST", "/v1/fine_tuning/jobs/"+j.Id+"/cancel", ""), 409, "id")
}

// The filters of lists are honoured, and files go when their time is over.
func TestListFilters(t *testing.T) {
	s := openTraining(t, false)
	first := s.uploaded(datasetLines(12))
	nextMillisecond() // dates have milliseconds
	second := s.uploaded(datasetLines(12))
	for query, want := range map[string]string{
		"":                          second + " " + first,
		"?order=desc":               second + " " + first,
		"?order=asc":                first + " " + second,
		"?order=asc&limit=1":        first,
		"?order=asc&after=" + first: second,
		"?purpose=fine-tune":        second + " " + first,
		"?purpose=assistants":       "",
	} {
		var list openapi.FileList
		s.get("/v1/files"+query, &list)
		var ids []string
		for _, f := range list.Data {
			ids = append(ids, f.Id)
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("files%s are %s, want %s", query, got, want)
		}
	}
	s.refusedWith(s.do("GET", "/v1/files?order=up", ""), 400, "order", "asc or desc")

	var a, b openapi.FineTuningJob
	create := `{"model":"fake","training_file":"` + first + `","metadata":%s}`
	s.post("/v1/fine_tuning/jobs", fmt.Sprintf(create, `{"team":"blue","run":"1"}`), &a)
	s.post("/v1/fine_tuning/jobs", fmt.Sprintf(create, `{}`), &b)
	for query, want := range map[string]string{
		"":                     b.Id + " " + a.Id,
		"?metadata[team]=blue": a.Id,
		"?metadata%5Bteam%5D=blue&metadata[run]=1": a.Id,
		"?metadata[team]=blue&metadata[run]=2":     "",
		"?metadata[team]=red":                      "",
		"?metadata=null":                           b.Id,
	} {
		for _, path := range []string{"/v1/fine_tuning/jobs", "/adapters/train"} {
			var list struct{ Data []struct{ ID string } }
			s.get(path+query, &list)
			var ids []string
			for _, j := range list.Data {
				ids = append(ids, j.ID)
			}
			if got := strings.Join(ids, " "); got != want {
				t.Errorf("%s%s are %s, want %s", path, query, got, want)
			}
		}
	}
	s.refusedWith(s.do("GET", "/v1/fine_tuning/jobs?metadata=blue", ""), 400, "metadata")

	var f openapi.File
	s.ok(s.form("/v1/files", "purpose", "fine-tune", "expires_after[anchor]", "created_at", "file:a", "{}", "expires_after[seconds]", "3600"), &f)
	if f.ExpiresAt == nil || *f.ExpiresAt != f.CreatedAt+3600 {
		t.Errorf("the file is %+v", f)
	}
	for _, fields := range [][]string{
		{"expires_after[anchor]", "now", "expires_after[seconds]", "3600"}, {"expires_after[seconds]", "3600"},
	} {
		s.refusedWith(s.form("/v1/files", append(fields, "file:a", "{}", "purpose", "fine-tune")...), 400, "expires_after[anchor]")
	}
	for _, seconds := range []string{"", "3599", "2592001", "soon"} {
		r := s.form("/v1/files", "purpose", "fine-tune", "expires_after[anchor]", "created_at", "expires_after[seconds]", seconds, "file:a", "{}")
		s.refusedWith(r, 400, "expires_after[seconds]", seconds)
	}
	s.refusedWith(s.form("/v1/files", "purpose", "fine-tune", "file:a", "{}", "file:b", "{}"), 400, "file", "twice")
}

// TestFineTuningReinforcement makes jobs in OpenAI's shape, which the fake server has no engine for that learns: what is
// looked at is how they are read, refused and shown.
func TestFineTuningReinforcement(t *testing.T) {
	s := openTraining(t, false, saying("x"))
	train := s.uploaded(`{"messages":[{"role":"user","content":"Where is the tower?"}],"answer":"Paris"}` + "\n")
	const grader = `{"type":"string_check","name":"same","input":"{{sample.output_text}}","reference":"{{item.answer}}","operation":"eq"}`
	job := func(method string) response {
		return s.do("POST", "/v1/fine_tuning/jobs", fmt.Sprintf(`{"model":"fake","training_file":%q,"method":%s}`, train, method))
	}
	for _, c := range []struct{ method, param, part string }{
		{`{"type":"reinforcement"}`, "method.reinforcement", "missing"},
		{`{"type":"reinforcement","reinforcement":{}}`, "method.reinforcement.grader", "missing"},
		{`{"type":"reinforcement","reinforcement":{"grader":{"type":"string_check","input":"a","reference":"b","operation":"is"}}}`, "method.reinforcement.grader.operation", "eq, ne"},
		{`{"type":"reinforcement","reinforcement":{"grader":` + grader + `,"rewards":1}}`, "method.reinforcement.rewards", "not a field"},
		{`{"type":"reinforcement","reinforcement":{"grader":` + grader + `,"hyperparameters":{"beta":1}}}`, "method.reinforcement.hyperparameters.beta", "not known"},
		{`{"type":"reinforcement","reinforcement":{"grader":` + grader + `,"hyperparameters":{"reasoning_effort":"high"}}}`, "method.reinforcement.hyperparameters.reasoning_effort", "high"},
		{`{"type":"reinforcement","reinforcement":{"grader":` + grader + `,"hyperparameters":{"eval_samples":1.5}}}`, "method.reinforcement.hyperparameters.eval_samples", "whole number"},
		{`{"type":"reinforcement","reinforcement":{"grader":` + grader + `,"hyperparameters":{"compute_multiplier":1000}}}`, "method.reinforcement.hyperparameters.compute_multiplier", "256"},
		{`{"type":"reinforcement","reinforcement":{"grader":` + grader + `,"response_format":{"type":"xml"}}}`, "method.reinforcement.response_format.type", "xml"},
		{`{"type":"reinforcement","reinforcement":{"grader":` + grader + `},"dpo":{}}`, "method.dpo", "not a field"},
	} {
		s.refusedWith(job(c.method), 400, c.param, c.part)
	}
	var j openapi.FineTuningJob
	s.ok(job(`{"type":"reinforcement","reinforcement":{"grader":`+grader+`,"response_format":{"type":"json_object"},"hyperparameters":{"n_epochs":2,"batch_size":3,`+
		`"learning_rate_multiplier":0.5,"compute_multiplier":0.5,"eval_interval":5,"eval_samples":2,"reasoning_effort":"default"}}}`), &j)
	m := j.Method.Reinforcement
	if j.Method.Type != "reinforcement" || m == nil || !strings.Contains(string(m.Grader), "{{item.answer}}") || m.ResponseFormat == nil {
		t.Fatalf("the job is %+v", j)
	}
	if h := m.Hyperparameters; h.NEpochs != 2 || h.BatchSize != 3 || h.LearningRateMultiplier != 0.5 || h.ComputeMultiplier != 0.5 || string(h.EvalInterval) != "5" || h.EvalSamples != 2 {
		t.Errorf("the hyperparameters are %+v", m.Hyperparameters)
	}
	var page openapi.FineTuningEventList
	s.get("/v1/fine_tuning/jobs/"+j.Id+"/events?limit=100", &page)
	if !slices.ContainsFunc(page.Data, func(e openapi.FineTuningEvent) bool {
		return e.Level == "warn" && strings.Contains(e.Message, "eval_interval")
	}) {
		t.Errorf("no event says that there is nothing to evaluate: %+v", page.Data)
	}
}

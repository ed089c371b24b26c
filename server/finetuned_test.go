package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/openapi"
)

// tuned runs a job of OpenAI's request to its end.
func (s *trainingServer) tuned(fields string) openapi.FineTuningJob {
	s.t.Helper()
	var j openapi.FineTuningJob
	s.post("/v1/fine_tuning/jobs", `{"model":"fake",`+fields+`}`, &j)
	s.ended(j.Id)
	if s.get("/v1/fine_tuning/jobs/"+j.Id, &j); j.Status != "succeeded" {
		s.t.Fatalf("the job is %+v, its error %+v", j, j.Error)
	}
	return j
}

// answeredBy returns the version that answers a request for a model.
func (s *trainingServer) answeredBy(fields string) string {
	s.t.Helper()
	var answer openapi.ChatCompletion
	s.post("/v1/chat/completions", chatBody("hello", fields), &answer)
	return strings.Trim(string(*answer.Adapter), `"`)
}

// Two jobs of one suffix make two models, which stay what they are, as do the checkpoints of both.
func TestFineTunedModelsStay(t *testing.T) {
	s := openTraining(t, false, saying("x"))
	train := s.uploaded(datasetLines(12))
	hyper := `"hyperparameters":{"n_epochs":2,"learning_rate_multiplier":%d}`
	first := s.tuned(fmt.Sprintf(`"training_file":%q,"suffix":"exp",`+hyper, train, 20))
	second := s.tuned(fmt.Sprintf(`"training_file":%q,"suffix":"exp",`+hyper, train, 10))
	if *first.FineTunedModel == *second.FineTunedModel {
		t.Fatalf("both jobs have made %s", *first.FineTunedModel)
	}
	again := s.tuned(fmt.Sprintf(`"training_file":%q,"suffix":"exp",`+hyper, train, 20)) // the same as the first
	for _, j := range []openapi.FineTuningJob{first, second, again} {
		want := *j.FineTunedModel
		name := "ft:fake:lorikeet:exp:" + strings.TrimPrefix(j.Id, "ftjob-")
		for _, model := range []string{want, name} {
			if got := s.answeredBy(fmt.Sprintf(`"model":%q`, model)); got != want {
				t.Errorf("%s is answered by %s, want %s", model, got, want)
			}
			if got := s.answeredBy(fmt.Sprintf(`"adapter":{"name":%q}`, model)); got != want {
				t.Errorf("the adapter %s is answered by %s, want %s", model, got, want)
			}
		}
		var model openapi.Model
		s.get("/v1/models/"+name, &model)
		var list openapi.FineTuningCheckpointList
		s.get("/v1/fine_tuning/jobs/"+j.Id+"/checkpoints", &list)
		if len(list.Data) != 2 || list.Data[0].StepNumber != 2*list.Data[1].StepNumber {
			t.Fatalf("the checkpoints are %+v", list.Data)
		}
		if list.Data[0].FineTunedModelCheckpoint != want { // that of the last epoch is the model itself
			t.Errorf("the last checkpoint is %s, want %s", list.Data[0].FineTunedModelCheckpoint, want)
		}
		for _, c := range list.Data {
			if got := s.answeredBy(fmt.Sprintf(`"model":%q`, c.FineTunedModelCheckpoint)); !strings.HasPrefix(got, "exp@") {
				t.Errorf("checkpoint %s is answered by %s", c.FineTunedModelCheckpoint, got)
			}
			if got := s.answeredBy(fmt.Sprintf(`"model":"%s:ckpt-step-%d"`, name, c.StepNumber)); got != c.FineTunedModelCheckpoint {
				t.Errorf("step %d is answered by %s, want %s", c.StepNumber, got, c.FineTunedModelCheckpoint)
			}
		}
	}
	id := strings.TrimPrefix(first.Id, "ftjob-")
	for _, name := range []string{"ft:fake:lorikeet:other:" + id, "ft:other:lorikeet:exp:" + id, "ft:fake:lorikeet:exp:none", "ft:" + id, "ft:", "ft:fake:lorikeet:exp:" + id + ":ckpt-step-1000"} {
		s.refusedWith(s.do("POST", "/v1/chat/completions", chatBody("hello", fmt.Sprintf(`"model":%q`, name))), 404, "model")
	}
}

// A suffix that names an adapter which no job has made is refused: the adapter stays what it is.
func TestSuffixOfAnotherAdapter(t *testing.T) {
	s := openTraining(t, false)
	if r := s.upload("bought", peftFiles(t, 1)); r.status != 201 {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	body := fmt.Sprintf(`{"model":"fake","training_file":%q,"suffix":"bought"}`, s.uploaded(datasetLines(2)))
	s.refusedWith(s.do("POST", "/v1/fine_tuning/jobs", body), 409, "suffix", "bought", "no job has made")
}

// A job that is paused waits, and goes on when it is resumed.
func TestFineTuningPauses(t *testing.T) {
	s := openTraining(t, true)
	body := fmt.Sprintf(`{"model":"fake","training_file":%q,"hyperparameters":{"n_epochs":2},
		"integrations":[{"type":"wandb","wandb":{"project":"birds","tags":["a"]}}]}`, s.uploaded(datasetLines(12)))
	var j, waiting openapi.FineTuningJob
	s.post("/v1/fine_tuning/jobs", body, &j)
	if len(j.Integrations) != 1 || j.Integrations[0].Wandb.Project != "birds" {
		t.Errorf("the integrations are %+v", j.Integrations)
	}
	s.post("/v1/fine_tuning/jobs", body, &waiting)
	s.post("/v1/fine_tuning/jobs/"+waiting.Id+"/pause", "", &waiting)
	if waiting.Status != "paused" {
		t.Errorf("the job is %s", waiting.Status)
	}
	s.refusedWith(s.do("POST", "/v1/fine_tuning/jobs/"+waiting.Id+"/pause", ""), 409, "id")
	s.refusedWith(s.do("POST", "/v1/fine_tuning/jobs/ftjob-none/pause", ""), 404, "id")
	s.release()
	s.ended(j.Id)
	s.get("/v1/fine_tuning/jobs/"+waiting.Id, &waiting)
	if waiting.Status != "paused" {
		t.Errorf("the job became %s", waiting.Status)
	}
	s.post("/v1/fine_tuning/jobs/"+waiting.Id+"/resume", "", &waiting)
	if own, _ := s.ended(waiting.Id); own.Status != "succeeded" {
		t.Errorf("the job is %s", own.Status)
	}
	var page openapi.FineTuningEventList
	s.get("/v1/fine_tuning/jobs/"+waiting.Id+"/events?limit=100", &page)
	var told int
	for _, e := range page.Data {
		if strings.Contains(e.Message, "wandb is not acted on") && e.Level == "warn" {
			told++
		}
	}
	if told != 1 {
		t.Errorf("%d events say what becomes of the integration: %+v", told, page.Data)
	}
}

// A job of preferences has OpenAI's shape, and its numbers are in its events and its report.
func TestFineTuningOfPreferences(t *testing.T) {
	s := openTraining(t, false)
	var lines strings.Builder
	for i := range 12 {
		fmt.Fprintf(&lines, `{"input":{"messages":[{"role":"user","content":"What is %d?"}]},"preferred_output":[{"role":"assistant","content":"It is %d"}],`+
			`"non_preferred_output":[{"role":"assistant","content":"No never"}]}`+"\n", i, i%3)
	}
	id := s.uploaded(lines.String())
	j := s.tuned(fmt.Sprintf(`"training_file":%q,"validation_file":%q,"suffix":"nice","method":{"type":"dpo","dpo":{"hyperparameters":{"beta":0.2,"n_epochs":4,"batch_size":"auto","learning_rate_multiplier":20}}}`, id, id))
	if j.Method.Type != "dpo" || j.Method.Dpo == nil || *j.Method.Dpo.Hyperparameters.Beta != 0.2 || j.Method.Supervised != nil || j.Hyperparameters.LearningRateMultiplier != 20 {
		t.Errorf("the job is %+v", j)
	}
	var page openapi.FineTuningEventList
	s.get("/v1/fine_tuning/jobs/"+j.Id+"/events?limit=100", &page)
	steps := 0
	for _, e := range page.Data {
		if e.Data == nil {
			continue
		}
		steps++
		for _, name := range []string{"rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"} {
			if _, ok := e.Data.AdditionalProperties[name]; !ok {
				t.Errorf("%s is missing in %+v", name, e.Data)
			}
		}
	}
	if steps < 8 {
		t.Errorf("%d events have numbers", steps)
	}
	var r openapi.TrainingReport
	s.get("/adapters/nice/report", &r)
	if r.Trained == nil || r.Trained.Measures["rewards/accuracies"] < 0.9 || r.Trained.Perplexity != 0 {
		t.Errorf("the report is %+v", r.Trained)
	}
	bad := s.do("POST", "/adapters/train", `{"name":"nice","method":"kto","examples":`+array(3)+`}`)
	s.refusedWith(bad, 400, "examples")
	j = s.tuned(fmt.Sprintf(`"training_file":%q,"method":{"type":"dpo"}`, id))
	if *j.Method.Dpo.Hyperparameters.Beta != 0.1 {
		t.Errorf("the job is %+v", j.Method)
	}
}

// A job trains on from an adapter, a checkpoint, or a fine-tuned model, whose rank and modules it takes over.
func TestTrainingOn(t *testing.T) {
	s := openTraining(t, false, saying("x"))
	first := s.accepted(s.do("POST", "/adapters/train", `{"name":"one","examples":`+array(12)+`,`+small+`,"target_modules":["q_proj"]}`))
	s.ended(first.Id)
	train := s.uploaded(datasetLines(12))
	second := s.tuned(fmt.Sprintf(`"training_file":%q,"suffix":"two"`, train))
	name := "ft:fake:lorikeet:two:" + strings.TrimPrefix(second.Id, "ftjob-")
	for i, from := range []string{"one", "one@step-2", *second.FineTunedModel, name} {
		j := s.accepted(s.do("POST", "/adapters/train", fmt.Sprintf(`{"name":"on-%d","from":%q,"examples":%s}`, i, from, array(12))))
		own, events := s.ended(j.Id)
		if own.Status != "succeeded" || own.From == nil || !strings.HasPrefix(*own.From, []string{"one@", "one@", "two@", "two@"}[i]) {
			t.Errorf("from %s the job is %+v", from, own)
		}
		said := false
		for _, e := range events {
			said = said || e.Message == "Training on from "+*own.From+"."
		}
		if !said {
			t.Errorf("from %s no event says so", from)
		}
	}
	var j openapi.FineTuningJob
	s.post("/v1/fine_tuning/jobs", fmt.Sprintf(`{"model":%q,"training_file":%q,"suffix":"three"}`, name, train), &j)
	if own, _ := s.ended(j.Id); j.Model != name || own.Status != "succeeded" || text(own.From) != *second.FineTunedModel {
		t.Errorf("the job is %+v, %+v", j, own)
	}
	var info openapi.Adapter
	s.get("/adapters/on-0", &info)
	if info.Rank != 2 || fmt.Sprint(info.Targets) != "[q_proj]" {
		t.Errorf("the adapter is %+v", info)
	}
	body := func(fields string) string { return `{"name":"on","examples":` + array(2) + `,` + fields + `}` }
	s.refusedWith(s.do("POST", "/adapters/train", body(`"from":"one","r":8`)), 400, "r", "the adapter's own")
	s.refusedWith(s.do("POST", "/adapters/train", body(`"from":"nobody"`)), 404, "from")
	s.refusedWith(s.do("POST", "/adapters/train", body(`"from":"one@step-1000"`)), 404, "from")
	s.refusedWith(s.do("POST", "/adapters/train", body(`"from":7`)), 400, "from")
	s.addActivated("act", 1)
	s.refusedWith(s.do("POST", "/adapters/train", body(`"from":"act","invocation_string":"x"`)), 400, "invocation_string", "the adapter's own")
	act := s.accepted(s.do("POST", "/adapters/train", body(`"from":"act"`)))
	if own, _ := s.ended(act.Id); own.Status != "succeeded" || !strings.Contains(string(own.Config), "alora_invocation_tokens") {
		t.Errorf("the job is %+v", own)
	}
}

// A job names a file with its numbers, which goes with it.
func TestResultFiles(t *testing.T) {
	s := openTraining(t, false)
	train := s.uploaded(datasetLines(12))
	j := s.tuned(fmt.Sprintf(`"training_file":%q,"validation_file":%q,"suffix":"pupil","hyperparameters":{"n_epochs":2,"batch_size":4}`, train, train))
	if len(j.ResultFiles) != 1 {
		t.Fatalf("the result files are %q", j.ResultFiles)
	}
	id := j.ResultFiles[0]
	r := s.do("GET", "/v1/files/"+id+"/content", "")
	lines := strings.Split(strings.TrimSpace(string(r.body)), "\n")
	if r.status != 200 || lines[0] != "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy" || len(lines) != 8 || !strings.HasPrefix(lines[7], "6,") {
		t.Errorf("%d: %q", r.status, lines)
	}
	var f openapi.File
	s.get("/v1/files/"+id, &f)
	if f.Purpose != "fine-tune-results" || f.Filename != "step_metrics.csv" || f.Bytes != int64(len(r.body)) {
		t.Errorf("the file is %+v", f)
	}
	var list openapi.FileList
	if s.get("/v1/files?purpose=fine-tune-results", &list); len(list.Data) != 1 || list.Data[0].Id != id {
		t.Errorf("the list is %+v", list)
	}
	var deleted openapi.FileDeleted
	s.ok(s.do("DELETE", "/v1/files/"+id, ""), &deleted)
	if s.get("/v1/fine_tuning/jobs/"+j.Id, &j); len(j.ResultFiles) != 0 {
		t.Errorf("the job names the file %q, which is deleted", j.ResultFiles)
	}
	j = s.tuned(fmt.Sprintf(`"training_file":%q,"suffix":"pupil","hyperparameters":{"n_epochs":1}`, train))
	if r := s.do("DELETE", "/adapters/train/"+j.Id, ""); r.status != 200 && r.status != 204 {
		t.Fatalf("%d: %s", r.status, r.body)
	}
	s.refusedWith(s.do("GET", "/v1/files/"+j.ResultFiles[0]+"/content", ""), 404, "id")
}

package server

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/training"
)

func TestTrainInline(t *testing.T) {
	s := openTraining(t, false, saying("x"))
	j := s.accepted(s.do("POST", "/adapters/train", `{"name":"pupil","examples":`+array(12)+`,"metadata":{"who":"me"},`+small+`}`))
	if j.Name != "pupil" || j.Metadata["who"] != "me" || j.TrainingFile != nil {
		t.Errorf("the job is %+v", j)
	}
	j, events := s.ended(j.Id)
	if j.Status != "succeeded" || j.Result == nil || j.Result.Name != "pupil" || j.Progress.Step != 6 || j.Data.Examples != 12 {
		t.Fatalf("the job is %+v", j)
	}
	steps := 0
	for i, e := range events {
		if e.Seq != i+1 {
			t.Errorf("event %d has the number %d", i+1, e.Seq)
		}
		if e.Data != nil && e.Data.ValidLoss == nil {
			steps++
		}
	}
	if last := events[len(events)-1]; steps != 6 || last.Status != "succeeded" {
		t.Errorf("%d steps, the last event is %+v", steps, last)
	}
	var answer openapi.ChatCompletion
	s.post("/v1/chat/completions", chatBody("hello", `"model":"pupil","max_tokens":2`), &answer)
	if want := fmt.Sprintf("%q", "pupil@"+j.Result.Version); answer.Adapter == nil || string(*answer.Adapter) != want {
		t.Errorf("%s answers, want %s", answer.Adapter, want)
	}
	if len(j.Checkpoints) == 0 || j.Checkpoints[0].Adapter != "pupil@step-4" && j.Checkpoints[0].Adapter != "pupil@step-6" {
		t.Errorf("the checkpoints are %+v", j.Checkpoints)
	}
	var again openapi.Adapter
	s.get("/adapters/pupil", &again)
	if again.Origin != "job" || again.Rank != 2 {
		t.Errorf("the adapter is %+v", again)
	}
}

// A form has both files, in any order, and says hyperparameters as text.
func TestFormOfTwoFiles(t *testing.T) {
	s := openTraining(t, false)
	j := s.accepted(s.form("/adapters/train", "validation_file:v.jsonl", datasetLines(3), "r", "2", "file:d.jsonl", datasetLines(12), "max_steps", "4",
		"target_modules", `["q_proj"]`, "lr_scheduler_type", "cosine", "packing", "true", "metadata", `{"who":"me"}`, "name", "pupil"))
	if text(j.TrainingFile) != "d.jsonl" || text(j.ValidationFile) != "v.jsonl" || j.Metadata["who"] != "me" {
		t.Errorf("the job is %+v", j)
	}
	j, _ = s.ended(j.Id)
	if j.Status != "succeeded" || j.Data.Examples != 12 || j.Data.Validation != 3 || j.Progress.EvalLoss == nil || j.Progress.Step != 4 {
		t.Errorf("the job is %+v", j)
	}
	for _, want := range []string{`"r":2`, `"target_modules":["q_proj"]`, `"lr_scheduler_type":"cosine"`, `"packing":true`} {
		if !strings.Contains(string(j.Config), want) {
			t.Errorf("%s does not have %s", j.Config, want)
		}
	}
	both := s.form("/adapters/train", "name", "pupil", "file:d.jsonl", datasetLines(2), "validation_file:v.jsonl", "{}")
	s.refusedWith(both, 400, "validation_file", "validation data", "line 1")
}

func TestEventsGoOnWhereTheyWereLeft(t *testing.T) {
	s := openTraining(t, false)
	j := s.accepted(s.form("/adapters/train", "name", "pupil", "max_steps", "2", "r", "2", "file:d.jsonl", datasetLines(8)))
	_, events := s.ended(j.Id)
	req, _ := http.NewRequest("GET", s.url+"/adapters/train/"+j.Id+"/events", nil)
	req.Header.Set("Last-Event-ID", fmt.Sprint(len(events)-1))
	if list := dataOf(string(s.send(req).body)); len(list) != 2 || !strings.Contains(list[0], fmt.Sprintf(`"seq":%d`, len(events))) {
		t.Errorf("after event %d come %q", len(events)-1, list)
	}
	req.Header.Set("Last-Event-ID", "x")
	s.refusedWith(s.send(req), 400, "Last-Event-ID")
}

func TestFollowersSeeWhatHappens(t *testing.T) {
	s := openTraining(t, true)
	j := s.accepted(s.do("POST", "/adapters/train", `{"name":"pupil","examples":`+array(4)+`,`+small+`}`))
	r, err := http.Get(s.url + "/adapters/train/" + j.Id + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var seen strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(seen.String(), ": waiting") {
		n, err := r.Body.Read(buf)
		seen.Write(buf[:n])
		if err != nil {
			t.Fatalf("%v after %s", err, seen.String())
		}
	}
	s.release()
	for !strings.Contains(seen.String(), "[DONE]") {
		n, err := r.Body.Read(buf)
		seen.Write(buf[:n])
		if err != nil && !strings.Contains(seen.String(), "[DONE]") {
			t.Fatalf("%v after %s", err, seen.String())
		}
	}
	if !strings.Contains(seen.String(), `"status":"succeeded"`) {
		t.Errorf("the stream is %s", seen.String())
	}
}

func TestCancelAndResume(t *testing.T) {
	s := openTraining(t, true)
	body := `{"name":"pupil","examples":` + array(4) + `,` + small + `}`
	first := s.accepted(s.do("POST", "/adapters/train", body))
	second := s.accepted(s.do("POST", "/adapters/train", body))
	var j openapi.TrainingJob
	s.post("/adapters/train/"+second.Id+"/cancel", "", &j)
	if j.Status != "cancelled" || j.FinishedAt == nil {
		t.Errorf("the job is %+v", j)
	}
	s.refusedWith(s.do("POST", "/adapters/train/"+second.Id+"/cancel", ""), 409, "id", "cancelled")
	s.refusedWith(s.do("POST", "/adapters/train/"+first.Id+"/resume", ""), 409, "id")
	s.refusedWith(s.do("POST", "/adapters/train/ftjob-none/cancel", ""), 404, "id")
	s.post("/adapters/train/"+second.Id+"/resume", "", &j)
	if j.Status == "cancelled" || j.FinishedAt != nil {
		t.Errorf("the job is %+v", j)
	}
	s.release()
	if j, _ := s.ended(second.Id); j.Status != "succeeded" {
		t.Errorf("the job is %+v", j)
	}
	var list openapi.TrainingJobList
	s.get("/adapters/train?limit=1", &list)
	if len(list.Data) != 1 || list.Data[0].Id != second.Id || !list.HasMore {
		t.Errorf("the first page is %+v", list)
	}
	s.get("/adapters/train?after="+second.Id, &list)
	if len(list.Data) != 1 || list.Data[0].Id != first.Id || list.HasMore {
		t.Errorf("the second page is %+v", list)
	}
}

func TestTrainRefusals(t *testing.T) {
	s := openTraining(t, true)
	good := `"name":"pupil","examples":` + array(2)
	for _, test := range []struct {
		body, param string
		parts       []string
	}{
		{`{"examples":[{}]}`, "name", nil},
		{`{"name":"a b","examples":` + array(1) + `}`, "name", nil},
		{`{"name":"train","examples":` + array(1) + `}`, "name", []string{"reserved"}},
		{`{"name":"pupil"}`, "examples", nil},
		{`{"name":"pupil","examples":"x"}`, "examples", []string{"a string"}},
		{`{"name":"pupil","training_file":"file-none"}`, "training_file", []string{"/v1/files"}},
		{`{` + good + `,"training_file":"file-none"}`, "training_file", nil},
		{`{` + good + `,"r":0}`, "r", []string{"1 to 512"}},
		{`{` + good + `,"learning_rate":"fast"}`, "learning_rate", []string{"a number"}},
		{`{` + good + `,"learning_speed":1}`, "learning_speed", []string{"not known"}},
		{`{` + good + `,"use_dora":"yes"}`, "use_dora", []string{"true or false"}},
		{`{` + good + `,"target_modules":["x_proj"]}`, "target_modules", nil},
		{`{` + good + `,"metadata":{"a":"` + strings.Repeat("x", 600) + `"}}`, "metadata", nil},
		{`{"name":"pupil","examples":[{"text":"a b c"},{"txt":"b"},{"chosen":"a","rejected":"b"}]}`, "examples",
			[]string{"2 bad elements", "element 2", "element 3"}},
		{`{` + good + `,"validation_examples":[{"x":1}]}`, "validation_examples", []string{"validation data"}},
	} {
		s.refusedWith(s.do("POST", "/adapters/train", test.body), 400, test.param, test.parts...)
	}
	s.refusedWith(s.form("/adapters/train", "name", "pupil", "file:a.jsonl", datasetLines(1)+"{\n"), 400, "training_file", "line 2")
	s.refusedWith(s.form("/adapters/train", "name", "pupil", "file:a.jsonl", strings.Repeat("x", 70<<10)), 413, "")
	s.refusedWith(s.do("GET", "/adapters/train/ftjob-none", ""), 404, "id")
	s.refusedWith(s.do("GET", "/adapters/train/ftjob-none/events", ""), 404, "id")
	s.refusedWith(s.do("GET", "/adapters/train?limit=1000", ""), 400, "limit")
	s.refusedWith(s.do("GET", "/adapters/train?after=ftjob-none", ""), 404, "after")
	s.refusedWith(s.do("POST", "/adapters", `{"name":"train","path":"x"}`), 400, "name", "reserved")
	s.refusedWith(s.form("/adapters", "name", "train", "file:a", "x"), 400, "name", "reserved")
	for range 4 {
		s.do("POST", "/adapters/train", `{`+good+`}`)
	}
	r := s.do("POST", "/adapters/train", `{`+good+`}`)
	s.refusedWith(r, 429, "")
	if r.header.Get("Retry-After") == "" {
		t.Error("there is no Retry-After")
	}
}

// A base that cannot be trained is refused when the job is created.
func TestBaseThatCannotBeTrained(t *testing.T) {
	s := openTraining(t, false, func(p *setup) {
		p.options.Trainable = func() error { return fmt.Errorf("%w: this is a gemma model", runtime.ErrTrain) }
	})
	s.refusedWith(s.do("POST", "/adapters/train", `{"name":"pupil","examples":`+array(1)+`}`), 400, "model", "gemma")
	h := open(t)
	h.refusedWith(h.do("GET", "/adapters/train", ""), 503, "", "does not train")
}

func TestReport(t *testing.T) {
	s := openTraining(t, false)
	s.add("bought", 1)
	j := s.accepted(s.do("POST", "/adapters/train", `{"name":"pupil","examples":`+array(12)+`,"validation_examples":`+array(3)+`,`+small+`}`))
	s.ended(j.Id)
	var r openapi.TrainingReport
	s.get("/adapters/pupil/report", &r)
	if r.Job != j.Id || len(r.Curve) != 6 || r.MeasuredOn != "validation" || r.Base == nil || r.Trained == nil || r.Trained.Loss >= r.Base.Loss {
		t.Errorf("the report is %+v", r)
	}
	svg := s.do("GET", "/adapters/pupil/report?format=svg", "")
	if svg.status != 200 || !strings.HasPrefix(string(svg.body), "<svg ") {
		t.Errorf("got %d %s", svg.status, svg.body)
	}
	s.refusedWith(s.do("GET", "/adapters/pupil/report?format=png", ""), 400, "format")
	s.refusedWith(s.do("GET", "/adapters/bought/report", ""), 404, "name", "gone")
	s.refusedWith(s.do("GET", "/adapters/nobody/report", ""), 404, "name")
}

// Every default of the description is the one of the code.
func TestDefaultsAreThoseOfTheDescription(t *testing.T) {
	doc, err := description()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(training.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	var defaults map[string]any
	if err := json.Unmarshal(raw, &defaults); err != nil {
		t.Fatal(err)
	}
	stated := doc.Components.Schemas["TrainingParameters"].Value.Properties
	for name, p := range stated {
		if _, known := defaults[name]; !known && p.Value.Default != nil {
			t.Errorf("%s has a default and the code does not know it", name)
		}
		if !reflect.DeepEqual(p.Value.Default, defaults[name]) {
			t.Errorf("%s is %v by default, and in openapi.yaml %v", name, defaults[name], p.Value.Default)
		}
	}
	for name := range defaults {
		if stated[name] == nil {
			t.Errorf("openapi.yaml does not have %s", name)
		}
	}
}

// A server that stops tells those who follow a job.
func TestShutdownEndsFollowing(t *testing.T) {
	s := openTraining(t, true)
	j := s.accepted(s.do("POST", "/adapters/train", `{"name":"pupil","examples":`+array(4)+`,`+small+`}`))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", s.url+"/adapters/train/"+j.Id+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	stream := bufio.NewReader(resp.Body)
	if line, err := stream.ReadString('\n'); err != nil || !strings.HasPrefix(line, "id: 1") {
		t.Fatalf("the stream begins with %q, error %v", line, err)
	}
	s.release()
	s.jobs.Close()
	rest, err := io.ReadAll(stream)
	if err != nil || !strings.Contains(string(rest), "closed") && !strings.Contains(string(rest), "[DONE]") {
		t.Errorf("the stream ends with %s, error %v", rest, err)
	}
}

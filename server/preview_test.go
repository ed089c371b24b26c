package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/tenants"
)

const previewURL = "/adapters/train/preview"

func TestPreviewTraining(t *testing.T) {
	s := openTraining(t, false)
	var p openapi.TrainingPreview
	s.post(previewURL, `{`+small+`,"examples":`+array(12)+`}`, &p)
	if p.Object != "training.preview" || p.File.Format != "json" || len(p.File.Forms) != 1 || p.File.Forms[0].Lines != 12 || !p.Complete ||
		p.Data.Examples != 12 || p.Steps != 6 || len(p.Faults) != 0 || p.Speed != nil || p.EstimatedMinutes != nil {
		t.Errorf("the preview is %+v", p)
	}
	var config struct {
		Rank  int    `json:"r"`
		Batch int    `json:"per_device_train_batch_size"`
		Init  string `json:"lr_scheduler_type"`
	}
	if err := json.Unmarshal(p.Config, &config); err != nil || config.Rank != 2 || config.Batch != 8 || config.Init != "linear" {
		t.Errorf("the settings are %s", p.Config)
	}
	if len(p.Examples) != 5 || p.Examples[0].Line != 1 {
		t.Fatalf("the examples are %+v", p.Examples)
	}
	shown := ""
	for _, piece := range p.Examples[0].Pieces {
		if piece.Learned {
			shown += "[" + piece.Text + "]"
			continue
		}
		shown += piece.Text
	}
	if !strings.Contains(shown, "What is 0?") || !strings.Contains(shown, "[It is so.") {
		t.Errorf("the first example is %q", shown)
	}

	// The same file, by its id and as a form.
	id := s.uploaded(datasetLines(12))
	for name, r := range map[string]response{
		"by id":     s.do("POST", previewURL, `{`+small+`,"training_file":"`+id+`"}`),
		"as a form": s.form(previewURL, "r", "2", "max_steps", "6", "target_modules", `["q_proj"]`, "file:d.jsonl", datasetLines(12)),
	} {
		var other openapi.TrainingPreview
		if s.ok(r, &other); fmt.Sprint(other.Data) != fmt.Sprint(p.Data) || other.Steps != p.Steps {
			t.Errorf("%s: %s", name, r.body)
		}
	}
	var list openapi.TrainingJobList
	if s.get("/adapters/train", &list); len(list.Data) != 0 {
		t.Errorf("a preview has made jobs: %+v", list.Data)
	}

	job := s.accepted(s.do("POST", "/adapters/train", `{"name":"bird",`+small+`,"examples":`+array(12)+`}`))
	s.ended(job.Id)
	s.post(previewURL, `{`+small+`,"examples":`+array(12)+`}`, &p)
	if p.Speed == nil || text(p.Speed.Job) != job.Id || p.EstimatedMinutes == nil || *p.EstimatedMinutes < 0 {
		t.Errorf("after a job: %+v, %v", p.Speed, p.EstimatedMinutes)
	}
}

func TestPreviewRefusals(t *testing.T) {
	s := openTraining(t, false)
	s.add("pirate", 1)
	for body, want := range map[string]struct {
		status int
		param  string
		says   string
	}{
		`{}`:               {400, "examples", "is missing"},
		`{"examples":"a"}`: {400, "examples", "must be an array"},
		`{"learning_rate":7,"examples":[{"text":"a"}]}`:     {400, "learning_rate", "at most 1"},
		`{"learning_rat":7,"examples":[{"text":"a"}]}`:      {400, "learning_rat", ""},
		`{"training_file":"file-none"}`:                     {400, "training_file", "no uploaded file"},
		`{"from":"pirat","examples":[{"text":"a"}]}`:        {404, "from", "pirate"},
		`{"from":"pirate","r":3,"examples":[{"text":"a"}]}`: {400, "r", "the adapter's own"},
		`[`: {400, "", ""},
	} {
		s.refusedWith(s.do("POST", previewURL, body), want.status, want.param, want.says)
	}
	s.refusedWith(s.form(previewURL, "file:a.jsonl", strings.Repeat("x", 70<<10)), 413, "", "larger than 65536 bytes")

	var p openapi.TrainingPreview
	s.post(previewURL, `{"examples":[{"text":"a b c"},{"text":1},{"text":2},{"a":1}]}`, &p)
	if len(p.Faults) != 1 || p.Faults[0].Unit != "element" || p.Faults[0].Count != 3 || len(p.Faults[0].Lines) != 2 || p.Faults[0].Lines[0].Line != 2 || p.Data.Examples != 1 {
		t.Errorf("the faults are %+v, the data %+v", p.Faults, p.Data)
	}
	off := open(t)
	off.refusedWith(off.do("POST", previewURL, `{"examples":[{"text":"a"}]}`), 503, "", "does not train")
}

// A tenant previews with the role of training, and is not told of others' jobs.
func TestPreviewOfTenants(t *testing.T) {
	s := openTenantServer(t, tenants.Quota{})
	body := `{` + small + `,"examples":` + array(4) + `}`
	if r := s.json("guest", http.MethodPost, previewURL, body); r.status != 403 {
		t.Errorf("guest: %d %s", r.status, r.body)
	}
	job := s.accepted(s.json("shop", http.MethodPost, "/adapters/train", `{"name":"bird",`+small+`,"examples":`+array(12)+`}`))
	waitUntil(t, "the job has ended", 10*time.Second, func() bool { j, err := s.jobs.Get(job.Id); return err == nil && j.Status.Ended() })
	for tenant, want := range map[string]string{"shop": job.Id, "cafe": "", "root": job.Id} {
		var p openapi.TrainingPreview
		s.ok(s.json(tenant, http.MethodPost, previewURL, body), &p)
		if p.Speed == nil || text(p.Speed.Job) != want {
			t.Errorf("%s is told of %+v, want the job %q", tenant, p.Speed, want)
		}
	}
}

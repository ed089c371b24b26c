package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/batches"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
	"github.com/lorikeet-ai/lorikeet/training"
)

// trainingServer is a test server that trains, on the fake Trainer.
type trainingServer struct {
	*testServer
	jobs *training.Queue
	hold chan struct{} // closed by release: until then no run gets on
}

// openTraining opens one. held keeps jobs from running until release is called.
func openTraining(t testing.TB, held bool, change ...func(*setup)) *trainingServer {
	t.Helper()
	s := &trainingServer{hold: make(chan struct{})}
	if !held {
		close(s.hold)
	}
	s.testServer = open(t, append(change, func(p *setup) {
		p.training = func(h *testServer, o *Options) {
			dir := t.TempDir()
			var err error
			if o.Files, err = training.OpenFiles(training.FilesOptions{Dir: filepath.Join(dir, "files"), MaxBytes: 64 << 10, MaxTotal: p.fileBytes}); err != nil {
				t.Fatal(err)
			}
			o.MaxData = 64 << 10
			o.Jobs, err = training.Open(training.Options{
				Dir: filepath.Join(dir, "queue"), Model: h.model, Template: o.Template, Store: h.store, Work: h.engine.Work,
				MaxDataset: 64 << 10, MaxWaiting: 3, Submit: h.engine.Submit, Cache: h.cache, Files: o.Files,
				NewTrainer: func(spec runtime.TrainSpec) (runtime.Trainer, error) {
					t, err := runtimetest.NewTrainer(h.model, spec)
					return heldTrainer{t, s.hold}, err
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			if o.Batches, err = batches.Open(batches.Options{Dir: filepath.Join(dir, "batches"), Files: o.Files}); err != nil {
				t.Fatal(err)
			}
			s.jobs = o.Jobs
			t.Cleanup(func() { o.Files.Close() })
		}
	})...)
	t.Cleanup(s.release)
	t.Cleanup(func() { s.release(); s.jobs.Close() })
	s.server.batches.Start(s.server.Perform)
	t.Cleanup(func() { s.server.batches.Close() })
	return s
}

// heldTrainer does nothing in its slices until hold is closed: its run can be cancelled, but does not end.
type heldTrainer struct {
	runtime.Trainer
	hold <-chan struct{}
}

func (t heldTrainer) Slice() (more bool, err error) {
	select {
	case <-t.hold:
		return t.Trainer.Slice()
	case <-time.After(time.Millisecond):
		return true, nil
	}
}

func (s *trainingServer) release() {
	select {
	case <-s.hold:
	default:
		close(s.hold)
	}
}

// datasetLines is a dataset of n conversations.
func datasetLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"messages":[{"role":"user","content":"What is %d?"},{"role":"assistant","content":"It is so."}]}`+"\n", i)
	}
	return b.String()
}

// array is the same as a JSON array.
func array(n int) string {
	return "[" + strings.Join(strings.Split(strings.TrimSpace(datasetLines(n)), "\n"), ",") + "]"
}

// small are hyperparameters that train quickly.
const small = `"r":2,"learning_rate":0.05,"max_steps":6,"save_steps":2,"target_modules":["q_proj"]`

// form posts a form whose values are files where their key has a colon: "file:name".
func (h *testServer) form(path string, parts ...string) response {
	h.t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for i := 0; i+1 < len(parts); i += 2 {
		name, file, isFile := strings.Cut(parts[i], ":")
		if !isFile {
			w.WriteField(name, parts[i+1])
			continue
		}
		out, err := w.CreateFormFile(name, file)
		if err != nil {
			h.t.Fatal(err)
		}
		fmt.Fprint(out, parts[i+1])
	}
	w.Close()
	req, err := http.NewRequest("POST", h.url+path, &body)
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Content-Type", w.FormDataContentType())
	return h.send(req)
}

// accepted decodes the job of a 202.
func (s *trainingServer) accepted(r response) (j openapi.TrainingJob) {
	s.t.Helper()
	if r.status != http.StatusAccepted {
		s.t.Fatalf("status %d: %s", r.status, r.body)
	}
	if err := json.Unmarshal(r.body, &j); err != nil {
		s.t.Fatal(err)
	}
	return j
}

// ended follows a job to its end and returns it with its events.
func (s *trainingServer) ended(id string) (j openapi.TrainingJob, events []openapi.TrainingEvent) {
	s.t.Helper()
	r := s.do("GET", "/adapters/train/"+id+"/events", "")
	list := dataOf(string(r.body))
	if len(list) == 0 || list[len(list)-1] != "[DONE]" {
		s.t.Fatalf("the events end with %q", list)
	}
	for _, data := range list[:len(list)-1] {
		var e openapi.TrainingEvent
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			s.t.Fatal(err)
		}
		events = append(events, e)
	}
	s.get("/adapters/train/"+id, &j)
	return j, events
}

// refusedWith checks an error's status and field, and what its message says.
func (h *testServer) refusedWith(r response, status int, param string, parts ...string) {
	h.t.Helper()
	var e openapi.ErrorResponse
	if err := json.Unmarshal(r.body, &e); err != nil || r.status != status || text(e.Error.Param) != param {
		h.t.Errorf("got %d %s, want %d at %q", r.status, r.body, status, param)
	}
	for _, p := range parts {
		if !strings.Contains(e.Error.Message, p) {
			h.t.Errorf("%q does not say %q", e.Error.Message, p)
		}
	}
}

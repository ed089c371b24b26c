package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
	"github.com/lorikeet-ai/lorikeet/openapi"
)

// A job that has ended is deleted with its data, and is then unknown; its adapter stays.
func TestDeleteTraining(t *testing.T) {
	s := openTraining(t, true)
	j := s.accepted(s.do("POST", "/adapters/train", `{"name":"pupil","examples":`+array(4)+`,`+small+`}`))
	s.refusedWith(s.do("DELETE", "/adapters/train/"+j.Id, ""), 409, "id", "cancel it first")
	s.release()
	s.ended(j.Id)
	var deleted openapi.TrainingJobDeleted
	r := s.do("DELETE", "/adapters/train/"+j.Id, "")
	if err := json.Unmarshal(r.body, &deleted); err != nil || r.status != 200 || !deleted.Deleted || deleted.Id != j.Id || deleted.Object != "training.job" {
		t.Errorf("got %d %s", r.status, r.body)
	}
	s.refusedWith(s.do("DELETE", "/adapters/train/"+j.Id, ""), 404, "id")
	s.refusedWith(s.do("GET", "/adapters/train/"+j.Id, ""), 404, "id")
	s.refusedWith(s.do("GET", "/adapters/train/"+j.Id+"/events", ""), 404, "id")
	s.refusedWith(s.do("GET", "/adapters/pupil/report", ""), 404, "name", "gone")
	var a openapi.Adapter
	s.get("/adapters/pupil", &a)
}

// A job that is resumed waits as a new one does, or is refused as one.
func TestResumeIsBounded(t *testing.T) {
	s := openTraining(t, true)
	body := `{"name":"pupil","examples":` + array(4) + `,` + small + `}`
	first := s.accepted(s.do("POST", "/adapters/train", body))
	if r := s.do("POST", "/adapters/train/"+first.Id+"/cancel", ""); r.status != 200 {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	// One that runs takes no place of those that wait; where it began to run later, it would give its place away.
	held := s.accepted(s.do("POST", "/adapters/train", body))
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		var j openapi.TrainingJob
		if s.get("/adapters/train/"+held.Id, &j); j.Status == "running" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the job does not run")
		}
	}
	for s.do("POST", "/adapters/train", body).status == http.StatusAccepted {
	}
	r := s.do("POST", "/adapters/train/"+first.Id+"/resume", "")
	s.refusedWith(r, 429, "")
	if r.header.Get("Retry-After") == "" {
		t.Error("there is no Retry-After")
	}
}

// A disk without room is said to be that, wherever a dataset is to be written.
func TestTrainingWithoutRoom(t *testing.T) {
	full := fmt.Errorf("the training data: %w", disk.NoSpace(syscall.ENOSPC))
	if status, e := describe(withParam("training_file", full)); status != http.StatusInsufficientStorage || text(e.Code) != "no_space" {
		t.Errorf("got %d %+v", status, e)
	}
}

package training

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// TestQueueIsOpenedOnce keeps a second process out.
func TestQueueIsOpenedOnce(t *testing.T) {
	h := openFixture(t, t.TempDir(), nil)
	_, err := Open(Options{Dir: filepath.Join(h.dir, "training"), Model: runtimetest.NewModel()})
	if err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("error %v", err)
	}
}

// TestDamagedJobs opens a queue with jobs that cannot be read: they are reported, and the others run.
func TestDamagedJobs(t *testing.T) {
	dir := t.TempDir()
	h := openFixture(t, dir, nil)
	good, bad := h.create("good", smallConfig()), h.create("bad", smallConfig())
	h.wait(bad.ID)
	h.close()
	job := func(name string) string { return filepath.Join(dir, "training", "jobs", bad.ID, name) }
	if err := os.WriteFile(job(jobFile), []byte(`{"id": "x"`), 0o644); err != nil {
		t.Fatal(err)
	}
	h = openFixture(t, dir, nil)
	if list, _, _ := h.List("", 0); len(list) != 1 || list[0].ID != good.ID {
		t.Errorf("listed: %s", asJSON(t, list))
	}
	if w := strings.Join(h.warnings(), "\n"); !strings.Contains(w, bad.ID) {
		t.Errorf("warnings %q", w)
	}
}

// TestDamagedExamples fails the job, and leaves the reason to the operator.
func TestDamagedExamples(t *testing.T) {
	h, at, _ := blockedFixture(t, nil)
	j := h.create("bird", smallConfig())
	<-at
	if _, err := h.Cancel(context.Background(), j.ID); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(h.dir, "training", "jobs", j.ID, examplesFile)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Resume(j.ID); err != nil {
		t.Fatal(err)
	}
	j, _ = h.wait(j.ID)
	if w := strings.Join(h.warnings(), "\n"); j.Status != Failed || j.Error.Code != CodeInternal || !strings.Contains(w, "its examples are not what was stored") {
		t.Errorf("ended: %s, warnings %q", asJSON(t, j), w)
	}
}

// TestStateThatCannotBeSaved puts something in the way of a job's file while the job runs: it is not told to have
// ended before it has, and ends when the way is free.
func TestStateThatCannotBeSaved(t *testing.T) {
	h, at, gate := blockedFixture(t, nil)
	c := smallConfig()
	c.SaveSteps = 0 // a checkpoint that cannot be saved would end the job: here its last state alone is in question
	j := h.create("bird", c)
	<-at
	path := filepath.Join(h.dir, "training", "jobs", j.ID, jobFile)
	aside := filepath.Join(h.dir, "aside")
	if err := errors.Join(os.Rename(path, aside), os.MkdirAll(filepath.Join(path, "full"), 0o755)); err != nil {
		t.Fatal(err)
	}
	close(gate)
	deadline := time.Now().Add(30 * time.Second)
	for len(h.warnings()) == 0 {
		if time.Now().After(deadline) {
			t.Fatal("there is no warning that the state cannot be saved")
		}
		time.Sleep(time.Millisecond)
	}
	if j, err := h.Get(j.ID); err != nil || j.Status.Ended() {
		t.Errorf("told as %s, error %v, while the disk says otherwise", j.Status, err)
	}
	if err := errors.Join(os.RemoveAll(path), os.Rename(aside, path)); err != nil {
		t.Fatal(err)
	}
	if j, _ := h.wait(j.ID); j.Status != Succeeded {
		t.Errorf("ended: %s", asJSON(t, j))
	}
}

package training

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// TestPause pauses a run in every phase, opens the queue again, and wants the adapter of a run that was never paused.
func TestPause(t *testing.T) {
	slow := func(o *Options) {
		o.Work = func(ctx context.Context, s runtime.Slicer) error {
			time.Sleep(2 * time.Millisecond)
			return runtimetest.Work(ctx, s)
		}
	}
	dir := t.TempDir()
	h := openFixture(t, dir, slow)
	whole, _ := h.wait(h.create("whole", smallConfig()).ID)

	j := h.create("bird", smallConfig())
	h.waitFor(j.ID, "Step 2/")
	j, err := h.Pause(t.Context(), j.ID)
	if err != nil || j.Status != Paused || j.Progress.Step < 2 {
		t.Fatalf("paused: %s, error %v", asJSON(t, j), err)
	}
	_, err = h.Pause(t.Context(), j.ID)
	wantError(t, err, ErrState, "it is paused")
	wantError(t, h.Delete(j.ID), ErrState, "cancel it first")
	steps := j.Progress.Step
	h.close()

	h = openFixture(t, dir, slow)
	if again, err := h.Get(j.ID); err != nil || again.Status != Paused {
		t.Fatalf("after opening again: %s, error %v", asJSON(t, again), err)
	}
	if _, err := h.Resume(j.ID); err != nil {
		t.Fatal(err)
	}
	j, events := h.wait(j.ID)
	if j.Status != Succeeded || !bytes.Equal(h.weights(j.Result.Digest), h.weights(whole.Result.Digest)) {
		t.Errorf("it is another adapter than without the pause: %s", asJSON(t, j))
	}
	seen := map[int]int{}
	for _, e := range events {
		if e.Metrics != nil && e.Metrics.Rate > 0 {
			seen[e.Metrics.Step]++
		}
	}
	if seen[steps] != 1 || seen[steps+1] != 1 {
		t.Errorf("a step was done twice: %v", seen)
	}
	_, err = h.Pause(t.Context(), j.ID)
	wantError(t, err, ErrState)
	_, err = h.Pause(t.Context(), "ftjob-none")
	wantError(t, err, ErrUnknown)
}

// TestPausedJobsAreBounded wants no more jobs to be kept waiting by pausing them than may wait.
func TestPausedJobsAreBounded(t *testing.T) {
	hold := make(chan struct{})
	defer close(hold)
	h := openFixture(t, t.TempDir(), func(o *Options) {
		o.MaxWaiting = 1
		o.Work = func(ctx context.Context, s runtime.Slicer) error {
			select {
			case <-hold:
			case <-ctx.Done():
				return ctx.Err()
			}
			return runtimetest.Work(ctx, s)
		}
	})
	first := h.create("a", smallConfig())
	h.waitFor(first.ID, "is running")
	second := h.create("b", smallConfig())
	if j, err := h.Pause(t.Context(), second.ID); err != nil || j.Status != Paused {
		t.Fatalf("%s, error %v", asJSON(t, j), err)
	}
	third := h.create("c", smallConfig())
	_, err := h.Pause(t.Context(), third.ID)
	wantError(t, err, ErrQueueFull, "1 jobs are paused")
	if j, err := h.Cancel(t.Context(), second.ID); err != nil || j.Status != Cancelled {
		t.Errorf("%s, error %v", asJSON(t, j), err)
	}
}

// TestLastingJobs keeps the adapter and the checkpoints of a job whatever a later one of its name makes.
func TestLastingJobs(t *testing.T) {
	h := openFixture(t, t.TempDir(), nil)
	var jobs []Job
	for seed := range int64(2) {
		c := smallConfig()
		c.Seed = seed
		c.SaveEveryEpoch()
		j, err := h.Create(t.Context(), CreateRequest{Name: "bird", Config: c, Training: input(conversations(20)), Lasting: true, Notices: []string{"first"}})
		if err != nil {
			t.Fatal(err)
		}
		j, events := h.wait(j.ID)
		if j.Status != Succeeded || events[1].Message != "first" {
			t.Fatalf("%s, %s", asJSON(t, j), asJSON(t, events[:2]))
		}
		jobs = append(jobs, j)
	}
	for _, j := range jobs {
		list, err := h.Checkpoints(j.ID)
		if err != nil || len(list) != 3 || list[0].Digest != j.Result.Digest {
			t.Errorf("the checkpoints are %s, error %v", asJSON(t, list), err)
		}
	}
	plain, _ := h.wait(h.create("bird", smallConfig()).ID) // its checkpoints take no other's place
	if list, err := h.Checkpoints(jobs[0].ID); err != nil || len(list) != 3 {
		t.Errorf("the checkpoints are %s, error %v", asJSON(t, list), err)
	}
	if list, err := h.Checkpoints(plain.ID); err != nil || len(list) == 0 {
		t.Errorf("the checkpoints are %s, error %v", asJSON(t, list), err)
	}
	if versions, err := h.store.Versions("bird"); err != nil || len(versions) != 3 || versions[0].Pinned || !versions[1].Pinned {
		t.Errorf("the versions are %+v, error %v", versions, err)
	}
}

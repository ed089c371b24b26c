package training

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// statuses are the states that the events tell of, in their order.
func statuses(list []Event) []Status {
	var out []Status
	for _, e := range list {
		if e.Status != "" {
			out = append(out, e.Status)
		}
	}
	return out
}

func TestJobFromFileToAdapter(t *testing.T) {
	h := openFixture(t, t.TempDir(), nil)
	c := smallConfig()
	c.ValidationSplit, c.LearningRate = 0.2, 0.3
	made := h.create("bird", c)
	if made.Status != Validating || !isID(made.ID, jobPrefix) || made.Config.MaxLength == 0 || made.Training.Bytes == 0 {
		t.Fatalf("created: %+v", made)
	}
	j, events := h.wait(made.ID)
	if j.Status != Succeeded || j.Error != nil || j.Result == nil || j.Started.IsZero() || j.Finished.IsZero() {
		t.Fatalf("ended: %s", asJSON(t, j))
	}
	if want := []Status{Validating, Queued, Running, Succeeded}; !slices.Equal(statuses(events), want) {
		t.Errorf("states %v, want %v", statuses(events), want)
	}
	if d := j.Data; d.Lines != 16 || d.Examples != 16 || d.Validation != 4 || d.Labelled == 0 || d.Tokens < d.Labelled {
		t.Errorf("data %+v", d)
	}
	if p := j.Progress; p.Step != 12 || p.Steps != 12 || p.Epoch != 3 || p.EvalLoss == nil || p.Tokens != 3*j.Data.Tokens || !p.ETA.IsZero() {
		t.Errorf("progress %+v", p)
	}
	steps, evals, accuracy := 0, 0, 0.0
	for i, e := range events {
		if e.Seq != i+1 || e.Created.IsZero() || e.Message == "" {
			t.Errorf("event %d: %+v", i, e)
		}
		switch {
		case e.Metrics == nil:
		case e.Metrics.EvalLoss != nil:
			evals++
		default:
			steps++
			accuracy = e.Metrics.Accuracy
			if m := e.Metrics; m.Step != steps || m.Steps != 12 || m.Rate <= 0 || m.Loss <= 0 || m.GradNorm <= 0 {
				t.Errorf("step %d: %+v", steps, *m)
			}
		}
	}
	if accuracy <= 0.1 || accuracy > 1 {
		t.Errorf("the last step has the accuracy %v", accuracy)
	}
	if steps != 12 || evals != 1+3 { // before, and after every epoch
		t.Errorf("%d steps and %d evaluations", steps, evals)
	}

	info, err := h.store.Get(adapters.Ref{Name: "bird"})
	if err != nil || info.Digest != j.Result.Digest || info.Origin != (adapters.Origin{Kind: adapters.FromJob, Detail: j.ID}) {
		t.Fatalf("the store has %+v, error %v", info, err)
	}
	if m := info.Metrics; m["steps"] != 12 || m["eval_loss"] >= m["base_eval_loss"] || m["train_loss"] <= 0 || m["trained_tokens"] == 0 {
		t.Errorf("metrics %v", m)
	}
	if info.Rank != 2 || info.Modules != 14 {
		t.Errorf("the adapter is %+v", info.Summary)
	}
	if w := h.warnings(); len(w) > 0 {
		t.Errorf("warnings %q", w)
	}
}

// TestCheckpointsServeWhileTheJobRuns looks at the store in the middle of a run.
func TestCheckpointsServeWhileTheJobRuns(t *testing.T) {
	gate, passed := make(chan struct{}), make(chan struct{})
	var works atomic.Int32
	h := openFixture(t, t.TempDir(), func(o *Options) {
		o.Work = func(ctx context.Context, s runtime.Slicer) error {
			if works.Add(1) == 24 { // behind step 8, and the four or five of the first evaluation
				close(passed)
				<-gate
			}
			return runtimetest.Work(ctx, s)
		}
	})
	j := h.create("bird", smallConfig())
	<-passed
	list, err := h.Checkpoints(j.ID)
	if err != nil || len(list) != 2 || list[0].Adapter != "bird@step-8" || list[1].Step != 4 || list[0].Loss <= 0 {
		t.Fatalf("checkpoints %s, error %v", asJSON(t, list), err)
	}
	ref, _ := adapters.ParseRef(list[0].Adapter)
	if info, err := h.store.Get(ref); err != nil || info.Digest != list[0].Digest || info.Metrics["steps"] != 8 {
		t.Errorf("%s is %+v, error %v", list[0].Adapter, info, err)
	}
	if _, err := h.store.Get(adapters.Ref{Name: "bird"}); !errors.Is(err, adapters.ErrUnknown) {
		t.Errorf("the name is there before its job has ended: %v", err)
	}
	running, err := h.Get(j.ID)
	if err != nil || running.Status != Running || running.Progress.Step < 8 || running.Progress.Steps != 15 {
		t.Errorf("running: %+v, error %v", running.Progress, err)
	}
	close(gate)
	if j, _ := h.wait(j.ID); j.Status != Succeeded {
		t.Fatalf("ended: %s", asJSON(t, j))
	}
	if list, _ := h.Checkpoints(j.ID); len(list) != 3 {
		t.Errorf("%d checkpoints after the end", len(list))
	}
	// The next job of the name replaces them, step by step.
	second := h.create("bird", smallConfig())
	h.wait(second.ID)
	if list, _ := h.Checkpoints(second.ID); len(list) != 3 {
		t.Errorf("%d checkpoints of the second job", len(list))
	}
}

func TestSaveTotalLimit(t *testing.T) {
	h := openFixture(t, t.TempDir(), nil)
	c := smallConfig()
	c.SaveSteps, c.SaveTotal = 2, 2
	j := h.create("bird", c)
	h.wait(j.ID)
	list, err := h.Checkpoints(j.ID)
	if err != nil || len(list) != 2 || list[0].Step != 14 || list[1].Step != 12 {
		t.Errorf("checkpoints %s, error %v", asJSON(t, list), err)
	}
	states, _ := filepath.Glob(filepath.Join(h.dir, "training", "jobs", j.ID, "state-*"))
	if len(states) > 0 {
		t.Errorf("a job that succeeded keeps %v", states)
	}
}

// blockedFixture has a worker that stops in the middle of a slice until gate is closed.
func blockedFixture(t *testing.T, change func(*Options)) (h *fixture, at <-chan struct{}, gate chan struct{}) {
	entered, gate := make(chan struct{}), make(chan struct{})
	var works atomic.Int32
	h = openFixture(t, t.TempDir(), func(o *Options) {
		o.Work = func(ctx context.Context, s runtime.Slicer) error {
			if works.Add(1) == 16 { // behind step 4, and the four or five of the first evaluation
				close(entered)
				select {
				case <-gate:
				case <-ctx.Done():
				}
			}
			return runtimetest.Work(ctx, s)
		}
		if change != nil {
			change(o)
		}
	})
	return h, entered, gate
}

func TestCancel(t *testing.T) {
	h, at, _ := blockedFixture(t, func(o *Options) { o.MaxWaiting = 1 })
	first := h.create("one", smallConfig())
	<-at
	second := h.create("two", smallConfig())
	h.waitFor(second.ID, "files are valid")
	_, err := h.Create(context.Background(), CreateRequest{Name: "three", Config: smallConfig(), Training: input(conversations(2))})
	wantError(t, err, ErrQueueFull, "1 jobs wait")

	if j, err := h.Cancel(context.Background(), second.ID); err != nil || j.Status != Cancelled || j.Finished.IsZero() {
		t.Errorf("the waiting job: %+v, error %v", j, err)
	}
	_, err = h.Cancel(context.Background(), second.ID)
	wantError(t, err, ErrState, "cancelled and cannot be cancelled")
	if j, err := h.Cancel(context.Background(), first.ID); err != nil || j.Status != Cancelled {
		t.Errorf("the running job: %+v, error %v", j, err)
	}
	_, events := h.wait(first.ID)
	if got := statuses(events); got[len(got)-1] != Cancelled {
		t.Errorf("states %v", got)
	}
	if _, err := h.store.Get(adapters.Ref{Name: "one"}); !errors.Is(err, adapters.ErrUnknown) {
		t.Errorf("a cancelled job has published: %v", err)
	}
	_, err = h.Cancel(context.Background(), "ftjob-none")
	wantError(t, err, ErrUnknown, "ftjob-none")
}

// TestResume cancels a run, resumes it, and wants the adapter of a run that was never stopped.
func TestResume(t *testing.T) {
	plain := openFixture(t, t.TempDir(), nil)
	want, _ := plain.wait(plain.create("bird", smallConfig()).ID)

	h, at, _ := blockedFixture(t, nil)
	j := h.create("bird", smallConfig())
	<-at
	if _, err := h.Cancel(context.Background(), j.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Resume(j.ID); err != nil {
		t.Fatal(err)
	}
	got, events := h.wait(j.ID)
	if got.Status != Succeeded || !bytes.Equal(h.weights(got.Result.Digest), plain.weights(want.Result.Digest)) {
		t.Errorf("the resumed job has another adapter: %s", asJSON(t, got))
	}
	wantStates := []Status{Validating, Queued, Running, Cancelled, Queued, Running, Succeeded}
	if s := statuses(events); !slices.Equal(s, wantStates) {
		t.Errorf("states %v, want %v", s, wantStates)
	}
	if !slices.ContainsFunc(events, func(e Event) bool { return strings.Contains(e.Message, "Going on from the checkpoint at step 4") }) {
		t.Error("it did not go on from its checkpoint")
	}
	_, err := h.Resume(j.ID)
	wantError(t, err, ErrState, "succeeded and cannot be resumed")
}

// TestCloseAndOpen stops a run with the Queue, twice, and wants the adapter of a run that was never stopped.
func TestCloseAndOpen(t *testing.T) {
	c := smallConfig()
	c.Dropout, c.ValidationSplit, c.LoRAPlus, c.WeightDecay, c.Packing, c.Accumulation = 0.3, 0.2, 4, 0.01, true, 2
	c.MaxLength, c.Epochs = 120, 8
	plain := openFixture(t, t.TempDir(), nil)
	want, _ := plain.wait(plain.create("bird", c).ID)

	dir := t.TempDir()
	var id string
	for round := range 3 {
		var works atomic.Int32
		entered := make(chan struct{})
		h := openFixture(t, dir, func(o *Options) {
			o.SaveEvery = time.Nanosecond
			o.Work = func(ctx context.Context, s runtime.Slicer) error {
				if round < 2 && works.Add(1) == 9 {
					close(entered)
					<-ctx.Done()
				}
				return runtimetest.Work(ctx, s)
			}
		})
		if round == 0 {
			id = h.create("bird", c).ID
		}
		if round < 2 {
			<-entered
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := h.Get(id); !errors.Is(err, ErrClosed) {
				t.Errorf("a closed queue: %v", err)
			}
			h.close()
			continue
		}
		got, events := h.wait(id)
		if got.Status != Succeeded || !bytes.Equal(h.weights(got.Result.Digest), plain.weights(want.Result.Digest)) {
			t.Errorf("the interrupted job has another adapter: %s", asJSON(t, got))
		}
		if s := statuses(events); !slices.Equal(s, []Status{Validating, Queued, Running, Queued, Running, Queued, Running, Succeeded}) {
			t.Errorf("states %v", s)
		}
		if d, w := got.Result.Metrics["eval_loss"], want.Result.Metrics["eval_loss"]; d != w {
			t.Errorf("the validation loss is %v, uninterrupted %v", d, w)
		}
	}
}

// TestEngineCloses has the engine end before the queue: the job must not fail.
func TestEngineCloses(t *testing.T) {
	dir := t.TempDir()
	closing := make(chan struct{})
	h := openFixture(t, dir, func(o *Options) {
		o.Work = func(ctx context.Context, s runtime.Slicer) error {
			close(closing)
			return runtime.ErrClosed
		}
	})
	j := h.create("bird", smallConfig())
	<-closing
	h.close()
	h = openFixture(t, dir, nil)
	if j, _ := h.wait(j.ID); j.Status != Succeeded {
		t.Errorf("ended: %s", asJSON(t, j))
	}
}

func TestListPages(t *testing.T) {
	h := openFixture(t, t.TempDir(), nil)
	var ids []string
	for i := range 5 {
		j := h.create(fmt.Sprint("bird", i), smallConfig())
		ids = append(ids, j.ID)
	}
	slices.Reverse(ids)
	var got []string
	after := ""
	for {
		list, more, err := h.List(after, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range list {
			got = append(got, j.ID)
		}
		if !more {
			break
		}
		after = got[len(got)-1]
	}
	if !slices.Equal(got, ids) {
		t.Errorf("pages %v, want %v", got, ids)
	}
	_, _, err := h.List("ftjob-none", 2)
	wantError(t, err, ErrUnknown, "ftjob-none")
}

// TestJobsRunInOrder runs jobs one at a time, first come first.
func TestJobsRunInOrder(t *testing.T) {
	var running, most atomic.Int32
	h := openFixture(t, t.TempDir(), func(o *Options) {
		make := o.NewTrainer
		o.NewTrainer = func(s runtime.TrainSpec) (runtime.Trainer, error) {
			most.Store(max(most.Load(), running.Add(1)))
			tr, err := make(s)
			return &counted{Trainer: tr, open: &running}, err
		}
	})
	var jobs []Job
	for i := range 4 {
		jobs = append(jobs, h.create(fmt.Sprint("bird", i), smallConfig()))
	}
	var last time.Time
	for i := range jobs {
		j, _ := h.wait(jobs[i].ID)
		if j.Status != Succeeded || j.Started.Before(last) {
			t.Errorf("job %d: %s, started %v, the one before ended %v", i, j.Status, j.Started, last)
		}
		last = j.Finished
	}
	if most.Load() != 1 || running.Load() != 0 {
		t.Errorf("%d trainers at once, %d not closed", most.Load(), running.Load())
	}
}

// counted counts trainers that are open.
type counted struct {
	runtime.Trainer
	open *atomic.Int32
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Trainer.Close()
}

package training

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// spoiled is a Trainer whose loss goes wrong at a step.
type spoiled struct {
	runtime.Trainer
	at    int64
	spoil func(runtime.TrainResult) runtime.TrainResult
	slice error
}

func (s *spoiled) Result() runtime.TrainResult {
	r := s.Trainer.Result()
	if r.Steps >= s.at && s.spoil != nil {
		return s.spoil(r)
	}
	return r
}

func (s *spoiled) Slice() (bool, error) {
	if s.slice != nil && s.Trainer.Result().Steps >= s.at {
		return false, s.slice
	}
	return s.Trainer.Slice()
}

// TestDivergence wants the job to fail with a reason, the numbers, and its last good checkpoint to stay.
func TestDivergence(t *testing.T) {
	for name, tc := range map[string]struct {
		bad  spoiled
		part string
	}{
		"the trainer says so": {spoiled{at: 9, slice: fmt.Errorf("%w: the loss is NaN", runtime.ErrDiverged)}, "at step 10: the training diverged: the loss is NaN"},
		"the loss explodes": {spoiled{at: 9, spoil: func(r runtime.TrainResult) runtime.TrainResult {
			r.Loss *= 20
			return r
		}}, "the loss, averaged, is"},
	} {
		t.Run(name, func(t *testing.T) {
			h := openFixture(t, t.TempDir(), func(o *Options) {
				inner := o.NewTrainer
				o.NewTrainer = func(s runtime.TrainSpec) (runtime.Trainer, error) {
					tr, err := inner(s)
					bad := tc.bad
					bad.Trainer = tr
					return &bad, err
				}
			})
			j, _ := h.wait(h.create("bird", smallConfig()).ID)
			if j.Status != Failed || j.Error.Code != CodeDiverged || j.Error.Param != "learning_rate" {
				t.Fatalf("ended: %s", asJSON(t, j))
			}
			for _, part := range []string{tc.part, "try a lower learning_rate than 0.05", "the last good checkpoint is bird@step-8"} {
				if !strings.Contains(j.Error.Message, part) {
					t.Errorf("%q does not say %q", j.Error.Message, part)
				}
			}
			if list, _ := h.Checkpoints(j.ID); len(list) != 2 || list[0].Step != 8 {
				t.Errorf("checkpoints %s", asJSON(t, list))
			}
			if _, err := os.Stat(filepath.Join(h.dir, "training", "jobs", j.ID, "state-8.bin")); err != nil {
				t.Errorf("its state has not stayed: %v", err)
			}
		})
	}
}

// TestTrainerRefuses tells what the Trainer says; other errors and panics are for the operator.
func TestTrainerRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		make       func(runtime.TrainSpec) (runtime.Trainer, error)
		code, part string
		warn       string
	}{
		"it does not fit": {func(runtime.TrainSpec) (runtime.Trainer, error) {
			return nil, fmt.Errorf("%w: it takes 9 GiB, 4 GiB are allowed", runtime.ErrTrain)
		}, CodeTrainer, "9 GiB", ""},
		"it fails":  {func(runtime.TrainSpec) (runtime.Trainer, error) { return nil, io.ErrNoProgress }, CodeInternal, "internal error", io.ErrNoProgress.Error()},
		"it panics": {func(runtime.TrainSpec) (runtime.Trainer, error) { panic("boom") }, CodeInternal, "internal error", "panic: boom"},
	} {
		h := openFixture(t, t.TempDir(), func(o *Options) { o.NewTrainer = tc.make })
		j, _ := h.wait(h.create("bird", smallConfig()).ID)
		if j.Status != Failed || j.Error.Code != tc.code || !strings.Contains(j.Error.Message, tc.part) {
			t.Errorf("%s: ended: %s", name, asJSON(t, j))
		}
		if w := strings.Join(h.warnings(), "\n"); !strings.Contains(w, tc.warn) || tc.warn == "" && w != "" {
			t.Errorf("%s: warnings %q", name, w)
		}
		// Resumed, it fails again, and the worker lives.
		if _, err := h.Resume(j.ID); err != nil {
			t.Fatal(err)
		}
		if j, _ := h.wait(j.ID); j.Status != Failed {
			t.Errorf("%s: resumed: %s", name, j.Status)
		}
	}
}

// TestSpecOfTheTrainer checks what the configuration comes to.
func TestSpecOfTheTrainer(t *testing.T) {
	var spec runtime.TrainSpec
	var most int
	h := openFixture(t, t.TempDir(), func(o *Options) {
		o.Memory, o.MicroBatchTokens = 1<<30, 130
		inner := o.NewTrainer
		o.NewTrainer = func(s runtime.TrainSpec) (runtime.Trainer, error) {
			spec = s
			tr, err := inner(s)
			return &watched{tr, &most}, err
		}
	})
	c := smallConfig()
	c.TargetModules, c.Layers, c.RSLoRA, c.Dropout, c.Seed = Names{"q_proj", "down_proj"}, Layers{1}, true, 0.5, 7
	c.Rank, c.AlphaPattern, c.DoRA = 4, []byte(`{"down_proj": 8}`), true
	if j, _ := h.wait(h.create("bird", c).ID); j.Status != Succeeded {
		t.Fatalf("ended: %s", asJSON(t, j))
	}
	if info, err := h.store.Get(adapters.Ref{Name: "bird"}); err != nil || !info.DoRA {
		t.Errorf("the adapter is stored as %+v, error %v", info, err)
	}
	want := "[{blk.1.attn_q.weight 4 2 true 0 0} {blk.1.ffn_down.weight 4 4 true 0 0}]"
	if fmt.Sprint(spec.Modules) != want || spec.Memory != 1<<30 || spec.Seed != 7 || spec.Dropout != 0.5 {
		t.Errorf("%+v", spec)
	}
	if most == 0 || most > 130 || spec.MaxTokens > 130 || spec.MaxTokens < most {
		t.Errorf("micro-batches of up to %d tokens, the spec says %d", most, spec.MaxTokens)
	}
}

// watched notes the largest micro-batch.
type watched struct {
	runtime.Trainer
	most *int
}

func (w *watched) Begin(mode runtime.TrainMode, b runtime.TrainBatch) error {
	*w.most = max(*w.most, len(b.Tokens))
	return w.Trainer.Begin(mode, b)
}

// TestEarlyStopping wants the best adapter, not the last.
func TestEarlyStopping(t *testing.T) {
	h := openFixture(t, t.TempDir(), nil)
	c := smallConfig()
	c.Epochs, c.LearningRate, c.Patience, c.EvalStrategy, c.EvalSteps, c.ValidationSplit = 50, 0.5, 2, EverySteps, 3, 0.3
	c.Scheduler, c.WarmupRatio = Constant, 0
	j, events := h.wait(h.create("bird", c).ID)
	if j.Status != Succeeded || j.Progress.Step >= j.Progress.Steps {
		t.Fatalf("it did not stop early: %s", asJSON(t, j))
	}
	best, at := 1e9, 0
	for _, e := range events {
		if e.Metrics != nil && e.Metrics.EvalLoss != nil && e.Metrics.Step > 0 && *e.Metrics.EvalLoss < best {
			best, at = *e.Metrics.EvalLoss, e.Metrics.Step
		}
	}
	if j.Progress.Step != at+2*3 {
		t.Errorf("the best was step %d, it stopped at %d", at, j.Progress.Step)
	}
	if got := j.Result.Metrics["eval_loss"]; got != best {
		t.Errorf("published with a validation loss of %v, the best was %v", got, best)
	}
	// A run that ends at that step has the same adapter.
	c.MaxSteps, c.Patience = at, 0
	again, _ := h.wait(h.create("other", c).ID)
	if !bytes.Equal(h.weights(again.Result.Digest), h.weights(j.Result.Digest)) {
		t.Error("what was published is not the best")
	}
}

// TestTimedSaves writes checkpoints by the clock as well, which are not published.
func TestTimedSaves(t *testing.T) {
	var saves atomic.Int32
	h := openFixture(t, t.TempDir(), func(o *Options) {
		o.SaveEvery = time.Nanosecond
		o.at = func(op string) error {
			if strings.HasPrefix(op, "rename ") && strings.Contains(op, statePrefix) {
				saves.Add(1)
			}
			return nil
		}
	})
	c := smallConfig()
	c.SaveSteps = 0
	j, _ := h.wait(h.create("bird", c).ID)
	if list, _ := h.Checkpoints(j.ID); len(list) != 0 || saves.Load() != 15 {
		t.Errorf("%d states saved, %d checkpoints published", saves.Load(), len(list))
	}
}

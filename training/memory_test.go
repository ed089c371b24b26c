package training

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// estimating opens a queue in which a Trainer takes a byte for each token of its micro-batches, and may take most.
func estimating(t *testing.T, most int64) (h *fixture, made *int) {
	made = new(int)
	return openFixture(t, t.TempDir(), func(o *Options) {
		o.Memory = most
		o.Estimate = func(s runtime.TrainSpec) (m runtime.TrainMemory, err error) {
			if int64(s.MaxTokens) > s.Memory {
				return m, fmt.Errorf("%w: %w: it needs %d of %d", runtime.ErrTrain, runtime.ErrTrainMemory, s.MaxTokens, s.Memory)
			}
			return runtime.TrainMemory{Bytes: int64(s.MaxTokens), Minimum: int64(s.MaxTokens)}, nil
		}
		trainer := o.NewTrainer
		o.NewTrainer = func(s runtime.TrainSpec) (runtime.Trainer, error) {
			*made = s.MaxTokens
			s.Memory = 0
			return trainer(s)
		}
	}), made
}

// TestRefusedBeforeItIsAccepted wants Create to refuse exactly the jobs whose Trainer would not fit.
func TestRefusedBeforeItIsAccepted(t *testing.T) {
	long := `{"prompt": "a", "completion": "` + strings.Repeat("x", 150) + `"}` + "\n"
	for _, tc := range []struct {
		name, data string
		change     func(*Config)
	}{
		{"short lines", conversations(20), func(*Config) {}},
		{"one line is long", conversations(10) + long + conversations(10), func(*Config) {}},
		{"steps of one line", conversations(10) + long, func(c *Config) { c.Batch = 1 }},
		{"accumulated", conversations(30), func(c *Config) { c.Batch, c.Accumulation = 2, 8 }},
		{"truncated", conversations(10) + long, func(c *Config) { c.MaxLength, c.Batch = 60, 1 }},
		{"packed", conversations(40), func(c *Config) { c.Packing, c.MaxLength = true, 100 }},
	} {
		c := smallConfig()
		c.MaxSteps = 1
		tc.change(&c)
		r := CreateRequest{Name: "bird", Config: c, Training: input(tc.data)}
		h, made := estimating(t, 1<<20)
		j, err := h.Create(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		if j, _ = h.wait(j.ID); j.Status != Succeeded {
			t.Fatalf("%s: ended: %s", tc.name, asJSON(t, j))
		}
		need := int64(*made)

		h, made = estimating(t, need-1)
		r.Training = input(tc.data)
		_, err = h.Create(context.Background(), r)
		if err == nil {
			t.Errorf("%s: accepted with %d tokens of %d", tc.name, need, need-1)
			continue
		}
		wantError(t, err, runtime.ErrTrainMemory, fmt.Sprintf("it needs %d of %d", need, need-1))
		if list, _, _ := h.List("", 0); len(list) != 0 || *made != 0 {
			t.Errorf("%s: a refused job is listed: %v", tc.name, list)
		}
		h, _ = estimating(t, need)
		r.Training = input(tc.data)
		if _, err := h.Create(context.Background(), r); err != nil {
			t.Errorf("%s: what fits is refused: %v", tc.name, err)
		}
	}
}

// TestRefusedByThePreparer has jobs whose need shows when all is tokenized: they fail before they are queued.
func TestRefusedByThePreparer(t *testing.T) {
	for name, change := range map[string]func(*CreateRequest){
		"validated late": func(r *CreateRequest) { r.ValidateLater = true },
		"held back":      func(r *CreateRequest) { r.Config.ValidationSplit = 0.1 },
	} {
		h, made := estimating(t, 60)
		r := CreateRequest{Name: "bird", Config: smallConfig(), Training: input(conversations(20))}
		change(&r)
		j, err := h.Create(context.Background(), r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		j, events := h.wait(j.ID)
		if j.Status != Failed || j.Error.Code != CodeTrainer || !strings.Contains(j.Error.Message, "of 60") || *made != 0 {
			t.Errorf("%s: ended: %s", name, asJSON(t, j))
		}
		for _, e := range events {
			if e.Status == Running || e.Status == Queued {
				t.Errorf("%s: the job was %s", name, e.Status)
			}
		}
	}
}

// TestFakeEstimate holds the fake to what the real Trainer does: what does not fit is said to be memory.
func TestFakeEstimate(t *testing.T) {
	m := runtimetest.NewModel()
	_, err := runtimetest.NewTrainer(m, runtime.TrainSpec{Modules: []runtime.TrainModule{{Tensor: "blk.0.attn_q.weight", Rank: 2, Scale: 1}}, MaxTokens: 64, Memory: 1})
	wantError(t, err, runtime.ErrTrainMemory, "1 are allowed")
}

// TestJobWaitsForMemory has others hold the memory of a job: it waits, says so with the numbers, and goes on; a job that is
// cancelled meanwhile ends.
func TestJobWaitsForMemory(t *testing.T) {
	var busy atomic.Bool
	busy.Store(true)
	var asked atomic.Int32
	h := openFixture(t, t.TempDir(), func(o *Options) {
		o.roomRetry = time.Millisecond
		inner := o.NewTrainer
		o.NewTrainer = func(s runtime.TrainSpec) (runtime.Trainer, error) {
			asked.Add(1)
			if busy.Load() {
				return nil, fmt.Errorf("%w: %w: it needs 7 MiB, 3 MiB are free", runtime.ErrTrain, runtime.ErrTrainBusy)
			}
			return inner(s)
		}
	})
	waits := func() {
		for from := asked.Load(); asked.Load() < from+3; {
			time.Sleep(time.Millisecond)
		}
	}
	cancelled := h.create("wren", smallConfig())
	waits()
	if _, err := h.Cancel(t.Context(), cancelled.ID); err != nil {
		t.Fatal(err)
	}
	if j, _ := h.wait(cancelled.ID); j.Status != Cancelled {
		t.Errorf("the job that was cancelled: %s", j.Status)
	}
	job := h.create("bird", smallConfig())
	waits()
	busy.Store(false)
	j, events := h.wait(job.ID)
	if j.Status != Succeeded {
		t.Errorf("the job: %s", asJSON(t, j))
	}
	text := asJSON(t, events)
	for _, part := range []string{"waits for memory", "it needs 7 MiB, 3 MiB are free", "There is memory for the job again."} {
		if strings.Count(text, part) != 1 {
			t.Errorf("%q stands in the events %d times, want once", part, strings.Count(text, part))
		}
	}
}

// TestCopiesAreReserved wants the copies of adapters that lie in memory beside the Trainer to be part of what training may take.
func TestCopiesAreReserved(t *testing.T) {
	h, _ := estimating(t, 1<<30)
	reserved := func(change func(*Config)) (bytes, copied int64) {
		c := smallConfig()
		change(&c)
		spec, err := h.spec(&c, 64, 10)
		if err != nil {
			t.Fatal(err)
		}
		return spec.Reserved, 4 * h.parameters(spec.Modules, spec.Norms)
	}
	plain, copied := reserved(func(*Config) {})
	c := smallConfig()
	modules, err := c.modules(h.o.Model.Facts())
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"sampled from by reinforcement": func(c *Config) { c.Method = Reinforcement },
		"trained on from":               func(c *Config) { c.start = &Start{Modules: modules} },
	} {
		if got, _ := reserved(change); copied == 0 || got != plain+copied {
			t.Errorf("an adapter that is %s has %d bytes reserved, without a copy it is %d, the copy has %d", name, got, plain, copied)
		}
	}
}

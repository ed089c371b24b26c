package training

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// pairs is a dataset of n questions with a better and a worse answer.
func pairs(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"prompt": "What is %d?", "chosen": "It is so %d.", "rejected": "No %s"}`+"\n", i, i%3, strings.Repeat("never ", 1+i%4))
	}
	return b.String()
}

// labelled is a dataset of n answers with labels.
func labelled(n int) string {
	var b strings.Builder
	for i := range n {
		answer := "It is so."
		if i%2 == 1 {
			answer = "No never"
		}
		fmt.Fprintf(&b, `{"prompt": "What is %d?", "completion": "%s", "label": %t}`+"\n", i, answer, i%2 == 0)
	}
	return b.String()
}

// preferenceConfig trains quickly on a loss.
func preferenceConfig(lossType string) Config {
	c := smallConfig()
	c.Method, c.LossType, c.LearningRate, c.Epochs, c.ValidationSplit = DPO, lossType, 0.02, 6, 0.2
	return c
}

func (h *fixture) createOn(name string, c Config, data string) Job {
	h.t.Helper()
	j, err := h.Create(context.Background(), CreateRequest{Name: name, Config: c, Training: input(data)})
	if err != nil {
		h.t.Fatal(err)
	}
	return j
}

// TestPreferences trains on every loss: it falls, and the better answers are told from the worse.
func TestPreferences(t *testing.T) {
	for _, lossType := range []string{Sigmoid, IPO, ORPO, SimPO, KTO} {
		t.Run(lossType, func(t *testing.T) {
			h := openFixture(t, t.TempDir(), nil)
			data := pairs(30)
			if lossType == KTO {
				data = labelled(30)
			}
			j, events := h.wait(h.createOn("bird", preferenceConfig(lossType), data).ID)
			if j.Status != Succeeded {
				t.Fatalf("ended: %s", asJSON(t, j))
			}
			if j.Config.LossType != lossType || j.Config.Beta == nil || *j.Config.Beta != usualBeta[lossType] {
				t.Errorf("the configuration is %s", asJSON(t, j.Config))
			}
			report, err := h.Report(j.ID)
			if err != nil || report.Trained.Loss >= report.Base.Loss {
				t.Errorf("the loss went from %+v to %+v, error %v", report.Base, report.Trained, err)
			}
			measured := map[string]int{}
			for _, e := range events {
				if e.Metrics == nil {
					continue
				}
				for name := range e.Metrics.Measures {
					measured[name]++
				}
			}
			for _, name := range []string{"rewards/chosen", "rewards/rejected", "rewards/margins"} {
				if measured[name] < j.Progress.Steps {
					t.Errorf("%s is in %d events of %d steps", name, measured[name], j.Progress.Steps)
				}
			}
			after := report.Trained.Measures
			if lossType != KTO && after["rewards/accuracies"] < 0.9 || after["rewards/margins"] <= report.Base.Measures["rewards/margins"] {
				t.Errorf("the measures went from %v to %v", report.Base.Measures, after)
			}
			if _, err := os.Stat(filepath.Join(h.dir, "training", "jobs", j.ID, referenceFile)); !os.IsNotExist(err) {
				t.Errorf("the reference's values stay when the job has succeeded: %v", err)
			}
		})
	}
}

// TestFirstLossOfDPO is log 2: an adapter that has not learned is the reference model.
func TestFirstLossOfDPO(t *testing.T) {
	h := openFixture(t, t.TempDir(), nil)
	c := preferenceConfig("")
	c.MaxSteps = 1
	j, _ := h.wait(h.createOn("bird", c, pairs(8)).ID)
	if math.Abs(j.Progress.Loss-math.Ln2) > 1e-9 {
		t.Errorf("the first loss is %v", j.Progress.Loss)
	}
}

// TestPreferencesGoOn stops runs in the middle, by a pause and by closing the queue, and wants the adapter of a run that was not
// stopped. The reference model is asked once.
func TestPreferencesGoOn(t *testing.T) {
	var asked atomic.Int32
	slow := func(o *Options) {
		inner := o.NewTrainer
		o.NewTrainer = func(s runtime.TrainSpec) (runtime.Trainer, error) {
			tr, err := inner(s)
			return &counting{tr, &asked}, err
		}
		o.SaveEvery = time.Nanosecond
		o.Work = func(ctx context.Context, s runtime.Slicer) error {
			time.Sleep(time.Millisecond)
			return runtimetest.Work(ctx, s)
		}
	}
	for _, lossType := range []string{Sigmoid, KTO} {
		dir, data := t.TempDir(), pairs(20)
		if lossType == KTO {
			data = labelled(20)
		}
		h := openFixture(t, dir, slow)
		asked.Store(0)
		whole, _ := h.wait(h.createOn("whole", preferenceConfig(lossType), data).ID)
		once := asked.Load()
		asked.Store(0)
		j := h.createOn("bird", preferenceConfig(lossType), data)
		h.waitFor(j.ID, "Step 3/")
		if _, err := h.Pause(t.Context(), j.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Resume(j.ID); err != nil {
			t.Fatal(err)
		}
		h.waitFor(j.ID, "Step 7/")
		h.close()
		h = openFixture(t, dir, slow)
		j, _ = h.wait(j.ID)
		if j.Status != Succeeded || !bytes.Equal(h.weights(j.Result.Digest), h.weights(whole.Result.Digest)) {
			t.Errorf("%s: another adapter than without the stops: %s", lossType, asJSON(t, j))
		}
		if once == 0 || asked.Load() != once {
			t.Errorf("%s: the reference model was asked %d times, want %d", lossType, asked.Load(), once)
		}
	}
}

// counting counts the micro-batches that the base computes.
type counting struct {
	runtime.Trainer
	asked *atomic.Int32
}

func (c *counting) Begin(mode runtime.TrainMode, b runtime.TrainBatch) error {
	if b.Base {
		c.asked.Add(1)
	}
	return c.Trainer.Begin(mode, b)
}

// TestDamagedReference fails a job whose reference's values are not what was stored.
func TestDamagedReference(t *testing.T) {
	h := openFixture(t, t.TempDir(), func(o *Options) {
		o.Work = func(ctx context.Context, s runtime.Slicer) error {
			time.Sleep(time.Millisecond)
			return runtimetest.Work(ctx, s)
		}
	})
	j := h.createOn("bird", preferenceConfig(""), pairs(20))
	h.waitFor(j.ID, "Step 2/")
	if _, err := h.Pause(t.Context(), j.ID); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(h.dir, "training", "jobs", j.ID, referenceFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[20] ^= 1
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Resume(j.ID); err != nil {
		t.Fatal(err)
	}
	if j, _ = h.wait(j.ID); j.Status != Failed || !strings.Contains(strings.Join(h.warnings(), " "), "what the reference model said") {
		t.Errorf("ended: %s, warnings %q", asJSON(t, j), h.warnings())
	}
}

// TestPreferenceRefusals wants the field named.
func TestPreferenceRefusals(t *testing.T) {
	for fields, part := range map[string]string{
		`"method": "dpo", "loss_type": "hinge"`:    "loss_type",
		`"method": "dpo", "beta": 0`:               "beta",
		`"method": "dpo", "packing": true`:         "packing",
		`"method": "dpo", "train_on_inputs": true`: "train_on_inputs",
		`"method": "orpo", "lora_dropout": 0.1`:    "lora_dropout",
		`"method": "kto", "label_smoothing": 0.1`:  "label_smoothing",
		`"method": "dpo", "label_smoothing": 0.5`:  "label_smoothing",
		`"method": "kto", "desirable_weight": -1`:  "desirable_weight",
		`"method": "simpo", "simpo_gamma": -1`:     "simpo_gamma",
		`"method": "simpo", "loss_type": "ipo"`:    "method",
		`"loss_type": "sigmoid"`:                   "loss_type",
		`"method": "ppo"`:                          "method",
	} {
		_, err := ParseConfig([]byte("{" + fields + "}"))
		wantError(t, err, ErrConfig, part+" is")
	}
	for fields, want := range map[string]string{`"method": "dpo"`: "", `"method": "orpo"`: ORPO, `"method": "kto", "loss_type": "kto"`: KTO, `"method": "dpo", "loss_type": "ipo", "beta": 0.5`: IPO} {
		if c, err := ParseConfig([]byte("{" + fields + "}")); err != nil || c.Method != DPO || c.LossType != want {
			t.Errorf("%s gives %+v, error %v", fields, c, err)
		}
	}
	h := openFixture(t, t.TempDir(), nil)
	for lossType, data := range map[string]string{Sigmoid: conversations(3), KTO: conversations(3), "": labelled(3)} {
		_, err := h.Create(t.Context(), CreateRequest{Name: "bird", Config: preferenceConfig(lossType), Training: input(data)})
		wantError(t, err, ErrDataset)
	}
	_, err := h.Create(t.Context(), CreateRequest{Name: "bird", Config: smallConfig(), Training: input(pairs(3))})
	wantError(t, err, ErrDataset)
}

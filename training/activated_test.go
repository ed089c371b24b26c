package training

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// batches notes what a Trainer is given.
type batches struct {
	runtime.Trainer
	mu   *sync.Mutex
	list *[]runtime.TrainBatch
}

func (b batches) Begin(mode runtime.TrainMode, batch runtime.TrainBatch) error {
	b.mu.Lock()
	*b.list = append(*b.list, batch)
	b.mu.Unlock()
	return b.Trainer.Begin(mode, batch)
}

// A job with an invocation trains an adapter that has it, on what follows it, whether it is given as tokens or as a text.
func TestTrainActivated(t *testing.T) {
	const text = "<|im_start|>assistant\n"
	var mu sync.Mutex
	var seen []runtime.TrainBatch
	var specs []runtime.TrainSpec
	h := openFixture(t, t.TempDir(), func(o *Options) {
		inner := o.NewTrainer
		o.NewTrainer = func(s runtime.TrainSpec) (runtime.Trainer, error) {
			tr, err := inner(s)
			mu.Lock()
			specs = append(specs, s)
			mu.Unlock()
			return batches{tr, &mu, &seen}, err
		}
	})
	tokens, err := h.model.Tokenize(text, false, true)
	if err != nil {
		t.Fatal(err)
	}
	var digests []string
	for _, fields := range []string{`"invocation_string":"<|im_start|>assistant\n"`, `"alora_invocation_tokens":` + asJSON(t, tokens)} {
		c, err := ParseConfig([]byte(`{"r":2,"lora_alpha":4,"learning_rate":0.05,"num_train_epochs":2,` + strings.ReplaceAll(fields, "\n", `\n`) + `}`))
		if err != nil {
			t.Fatal(err)
		}
		job, events := h.wait(h.create("act", c).ID)
		if job.Status != Succeeded || !slices.Equal(job.Config.Invocation, tokens) {
			t.Fatalf("the job is %s with the invocation %v: %v", job.Status, job.Config.Invocation, events[len(events)-1].Message)
		}
		digests = append(digests, job.Result.Digest)
		for _, info := range h.store.List() {
			if info.Name == "act" && !slices.Equal(info.Invocation, tokens) {
				t.Errorf("the adapter acts from %v on", info.Invocation)
			}
		}
	}
	if digests[0] != digests[1] {
		t.Error("tokens and text give two adapters")
	}
	for _, s := range specs {
		if !slices.Equal(s.Invocation, tokens) {
			t.Errorf("a Trainer was made for the invocation %v", s.Invocation)
		}
	}
	if len(seen) == 0 {
		t.Fatal("nothing was trained")
	}
	for _, b := range seen {
		begin := 0
		for i, end := range b.Ends {
			if at := b.Active[i]; at != begin+runtime.ActiveFrom(b.Tokens[begin:end], tokens) || slices.IndexFunc(b.Labels[begin:end], func(l runtime.Token) bool { return l >= 0 })+begin < at {
				t.Fatalf("sequence %d from %d on acts from %d on, labels %v", i, begin, at, b.Labels[begin:end])
			}
			begin = end
		}
	}
}

// Lines without the invocation end the job with their numbers, and values that no adapter can have are refused by the field.
func TestTrainActivatedRefuses(t *testing.T) {
	h := openFixture(t, t.TempDir(), nil)
	c := smallConfig()
	c.InvocationString = "is 7?"
	job, _ := h.wait(h.create("act", c).ID)
	if job.Status != Failed || job.Error == nil || !strings.Contains(job.Error.Message, "line 1") || !strings.Contains(job.Error.Message, "alora_invocation_tokens") {
		t.Errorf("the job is %s: %+v", job.Status, job.Error)
	}
	for fields, part := range map[string]string{
		`"alora_invocation_tokens": []`:                            "alora_invocation_tokens is empty",
		`"alora_invocation_tokens": "check"`:                       "a list is expected",
		`"alora_invocation_tokens": [1.5]`:                         "alora_invocation_tokens",
		`"alora_invocation_tokens": [-1]`:                          "alora_invocation_tokens has -1",
		`"alora_invocation_tokens": [5000]`:                        "not one of the base's 260 tokens",
		`"alora_invocation_tokens": [1], "invocation_string": "b"`: "give one of the two",
		`"invocation_string": 7`:                                   "invocation_string",
		`"invocation_string": "` + strings.Repeat("x", 1025) + `"`: "at most 1024",
		`"invocation_string": "four", "max_length": 4`:             "at most 3",
	} {
		c, err := ParseConfig([]byte("{" + fields + "}"))
		if err == nil {
			_, err = h.Create(t.Context(), CreateRequest{Name: "act", Config: c, Training: input(conversations(3))})
		}
		wantError(t, err, ErrConfig, part)
	}
}

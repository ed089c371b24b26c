package training

import (
	"context"
	"fmt"

	"github.com/lorikeet-ai/lorikeet/training/dataset"
)

// The methods of Config.Method, by the names OpenAI gives them.
const (
	Supervised    = "supervised"
	DPO           = "dpo"
	Reinforcement = "reinforcement"
)

// methodNames are all values of Config.Method, and further names for them.
var methodNames = map[string]string{
	Supervised: Supervised, "sft": Supervised,
	DPO:           DPO,
	Reinforcement: Reinforcement, "grpo": Reinforcement,
}

// method is what a run does in a way of its own: how it learns and what it measures. It belongs to the worker's
// goroutine. What a step does follows from the job and the number of the step alone, so that a run which goes on from a
// checkpoint is the same run: a method keeps nothing from one step to the next but on disk.
type method interface {
	// mostTokens returns how many tokens a micro-batch has at most. It is asked before there is a Trainer.
	mostTokens() int
	// begin is called once the Trainer is there and has the state of the last checkpoint, before the first step.
	begin(ctx context.Context) error
	// step does step n, counted from 0: it gives r.trainer its micro-batches and has it update the adapter.
	step(ctx context.Context, n int) (*stepResult, error)
	// evaluate measures the adapter as it stands, on r.evalSet.
	evaluate(ctx context.Context) (*score, error)
	// describe says a score in a sentence's part: "loss 1.2, accuracy 0.5".
	describe(s *score) string
}

// stepResult is what a step gave.
type stepResult struct {
	loss     float64 // what is trained on, as the method divides it
	accuracy float64 // the share of the labelled tokens that were the likeliest
	tokens   int     // that were trained on
	rate     float64 // of the learning
	gradNorm float64
	measures map[string]float64 // further numbers of the method, under TRL's names; nil where it has none
}

// newMethod returns the method of the run's job. It is called when r.set and r.order are there, and r.trainer is not.
func (r *run) newMethod() (method, error) {
	switch r.job.Config.Method {
	case Supervised:
		return &supervised{r}, nil
	case DPO:
		return &preference{r: r}, nil
	case Reinforcement:
		return newReinforcement(r)
	}
	return nil, &FieldError{Field: "method", Reason: fmt.Sprintf("is %q, which this version does not have", r.job.Config.Method)}
}

// kind is what the lines of a job's datasets must be for its method.
func (c *Config) kind() dataset.Kind {
	switch c.Method {
	case Reinforcement:
		return dataset.PromptOnly
	case DPO:
		if c.LossType == KTO {
			return dataset.UnpairedPreference
		}
		return dataset.Preference
	}
	return dataset.Supervised
}

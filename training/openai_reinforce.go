package training

import (
	"cmp"
	"encoding/json"
	"math"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// ReinforcementHyperparameters are OpenAI's of method.reinforcement. Its batch_size counts prompts.
type ReinforcementHyperparameters struct {
	Hyperparameters
	ComputeMultiplier Auto // of the answers that are sampled to each prompt
	EvalInterval      Auto // steps between evaluations
	EvalSamples       Auto // answers to each prompt of an evaluation
	ReasoningEffort   string
}

// Config is Hyperparameters.Config, with a grader and what answers are held to, which may be nil.
func (h ReinforcementHyperparameters) Config(f *runtime.Facts, grader, format json.RawMessage) (Config, error) {
	c := Defaults()
	c.Method, c.Reward, c.ResponseFormat, c.Effort = Reinforcement, grader, format, cmp.Or(h.ReasoningEffort, defaultEffort)
	if m := h.ComputeMultiplier.Value; m != 0 {
		n := math.Round(m * float64(c.Generations))
		if n < 2 || n > maxGenerations {
			return c, &FieldError{Field: "compute_multiplier", Reason: "asks for fewer than 2 or more than 256 answers to each prompt"}
		}
		c.Generations = int(n)
	}
	for _, x := range []struct {
		name string
		auto Auto
		most float64
		to   *int
	}{{"eval_interval", h.EvalInterval, 1_000_000, &c.EvalSteps}, {"eval_samples", h.EvalSamples, maxGenerations, &c.EvalGenerations}} {
		switch n := x.auto.Value; {
		case n == 0:
		case n != math.Trunc(n) || n < 1 || n > x.most:
			return c, &FieldError{Field: x.name, Reason: "is not a whole number, from 1 on, that is used"}
		default:
			*x.to = int(n)
		}
	}
	if h.EvalInterval.Value != 0 {
		c.EvalStrategy = EverySteps
	}
	if h.Batch.Value*float64(c.Generations) > maxBatch {
		return c, &FieldError{Field: "batch_size", Reason: "asks for more than 4096 answers in a step"}
	}
	if err := h.apply(&c, f); err != nil {
		return c, err
	}
	if h.Batch.Value == 0 {
		c.Batch = usualPrompts
	}
	c.Batch *= c.Generations
	return c, c.Validate()
}

// usualPrompts is how many prompts a step has where a job that counts prompts does not say.
const usualPrompts = 4

// CheckAnswerFormat returns a FieldError where response_format cannot be followed.
func (c *Config) CheckAnswerFormat() error {
	_, err := c.answerFormat()
	return err
}

package training

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/lorikeet-ai/lorikeet/graders"
	"github.com/lorikeet-ai/lorikeet/grammar"
	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/training/dataset"
	"github.com/lorikeet-ai/lorikeet/training/loss"
)

// Bounds of reinforcement.
const (
	maxGenerations = 256
	maxIterations  = 16
	maxAnswer      = 1_000_000 // tokens
	maxFormat      = 256 << 10 // bytes of response_format

	usualKLBeta = 0.04 // Shao et al. 2024
)

// efforts are the values of reasoning_effort.
var efforts = []string{defaultEffort, "none", "minimal", "low", "medium", "high", "xhigh"}

// defaultEffort leaves it to the template.
const defaultEffort = "default"

// effort is the reasoning_effort that prompts are rendered with, "" for none. Jobs of earlier versions have no such field.
func (c *Config) effort() string {
	if c.Effort == defaultEffort {
		return ""
	}
	return c.Effort
}

// checkReinforcement checks the fields of the method reinforcement.
func (c *Config) checkReinforcement() *FieldError {
	if c.Method != Reinforcement {
		return nil
	}
	per := c.Batch * c.Accumulation
	return firstBroken([]rule{
		{jsonvalue.Kind(c.Reward) == "object", "reward", "missing", "a grader, such as {\"type\": \"string_check\", ...},"},
		{c.Generations >= 2 && c.Generations <= maxGenerations, "num_generations", c.Generations, fmt.Sprintf("a number from 2 to %d", maxGenerations)},
		{c.Generations >= 2 && per%c.Generations == 0, "per_device_train_batch_size", fmt.Sprintf("%d with gradient_accumulation_steps %d", c.Batch, c.Accumulation),
			fmt.Sprintf("a multiple of num_generations, %d: a step has so many answers in all", c.Generations)},
		{c.EvalGenerations >= 1 && c.EvalGenerations <= maxGenerations, "num_generations_eval", c.EvalGenerations, fmt.Sprintf("a number from 1 to %d", maxGenerations)},
		{c.MaxCompletion >= 1 && c.MaxCompletion <= maxAnswer, "max_completion_length", c.MaxCompletion, fmt.Sprintf("a number from 1 to %d", maxAnswer)},
		{c.Temperature > 0 && c.Temperature <= 2, "temperature", c.Temperature, "a number above 0, at most 2"},
		{c.TopP > 0 && c.TopP <= 1, "top_p", c.TopP, "a number above 0, at most 1"},
		{c.klBeta() >= 0 && c.klBeta() <= 100, "beta", c.klBeta(), "a number from 0 to 100"},
		{c.ClipLow > 0 && c.ClipLow < 1, "epsilon", c.ClipLow, "a number above 0, less than 1"},
		{c.ClipHigh == 0 || c.ClipHigh >= c.ClipLow && c.ClipHigh <= 10, "epsilon_high", c.ClipHigh, "a number from epsilon to 10, or 0 for epsilon"},
		{oneOf(c.LossType, "", string(loss.ScaleGRPO), string(loss.ScaleDrGRPO)), "loss_type", quoted(c.LossType), `"grpo" or "dr_grpo"`},
		{oneOf(c.Effort, efforts...), "reasoning_effort", quoted(c.Effort), `"default", "none", "minimal", "low", "medium", "high" or "xhigh"`},
		{c.Iterations >= 1 && c.Iterations <= maxIterations, "num_iterations", c.Iterations, fmt.Sprintf("a number from 1 to %d", maxIterations)},
		{!c.Packing, "packing", c.Packing, "false, which answers that are sampled need,"},
		{!c.TrainOnInputs, "train_on_inputs", c.TrainOnInputs, "false, as answers alone are learned from,"},
		{c.Dropout == 0, "lora_dropout", c.Dropout, "0, as the loss compares log-probabilities without it,"},
		{c.NEFTune == 0, "neftune_noise_alpha", c.NEFTune, "0, as the loss compares log-probabilities without it,"},
		{len(c.ResponseFormat) <= maxFormat, "response_format", fmt.Sprintf("%d bytes", len(c.ResponseFormat)), fmt.Sprintf("at most %d", maxFormat)},
	})
}

// klBeta is the factor of the divergence from the base.
func (c *Config) klBeta() float64 {
	if c.Beta == nil {
		return usualKLBeta
	}
	return *c.Beta
}

// grpo are the settings of the loss.
func (c *Config) grpo() loss.GRPOOptions {
	return loss.GRPOOptions{
		EpsilonLow: c.ClipLow, EpsilonHigh: cmp.Or(c.ClipHigh, c.ClipLow), Beta: c.klBeta(),
		Scaling: loss.Scaling(cmp.Or(c.LossType, string(loss.ScaleGRPO))), MaxCompletion: c.MaxCompletion,
	}
}

// promptsPerStep is how many prompts a step has.
func (c *Config) promptsPerStep() int { return max(1, c.Batch*c.Accumulation/max(1, c.Generations)) }

// promptSchedule is the order of a job's prompts. The order does not depend on how long they are.
func (c *Config) promptSchedule() dataset.ScheduleOptions {
	return dataset.ScheduleOptions{
		MaxLength: c.MaxLength, Batch: c.promptsPerStep(), Accumulation: 1, Epochs: c.Epochs, MaxSteps: c.MaxSteps, Seed: uint64(c.Seed),
	}
}

// scalesRewards reports whether advantages are divided by the deviation of their group: Dr. GRPO leaves that out.
func (c *Config) scalesRewards() bool { return c.LossType != string(loss.ScaleDrGRPO) }

// checkReward refuses a job of the method reinforcement that could not run, by the field at fault.
func (q *Queue) checkReward(c *Config, owner string) error {
	if c.Method != Reinforcement {
		return nil
	}
	if q.o.Submit == nil || q.o.Cache == nil {
		return &FieldError{Field: "method", Reason: "is reinforcement, which this server does not sample answers for"}
	}
	if c.effort() != "" && !q.o.Template.KnowsEffort() {
		return &FieldError{Field: "reasoning_effort", Reason: fmt.Sprintf("is %q: the base's chat template does not know it, and reasons as it does by default", c.Effort)}
	}
	if c.MaxCompletion >= c.MaxLength {
		return &FieldError{Field: "max_completion_length", Reason: fmt.Sprintf("is %d: prompt and answer have max_length, %d, tokens together", c.MaxCompletion, c.MaxLength)}
	}
	if _, err := q.parseGrader(c, owner); err != nil {
		return err
	}
	_, err := c.answerFormat()
	return err
}

// promptLength is how many tokens a prompt may have, and one more.
func (c *Config) promptLength() int {
	if c.Method == Reinforcement {
		return c.MaxLength - c.MaxCompletion + 1
	}
	return c.MaxLength
}

// parseGrader reads the grader of a job of an owner. The error is a FieldError.
func (q *Queue) parseGrader(c *Config, owner string) (*graders.Grader, error) {
	var tools graders.Tools
	if q.o.Graders != nil {
		tools = q.o.Graders(owner)
	}
	g, err := graders.Parse(c.Reward, "reward", tools)
	var f *graders.FieldError
	if errors.As(err, &f) {
		return nil, &FieldError{Field: f.Field, Reason: f.Reason}
	}
	return g, err
}

// answerFormat returns what response_format holds answers to, nil where there is none.
func (c *Config) answerFormat() (*grammar.Constraint, error) {
	if jsonvalue.Kind(c.ResponseFormat) == "null" {
		return nil, nil
	}
	var f struct {
		Type   string `json:"type"`
		Schema struct {
			Schema json.RawMessage `json:"schema"`
		} `json:"json_schema"`
	}
	if err := jsonvalue.Decode(c.ResponseFormat, &f); err != nil {
		return nil, &FieldError{Field: "response_format", Reason: "is " + jsonvalue.Clip(c.ResponseFormat) + `: {"type": "json_schema", "json_schema": {"schema": ...}} is expected`}
	}
	switch f.Type {
	case "text":
		return nil, nil
	case "json_object":
		return grammar.New(grammar.Object()), nil
	case "json_schema":
	default:
		return nil, &FieldError{Field: "response_format.type", Reason: fmt.Sprintf("is %q: text, json_object or json_schema is expected", f.Type)}
	}
	if jsonvalue.Kind(f.Schema.Schema) == "null" {
		return nil, &FieldError{Field: "response_format.json_schema.schema", Reason: "is missing"}
	}
	part, err := grammar.Schema("response_format.json_schema.schema", f.Schema.Schema)
	var e *grammar.SchemaError
	if errors.As(err, &e) {
		return nil, &FieldError{Field: e.Param, Reason: e.Reason}
	}
	if err != nil {
		return nil, err
	}
	return grammar.New(part), nil
}

// longestRollout is how many tokens a prompt and its answer have at most, of prompts with these lengths.
func (c *Config) longestRollout(lengths []int) int {
	longest := 0
	for _, n := range lengths {
		longest = max(longest, n)
	}
	return longest + c.MaxCompletion
}

// rolloutTokens is how many tokens a micro-batch of answers has at most.
func (c *Config) rolloutTokens(lengths []int, microBatch int) int {
	longest := c.longestRollout(lengths)
	all := math.Min(float64(longest)*float64(c.Batch*c.Accumulation), math.MaxInt32)
	return max(longest, min(microBatch, int(all)))
}

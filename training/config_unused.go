package training

import (
	"cmp"
	"fmt"
)

// checkUnused returns a FieldError for a field that is set and that the job's method, or its loss, does not read. What a method
// could read and must not, such as the dropout of a loss that compares log-probabilities, its own checks refuse.
func (c *Config) checkUnused() *FieldError {
	d := Defaults()
	reinforced := c.Method == Reinforcement
	loss := func(names ...string) bool { return c.Method == DPO && oneOf(c.lossType(), names...) }
	const ofReinforcement = "the method " + Reinforcement
	for _, f := range []struct {
		name      string
		set, read bool
		of        string // what reads it
	}{
		{"beta", c.Beta != nil, c.Method != Supervised, "the methods " + DPO + " and " + Reinforcement},
		{"label_smoothing", c.LabelSmoothing != d.LabelSmoothing, loss(Sigmoid, SimPO), "the losses sigmoid and simpo of the method " + DPO},
		{"simpo_gamma", c.SimPOGamma != d.SimPOGamma, loss(SimPO), "the loss simpo of the method " + DPO},
		{"desirable_weight", c.DesirableWeight != d.DesirableWeight, loss(KTO), "the loss kto of the method " + DPO},
		{"undesirable_weight", c.UndesirableWeight != d.UndesirableWeight, loss(KTO), "the loss kto of the method " + DPO},
		{"reward", len(c.Reward) > 0, reinforced, ofReinforcement},
		{"response_format", len(c.ResponseFormat) > 0, reinforced, ofReinforcement},
		{"num_generations", c.Generations != d.Generations, reinforced, ofReinforcement},
		{"num_generations_eval", c.EvalGenerations != d.EvalGenerations, reinforced, ofReinforcement},
		{"max_completion_length", c.MaxCompletion != d.MaxCompletion, reinforced, ofReinforcement},
		{"temperature", c.Temperature != d.Temperature, reinforced, ofReinforcement},
		{"top_p", c.TopP != d.TopP, reinforced, ofReinforcement},
		{"epsilon", c.ClipLow != d.ClipLow, reinforced, ofReinforcement},
		{"epsilon_high", c.ClipHigh != d.ClipHigh, reinforced, ofReinforcement},
		{"num_iterations", c.Iterations != d.Iterations, reinforced, ofReinforcement},
		{"reasoning_effort", c.effort() != "", reinforced, ofReinforcement},
	} {
		if !f.set || f.read {
			continue
		}
		is := "the method is " + cmp.Or(c.Method, Supervised)
		if c.Method == DPO {
			is += " with the loss " + c.lossType()
		}
		return &FieldError{Field: f.name, Reason: fmt.Sprintf("is for %s; %s", f.of, is)}
	}
	return nil
}

// Package loss has the losses of post-training, as functions of the log-probabilities that a model gives to tokens.
//
// A Trainer knows one loss: a weighted sum of log-probabilities. Any other loss C is trained with two passes. The first,
// runtime.TrainEval, gives the log-probabilities lp; a function of this package gives C and the weights -dC/dlp; the second, with
// these weights in runtime.TrainBatch.Weights, has the gradient of C.
//
// Losses of tokens (CrossEntropy, ImportanceSampling, PPO, CISPO, DRO) take one sequence and are sums over its tokens, as Tinker's
// API has them. Losses of sequences (DPO, IPO, ORPO, SimPO, KTO, GRPO) take all sequences of a step, are sums over pairs, examples
// or completions, and say in Result.Norm by what they are to be divided, so that Loss/Norm is what Hugging Face's TRL reports.
//
// Functions are pure and may be called from any goroutine. Logarithms are natural. A list is not changed, and not kept.
package loss

import (
	"errors"
	"fmt"
	"maps"
	"math"
)

// ErrInput is wrapped by the errors of this package: lists of different lengths, or settings that are out of range.
var ErrInput = errors.New("the loss cannot be computed")

// Result is a loss of sequences and its derivative.
type Result struct {
	Loss    float64     // the sum over pairs, examples or completions
	Norm    float64     // their number: runtime.TrainBatch.Norm, if a step has no others
	Weights [][]float32 // -dLoss/dlp of each sequence's positions, in the order in which they were given
	Metrics Metrics
}

// Metrics are averages by name. The names are TRL's.
type Metrics map[string]Mean

// Mean is an average of Count values.
type Mean struct{ Sum, Count float64 }

// Value returns the average; of no values it is 0.
func (m Mean) Value() float64 {
	if m.Count == 0 {
		return 0
	}
	return m.Sum / m.Count
}

// Add takes the values of o into m's averages.
func (m Metrics) Add(o Metrics) {
	for name, x := range o {
		m[name] = Mean{m[name].Sum + x.Sum, m[name].Count + x.Count}
	}
}

// Values returns the averages. Where both are known, rewards/margins is the average reward of what was chosen less that of
// what was rejected.
func (m Metrics) Values() map[string]float64 {
	values := make(map[string]float64, len(m)+1)
	for name, x := range maps.All(m) {
		values[name] = x.Value()
	}
	if c, r := m["rewards/chosen"], m["rewards/rejected"]; c.Count > 0 && r.Count > 0 {
		values["rewards/margins"] = c.Value() - r.Value()
	}
	return values
}

func (m Metrics) add(name string, value float64) {
	m[name] = Mean{m[name].Sum + value, m[name].Count + 1}
}

func (m Metrics) addIf(name string, is bool) {
	value := 0.0
	if is {
		value = 1
	}
	m.add(name, value)
}

// sigmoid(x) = 1/(1+exp(-x)); logSigmoid is its logarithm. Neither overflows.
func sigmoid(x float64) float64 {
	if x < 0 {
		e := math.Exp(x)
		return e / (1 + e)
	}
	return 1 / (1 + math.Exp(-x))
}

func logSigmoid(x float64) float64 { return math.Min(x, 0) - math.Log1p(math.Exp(-math.Abs(x))) }

// setting refuses a setting that is not a finite number from least on, or with above not above it.
func setting(name string, x, least float64, above bool) error {
	if math.IsNaN(x) || math.IsInf(x, 0) || x < least || above && x == least {
		how := "at least"
		if above {
			how = "above"
		}
		return fmt.Errorf("%w: %s is %v, and must be a number %s %v", ErrInput, name, x, how, least)
	}
	return nil
}

package loss

import (
	"fmt"
	"math"
)

// Example is a completion that is desirable or not.
type Example struct {
	Sequence
	Desirable bool
}

// KTOOptions are the settings of KTO.
type KTOOptions struct {
	Beta              float64
	DesirableWeight   float64 // of the loss of desirable examples; TRL's default is 1
	UndesirableWeight float64 // of that of the others; 1
	// Divergence is how far the model is from the reference, KTODivergence: what rewards are compared with.
	Divergence float64
}

// KTODivergence estimates the divergence of the model from the reference, for KTO: the mean of log(p/p_reference) over
// completions that belong to other prompts, or 0 where that is negative. model and reference are their log-probabilities, as Total
// has them. TRL takes for each example the completion of the one before it, and for the first that of the last.
// Source: Ethayarajh et al. 2024, "KTO: Model Alignment as Prospect Theoretic Optimization", section 4.1.
func KTODivergence(model, reference []float64) (float64, error) {
	if len(model) != len(reference) || len(model) == 0 {
		return 0, fmt.Errorf("%w: %d completions under the model and %d under the reference", ErrInput, len(model), len(reference))
	}
	sum := 0.0
	for i, x := range model {
		sum += x - reference[i]
	}
	return max(0, sum/float64(len(model))), nil
}

// KTO is the sum over examples of w (1 - sigmoid(z)). ratio is log(p/p_reference) of the completion; z is
// beta (ratio - divergence) of desirable examples and beta (divergence - ratio) of the others, with the divergence taken as a constant.
// Source: Ethayarajh et al. 2024, equation 8.
func KTO(examples []Example, o KTOOptions) (Result, error) {
	if err := o.check(); err != nil {
		return Result{}, err
	}
	r := Result{Norm: float64(len(examples)), Metrics: Metrics{"kl": {o.Divergence, 1}}}
	for i := range examples {
		e := &examples[i]
		c, err := count(&e.Sequence)
		if err != nil {
			return Result{}, fmt.Errorf("example %d: %w", i+1, err)
		}
		sign, weight, name := 1.0, o.DesirableWeight, "chosen"
		if !e.Desirable {
			sign, weight, name = -1, o.UndesirableWeight, "rejected"
		}
		p := sigmoid(sign * o.Beta * (c.ratio() - o.Divergence))
		r.Loss += weight * (1 - p)
		r.Weights = append(r.Weights, c.weights(weight*sign*o.Beta*p*(1-p)))
		r.Metrics.add("rewards/"+name, o.Beta*c.ratio())
		r.Metrics.add("logps/"+name, c.total)
	}
	return r, nil
}

func (o *KTOOptions) check() error {
	for _, s := range []struct {
		name  string
		x     float64
		above bool
	}{{"beta", o.Beta, true}, {"desirable_weight", o.DesirableWeight, false}, {"undesirable_weight", o.UndesirableWeight, false}} {
		if err := setting(s.name, s.x, 0, s.above); err != nil {
			return err
		}
	}
	if math.IsNaN(o.Divergence) || math.IsInf(o.Divergence, 0) {
		return fmt.Errorf("%w: the divergence is %v", ErrInput, o.Divergence)
	}
	return nil
}

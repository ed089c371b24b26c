package loss

import (
	"fmt"
	"math"
)

// Completion is what the model answered to a prompt in reinforcement. Its lists are of one length; what is not
// labelled counts for nothing.
type Completion struct {
	LogProbs  []float32 // lp: under the model that is trained, as runtime.TrainResult.LogProbs has them
	Labels    []int32   // -1 for the prompt, and for what the model did not write
	Sampled   []float32 // q: under the model that wrote it; nil where that is the model that is trained, as it stands
	Reference []float32 // under the reference model; nil where GRPOOptions.Beta is 0
	Advantage float64   // of Advantages
}

// Scaling is what the loss of a completion's tokens is divided by.
type Scaling string

// The scalings, by TRL's names of the loss.
const (
	// ScaleGRPO divides by the completion's length: each completion counts alike.
	// Source: Shao et al. 2024, "DeepSeekMath", equation 3.
	ScaleGRPO Scaling = "grpo"
	// ScaleDrGRPO divides by MaxCompletion: each token counts alike, whatever the lengths.
	// Source: Liu et al. 2025, "Understanding R1-Zero-Like Training: A Critical Perspective", section 3.
	ScaleDrGRPO Scaling = "dr_grpo"
	// ScaleDAPO divides by the mean length of all completions. Source: Yu et al. 2025, "DAPO", equation 8.
	ScaleDAPO Scaling = "dapo"
)

// GRPOOptions are the settings of GRPO. A ratio is clipped to [1-EpsilonLow, 1+EpsilonHigh].
type GRPOOptions struct {
	EpsilonLow, EpsilonHigh float64 // TRL's default is 0.2 for both
	Beta                    float64 // of the divergence from the reference
	Scaling                 Scaling
	MaxCompletion           int // ScaleDrGRPO alone: the most tokens that a completion may have
}

// Check returns an error that names the setting at fault by TRL's name.
func (o *GRPOOptions) Check() error {
	for name, x := range map[string]float64{"epsilon": o.EpsilonLow, "epsilon_high": o.EpsilonHigh, "beta": o.Beta} {
		if err := setting(name, x, 0, false); err != nil {
			return err
		}
	}
	switch {
	case o.EpsilonLow > 1:
		return fmt.Errorf("%w: epsilon is %v, and must be at most 1", ErrInput, o.EpsilonLow)
	case o.Scaling != ScaleGRPO && o.Scaling != ScaleDrGRPO && o.Scaling != ScaleDAPO:
		return fmt.Errorf("%w: loss_type is %q, and must be grpo, dr_grpo or dapo", ErrInput, o.Scaling)
	case o.Scaling == ScaleDrGRPO && o.MaxCompletion < 1:
		return fmt.Errorf("%w: loss_type dr_grpo needs max_completion_length, which is %d", ErrInput, o.MaxCompletion)
	}
	return nil
}

// Advantages are the rewards of one group, the completions of one prompt, less their mean; with scale they are divided by their
// standard deviation (of a sample, and 0.0001 added), as GRPO has it and dr_grpo has not.
func Advantages(rewards []float64, scale bool) []float64 {
	mean, square := 0.0, 0.0
	for _, r := range rewards {
		mean += r / float64(len(rewards))
	}
	advantages := make([]float64, len(rewards))
	for i, r := range rewards {
		advantages[i] = r - mean
		square += advantages[i] * advantages[i]
	}
	if scale && len(rewards) > 1 {
		deviation := math.Sqrt(square / float64(len(rewards)-1))
		for i := range advantages {
			advantages[i] /= deviation + 1e-4
		}
	}
	return advantages
}

// GRPO is the sum over completions of the scaled sum over their tokens of -min(r A, clip(r) A) + beta d, where r = exp(lp-q), A is
// the completion's advantage and d = exp(reference-lp) - (reference-lp) - 1 estimates the divergence from the reference model.
// Source: Shao et al. 2024, "DeepSeekMath", equations 3 and 4. Metrics are those of PPO, and kl, the mean of d.
func GRPO(completions []Completion, o GRPOOptions) (Result, error) {
	if err := o.Check(); err != nil {
		return Result{}, err
	}
	lengths, total := make([]float64, len(completions)), 0.0
	for i := range completions {
		c := &completions[i]
		if err := c.check(o.Beta > 0); err != nil {
			return Result{}, fmt.Errorf("completion %d: %w", i+1, err)
		}
		for _, label := range c.Labels {
			if label >= 0 {
				lengths[i]++
			}
		}
		total += lengths[i]
	}
	r := Result{Norm: float64(len(completions)), Metrics: Metrics{}}
	for i := range completions {
		by := lengths[i]
		switch o.Scaling {
		case ScaleDrGRPO:
			by = float64(o.MaxCompletion)
		case ScaleDAPO:
			by = total / r.Norm
		}
		loss, weights := completions[i].loss(&o, r.Metrics)
		for j := range weights {
			weights[j] /= float32(max(by, 1))
		}
		r.Loss += loss / max(by, 1)
		r.Weights = append(r.Weights, weights)
	}
	return r, nil
}

func (c *Completion) check(reference bool) error {
	n := len(c.LogProbs)
	if len(c.Labels) != n || c.Sampled != nil && len(c.Sampled) != n || (reference || c.Reference != nil) && len(c.Reference) != n {
		return fmt.Errorf("%w: %d log-probabilities, %d labels, %d log-probabilities of the sampler and %d of the reference", ErrInput, n, len(c.Labels), len(c.Sampled), len(c.Reference))
	}
	if math.IsNaN(c.Advantage) || math.IsInf(c.Advantage, 0) {
		return fmt.Errorf("%w: the advantage is %v", ErrInput, c.Advantage)
	}
	return nil
}

// loss returns the sum over the tokens, and minus its derivatives.
func (c *Completion) loss(o *GRPOOptions, m Metrics) (sum float64, weights []float32) {
	clip := Clip{1 - o.EpsilonLow, 1 + o.EpsilonHigh}
	weights = make([]float32, len(c.LogProbs))
	for i, x := range c.LogProbs {
		if c.Labels[i] < 0 {
			continue
		}
		lp, ratio := float64(x), 1.0
		if c.Sampled != nil {
			ratio = math.Exp(lp - float64(c.Sampled[i]))
		}
		loss, weight := 0.0, 0.0
		if c.Advantage != 0 { // also where the ratio is infinite
			loss, weight = clipped(ratio, c.Advantage, clip, m)
		}
		if c.Reference != nil {
			off := float64(c.Reference[i]) - lp
			divergence := math.Expm1(off) - off
			m.add("kl", divergence)
			loss += o.Beta * divergence
			weight += o.Beta * math.Expm1(off)
		}
		sum += loss
		weights[i] = float32(weight)
	}
	return sum, weights
}

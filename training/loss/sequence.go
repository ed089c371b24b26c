package loss

import (
	"fmt"
	"math"
)

// Sequence is a prompt and its completion, as a Trainer saw them.
type Sequence struct {
	LogProbs []float32 // under the model that is trained, as runtime.TrainResult.LogProbs has them
	Labels   []int32   // as runtime.TrainBatch.Labels: -1 where there is none
	// Completion is the position of the completion's first label. What is labelled before it is the prompt, from which
	// ORPO alone learns, as in TRL.
	Completion int
	// Reference is the log-probability of the completion under the reference model, as Total has it. ORPO and SimPO have none.
	Reference float64
}

// Pair is two completions of one prompt.
type Pair struct{ Chosen, Rejected Sequence }

// Total returns the log-probability of a completion: the sum over the labels from position `completion` on.
func Total(logProbs []float32, labels []int32, completion int) float64 {
	total := 0.0
	for i := completion; i < len(labels); i++ {
		if labels[i] >= 0 {
			total += float64(logProbs[i])
		}
	}
	return total
}

// counted is a sequence with the sums that losses are made of.
type counted struct {
	*Sequence
	total  float64 // log-probability of the completion
	tokens float64 // labels of the completion
}

func count(s *Sequence) (counted, error) {
	c := counted{Sequence: s}
	if len(s.LogProbs) != len(s.Labels) || s.Completion < 0 {
		return c, fmt.Errorf("%w: a sequence has %d log-probabilities and %d labels, and its completion begins at %d", ErrInput, len(s.LogProbs), len(s.Labels), s.Completion)
	}
	c.total = Total(s.LogProbs, s.Labels, s.Completion)
	for i := s.Completion; i < len(s.Labels); i++ {
		if s.Labels[i] >= 0 {
			c.tokens++
		}
	}
	if c.tokens == 0 {
		return c, fmt.Errorf("%w: a completion has no label", ErrInput)
	}
	return c, nil
}

// ratio is log(p/p_reference) of the completion; mean its log-probability per token.
func (c *counted) ratio() float64 { return c.total - c.Reference }
func (c *counted) mean() float64  { return c.total / c.tokens }

// weights gives every label of the completion the same weight.
func (c *counted) weights(weight float64) []float32 {
	w := make([]float32, len(c.Labels))
	for i := c.Completion; i < len(w); i++ {
		if c.Labels[i] >= 0 {
			w[i] = float32(weight)
		}
	}
	return w
}

// overPairs adds up f, which gives a pair's loss and its derivatives by the log-probabilities of the two completions, and
// the rewards of both.
func overPairs(pairs []Pair, f func(chosen, rejected *counted, m Metrics) pairLoss) (Result, error) {
	r := Result{Norm: float64(len(pairs)), Metrics: Metrics{}}
	for i := range pairs {
		chosen, err := count(&pairs[i].Chosen)
		if err != nil {
			return Result{}, fmt.Errorf("pair %d, chosen: %w", i+1, err)
		}
		rejected, err := count(&pairs[i].Rejected)
		if err != nil {
			return Result{}, fmt.Errorf("pair %d, rejected: %w", i+1, err)
		}
		l := f(&chosen, &rejected, r.Metrics)
		r.Loss += l.loss
		r.Weights = append(r.Weights, chosen.weights(-l.byChosen), rejected.weights(-l.byRejected))
		r.Metrics.add("rewards/chosen", l.rewardChosen)
		r.Metrics.add("rewards/rejected", l.rewardRejected)
		r.Metrics.addIf("rewards/accuracies", l.rewardChosen > l.rewardRejected)
		r.Metrics.add("logps/chosen", l.logPChosen)
		r.Metrics.add("logps/rejected", l.logPRejected)
	}
	return r, nil
}

type pairLoss struct {
	loss, byChosen, byRejected   float64
	rewardChosen, rewardRejected float64
	logPChosen, logPRejected     float64
}

// DPO is the sum over pairs of -(1-s) log sigmoid(z) - s log sigmoid(-z), where z = beta (ratio(chosen) - ratio(rejected)),
// ratio is log(p/p_reference) of a completion and s the label smoothing: the share of pairs that are taken to be the wrong way
// round. Source: Rafailov et al. 2023, "Direct Preference Optimization", equation 7; smoothing: Mitchell 2023, "A note on DPO with
// noisy preferences", equation 3.
func DPO(pairs []Pair, beta, smoothing float64) (Result, error) {
	if err := setting("beta", beta, 0, true); err != nil {
		return Result{}, err
	}
	if err := checkSmoothing(smoothing); err != nil {
		return Result{}, err
	}
	return overPairs(pairs, func(c, r *counted, _ Metrics) pairLoss {
		loss, by := smoothed(beta*(c.ratio()-r.ratio()), smoothing)
		return pairLoss{
			loss: loss, byChosen: beta * by, byRejected: -beta * by,
			rewardChosen: beta * c.ratio(), rewardRejected: beta * r.ratio(), logPChosen: c.total, logPRejected: r.total,
		}
	})
}

func checkSmoothing(s float64) error {
	if err := setting("label_smoothing", s, 0, false); err != nil {
		return err
	}
	if s >= 0.5 {
		return fmt.Errorf("%w: label_smoothing is %v, and must be below 0.5", ErrInput, s)
	}
	return nil
}

// smoothed is -(1-s) log sigmoid(z) - s log sigmoid(-z), and its derivative by z.
func smoothed(z, s float64) (loss, by float64) {
	return -(1-s)*logSigmoid(z) - s*logSigmoid(-z), -(1-s)*sigmoid(-z) + s*sigmoid(z)
}

// IPO is the sum over pairs of (h - 1/(2 beta))^2, where h is the difference between the completions' ratios per token:
// log(p/p_reference)/tokens. Source: Azar et al. 2023, "A General Theoretical Paradigm to Understand Learning from Human
// Preferences", equation 17; per token as in TRL, whose authors asked the paper's.
func IPO(pairs []Pair, beta float64) (Result, error) {
	if err := setting("beta", beta, 0, true); err != nil {
		return Result{}, err
	}
	return overPairs(pairs, func(c, r *counted, _ Metrics) pairLoss {
		off := c.ratio()/c.tokens - r.ratio()/r.tokens - 1/(2*beta)
		return pairLoss{
			loss: off * off, byChosen: 2 * off / c.tokens, byRejected: -2 * off / r.tokens,
			rewardChosen: beta * c.ratio(), rewardRejected: beta * r.ratio(), logPChosen: c.total, logPRejected: r.total,
		}
	})
}

// SimPO is the sum over pairs of the smoothed logistic loss, as DPO has it, of beta (mean(chosen) - mean(rejected)) - gamma,
// where mean is a completion's log-probability per token. It needs no reference model. Source: Meng et al. 2024, "SimPO: Simple
// Preference Optimization with a Reference-Free Reward", equation 6.
func SimPO(pairs []Pair, beta, gamma, smoothing float64) (Result, error) {
	if err := setting("beta", beta, 0, true); err != nil {
		return Result{}, err
	}
	if err := setting("gamma", gamma, 0, false); err != nil {
		return Result{}, err
	}
	if err := checkSmoothing(smoothing); err != nil {
		return Result{}, err
	}
	return overPairs(pairs, func(c, r *counted, _ Metrics) pairLoss {
		loss, by := smoothed(beta*(c.mean()-r.mean())-gamma, smoothing)
		return pairLoss{
			loss: loss, byChosen: beta * by / c.tokens, byRejected: -beta * by / r.tokens,
			rewardChosen: beta * c.mean(), rewardRejected: beta * r.mean(), logPChosen: c.mean(), logPRejected: r.mean(),
		}
	})
}

// ORPO is the sum over pairs of N - beta log sigmoid(log odds(chosen) - log odds(rejected)). log odds is log(p/(1-p)) of a
// completion's mean probability per token p, whose logarithm is the mean of its tokens'. N is the mean over all labels of the
// chosen sequences, the prompt's as well where they are labelled, of minus the log-probability. It needs no reference model.
// Source: Hong et al. 2024, "ORPO: Monolithic Preference Optimization without Reference Model", equations 4 to 7; N over the tokens
// of all pairs as in TRL. Metrics are nll_loss, log_odds_ratio (the logarithm of the sigmoid) and log_odds_chosen, too.
func ORPO(pairs []Pair, beta float64) (Result, error) {
	if err := setting("beta", beta, 0, true); err != nil {
		return Result{}, err
	}
	r, err := overPairs(pairs, func(c, r *counted, m Metrics) pairLoss {
		p, q := min(c.mean(), mostLogProb), min(r.mean(), mostLogProb)
		odds := (p - q) - (math.Log(-math.Expm1(p)) - math.Log(-math.Expm1(q)))
		m.add("log_odds_chosen", odds)
		m.add("log_odds_ratio", logSigmoid(odds))
		by := -beta * sigmoid(-odds)
		return pairLoss{
			loss: -beta * logSigmoid(odds), byChosen: by / -math.Expm1(p) / c.tokens, byRejected: -by / -math.Expm1(q) / r.tokens,
			rewardChosen: beta * c.mean(), rewardRejected: beta * r.mean(), logPChosen: c.mean(), logPRejected: r.mean(),
		}
	})
	if err != nil {
		return Result{}, err
	}
	labels, sum := 0.0, 0.0
	for i := range pairs {
		for j, label := range pairs[i].Chosen.Labels {
			if label >= 0 {
				labels++
				sum -= float64(pairs[i].Chosen.LogProbs[j])
			}
		}
	}
	for i := range pairs {
		for j, label := range pairs[i].Chosen.Labels {
			if label >= 0 {
				r.Weights[2*i][j] += float32(r.Norm / labels)
			}
		}
	}
	if labels > 0 {
		r.Loss += r.Norm * sum / labels
		r.Metrics["nll_loss"] = Mean{sum, labels}
	}
	return r, nil
}

// mostLogProb bounds a mean log-probability from above in ORPO, where the odds of 1 would be infinite.
const mostLogProb = -1e-7

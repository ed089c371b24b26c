package loss

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Tokens are the tokens of one sequence, each list of the same length. A position that has no label has zeros.
type Tokens struct {
	LogProbs   []float32 // lp: under the model that is trained, as runtime.TrainResult.LogProbs has them
	Weights    []float32 // w: CrossEntropy alone
	Sampled    []float32 // q: log-probabilities under the model that drew the tokens; not of CrossEntropy
	Advantages []float32 // A: how much better than expected the token was; not of CrossEntropy
}

// TokenResult is a loss of tokens and its derivative.
type TokenResult struct {
	Loss    float64
	Weights []float32 // -dLoss/dlp
	Metrics Metrics
}

// Clip are bounds of the ratio exp(lp-q) of a token's probabilities.
type Clip struct{ Low, High float64 }

// Tinker's bounds where a request names none: of PPO 0.9 and 1.1; CISPO has no lower bound.
var (
	PPOClip   = Clip{0.9, 1.1}
	CISPOClip = Clip{0, 4}
)

func (c Clip) check() error {
	if err := setting("clip_low_threshold", c.Low, 0, false); err != nil {
		return err
	}
	return setting("clip_high_threshold", c.High, c.Low, false)
}

// CrossEntropy is -sum w lp.
func CrossEntropy(t Tokens) (TokenResult, error) {
	if len(t.Weights) != len(t.LogProbs) {
		return TokenResult{}, fmt.Errorf("%w: %d log-probabilities and %d weights", ErrInput, len(t.LogProbs), len(t.Weights))
	}
	r := TokenResult{Weights: slices.Clone(t.Weights), Metrics: Metrics{}}
	for i, w := range t.Weights {
		r.Loss -= float64(w) * float64(t.LogProbs[i])
	}
	return r, nil
}

// ImportanceSampling is -sum exp(lp-q) A: the policy gradient, corrected for tokens that another model drew.
// Source: Tinker's documentation.
func ImportanceSampling(t Tokens) (TokenResult, error) {
	return overTokens(t, func(_, ratio, advantage float64, _ Metrics) (loss, weight float64) {
		return -ratio * advantage, ratio * advantage
	})
}

// PPO is -sum min(r A, clip(r) A) with r = exp(lp-q). Source: Schulman et al. 2017, "Proximal Policy Optimization
// Algorithms", equation 7, for each token. The metrics clip_ratio/low_mean, clip_ratio/high_mean and clip_ratio/region_mean are
// the shares of tokens with an advantage whose ratio is below or above the bounds and whose gradient is cut.
func PPO(t Tokens, c Clip) (TokenResult, error) {
	if err := c.check(); err != nil {
		return TokenResult{}, err
	}
	return overTokens(t, func(_, ratio, advantage float64, m Metrics) (loss, weight float64) {
		return clipped(ratio, advantage, c, m)
	})
}

// clipped is PPO's loss of a token, and minus its derivative by lp.
func clipped(ratio, advantage float64, c Clip, m Metrics) (loss, weight float64) {
	low, high := ratio < c.Low && advantage < 0, ratio > c.High && advantage > 0
	if advantage != 0 {
		m.addIf("clip_ratio/low_mean", low)
		m.addIf("clip_ratio/high_mean", high)
		m.addIf("clip_ratio/region_mean", low || high)
	}
	if low || high {
		return -min(max(ratio, c.Low), c.High) * advantage, 0
	}
	return -ratio * advantage, ratio * advantage
}

// CISPO is -sum clip(r) A lp with r = exp(lp-q), where clip(r) is taken as a constant. Source: MiniMax 2025, "MiniMax-M1",
// arXiv 2506.13585, equations 4 and 5, for each token.
func CISPO(t Tokens, c Clip) (TokenResult, error) {
	if err := c.check(); err != nil {
		return TokenResult{}, err
	}
	return overTokens(t, func(lp, ratio, advantage float64, m Metrics) (loss, weight float64) {
		if advantage != 0 {
			m.addIf("clip_ratio/low_mean", ratio < c.Low)
			m.addIf("clip_ratio/high_mean", ratio > c.High)
			m.addIf("clip_ratio/region_mean", ratio < c.Low || ratio > c.High)
		}
		weight = min(max(ratio, c.Low), c.High) * advantage
		return -weight * lp, weight
	})
}

// DRO is -sum (A lp - beta/2 (lp-q)^2). Source: Richemond et al. 2024, "Offline Regularised Reinforcement Learning for Large
// Language Models Alignment", for each token as Tinker has it.
func DRO(t Tokens, beta float64) (TokenResult, error) {
	if err := setting("beta", beta, 0, false); err != nil {
		return TokenResult{}, err
	}
	if err := t.check(); err != nil {
		return TokenResult{}, err
	}
	r := TokenResult{Weights: make([]float32, len(t.LogProbs)), Metrics: Metrics{}}
	for i, x := range t.LogProbs {
		lp, advantage := float64(x), float64(t.Advantages[i])
		off := lp - float64(t.Sampled[i])
		r.Loss -= advantage*lp - beta/2*off*off
		r.Weights[i] = float32(advantage - beta*off)
	}
	return r, nil
}

func (t *Tokens) check() error {
	if len(t.Sampled) != len(t.LogProbs) || len(t.Advantages) != len(t.LogProbs) {
		return fmt.Errorf("%w: %d log-probabilities, %d of the sampler and %d advantages", ErrInput, len(t.LogProbs), len(t.Sampled), len(t.Advantages))
	}
	return nil
}

// overTokens adds up f, which gives a token's loss and minus its derivative by lp.
func overTokens(t Tokens, f func(lp, ratio, advantage float64, m Metrics) (loss, weight float64)) (TokenResult, error) {
	if err := t.check(); err != nil {
		return TokenResult{}, err
	}
	r := TokenResult{Weights: make([]float32, len(t.LogProbs)), Metrics: Metrics{}}
	for i, x := range t.LogProbs {
		if t.Advantages[i] == 0 { // also where the ratio is infinite
			continue
		}
		lp := float64(x)
		loss, weight := f(lp, math.Exp(lp-float64(t.Sampled[i])), float64(t.Advantages[i]), r.Metrics)
		r.Loss += loss
		r.Weights[i] = float32(weight)
	}
	return r, nil
}

// tokenLosses are the losses that NewToken makes, with the names and the defaults of their settings.
var tokenLosses = map[string]struct {
	settings map[string]float64
	loss     func(t Tokens, s map[string]float64) (TokenResult, error)
}{
	"cross_entropy":       {nil, func(t Tokens, _ map[string]float64) (TokenResult, error) { return CrossEntropy(t) }},
	"importance_sampling": {nil, func(t Tokens, _ map[string]float64) (TokenResult, error) { return ImportanceSampling(t) }},
	"ppo":                 {clipSettings(PPOClip), func(t Tokens, s map[string]float64) (TokenResult, error) { return PPO(t, clipOf(s)) }},
	"cispo":               {clipSettings(CISPOClip), func(t Tokens, s map[string]float64) (TokenResult, error) { return CISPO(t, clipOf(s)) }},
	"dro":                 {map[string]float64{"beta": 0.05}, func(t Tokens, s map[string]float64) (TokenResult, error) { return DRO(t, s["beta"]) }},
}

func clipSettings(c Clip) map[string]float64 {
	return map[string]float64{"clip_low_threshold": c.Low, "clip_high_threshold": c.High}
}

func clipOf(s map[string]float64) Clip {
	return Clip{s["clip_low_threshold"], s["clip_high_threshold"]}
}

// TokenLoss is a loss of tokens with its settings.
type TokenLoss func(Tokens) (TokenResult, error)

// NewToken returns the loss of a name of Tinker's API: cross_entropy, importance_sampling, ppo, cispo or dro. Settings that
// are not named have their defaults. The error names the loss or the setting at fault.
func NewToken(name string, settings map[string]float64) (TokenLoss, error) {
	l, ok := tokenLosses[name]
	if !ok {
		return nil, fmt.Errorf("%w: there is no loss %q, but %s", ErrInput, name, strings.Join(slices.Sorted(maps.Keys(tokenLosses)), ", "))
	}
	all := maps.Clone(l.settings)
	for s, value := range settings {
		if _, ok := all[s]; !ok {
			return nil, fmt.Errorf("%w: the loss %s has no setting %q", ErrInput, name, s)
		}
		all[s] = value
	}
	f := func(t Tokens) (TokenResult, error) { return l.loss(t, all) }
	_, err := f(Tokens{}) // looks at the settings
	return f, err
}

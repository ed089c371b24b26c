package loss_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/training/loss"
)

// logProbs are n log-probabilities, multiples of 1/1024 so that steps of 1/128 are exact.
func logProbs(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = -float32(1+rng.IntN(4096)) / 1024
	}
	return x
}

// near returns log-probabilities at most 0.4 away from x.
func near(rng *rand.Rand, x []float32) []float32 {
	y := make([]float32, len(x))
	for i := range x {
		y[i] = x[i] + float32(rng.IntN(820)-410)/1024
	}
	return y
}

// close reports whether two numbers agree to 1e-5 of the larger, or of 1.
func close(a, b float64) bool { return math.Abs(a-b) <= 1e-5*max(1, math.Abs(a), math.Abs(b)) }

// checkDerivative compares minus the weights with fourth-order central differences of the loss by every number of x.
func checkDerivative(t *testing.T, name string, x []float32, weights []float32, f func() float64) {
	t.Helper()
	if len(weights) != len(x) {
		t.Fatalf("%s: %d weights of %d log-probabilities", name, len(weights), len(x))
	}
	const h = 1.0 / 128
	for i := range x {
		old := x[i]
		at := func(d float64) float64 {
			x[i] = old + float32(d)
			defer func() { x[i] = old }()
			return f()
		}
		want := -(8*(at(h)-at(-h)) - (at(2*h) - at(-2*h))) / (12 * h)
		if math.Abs(float64(weights[i])-want) > 1e-5*max(1, math.Abs(want)) {
			t.Errorf("%s: weight %d is %g, minus the difference quotient is %g", name, i, weights[i], want)
		}
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(x T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
}

// Every loss of tokens against its formula, term by term, and its weights against differences of that formula. CISPO's
// clipped ratio is a constant there.
func TestTokenLosses(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	const n = 200
	tokens := loss.Tokens{LogProbs: logProbs(rng, n), Weights: make([]float32, n), Advantages: make([]float32, n)}
	tokens.Sampled = near(rng, tokens.LogProbs)
	for i := range n {
		tokens.Weights[i], tokens.Advantages[i] = float32(rng.NormFloat64()), float32(rng.NormFloat64())
		// Differences are not taken across the corners of clip.
		for _, corner := range []float64{0.9, 1.1, 0.8, 1.3} {
			if off := math.Exp(float64(tokens.LogProbs[i]-tokens.Sampled[i])) - corner; math.Abs(off) < 0.03 {
				tokens.Sampled[i] = tokens.LogProbs[i]
			}
		}
		if i%9 == 0 {
			tokens.Weights[i], tokens.Advantages[i] = 0, 0
		}
	}
	start := append([]float32(nil), tokens.LogProbs...)
	ratio := func(lp, q float64) float64 { return math.Exp(lp) / math.Exp(q) }
	clip := func(x, low, high float64) float64 { return math.Max(low, math.Min(high, x)) }
	for name, c := range map[string]struct {
		settings map[string]float64
		term     func(i int, lp, q, a float64) float64
	}{
		"cross_entropy":       {nil, func(i int, lp, _, _ float64) float64 { return -float64(tokens.Weights[i]) * lp }},
		"importance_sampling": {nil, func(_ int, lp, q, a float64) float64 { return -ratio(lp, q) * a }},
		"ppo": {nil, func(_ int, lp, q, a float64) float64 {
			return -math.Min(ratio(lp, q)*a, clip(ratio(lp, q), 0.9, 1.1)*a)
		}},
		"ppo wide": {map[string]float64{"clip_low_threshold": 0.8, "clip_high_threshold": 1.3}, func(_ int, lp, q, a float64) float64 {
			return -math.Min(ratio(lp, q)*a, clip(ratio(lp, q), 0.8, 1.3)*a)
		}},
		"cispo": {nil, func(i int, lp, q, a float64) float64 { return -clip(ratio(float64(start[i]), q), 0, 4) * a * lp }},
		"cispo narrow": {map[string]float64{"clip_low_threshold": 0.8, "clip_high_threshold": 1.3}, func(i int, lp, q, a float64) float64 {
			return -clip(ratio(float64(start[i]), q), 0.8, 1.3) * a * lp
		}},
		"dro":        {nil, func(_ int, lp, q, a float64) float64 { return -(lp*a - 0.025*(lp-q)*(lp-q)) }},
		"dro strong": {map[string]float64{"beta": 2}, func(_ int, lp, q, a float64) float64 { return -(lp*a - (lp-q)*(lp-q)) }},
	} {
		kind, _, _ := strings.Cut(name, " ")
		f := must[loss.TokenLoss](t)(loss.NewToken(kind, c.settings))
		r := must[loss.TokenResult](t)(f(tokens))
		plain := func() float64 {
			sum := 0.0
			for i, lp := range tokens.LogProbs {
				sum += c.term(i, float64(lp), float64(tokens.Sampled[i]), float64(tokens.Advantages[i]))
			}
			return sum
		}
		if want := plain(); !close(r.Loss, want) {
			t.Errorf("%s: the loss is %g, by its formula %g", name, r.Loss, want)
		}
		checkDerivative(t, name, tokens.LogProbs, r.Weights, plain)
	}
}

// The shares of clipped tokens count those with an advantage, and no others; a ratio that is not finite does no harm where
// there is no advantage.
func TestClipMetrics(t *testing.T) {
	tokens := loss.Tokens{
		LogProbs: []float32{-1, -1, -1, -1, 0}, Sampled: []float32{-2, 0, -2, -1, float32(math.Inf(-1))}, Advantages: []float32{1, -1, -1, 1, 0},
	}
	r := must[loss.TokenResult](t)(loss.PPO(tokens, loss.PPOClip))
	for name, want := range map[string]float64{"clip_ratio/low_mean": 0.25, "clip_ratio/high_mean": 0.25, "clip_ratio/region_mean": 0.5} {
		if got := r.Metrics.Values()[name]; got != want {
			t.Errorf("PPO: %s is %v, want %v", name, got, want)
		}
	}
	c := must[loss.TokenResult](t)(loss.CISPO(tokens, loss.Clip{Low: 0.9, High: 1.1}))
	if got := c.Metrics.Values()["clip_ratio/region_mean"]; got != 0.75 {
		t.Errorf("CISPO clips %v of the tokens, want 0.75", got)
	}
	if math.IsNaN(r.Loss) || math.IsNaN(c.Loss) || r.Weights[4] != 0 {
		t.Errorf("a token without an advantage counts: %v, %v, %v", r.Loss, c.Loss, r.Weights)
	}
}

// What cannot be computed is refused, with the name of what is wrong.
func TestRefusals(t *testing.T) {
	token := func(name string, settings map[string]float64, tokens loss.Tokens) error {
		f, err := loss.NewToken(name, settings)
		if err == nil {
			_, err = f(tokens)
		}
		return err
	}
	nan := math.NaN()
	for want, err := range map[string]error{
		"no loss \"sft\"":                  token("sft", nil, loss.Tokens{}),
		"no setting \"beta\"":              token("ppo", map[string]float64{"beta": 1}, loss.Tokens{}),
		"clip_low_threshold is NaN":        token("ppo", map[string]float64{"clip_low_threshold": nan}, loss.Tokens{}),
		"clip_high_threshold is 0.5":       token("ppo", map[string]float64{"clip_high_threshold": 0.5}, loss.Tokens{}),
		"beta is -1":                       token("dro", map[string]float64{"beta": -1}, loss.Tokens{}),
		"1 log-probabilities and 0 weight": token("cross_entropy", nil, loss.Tokens{LogProbs: make([]float32, 1)}),
		"2 log-probabilities, 1 of the":    token("cispo", nil, loss.Tokens{LogProbs: make([]float32, 2), Sampled: make([]float32, 1), Advantages: make([]float32, 2)}),
		"and 0 advantages":                 token("dro", nil, loss.Tokens{LogProbs: make([]float32, 2), Sampled: make([]float32, 2)}),

		"beta is 0":                          errorOf(loss.DPO(nil, 0, 0)),
		"label_smoothing is 0.5":             errorOf(loss.DPO(nil, 1, 0.5)),
		"beta is +Inf":                       errorOf(loss.IPO(nil, math.Inf(1))),
		"gamma is -1":                        errorOf(loss.SimPO(nil, 1, -1, 0)),
		"pair 1, chosen":                     errorOf(loss.DPO([]loss.Pair{{}}, 1, 0)),
		"completion begins at -1":            errorOf(loss.ORPO([]loss.Pair{{Chosen: loss.Sequence{Completion: -1}}}, 1)),
		"1 log-probabilities and 2 labels":   errorOf(loss.KTO([]loss.Example{{Sequence: loss.Sequence{LogProbs: make([]float32, 1), Labels: make([]int32, 2)}}}, loss.KTOOptions{Beta: 1})),
		"undesirable_weight is -2":           errorOf(loss.KTO(nil, loss.KTOOptions{Beta: 1, UndesirableWeight: -2})),
		"the divergence is NaN":              errorOf(loss.KTO(nil, loss.KTOOptions{Beta: 1, Divergence: nan})),
		"2 completions under the model and ": errorOf(loss.KTODivergence(make([]float64, 2), make([]float64, 1))),
		"epsilon is 2":                       errorOf(loss.GRPO(nil, loss.GRPOOptions{EpsilonLow: 2})),
		"loss_type is \"\"":                  errorOf(loss.GRPO(nil, loss.GRPOOptions{})),
		"max_completion_length":              errorOf(loss.GRPO(nil, loss.GRPOOptions{Scaling: loss.ScaleDrGRPO})),
		"completion 1: the loss cannot be computed: 1 log-probabilities, 1 labels": errorOf(loss.GRPO([]loss.Completion{{LogProbs: make([]float32, 1), Labels: make([]int32, 1)}}, loss.GRPOOptions{Beta: 1, Scaling: loss.ScaleGRPO})),
		"the advantage is NaN": errorOf(loss.GRPO([]loss.Completion{{Advantage: nan}}, loss.GRPOOptions{Scaling: loss.ScaleGRPO})),
	} {
		if !errors.Is(err, loss.ErrInput) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func errorOf[T any](_ T, err error) error { return err }

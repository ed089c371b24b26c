package loss_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lorikeet-ai/lorikeet/training/loss"
)

// sequence is one of n positions with a prompt, some of which has labels, and a completion with a gap.
func sequence(rng *rand.Rand, n int) loss.Sequence {
	s := loss.Sequence{LogProbs: logProbs(rng, n), Labels: make([]int32, n), Completion: n / 3}
	for i := range n {
		if i%4 == 1 || i == n-1 {
			s.Labels[i], s.LogProbs[i] = -1, 0
		}
	}
	s.Reference = loss.Total(near(rng, s.LogProbs), s.Labels, s.Completion)
	return s
}

func pairs(rng *rand.Rand) []loss.Pair {
	var list []loss.Pair
	for i := range 5 {
		list = append(list, loss.Pair{Chosen: sequence(rng, 12+i), Rejected: sequence(rng, 20-3*i)})
	}
	return list
}

// The sums of a completion, by the definition.
func totalOf(s *loss.Sequence) (total, tokens float64) {
	for i, label := range s.Labels {
		if label >= 0 && i >= s.Completion {
			total, tokens = total+float64(s.LogProbs[i]), tokens+1
		}
	}
	return total, tokens
}

func logistic(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// The losses of pairs by their formulas, each term as its paper has it.
var pairFormulas = map[string]struct {
	loss  func([]loss.Pair) (loss.Result, error)
	plain func(list []loss.Pair) float64
}{
	"DPO": {
		func(p []loss.Pair) (loss.Result, error) { return loss.DPO(p, 0.3, 0) },
		eachPair(func(c, _, r, _, refC, refR float64) float64 { return -math.Log(logistic(0.3*(c-refC) - 0.3*(r-refR))) }),
	},
	"DPO with smoothing": {
		func(p []loss.Pair) (loss.Result, error) { return loss.DPO(p, 0.3, 0.1) },
		eachPair(func(c, _, r, _, refC, refR float64) float64 {
			z := 0.3 * ((c - r) - (refC - refR))
			return -0.9*math.Log(logistic(z)) - 0.1*math.Log(logistic(-z))
		}),
	},
	"IPO": {
		func(p []loss.Pair) (loss.Result, error) { return loss.IPO(p, 0.4) },
		eachPair(func(c, nc, r, nr, refC, refR float64) float64 {
			off := (c-refC)/nc - (r-refR)/nr - 1/(2*0.4)
			return off * off
		}),
	},
	"SimPO": {
		func(p []loss.Pair) (loss.Result, error) { return loss.SimPO(p, 2, 0.5, 0) },
		eachPair(func(c, nc, r, nr, _, _ float64) float64 { return -math.Log(logistic(2/nc*c - 2/nr*r - 0.5)) }),
	},
	"ORPO": {
		func(p []loss.Pair) (loss.Result, error) { return loss.ORPO(p, 0.5) },
		func(list []loss.Pair) float64 {
			odds := func(p float64) float64 { return p / (1 - p) }
			sum := eachPair(func(c, nc, r, nr, _, _ float64) float64 {
				return -0.5 * math.Log(logistic(math.Log(odds(math.Exp(c/nc))/odds(math.Exp(r/nr)))))
			})(list)
			nll, labels := 0.0, 0.0
			for _, p := range list {
				for i, label := range p.Chosen.Labels {
					if label >= 0 {
						nll, labels = nll-float64(p.Chosen.LogProbs[i]), labels+1
					}
				}
			}
			return sum + float64(len(list))*nll/labels
		},
	},
}

// eachPair sums f over the pairs; it gets the total and the number of tokens of both, and the references.
func eachPair(f func(c, nc, r, nr, refC, refR float64) float64) func([]loss.Pair) float64 {
	return func(list []loss.Pair) float64 {
		sum := 0.0
		for i := range list {
			c, nc := totalOf(&list[i].Chosen)
			r, nr := totalOf(&list[i].Rejected)
			sum += f(c, nc, r, nr, list[i].Chosen.Reference, list[i].Rejected.Reference)
		}
		return sum
	}
}

// Every loss of pairs against its formula, and its weights against differences of that formula.
func TestPairLosses(t *testing.T) {
	for name, c := range pairFormulas {
		list := pairs(rand.New(rand.NewPCG(2, 1)))
		r := must[loss.Result](t)(c.loss(list))
		if want := c.plain(list); !close(r.Loss, want) || r.Norm != 5 {
			t.Errorf("%s: the loss is %g by %g, by its formula %g", name, r.Loss, r.Norm, want)
		}
		for i := range list {
			for j, s := range []*loss.Sequence{&list[i].Chosen, &list[i].Rejected} {
				checkDerivative(t, fmt.Sprintf("%s, pair %d, sequence %d", name, i, j), s.LogProbs, r.Weights[2*i+j], func() float64 { return c.plain(list) })
			}
		}
	}
}

// Metrics are averages over the pairs, over several calls as over one.
func TestPairMetrics(t *testing.T) {
	list := pairs(rand.New(rand.NewPCG(2, 1)))
	sum := loss.Metrics{}
	for _, part := range [][]loss.Pair{list[:2], list[2:]} {
		sum.Add(must[loss.Result](t)(loss.DPO(part, 0.3, 0)).Metrics)
	}
	want := map[string]float64{}
	for i := range list {
		c, _ := totalOf(&list[i].Chosen)
		r, _ := totalOf(&list[i].Rejected)
		rewardC, rewardR := 0.3*(c-list[i].Chosen.Reference), 0.3*(r-list[i].Rejected.Reference)
		accurate := 0.0
		if rewardC > rewardR {
			accurate = 1
		}
		for name, x := range map[string]float64{
			"rewards/chosen": rewardC, "rewards/rejected": rewardR, "rewards/margins": rewardC - rewardR, "rewards/accuracies": accurate, "logps/chosen": c, "logps/rejected": r,
		} {
			want[name] += x / 5
		}
	}
	got := sum.Values()
	for name, x := range want {
		if !close(got[name], x) {
			t.Errorf("%s is %g, want %g", name, got[name], x)
		}
	}
	if len(got) != len(want) {
		t.Errorf("metrics %v, want %v", got, want)
	}
}

// Numbers stay finite at the ends: completions of probability 0 and 1.
func TestLossesAreFinite(t *testing.T) {
	sure := loss.Sequence{LogProbs: []float32{0, 0}, Labels: []int32{1, 1}}
	never := loss.Sequence{LogProbs: []float32{-3000, -3000}, Labels: []int32{1, 1}, Reference: -1}
	for name, c := range pairFormulas {
		for _, list := range [][]loss.Pair{{{Chosen: sure, Rejected: never}}, {{Chosen: never, Rejected: sure}}} {
			r := must[loss.Result](t)(c.loss(list))
			numbers := []float64{r.Loss}
			for _, w := range r.Weights {
				for _, x := range w {
					numbers = append(numbers, float64(x))
				}
			}
			for _, x := range numbers {
				if math.IsNaN(x) || math.IsInf(x, 0) {
					t.Fatalf("%s: %+v", name, r)
				}
			}
		}
	}
}

// KTO against its formula and its differences, with a divergence that is not zero, and the estimate of that.
func TestKTO(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	var list []loss.Example
	for i := range 6 {
		list = append(list, loss.Example{Sequence: sequence(rng, 9+i), Desirable: i%3 != 1})
	}
	o := loss.KTOOptions{Beta: 0.2, DesirableWeight: 1.5, UndesirableWeight: 0.7, Divergence: 0.6}
	plain := func() float64 {
		sum := 0.0
		for i := range list {
			total, _ := totalOf(&list[i].Sequence)
			r := total - list[i].Reference
			if list[i].Desirable {
				sum += 1.5 * (1 - logistic(0.2*(r-0.6)))
			} else {
				sum += 0.7 * (1 - logistic(0.2*(0.6-r)))
			}
		}
		return sum
	}
	r := must[loss.Result](t)(loss.KTO(list, o))
	if want := plain(); !close(r.Loss, want) || r.Norm != 6 || r.Metrics.Values()["kl"] != 0.6 {
		t.Errorf("the loss is %g by %g, by its formula %g; metrics %v", r.Loss, r.Norm, want, r.Metrics)
	}
	for i := range list {
		checkDerivative(t, fmt.Sprint("example ", i), list[i].LogProbs, r.Weights[i], plain)
	}
	if d := must[float64](t)(loss.KTODivergence([]float64{-1, -2}, []float64{-2, -2.5})); d != 0.75 {
		t.Errorf("the divergence is %g, want 0.75", d)
	}
	if d := must[float64](t)(loss.KTODivergence([]float64{-3}, []float64{-2})); d != 0 {
		t.Errorf("the divergence is %g, want 0", d)
	}
}

// GRPO in its three scalings against its formula and its differences, with and without a reference and a sampler.
func TestGRPO(t *testing.T) {
	for _, scaling := range []loss.Scaling{loss.ScaleGRPO, loss.ScaleDrGRPO, loss.ScaleDAPO} {
		for _, beta := range []float64{0, 0.3} {
			rng := rand.New(rand.NewPCG(4, 1))
			var list []loss.Completion
			advantages := loss.Advantages([]float64{1, 0, 0, 3}, scaling == loss.ScaleGRPO)
			labels, total := make([]float64, 4), 0.0
			for i := range 4 {
				s := sequence(rng, 10+4*i)
				c := loss.Completion{LogProbs: s.LogProbs, Labels: s.Labels, Sampled: near(rng, s.LogProbs), Reference: near(rng, s.LogProbs), Advantage: advantages[i]}
				for j, label := range c.Labels {
					if label >= 0 {
						labels[i]++
					}
					for _, corner := range []float64{0.8, 1.3} { // differences are not taken across the corners
						if off := math.Exp(float64(c.LogProbs[j]-c.Sampled[j])) - corner; math.Abs(off) < 0.03 {
							c.Sampled[j] = c.LogProbs[j]
						}
					}
				}
				total += labels[i]
				list = append(list, c)
			}
			plain := func() float64 {
				sum := 0.0
				for i, c := range list {
					by := map[loss.Scaling]float64{loss.ScaleGRPO: labels[i], loss.ScaleDrGRPO: 32, loss.ScaleDAPO: total / 4}[scaling]
					for j, label := range c.Labels {
						if label < 0 {
							continue
						}
						ratio := math.Exp(float64(c.LogProbs[j] - c.Sampled[j]))
						off := float64(c.Reference[j] - c.LogProbs[j])
						sum += (-math.Min(ratio*c.Advantage, math.Max(0.8, math.Min(1.3, ratio))*c.Advantage) + beta*(math.Exp(off)-off-1)) / by
					}
				}
				return sum
			}
			name := fmt.Sprintf("%s, beta %g", scaling, beta)
			r := must[loss.Result](t)(loss.GRPO(list, loss.GRPOOptions{EpsilonLow: 0.2, EpsilonHigh: 0.3, Beta: beta, Scaling: scaling, MaxCompletion: 32}))
			if want := plain(); !close(r.Loss, want) || r.Norm != 4 {
				t.Errorf("%s: the loss is %g by %g, by its formula %g", name, r.Loss, r.Norm, want)
			}
			if kl := r.Metrics.Values()["kl"]; !(kl > 0) {
				t.Errorf("%s: the divergence is %g", name, kl)
			}
			for i := range list {
				checkDerivative(t, fmt.Sprintf("%s, completion %d", name, i), list[i].LogProbs, r.Weights[i], plain)
			}
		}
	}
}

// Without a sampler the ratio is 1, and the weights are the advantages.
func TestGRPOWithoutASampler(t *testing.T) {
	list := []loss.Completion{{LogProbs: []float32{-1, -2, 0}, Labels: []int32{1, 1, -1}, Advantage: 0.5}}
	r := must[loss.Result](t)(loss.GRPO(list, loss.GRPOOptions{EpsilonLow: 0.2, EpsilonHigh: 0.2, Scaling: loss.ScaleGRPO}))
	if r.Loss != -0.5 || fmt.Sprint(r.Weights) != "[[0.25 0.25 0]]" {
		t.Errorf("%+v", r)
	}
}

// Advantages have the mean 0, and with scaling the deviation 1.
func TestAdvantages(t *testing.T) {
	for _, c := range []struct {
		rewards []float64
		scale   bool
		want    []float64
	}{
		{[]float64{1, 3}, false, []float64{-1, 1}}, {[]float64{1, 3}, true, []float64{-1 / (math.Sqrt2 + 1e-4), 1 / (math.Sqrt2 + 1e-4)}},
		{[]float64{2, 2, 2}, true, []float64{0, 0, 0}}, {[]float64{5}, true, []float64{0}}, {nil, true, nil},
	} {
		got := loss.Advantages(c.rewards, c.scale)
		for i, want := range c.want {
			if !close(got[i], want) {
				t.Errorf("rewards %v, scaled %v: %v, want %v", c.rewards, c.scale, got, c.want)
			}
		}
	}
}

package training

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

func planConfig(change func(*Config)) *Config {
	c := Defaults()
	c.MaxLength, c.Batch, c.Accumulation, c.Epochs = 100, 4, 2, 3
	if change != nil {
		change(&c)
	}
	return &c
}

func randomLengths(n, most int) []int {
	rng := rand.New(rand.NewPCG(7, uint64(n)))
	out := make([]int, n)
	for i := range out {
		out[i] = 1 + rng.IntN(most)
	}
	return out
}

// TestPlanCoversEveryEpoch wants each example once in every epoch, in an order of its own, within the bounds.
func TestPlanCoversEveryEpoch(t *testing.T) {
	for _, packing := range []bool{false, true} {
		for _, n := range []int{1, 7, 8, 9, 101} {
			lengths := randomLengths(n, 60)
			p := newPlan(lengths, planConfig(func(c *Config) { c.Packing = packing }), 150)
			if p.steps != 3*p.perEpoch {
				t.Fatalf("%d steps, %d in an epoch", p.steps, p.perEpoch)
			}
			most := p.largest()
			var orders []string
			for e := range 3 {
				var seen []int
				for s := range p.perEpoch {
					for _, part := range p.step(e*p.perEpoch + s) {
						tokens := 0
						for _, i := range part {
							tokens += lengths[i]
						}
						if len(part) == 0 || tokens > most || tokens > 150 {
							t.Fatalf("a micro-batch %v of %d tokens, at most %d", part, tokens, most)
						}
						seen = append(seen, part...)
					}
				}
				orders = append(orders, fmt.Sprint(seen))
				slices.Sort(seen)
				if len(seen) != n || len(slices.Compact(seen)) != n {
					t.Fatalf("packing %v: epoch %d of %d examples has %v", packing, e, n, seen)
				}
			}
			if n > 20 && (orders[0] == orders[1] || orders[1] == orders[2]) {
				t.Error("two epochs have the same order")
			}
		}
	}
}

// TestPlanIsAFunctionOfTheStep asks for steps in another order, as a run that goes on does.
func TestPlanIsAFunctionOfTheStep(t *testing.T) {
	lengths := randomLengths(50, 60)
	a, b := newPlan(lengths, planConfig(nil), 150), newPlan(lengths, planConfig(nil), 150)
	var steps []string
	for s := range a.steps {
		steps = append(steps, fmt.Sprint(a.step(s)))
	}
	for s := a.steps - 1; s >= 0; s-- {
		if got := fmt.Sprint(b.step(s)); got != steps[s] {
			t.Fatalf("step %d is %s, was %s", s, got, steps[s])
		}
	}
	other := newPlan(lengths, planConfig(func(c *Config) { c.Seed++ }), 150)
	if fmt.Sprint(other.step(0)) == steps[0] {
		t.Error("another seed gives the same order")
	}
}

func TestPlanCountsSteps(t *testing.T) {
	lengths := slices.Repeat([]int{10}, 20) // 8 in a step: 3 steps in an epoch
	for _, tc := range []struct {
		change func(*Config)
		want   int
	}{
		{nil, 9},
		{func(c *Config) { c.Epochs = 0.5 }, 2},
		{func(c *Config) { c.Epochs = 0.01 }, 1},
		{func(c *Config) { c.MaxSteps = 4 }, 4},
		{func(c *Config) { c.MaxSteps = -1 }, 9},
		{func(c *Config) { c.Packing = true }, 3}, // two units of ten examples
		{func(c *Config) { c.Epochs, c.Batch, c.Accumulation = 100_000, 1, 1 }, 2_000_000},
	} {
		if p := newPlan(lengths, planConfig(tc.change), 150); p.steps != tc.want {
			t.Errorf("%d steps, want %d", p.steps, tc.want)
		}
	}
}

// TestShuffledStays holds the order against numbers that other versions have given: a run that goes on after an
// update must be the same run.
func TestShuffledStays(t *testing.T) {
	if got, want := shuffled(10, 42, 0), []int{6, 2, 5, 3, 4, 7, 0, 1, 9, 8}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	// Every place is as likely as any other.
	const n, rounds = 5, 20_000
	var count [n][n]int
	for s := range uint64(rounds) {
		for at, i := range shuffled(n, s, 1) {
			count[i][at]++
		}
	}
	for i := range n {
		for at := range n {
			if c := count[i][at]; math.Abs(float64(c)-rounds/n) > 5*math.Sqrt(rounds/n) {
				t.Errorf("%d was %d times at %d of %d", i, c, at, rounds)
			}
		}
	}
}

func TestBatch(t *testing.T) {
	all := []Example{
		{[]runtime.Token{1, 2, 3}, []runtime.Token{-1, 3, 4}},
		{[]runtime.Token{5}, []runtime.Token{6}},
	}
	b := batch(all, []int{1, 0}, 3)
	if fmt.Sprint(b.Tokens, b.Labels, b.Ends, b.Norm) != "[5 1 2 3] [6 -1 3 4] [1 4] 3" || labelled(all, []int{1, 0}) != 3 {
		t.Errorf("%+v", b)
	}
}

func TestRate(t *testing.T) {
	at := func(scheduler string, warmup int, steps ...int) string {
		c := Defaults()
		c.LearningRate, c.Scheduler, c.WarmupSteps, c.WarmupRatio = 1, scheduler, warmup, 0
		s := ""
		for _, n := range steps {
			s += fmt.Sprintf("%.3f ", c.rate(n, 10))
		}
		return s
	}
	for got, want := range map[string]string{
		at(Constant, 0, 0, 5, 9):     "1.000 1.000 1.000 ",
		at(Linear, 0, 0, 5, 9):       "1.000 0.500 0.100 ",
		at(Linear, 4, 0, 3, 4, 7, 9): "0.200 0.800 1.000 0.500 0.167 ",
		at(Cosine, 0, 0, 5, 9):       "1.000 0.500 0.024 ",
		at(Cosine, 2, 0, 1, 2, 6):    "0.333 0.667 1.000 0.500 ",
		at(Constant, 99, 0, 9):       "0.091 0.909 ",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	c := Defaults()
	c.LearningRate, c.WarmupRatio = 1e-3, 0.25
	if c.warmup(10) != 3 || c.warmup(1) != 1 {
		t.Errorf("warmup of %d and %d steps", c.warmup(10), c.warmup(1))
	}
	c.WarmupSteps = 7
	if c.warmup(10) != 7 || c.warmup(3) != 3 {
		t.Error("warmup_steps does not come before warmup_ratio")
	}
	for n := range 10 {
		if r := c.rate(n, 10); !(r > 0 && r <= c.LearningRate) {
			t.Errorf("the rate of step %d is %v", n, r)
		}
	}
}

func TestUpdate(t *testing.T) {
	c := Defaults()
	c.LearningRate, c.Scheduler, c.WarmupRatio, c.WeightDecay = 0.5, Constant, 0, 0.1
	u := c.update(0, 10)
	want := runtime.TrainUpdate{Rate: 0.5, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, WeightDecay: 0.1, Clip: 1}
	if u != want {
		t.Errorf("got %+v, want %+v", u, want)
	}
	c.LoRAPlus = 16
	if u := c.update(0, 10); u.RateB != 8 {
		t.Errorf("the rate of B is %v", u.RateB)
	}
}

func TestGuard(t *testing.T) {
	run := func(loss func(step int) float64) (at int, sound bool) {
		var g guard
		for n := 1; n <= 200; n++ {
			if err := g.see(n, loss(n)); err != nil {
				return n, g.sound()
			}
		}
		return 0, g.sound()
	}
	noise := func(n int) float64 { return math.Sin(float64(n * n)) }
	for name, tc := range map[string]struct {
		loss func(int) float64
		want bool // it diverges
	}{
		"falls":            {func(n int) float64 { return 4 * math.Exp(-float64(n)/50) }, false},
		"stays, noisy":     {func(n int) float64 { return 3 + noise(n) }, false},
		"memorised, noisy": {func(n int) float64 { return 0.1 + 3*math.Exp(-float64(n)/20) + math.Abs(noise(n)) }, false},
		"one bad batch":    {func(n int) float64 { return map[bool]float64{true: 12, false: 1}[n == 100] }, false},
		"explodes":         {func(n int) float64 { return 2 * math.Exp(float64(n)/40) }, true},
		"jumps":            {func(n int) float64 { return map[bool]float64{true: 11, false: 3}[n > 50] }, true},
		"is not a number":  {func(n int) float64 { return map[bool]float64{true: math.NaN(), false: 3}[n > 50] }, true},
		"is infinite":      {func(n int) float64 { return map[bool]float64{true: math.Inf(1), false: 3}[n > 50] }, true},
	} {
		at, sound := run(tc.loss)
		if (at > 0) != tc.want {
			t.Errorf("%s: diverged at %d", name, at)
		}
		if at == 0 && !sound {
			t.Errorf("%s: it ends without being sound", name)
		}
	}
	g := guard{First: 3, Mean: 4.5, Lowest: 1, Seen: 9}
	if g.sound() {
		t.Error("a loss that has risen from 1 to 4.5 is called sound")
	}
}

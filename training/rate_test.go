package training

import (
	"fmt"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

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

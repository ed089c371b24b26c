package training

import (
	"math"
	"testing"
)

func TestGuard(t *testing.T) {
	run := func(loss func(step int) float64) (at int, stable bool) {
		var g guard
		for n := 1; n <= 200; n++ {
			if err := g.see(n, loss(n)); err != nil {
				return n, g.stable()
			}
		}
		return 0, g.stable()
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
		at, stable := run(tc.loss)
		if (at > 0) != tc.want {
			t.Errorf("%s: diverged at %d", name, at)
		}
		if at == 0 && !stable {
			t.Errorf("%s: it ends without being stable", name)
		}
	}
	g := guard{First: 3, Mean: 4.5, Lowest: 1, Seen: 9}
	if g.stable() {
		t.Error("a loss that has risen from 1 to 4.5 is called stable")
	}
}

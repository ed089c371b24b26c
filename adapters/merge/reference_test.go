package merge

import (
	"math"
	"sort"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// refTerm is what the references know of one adapter's module.
type refTerm struct {
	a, b   []float32
	factor float64 // weight times scale
}

// termsOf finds a module in the adapters that have it.
func termsOf(list []*runtime.LoRA, weights []float32, tensor string) (terms []refTerm, index []int) {
	for i, a := range list {
		for _, m := range a.Modules {
			if m.Tensor == tensor {
				terms = append(terms, refTerm{m.A, m.B, float64(weights[i]) * float64(m.Scale)})
				index = append(index, i)
			}
		}
	}
	return terms, index
}

// plainSum is sum_i c_i X_i.
func plainSum(x [][]float64, c []float64) []float64 {
	out := make([]float64, len(x[0]))
	for i := range x {
		for k := range out {
			out[k] += c[i] * x[i][k]
		}
	}
	return out
}

// plainPrune keeps the int(density*n) largest magnitudes.
func plainPrune(x []float64, density float64) []float64 {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(i, j int) bool { return math.Abs(x[order[i]]) > math.Abs(x[order[j]]) })
	out := make([]float64, len(x))
	for _, i := range order[:int(density*float64(len(x)))] {
		out[i] = x[i]
	}
	return out
}

// plainTIES elects signs and means what agrees, of values that are pruned already.
func plainTIES(x [][]float64, c []float64, frequency bool) []float64 {
	out := make([]float64, len(x[0]))
	for k := range out {
		vote := 0.0
		for i := range x {
			switch {
			case !frequency:
				vote += x[i][k]
			case x[i][k] > 0:
				vote++
			case x[i][k] < 0:
				vote--
			}
		}
		n := 0.0
		for i := range x {
			if x[i][k] != 0 && (x[i][k] > 0) == (vote >= 0) {
				out[k] += c[i] * x[i][k]
				n++
			}
		}
		out[k] /= math.Max(n, 1)
	}
	return out
}

func wide(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

func near(t testing.TB, what string, got []float32, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range got {
		if d := math.Abs(float64(got[i]) - want[i]); !(d <= tolerance*(1+math.Abs(want[i]))) {
			t.Fatalf("%s: value %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

// delta is sum_i w_i s_i B_i A_i, dense.
func delta(terms []refTerm, in, out int) *mat.Dense {
	d := mat.NewDense(out, in, nil)
	for _, x := range terms {
		rank := len(x.a) / in
		a, b := mat.NewDense(rank, in, wide(x.a)), mat.NewDense(out, rank, wide(x.b))
		var p mat.Dense
		p.Mul(b, a)
		p.Scale(x.factor, &p)
		d.Add(d, &p)
	}
	return d
}

package merge

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// open reads an adapter that fits the base.
func open(t testing.TB, p *pefttest.Files, f *runtime.Facts) *peft.Adapter {
	t.Helper()
	c, w := p.Encode(t)
	src, err := peft.Read(io.NewSectionReader(bytes.NewReader(c), 0, int64(len(c))), io.NewSectionReader(bytes.NewReader(w), 0, int64(len(w))))
	if err != nil {
		t.Fatal(err)
	}
	a, err := src.Fit(f)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// loraOf reads the values.
func loraOf(t testing.TB, a *peft.Adapter) *runtime.LoRA {
	t.Helper()
	l, err := a.LoRA()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// merged merges adapters and returns the result.
func merged(t testing.TB, list []*peft.Adapter, weights []float32, o Options) *runtime.LoRA {
	t.Helper()
	if err := o.Check(weights); err != nil {
		t.Fatal(err)
	}
	src, err := Adapters(t.Context(), inputs(list, weights), o)
	if err != nil {
		t.Fatal(err)
	}
	a, err := src.Fit(pefttest.Facts())
	if err != nil {
		t.Fatal(err)
	}
	return loraOf(t, a)
}

// inputs names the adapters a, b, c.
func inputs(list []*peft.Adapter, weights []float32) []Input {
	out := make([]Input, len(list))
	for i, a := range list {
		out[i] = Input{string(rune('a' + i)), weights[i], a}
	}
	return out
}

// threeAdapters are of one rank, with different scales: a of all linears, b without the second layer's q, c rsLoRA.
func threeAdapters(t testing.TB) (open []*peft.Adapter, values []*runtime.LoRA) {
	for i := range 3 {
		p := pefttest.New(uint64(i + 1))
		p.Config["lora_alpha"] = []float64{8, 3, 5}[i]
		p.Config["use_rslora"] = i == 2
		if i == 1 {
			for name := range p.Tensors {
				if strings.Contains(name, "layers.1.self_attn.q_proj") {
					delete(p.Tensors, name)
				}
			}
		}
		open, values = opened(t, p, open, values)
	}
	return open, values
}

// opened adds an adapter and its values to lists.
func opened(t testing.TB, p *pefttest.Files, list []*peft.Adapter, values []*runtime.LoRA) ([]*peft.Adapter, []*runtime.LoRA) {
	a := open(t, p, pefttest.Facts())
	return append(list, a), append(values, loraOf(t, a))
}

// The methods that work value by value, against the formulas in plain code.
func TestMergeArithmetic(t *testing.T) {
	adapters, list := threeAdapters(t)
	weights := []float32{0.7, -0.4, 1.2}
	for name, c := range map[string]struct {
		options Options
		plain   func(x [][]float64, c []float64) []float64
	}{
		"linear": {Options{Method: Linear}, plainSum},
		"magnitude_prune": {Options{Method: MagnitudePrune, Density: 0.3}, func(x [][]float64, c []float64) []float64 {
			for i := range x {
				x[i] = plainPrune(x[i], 0.3)
			}
			return plainSum(x, c)
		}},
		"ties": {Options{Method: TIES, Density: 0.5}, func(x [][]float64, c []float64) []float64 {
			for i := range x {
				x[i] = plainPrune(x[i], 0.5)
			}
			return plainTIES(x, c, false)
		}},
		"ties by frequency": {Options{Method: TIES, Density: 0.8, MajoritySign: "frequency"}, func(x [][]float64, c []float64) []float64 {
			for i := range x {
				x[i] = plainPrune(x[i], 0.8)
			}
			return plainTIES(x, c, true)
		}},
		"ties of all":      {Options{Method: TIES, Density: 1}, func(x [][]float64, c []float64) []float64 { return plainTIES(x, c, false) }},
		"dare of all":      {Options{Method: DARELinear, Density: 1}, plainSum},
		"dare_ties of all": {Options{Method: DARETIES, Density: 1}, func(x [][]float64, c []float64) []float64 { return plainTIES(x, c, false) }},
	} {
		out := merged(t, adapters, weights, c.options)
		if len(out.Modules) != 14 {
			t.Fatalf("%s: %d modules, want the union's 14", name, len(out.Modules))
		}
		for _, m := range out.Modules {
			terms, _ := termsOf(list, weights, m.Tensor)
			var a, b [][]float64
			var ca, cb []float64
			for _, x := range terms {
				a, b = append(a, wide(x.a)), append(b, wide(x.b))
				cb = append(cb, math.Sqrt(math.Abs(x.factor)))
				ca = append(ca, math.Copysign(math.Sqrt(math.Abs(x.factor)), x.factor))
			}
			if m.Scale != 1 || m.Rank != 4 {
				t.Errorf("%s: %s has rank %d and scale %v", name, m.Tensor, m.Rank, m.Scale)
			}
			near(t, name+": A of "+m.Tensor, m.A, c.plain(a, ca), 1e-6)
			near(t, name+": B of "+m.Tensor, m.B, c.plain(b, cb), 1e-6)
		}
	}
}

// What DARE drops is seen by giving the other adapters no weight; the sums are then of those values.
func TestMergeDARE(t *testing.T) {
	adapters, list := threeAdapters(t)
	const density = 0.4
	weights := []float32{0.7, -0.4, 1.2}
	var alone []*runtime.LoRA
	for i := range weights {
		only := make([]float32, len(weights))
		only[i] = 1 / list[i].Modules[0].Scale
		alone = append(alone, merged(t, adapters, only, Options{Method: DARELinear, Density: density, Seed: 5}))
	}
	kept, all := 0, 0
	for i, a := range alone {
		for _, m := range list[i].Modules {
			for k, x := range pefttest.Module(t, a, m.Tensor).A {
				if all++; x != 0 {
					kept++
					if want := float64(m.A[k]) / density; math.Abs(float64(x)-want) > 1e-5*math.Abs(want) {
						t.Fatalf("%s: value %d is %v, want 0 or %v", m.Tensor, k, x, want)
					}
				}
			}
		}
	}
	if part := float64(kept) / float64(all); math.Abs(part-density) > 0.03 {
		t.Errorf("%v of the values are kept, want %v", part, density)
	}
	linear := merged(t, adapters, weights, Options{Method: DARELinear, Density: density, Seed: 5})
	ties := merged(t, adapters, weights, Options{Method: DARETIES, Density: density, Seed: 5})
	for _, m := range linear.Modules {
		terms, index := termsOf(list, weights, m.Tensor)
		var b [][]float64
		var c []float64
		for n, x := range terms {
			b = append(b, wide(pefttest.Module(t, alone[index[n]], m.Tensor).B))
			c = append(c, math.Sqrt(math.Abs(x.factor)))
		}
		near(t, "dare_linear of "+m.Tensor, m.B, plainSum(b, c), 1e-5)
		near(t, "dare_ties of "+m.Tensor, pefttest.Module(t, ties, m.Tensor).B, plainTIES(b, c, false), 1e-5)
	}
	same := merged(t, adapters, weights, Options{Method: DARETIES, Density: density, Seed: 5})
	if !reflect.DeepEqual(same, ties) {
		t.Error("the same seed gives other values")
	}
	if other := merged(t, adapters, weights, Options{Method: DARETIES, Density: density, Seed: 6}); reflect.DeepEqual(other, ties) {
		t.Error("another seed gives the same values")
	}
}

// mixedRanks are a of rank 4, b of rank 2 and c of rank 7, on different modules.
func mixedRanks(t testing.TB) (list []*peft.Adapter, values []*runtime.LoRA) {
	for i, rank := range []int{4, 2, 7} {
		p := pefttest.New(uint64(i + 1))
		clear(p.Tensors)
		rng := rand.New(rand.NewPCG(uint64(i), 9))
		for n, short := range []string{"self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj"} {
			if n >= i { // b has no q, c no q and no k
				path := "model.layers.1." + short
				p.Add(rng, path, rank, []runtime.Shape{{In: 16, Out: 16}, {In: 16, Out: 8}, {In: 24, Out: 16}}[n])
			}
		}
		p.Config["r"], p.Config["lora_alpha"] = rank, 2*rank // scale 2
		list, values = opened(t, p, list, values)
	}
	return list, values
}

// cat is the sum that is served, bit by bit where the factors are powers of two.
func TestMergeCat(t *testing.T) {
	adapters, list := mixedRanks(t)
	weights := []float32{0.5, -1, 0.25}
	out := merged(t, adapters, weights, Options{Method: Cat})
	if len(out.Modules) != 3 {
		t.Fatalf("%d modules", len(out.Modules))
	}
	for _, m := range out.Modules {
		terms, _ := termsOf(list, weights, m.Tensor)
		rank := 0
		for _, x := range terms {
			r := len(x.a) / m.In
			for k := range r {
				for c := range m.In {
					if got, want := m.A[(rank+k)*m.In+c], float32(x.factor)*x.a[k*m.In+c]; got != want {
						t.Fatalf("%s: A at %d, %d is %v, want %v", m.Tensor, rank+k, c, got, want)
					}
				}
				for o := range m.Out {
					if got, want := m.B[o*m.Rank+rank+k], x.b[o*r+k]; got != want {
						t.Fatalf("%s: B at %d, %d is %v, want %v", m.Tensor, o, rank+k, got, want)
					}
				}
			}
			rank += r
		}
		if m.Rank != rank || m.Scale != 1 {
			t.Errorf("%s has rank %d and scale %v, want %d and 1", m.Tensor, m.Rank, m.Scale, rank)
		}
		var got mat.Dense
		got.Mul(mat.NewDense(m.Out, m.Rank, wide(m.B)), mat.NewDense(m.Rank, m.In, wide(m.A)))
		if !mat.EqualApprox(&got, delta(terms, m.In, m.Out), 1e-12) {
			t.Errorf("%s: the update is not the sum that is served", m.Tensor)
		}
	}
}

// svd is the best approximation of its rank: its error is that of the singular values it leaves out.
func TestMergeSVD(t *testing.T) {
	adapters, list := mixedRanks(t)
	weights := []float32{0.9, -0.6, 0.3}
	for _, rank := range []int{0, 1, 3, 8, 200} {
		out := merged(t, adapters, weights, Options{Method: SVD, Rank: rank})
		for _, m := range out.Modules {
			terms, _ := termsOf(list, weights, m.Tensor)
			want := delta(terms, m.In, m.Out)
			var f mat.SVD
			if !f.Factorize(want, mat.SVDNone) {
				t.Fatal("reference")
			}
			best := 0.0
			for k, v := range f.Values(nil) {
				if k >= m.Rank {
					best += v * v
				}
			}
			var got mat.Dense
			got.Mul(mat.NewDense(m.Out, m.Rank, wide(m.B)), mat.NewDense(m.Rank, m.In, wide(m.A)))
			got.Sub(&got, want)
			if e := mat.Norm(&got, 2); math.Abs(e-math.Sqrt(best)) > 1e-5*mat.Norm(want, 2) {
				t.Errorf("rank %d: %s of rank %d has the error %v, the best is %v", rank, m.Tensor, m.Rank, e, math.Sqrt(best))
			}
			if rank > 0 && rank <= 3 && m.Rank != min(rank, len(terms[0].a)/m.In+more(terms, m.In)) {
				t.Errorf("rank %d: %s has rank %d", rank, m.Tensor, m.Rank)
			}
		}
	}
}

// more is the ranks of all terms but the first.
func more(terms []refTerm, in int) (sum int) {
	for _, x := range terms[1:] {
		sum += len(x.a) / in
	}
	return sum
}

// Every value of the inputs is read once where the result is written once: nothing is computed twice.
func TestValuesAreComputedOnce(t *testing.T) {
	facts := pefttest.Facts()
	for _, o := range []Options{{Method: Cat}, {Method: SVD}, {Method: TIES, Density: 0.5}} {
		reads := make(map[string]int)
		var list []*peft.Adapter
		for n := range 2 {
			var matrices []peft.Matrices
			for _, m := range loraOf(t, open(t, pefttest.New(uint64(n)), facts)).Modules {
				read := func(side string, v []float32) func() ([]float32, error) {
					return func() ([]float32, error) { reads[fmt.Sprint(n, m.Tensor, side)]++; return slices.Clone(v), nil }
				}
				matrices = append(matrices, peft.Matrices{Path: pefttest.Paths()[m.Tensor], Rank: m.Rank, In: m.In, Out: m.Out, Scale: m.Scale,
					A: read("A", m.A), B: read("B", m.B)})
			}
			src, err := peft.FromMatrices(matrices, nil)
			if err != nil {
				t.Fatal(err)
			}
			a, err := src.Fit(facts)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, a)
		}
		src, err := Adapters(t.Context(), inputs(list, []float32{1, 1}), o)
		if err != nil {
			t.Fatal(err)
		}
		a, err := src.Fit(facts)
		if err != nil {
			t.Fatal(err)
		}
		_, tensors, err := a.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		if err := peft.WriteTensors(io.Discard, tensors); err != nil {
			t.Fatal(err)
		}
		if len(reads) != 2*2*14 {
			t.Errorf("%s: %d matrices were read", o.Method, len(reads))
		}
		for what, n := range reads {
			if n != 1 {
				t.Errorf("%s: %s is read %d times", o.Method, what, n)
			}
		}
	}
}

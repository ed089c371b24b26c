package adapters

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// merged puts the adapters under the names a, b, c, merges them and returns the result.
func merged(t testing.TB, s *Store, m Merge) *runtime.LoRA {
	t.Helper()
	if _, err := s.Merge(context.Background(), "out", m); err != nil {
		t.Fatal(err)
	}
	return stored(t, s, "out")
}

func weighted(weights ...float32) []Ref {
	refs := make([]Ref, len(weights))
	for i, w := range weights {
		refs[i] = Ref{Name: string(rune('a' + i)), Scale: w}
	}
	return refs
}

// threeAdapters are of one rank, with different scales: a of all linears, b without the second layer's q, c rsLoRA.
func threeAdapters(t testing.TB, s *Store) []*runtime.LoRA {
	var out []*runtime.LoRA
	for i := range 3 {
		p := newPEFT(uint64(i + 1))
		p.config["lora_alpha"] = []float64{8, 3, 5}[i]
		p.config["use_rslora"] = i == 2
		if i == 1 {
			for name := range p.tensors {
				if strings.Contains(name, "layers.1.self_attn.q_proj") {
					delete(p.tensors, name)
				}
			}
		}
		name := string(rune('a' + i))
		mustPut(t, s, name, p)
		out = append(out, stored(t, s, name))
	}
	return out
}

// term is what the references know of one adapter's module.
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

// The methods that work value by value, against the formulas in plain code.
func TestMergeArithmetic(t *testing.T) {
	s := openStore(t, "")
	list := threeAdapters(t, s)
	weights := []float32{0.7, -0.4, 1.2}
	for name, c := range map[string]struct {
		merge Merge
		plain func(x [][]float64, c []float64) []float64
	}{
		"linear": {Merge{Method: Linear}, plainSum},
		"magnitude_prune": {Merge{Method: MagnitudePrune, Density: 0.3}, func(x [][]float64, c []float64) []float64 {
			for i := range x {
				x[i] = plainPrune(x[i], 0.3)
			}
			return plainSum(x, c)
		}},
		"ties": {Merge{Method: TIES, Density: 0.5}, func(x [][]float64, c []float64) []float64 {
			for i := range x {
				x[i] = plainPrune(x[i], 0.5)
			}
			return plainTIES(x, c, false)
		}},
		"ties by frequency": {Merge{Method: TIES, Density: 0.8, MajoritySign: "frequency"}, func(x [][]float64, c []float64) []float64 {
			for i := range x {
				x[i] = plainPrune(x[i], 0.8)
			}
			return plainTIES(x, c, true)
		}},
		"ties of all":      {Merge{Method: TIES, Density: 1}, func(x [][]float64, c []float64) []float64 { return plainTIES(x, c, false) }},
		"dare of all":      {Merge{Method: DARELinear, Density: 1}, plainSum},
		"dare_ties of all": {Merge{Method: DARETIES, Density: 1}, func(x [][]float64, c []float64) []float64 { return plainTIES(x, c, false) }},
	} {
		c.merge.From = weighted(weights...)
		out := merged(t, s, c.merge)
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
	s := openStore(t, "")
	list := threeAdapters(t, s)
	const density = 0.4
	weights := []float32{0.7, -0.4, 1.2}
	var alone []*runtime.LoRA
	for i := range weights {
		only := make([]float32, len(weights))
		only[i] = 1 / list[i].Modules[0].Scale
		alone = append(alone, merged(t, s, Merge{From: weighted(only...), Method: DARELinear, Density: density, Seed: 5}))
	}
	kept, all := 0, 0
	for i, a := range alone {
		for _, m := range list[i].Modules {
			for k, x := range moduleOf(t, a, m.Tensor).A {
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
	linear := merged(t, s, Merge{From: weighted(weights...), Method: DARELinear, Density: density, Seed: 5})
	ties := merged(t, s, Merge{From: weighted(weights...), Method: DARETIES, Density: density, Seed: 5})
	for _, m := range linear.Modules {
		terms, index := termsOf(list, weights, m.Tensor)
		var b [][]float64
		var c []float64
		for n, x := range terms {
			b = append(b, wide(moduleOf(t, alone[index[n]], m.Tensor).B))
			c = append(c, math.Sqrt(math.Abs(x.factor)))
		}
		near(t, "dare_linear of "+m.Tensor, m.B, plainSum(b, c), 1e-5)
		near(t, "dare_ties of "+m.Tensor, moduleOf(t, ties, m.Tensor).B, plainTIES(b, c, false), 1e-5)
	}
	again, err := s.Merge(context.Background(), "again", Merge{From: weighted(weights...), Method: DARETIES, Density: density, Seed: 5})
	if want, _ := s.Get(Ref{Name: "out"}); err != nil || again.Digest != want.Digest {
		t.Errorf("the same seed gives %s, want %s: %v", again.Digest, want.Digest, err)
	}
	other, err := s.Merge(context.Background(), "again", Merge{From: weighted(weights...), Method: DARETIES, Density: density, Seed: 6})
	if err != nil || other.Digest == again.Digest {
		t.Errorf("another seed gives the same: %v", err)
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

// mixedRanks are a of rank 4, b of rank 2 and c of rank 7, on different modules.
func mixedRanks(t testing.TB, s *Store) []*runtime.LoRA {
	var out []*runtime.LoRA
	for i, rank := range []int{4, 2, 7} {
		p := newPEFT(uint64(i + 1))
		clear(p.tensors)
		rng := rand.New(rand.NewPCG(uint64(i), 9))
		for n, short := range []string{"self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj"} {
			if n >= i { // b has no q, c no q and no k
				path := "model.layers.1." + short
				tensor, _ := ggufTensor(path)
				p.add(rng, path, rank, testFacts().Targets[tensor])
			}
		}
		p.config["r"], p.config["lora_alpha"] = rank, 2*rank // scale 2
		name := string(rune('a' + i))
		mustPut(t, s, name, p)
		out = append(out, stored(t, s, name))
	}
	return out
}

// cat is the sum that is served, bit by bit where the factors are powers of two.
func TestMergeCat(t *testing.T) {
	s := openStore(t, "")
	list := mixedRanks(t, s)
	weights := []float32{0.5, -1, 0.25}
	out := merged(t, s, Merge{From: weighted(weights...), Method: Cat})
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
	s := openStore(t, "")
	list := mixedRanks(t, s)
	weights := []float32{0.9, -0.6, 0.3}
	for _, rank := range []int{0, 1, 3, 8, 200} {
		out := merged(t, s, Merge{From: weighted(weights...), Method: SVD, Rank: rank})
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

func TestMergeSaysWhatItWasMadeOf(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	first := mustPut(t, s, "a", newPEFT(1))
	mustPut(t, s, "a", newPEFT(2))
	b := mustPut(t, s, "b", newPEFT(3))
	m := Merge{From: []Ref{{Name: "a", Version: first.Version, Scale: 0.5}, {Name: "b", Scale: -2}}, Method: TIES, Density: 0.5, Seed: 9}
	info, err := s.Merge(context.Background(), "out", m)
	if err != nil {
		t.Fatal(err)
	}
	want := Recipe{Method: TIES, From: []Ingredient{{"a", first.Digest, 0.5}, {"b", b.Digest, -2}}, Density: 0.5, MajoritySign: "total"}
	for range 2 {
		got := info.Origin.Merge
		if info.Origin.Kind != FromMerge || got == nil || fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", want) {
			t.Errorf("the origin is %+v %+v, want %+v", info.Origin, got, want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, dir) // and it is still known
		if info, err = s.Get(Ref{Name: "out"}); err != nil {
			t.Fatal(err)
		}
	}
	if i := slices.IndexFunc(s.List(), func(i Info) bool { return i.Name == "out" }); i < 0 {
		t.Error("it is not listed")
	}
}

func TestMergeRefuses(t *testing.T) {
	s := openStore(t, "")
	mixedRanks(t, s)
	two := weighted(1, 1)
	for name, c := range map[string]struct {
		merge Merge
		field string
		parts []string
	}{
		"method":      {Merge{From: two, Method: "mean"}, "method", []string{"mean", "linear"}},
		"none":        {Merge{Method: Cat}, "from", []string{"0 adapters"}},
		"many":        {Merge{From: make([]Ref, 17), Method: Cat}, "from", []string{"17"}},
		"no density":  {Merge{From: two, Method: TIES}, "density", []string{"ties"}},
		"density":     {Merge{From: two, Method: DARELinear, Density: 1.5}, "density", []string{"1.5"}},
		"NaN density": {Merge{From: two, Method: DARELinear, Density: math.NaN()}, "density", []string{"NaN"}},
		"no pruning":  {Merge{From: two, Method: Cat, Density: 0.5}, "density", []string{"cat"}},
		"sign":        {Merge{From: two, Method: TIES, Density: 1, MajoritySign: "most"}, "majority_sign_method", []string{"most"}},
		"sign of":     {Merge{From: two, Method: Linear, MajoritySign: "frequency"}, "majority_sign_method", []string{"linear"}},
		"rank":        {Merge{From: two, Method: SVD, Rank: 513}, "rank", []string{"513", "512"}},
		"rank of":     {Merge{From: two, Method: Cat, Rank: 3}, "rank", []string{"cat"}},
		"NaN":         {Merge{From: weighted(1, float32(math.NaN())), Method: Cat}, "from[1].weight", []string{"finite"}},
		"ranks":       {Merge{From: two, Method: Linear}, "method", []string{`"a" has rank 4`, `"b" has rank 2`, "down_proj"}},
	} {
		_, err := s.Merge(context.Background(), "out", c.merge)
		wantError(t, err, ErrMerge, c.parts...)
		var f *FieldError
		if !errors.As(err, &f) || f.Field != c.field {
			t.Errorf("%s: the field is %v, want %s", name, f, c.field)
		}
	}
	_, err := s.Merge(context.Background(), "out", Merge{From: []Ref{{Name: "a", Scale: 1}, {Name: "bb", Scale: 1}}, Method: Cat})
	wantError(t, err, ErrUnknown, "bb")
	_, err = s.Merge(context.Background(), "no/name", Merge{From: two, Method: Cat})
	wantError(t, err, ErrName)
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("left"))
	_, err = s.Merge(ctx, "out", Merge{From: two, Method: Cat})
	if err == nil || !strings.Contains(err.Error(), "left") {
		t.Errorf("a merge whose client has left ends with %v", err)
	}
	if _, err := s.Get(Ref{Name: "out"}); !errors.Is(err, ErrUnknown) {
		t.Errorf("a refused merge left something: %v", err)
	}
	wideOnes := newPEFT(5)
	clear(wideOnes.tensors)
	wideOnes.add(rand.New(rand.NewPCG(1, 1)), "model.layers.0.mlp.up_proj", 400, testFacts().Targets["blk.0.ffn_up.weight"])
	wideOnes.config["r"] = 400
	mustPut(t, s, "wide", wideOnes)
	_, err = s.Merge(context.Background(), "out", Merge{From: []Ref{{Name: "wide", Scale: 1}, {Name: "wide", Scale: 1}}, Method: Cat})
	wantError(t, err, ErrMerge, "sum to 800", "512", "up_proj")
	big := newPEFT(6)
	big.config["lora_alpha"] = 1e30
	mustPut(t, s, "big", big)
	_, err = s.Merge(context.Background(), "out", Merge{From: []Ref{{Name: "big", Scale: 1e30}}, Method: Cat})
	wantError(t, err, ErrUnsupported, "Inf", "lora_A")
}

// Adapters of two bases are not mixed.
func TestMergeOfTwoBases(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	mustPut(t, s, "a", newPEFT(1))
	s.Close()
	f := testFacts()
	f.Fingerprint = "other"
	s, err := Open(Options{Dir: dir, Facts: f})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mustPut(t, s, "b", newPEFT(2))
	_, err = s.Merge(context.Background(), "out", Merge{From: weighted(1, 1), Method: Cat})
	wantError(t, err, ErrMerge, `from[1].name`, `"b"`, "another base")
}

package merge

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
)

// This file has the methods that work on A and on B apart, value by value. Of adapter i with weight w and scale
// s = alpha/r, the task tensors are A_i and B_i, and their weights
//
//	a_i = sign(w s) * sqrt(|w s|) for A, b_i = sqrt(|w s|) for B
//
// so that a single adapter comes out as w s B A. The sums have cross terms b_i a_j B_i A_j: that is PEFT's linear,
// and cat is the one that has none.

// load reads one matrix of a term, as PEFT has it.
func (t *term) load(s side) ([]float32, error) {
	if s == sideA {
		return t.lora.A()
	}
	return t.lora.B()
}

// factor is the term's weight times its scale.
func (t *term) factor() float64 { return t.weight * float64(t.lora.Scale) }

// root is a_i or b_i.
func (t *term) root(s side) float64 {
	r := math.Sqrt(math.Abs(t.factor()))
	if s == sideA && t.factor() < 0 {
		return -r
	}
	return r
}

// cat stands the adapters side by side: A = [w_1 s_1 A_1; w_2 s_2 A_2; ...], B = [B_1 B_2 ...]. B A is the sum
// that a request for all of them gets.
func (m *module) cat(s side) ([]float32, error) {
	var out []float32
	if s == sideB {
		out = make([]float32, m.out*m.rank)
	}
	column := 0
	for i := range m.terms {
		t := &m.terms[i]
		v, err := t.load(s)
		if err != nil {
			return nil, err
		}
		if s == sideA {
			f := float32(t.factor())
			for _, x := range v {
				out = append(out, x*f)
			}
			continue
		}
		for row := range m.out {
			copy(out[row*m.rank+column:], v[row*t.lora.Rank:(row+1)*t.lora.Rank])
		}
		column += t.lora.Rank
	}
	return out, nil
}

// arithmetic computes one matrix of the methods below. density is the part of the values that is kept.
//
//	linear:          sum_i c_i X_i                                    (Ilharco et al. 2023, task arithmetic)
//	magnitude_prune: the same of X_i without its smallest values
//	dare_linear:     the same of X_i without random values, divided by density (Yu et al. 2024, DARE)
//	ties:            sum_i c_i X_i [sign X_i = e] / max(1, number of those i), X_i without its smallest values,
//	                 e the sign of sum_i X_i (total) or of sum_i sign X_i (frequency) (Yadav et al. 2023, TIES)
//	dare_ties:       ties with dare_linear's X_i
//
// Source: github.com/huggingface/peft, src/peft/utils/merge_utils.py.
func (g *merging) arithmetic(m *module, s side) ([]float32, error) {
	tasks := make([][]float32, len(m.terms))
	for i := range m.terms {
		v, err := m.terms[i].load(s)
		if err != nil {
			return nil, err
		}
		switch {
		case g.random():
			dropRandom(v, g.Density, rand.New(rand.NewPCG(g.Seed, streamOf(m.path, s, i))))
		case g.prunes():
			dropSmall(v, g.Density)
		}
		tasks[i] = v
	}
	out := make([]float32, len(tasks[0]))
	if !g.elects() {
		for k := range out {
			sum := 0.0
			for i, v := range tasks {
				sum += m.terms[i].root(s) * float64(v[k])
			}
			out[k] = float32(sum)
		}
		return out, nil
	}
	for k := range out {
		elected, sum, n := g.elect(tasks, k), 0.0, 0
		for i, v := range tasks {
			if signOf(v[k]) == elected {
				sum += m.terms[i].root(s) * float64(v[k])
				n++
			}
		}
		out[k] = float32(sum / float64(max(n, 1)))
	}
	return out, nil
}

// elect returns the majority's sign of value k; 1 where there is none.
func (g *merging) elect(tasks [][]float32, k int) int {
	sum := 0.0
	for _, v := range tasks {
		if g.MajoritySign == "frequency" {
			sum += float64(signOf(v[k]))
		} else {
			sum += float64(v[k])
		}
	}
	if sum >= 0 {
		return 1
	}
	return -1
}

func signOf(x float32) int {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return 0
}

// dropSmall zeroes all but the int(density*n) values of the largest magnitude; of equal ones the first stay.
func dropSmall(v []float32, density float64) {
	keep := int(density * float64(len(v)))
	if keep >= len(v) {
		return
	}
	if keep == 0 {
		clear(v)
		return
	}
	sizes := make([]float32, len(v))
	for i, x := range v {
		sizes[i] = float32(math.Abs(float64(x)))
	}
	slices.Sort(sizes)
	least := sizes[len(sizes)-keep]
	above := len(sizes) - sortUpper(sizes, least)
	equal := keep - above // how many of the size least stay
	for i, x := range v {
		switch size := float32(math.Abs(float64(x))); {
		case size < least:
			v[i] = 0
		case size == least && equal == 0:
			v[i] = 0
		case size == least:
			equal--
		}
	}
}

// sortUpper returns the index of the first of the sorted values above x.
func sortUpper(sorted []float32, x float32) int {
	i, _ := slices.BinarySearchFunc(sorted, x, func(v, x float32) int {
		if v > x {
			return 1
		}
		return -1
	})
	return i
}

// dropRandom zeroes each value with the probability 1-density and divides the others by density.
func dropRandom(v []float32, density float64, rng *rand.Rand) {
	if density >= 1 {
		return
	}
	for i, x := range v {
		v[i] = 0
		if rng.Float64() < density {
			v[i] = float32(float64(x) / density)
		}
	}
}

// streamOf numbers the random sequence of one matrix of one adapter.
func streamOf(path string, s side, adapter int) uint64 {
	h := fnv.New64a()
	h.Write([]byte(path))
	h.Write([]byte{byte(s), byte(adapter)})
	return h.Sum64()
}

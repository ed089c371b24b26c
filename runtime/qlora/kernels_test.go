//go:build cgo

package qlora

import (
	"fmt"
	"testing"
)

// tolerance of a product relative to its root mean square: float32 sums of some hundred terms, or operands
// rounded to bfloat16's 8 bits.
func productTolerance(i isa) float64 {
	if i >= isaPairs {
		return 3e-2
	}
	return 1e-5
}

// each calls f for every path that this CPU can run.
func each(t *testing.T, f func(t *testing.T, i isa)) {
	t.Helper()
	for _, i := range isas {
		t.Run(i.String(), func(t *testing.T) {
			if !i.available() {
				t.Skip("this CPU cannot run it")
			}
			f(t, i)
		})
	}
}

var kinds = []Kind{F32, F16, BF16, Q8_0, Q4_0, Q4_0X8, Q4_1, Q5_0, Q5_1, Q4_K, Q4_KX8, Q5_K, Q6_K, IQ4NL, IQ4NLX8, NF4, NF4_64, NF4_DQ, Q8_0Strips, Q6_KStrips}

func TestFillEqualsDecoders(t *testing.T) {
	each(t, func(t *testing.T, i isa) {
		for _, k := range kinds {
			got := checkFill(i, k, 512, 24, 1)
			if got < 0 && (k == Q4_0X8 || k == Q4_KX8 || k == IQ4NLX8) {
				t.Logf("%v: ggml does not interleave on this CPU", k)
				continue
			}
			if got != 0 {
				t.Errorf("%v differs from the plain decoder by %g", k, got)
			}
		}
		for _, k := range kinds[:3] {
			if got := checkFill(i, k, 45, 7, 1); got != 0 {
				t.Errorf("%v of odd width differs from the plain decoder by %g", k, got)
			}
		}
	})
}

func TestProduct(t *testing.T) {
	sizes := []productCheck{
		{rows: 1, depth: 256, cols: 256, rank: 0, threads: 1},
		{rows: 50, depth: 512, cols: 256, rank: 7, threads: 2},
		{rows: 13, depth: 256, cols: 512, rank: 16, accumulate: true, threads: 3},
	}
	each(t, func(t *testing.T, i isa) {
		for _, form := range forms {
			for _, p := range sizes {
				for _, k := range kinds {
					p.form, p.kind = form, k
					if form < firstWeightForm && k != F32 {
						continue
					}
					if got := p.run(i, 2); got > productTolerance(i) {
						t.Errorf("form %d %v %+v: differs by %g", form, k, p, got)
					}
				}
			}
		}
	})
}

// Products of bytes without a second pair are exact but for the order of sums.
func TestByteProduct(t *testing.T) {
	const bytes = isaPairs + 1
	if !bytes.available() {
		t.Skip("this CPU cannot run it")
	}
	for _, k := range []Kind{Q4_0, Q4_0X8, Q8_0, IQ4NL, IQ4NLX8, NF4, NF4_64, NF4_DQ, Q8_0Strips} {
		for _, n := range [][3]int{{1, 32, 8}, {7, 96, 40}, {7, 192, 40}, {50, 512, 256}, {13, 8192 + 64, 32}} {
			if wide := k == NF4_64 || k == NF4_DQ; wide && n[1]%64 != 0 {
				continue
			}
			p := productCheck{form: forms[firstWeightForm], kind: k, rows: n[0], depth: n[1], cols: n[2], accumulate: n[0] == 7, threads: 2}
			if got := p.run(bytes, 6); !(got >= 0 && got <= 1e-5) {
				t.Errorf("%+v: differs by %g", p, got)
			}
		}
	}
}

// Odd sizes of plain matrices, packed from rows or from columns, and a depth that is cut in two.
func TestProductShapes(t *testing.T) {
	each(t, func(t *testing.T, i isa) {
		for _, form := range forms[:firstWeightForm] {
			for _, n := range [][3]int{{1, 1, 1}, {5, 3, 33}, {37, 17, 31}, {12, 129, 65}, {3, 9001, 20}} {
				for _, transposed := range []bool{false, true} {
					p := productCheck{form: form, kind: F32, rows: n[0], depth: n[1], cols: n[2], rank: 5, transposed: transposed, accumulate: transposed, threads: 2}
					if got := p.run(i, 3); got > productTolerance(i) {
						t.Errorf("%+v: differs by %g", p, got)
					}
				}
			}
		}
	})
}

func TestSmallKernels(t *testing.T) {
	each(t, func(t *testing.T, i isa) {
		for which, name := range smallKernels {
			for _, n := range [][2]int{{1, 2}, {3, 64}, {17, 90}, {5, 4160}} {
				if got := checkSmall(i, which, n[0], n[1], 2, 4); !(got >= 0 && got <= 2e-5) {
					t.Errorf("%s of %v: differs by %g", name, n, got)
				}
			}
		}
	})
}

func TestAttention(t *testing.T) {
	each(t, func(t *testing.T, i isa) {
		for _, heads := range [][2]int{{1, 1}, {4, 2}, {6, 1}} {
			for _, lengths := range [][]int32{{1}, {7, 1, 60}, {230}} {
				for _, backward := range []bool{false, true} {
					name := fmt.Sprintf("%d heads on %d, sequences %v, backward %v", heads[0], heads[1], lengths, backward)
					if got := checkAttention(i, backward, heads[0], heads[1], 32, lengths, 2, 5); !(got >= 0 && got <= productTolerance(i)*2) {
						t.Errorf("%s: differs by %g", name, got)
					}
				}
			}
		}
	})
}

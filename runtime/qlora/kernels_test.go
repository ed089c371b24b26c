//go:build cgo

package qlora_test

import (
	"fmt"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime/qlora/qloratest"
)

// tolerance of a product relative to its root mean square: float32 sums of some hundred terms, or operands
// rounded to bfloat16's 8 bits.
func productTolerance(i qloratest.ISA) float64 {
	if i >= qloratest.Pairs {
		return 3e-2
	}
	return 1e-5
}

// each calls f for every path that this CPU can run.
func each(t *testing.T, f func(t *testing.T, i qloratest.ISA)) {
	t.Helper()
	for _, i := range qloratest.ISAs {
		t.Run(i.String(), func(t *testing.T) {
			if !i.Available() {
				t.Skip("this CPU cannot run it")
			}
			f(t, i)
		})
	}
}

var kinds = append([]qloratest.Kind{qloratest.F32, qloratest.F16, qloratest.BF16, qloratest.Q8_0, qloratest.Q4_0, qloratest.Q4_0X8, qloratest.Q4_1, qloratest.Q5_0, qloratest.Q5_1, qloratest.Q4_K, qloratest.Q4_KX8, qloratest.Q5_K, qloratest.Q6_K, qloratest.IQ4NL, qloratest.IQ4NLX8, qloratest.NF4, qloratest.NF4_64, qloratest.NF4_DQ, qloratest.Q8_0Strips, qloratest.Q6_KStrips, qloratest.Q2_KX8}, qloratest.Decoded...)

func TestFillEqualsDecoders(t *testing.T) {
	each(t, func(t *testing.T, i qloratest.ISA) {
		for _, k := range kinds {
			got := qloratest.CheckFill(i, k, 512, 24, 1)
			if got < 0 && (k == qloratest.Q4_0X8 || k == qloratest.Q4_KX8 || k == qloratest.IQ4NLX8 || k == qloratest.Q2_KX8) {
				t.Logf("%v: ggml does not interleave on this CPU", k)
				continue
			}
			if got != 0 {
				t.Errorf("%v differs from the plain decoder by %g", k, got)
			}
		}
		for _, k := range kinds[:3] {
			if got := qloratest.CheckFill(i, k, 45, 7, 1); got != 0 {
				t.Errorf("%v of odd width differs from the plain decoder by %g", k, got)
			}
		}
	})
}

func TestProduct(t *testing.T) {
	sizes := []qloratest.Product{
		{Rows: 1, Depth: 256, Cols: 256, Rank: 0, Threads: 1},
		{Rows: 50, Depth: 512, Cols: 256, Rank: 7, Threads: 2},
		{Rows: 13, Depth: 256, Cols: 512, Rank: 16, Accumulate: true, Threads: 3},
	}
	each(t, func(t *testing.T, i qloratest.ISA) {
		for _, form := range []qloratest.Form{qloratest.ByDepth, qloratest.ByColumn, qloratest.Forward, qloratest.Backward} {
			for _, p := range sizes {
				for _, k := range kinds {
					p.Form, p.Kind = form, k
					if form < qloratest.Forward && k != qloratest.F32 {
						continue
					}
					if got := p.Check(i, 2); got > productTolerance(i) {
						t.Errorf("form %d %v %+v: differs by %g", form, k, p, got)
					}
				}
			}
		}
	})
}

// Products of bytes without a second pair are exact but for the order of sums.
func TestByteProduct(t *testing.T) {
	const bytes = qloratest.Bytes
	if !bytes.Available() {
		t.Skip("this CPU cannot run it")
	}
	for _, k := range []qloratest.Kind{qloratest.Q4_0, qloratest.Q4_0X8, qloratest.Q8_0, qloratest.IQ4NL, qloratest.IQ4NLX8, qloratest.NF4, qloratest.NF4_64, qloratest.NF4_DQ, qloratest.Q8_0Strips} {
		for _, n := range [][3]int{{1, 32, 8}, {7, 96, 40}, {7, 192, 40}, {50, 512, 256}, {13, 8192 + 64, 32}} {
			if wide := k == qloratest.NF4_64 || k == qloratest.NF4_DQ; wide && n[1]%64 != 0 {
				continue
			}
			p := qloratest.Product{Form: qloratest.Forward, Kind: k, Rows: n[0], Depth: n[1], Cols: n[2], Accumulate: n[0] == 7, Threads: 2}
			if got := p.Check(bytes, 6); !(got >= 0 && got <= 1e-5) {
				t.Errorf("%+v: differs by %g", p, got)
			}
		}
	}
}

// Odd sizes of plain matrices, packed from rows or from columns, and a depth that is cut in two.
func TestProductShapes(t *testing.T) {
	each(t, func(t *testing.T, i qloratest.ISA) {
		for _, form := range []qloratest.Form{qloratest.ByDepth, qloratest.ByColumn} {
			for _, n := range [][3]int{{1, 1, 1}, {5, 3, 33}, {37, 17, 31}, {12, 129, 65}, {3, 9001, 20}} {
				for _, transposed := range []bool{false, true} {
					p := qloratest.Product{Form: form, Kind: qloratest.F32, Rows: n[0], Depth: n[1], Cols: n[2], Rank: 5, Transposed: transposed, Accumulate: transposed, Threads: 2}
					if got := p.Check(i, 3); got > productTolerance(i) {
						t.Errorf("%+v: differs by %g", p, got)
					}
				}
			}
		}
	})
}

func TestSmallKernels(t *testing.T) {
	each(t, func(t *testing.T, i qloratest.ISA) {
		for which, name := range qloratest.SmallKernels {
			for _, n := range [][2]int{{1, 2}, {3, 64}, {17, 90}, {5, 4160}} {
				if got := qloratest.CheckSmall(i, which, n[0], n[1], 2, 4); !(got >= 0 && got <= 2e-5) {
					t.Errorf("%s of %v: differs by %g", name, n, got)
				}
			}
		}
	})
}

func TestAttention(t *testing.T) {
	each(t, func(t *testing.T, i qloratest.ISA) {
		for _, heads := range [][2]int{{1, 1}, {4, 2}, {6, 1}} {
			for _, lengths := range [][]int32{{1}, {7, 1, 60}, {230}} {
				for _, backward := range []bool{false, true} {
					name := fmt.Sprintf("%d heads on %d, sequences %v, backward %v", heads[0], heads[1], lengths, backward)
					if got := qloratest.CheckAttention(i, backward, heads[0], heads[1], 32, lengths, 2, 5); !(got >= 0 && got <= productTolerance(i)*2) {
						t.Errorf("%s: differs by %g", name, got)
					}
				}
			}
		}
	})
}

//go:build cgo

package kernels

import (
	"math/rand/v2"
	"testing"
)

// TestMatMulExpand demands the bits of the product followed by the expansion, for mixed rows, any number of
// threads, and outputs that fill no tile.
func TestMatMulExpand(t *testing.T) {
	everyISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(31, 32))
		const in = 160
		for _, out := range []int{5, 64, 203} {
			w := pack(t, randomBlocks(rng, Block32, in, out), I16)
			one, two := randomModule(t, rng, 16, in, out, StoreF16), randomModule(t, rng, 3, in, out, StoreF32)
			mixes := [][]Term{{}, {{one.packed, 0.5}}, {{one.packed, 2}}, {{two.packed, 1}}, {{one.packed, 1}, {two.packed, -1}}}
			for _, n := range []int{1, 5, 70} {
				terms := make([][]Term, n)
				for i := range terms {
					terms[i] = mixes[i%len(mixes)]
				}
				rows := NewRows(terms)
				x := gaussians(rng, n*in, 1)
				stride, width := ActivationBytes(I16, in), one.packed.Hidden()+two.packed.Hidden()
				xq, h := make([]byte, n*stride), make([]float32, n*width)
				Activations(I16, in, x, in, n, xq, stride, 0, 1)
				rows.Shrink(x, in, in, h, width, 0, 1)
				want := make([]float32, n*out)
				w.MatMul(xq, stride, n, want, out, 0, 1)
				rows.Expand(h, width, want, out, out, 0, 1)
				for nth := 1; nth <= 3; nth++ {
					got := make([]float32, n*out)
					for ith := range nth {
						rows.MatMulExpand(w, xq, stride, h, width, got, out, xq, ith, nth)
					}
					if i := sameBits(got, want); i >= 0 {
						t.Fatalf("%d rows, %d outputs, %d threads: row %d output %d is %g, want %g", n, out, nth, i/out, i%out, got[i], want[i])
					}
				}
				rows.Close()
			}
		}
	})
}

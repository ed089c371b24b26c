//go:build cgo && linux

package llama

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime/kernels"
	"github.com/lorikeet-ai/lorikeet/runtime/llama/llamatest"
)

// plainAttention is attend in double precision, from the definition: softmax(scale q k) v over the cells that a row
// sees. Row r of the rows sees all but the last rows-1-r cells.
func plainAttention(q, k, v []float32, cells []int32, rows, heads, kvHeads, size int, scale float64) []float64 {
	out := make([]float64, len(q))
	for r := range rows {
		for h := range heads {
			query := q[(r*heads+h)*size:][:size]
			at := func(x []float32, cell int32) []float32 { return x[(int(cell)*kvHeads+h*kvHeads/heads)*size:][:size] }
			seen := cells[:len(cells)-(rows-1-r)]
			weights, most := make([]float64, len(seen)), math.Inf(-1)
			for i, cell := range seen {
				for d, x := range at(k, cell) {
					weights[i] += scale * float64(query[d]) * float64(x)
				}
				most = max(most, weights[i])
			}
			sum := 0.0
			for i, w := range weights {
				weights[i] = math.Exp(w - most)
				sum += weights[i]
			}
			for i, cell := range seen {
				for d, x := range at(v, cell) {
					out[(r*heads+h)*size+d] += weights[i] / sum * float64(x)
				}
			}
		}
	}
	return out
}

// halves returns random float16 and their values.
func halves(rng *rand.Rand, n int) ([]uint16, []float32) {
	bytes, values := make([]byte, 2*n), make([]float32, n)
	for i := range values {
		values[i] = float32(rng.NormFloat64())
	}
	quant.EncodeF16(bytes, values)
	quant.DecodeF16(values, bytes)
	codes := make([]uint16, n)
	for i := range codes {
		codes[i] = uint16(bytes[2*i]) | uint16(bytes[2*i+1])<<8
	}
	return codes, values
}

// TestAttention holds every path to 2e-6 absolute, where values are about 1, on head groups of every size, scattered
// cells and lengths around the block's; and a row alone to the bits that it has among others.
func TestAttention(t *testing.T) {
	const cellsInAll = 400
	for isa := kernels.Portable; isa <= kernels.BestISA(); isa++ {
		t.Run(isa.String(), func(t *testing.T) {
			defer kernels.ForceISA(kernels.BestISA())
			kernels.ForceISA(isa)
			rng := rand.New(rand.NewPCG(1, 2))
			for _, shape := range [][3]int{{1, 1, 16}, {4, 2, 64}, {10, 2, 80}, {3, 1, 128}, {8, 1, 256}, {16, 1, 32}, {12, 2, 48}} {
				heads, kvHeads, size := shape[0], shape[1], shape[2]
				codesK, k := halves(rng, cellsInAll*kvHeads*size)
				codesV, v := halves(rng, cellsInAll*kvHeads*size)
				for _, n := range []int{1, 31, 32, 33, 200} {
					rows := min(n, 7)
					cells := make([]int32, n)
					for i, c := range rng.Perm(cellsInAll)[:n] {
						cells[i] = int32(c)
					}
					q := make([]float32, rows*heads*size)
					for i := range q {
						q[i] = float32(rng.NormFloat64())
					}
					scale := 1 / math.Sqrt(float64(size))
					name := fmt.Sprintf("%d heads on %d of %d, %d rows, %d cells", heads, kvHeads, size, rows, n)
					got := llamatest.Attend(q, codesK, codesV, cells, rows, heads, kvHeads, size, float32(scale))
					for i, want := range plainAttention(q, k, v, cells, rows, heads, kvHeads, size, scale) {
						if !(math.Abs(float64(got[i])-want) <= 2e-6) {
							t.Fatalf("%s: value %d is %g, want %g", name, i, got[i], want)
						}
					}
					for r := range rows {
						width := heads * size
						alone := llamatest.Attend(q[r*width:(r+1)*width], codesK, codesV, cells[:n-(rows-1-r)], 1, heads, kvHeads, size, float32(scale))
						for i, want := range got[r*width : (r+1)*width] {
							if math.Float32bits(alone[i]) != math.Float32bits(want) {
								t.Fatalf("%s: row %d alone: value %d is %g, not %g", name, r, i, alone[i], want)
							}
						}
					}
				}
			}
		})
	}
}

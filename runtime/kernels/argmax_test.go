//go:build cgo

package kernels

import (
	"math"
	"math/rand/v2"
	"testing"
)

func plainArgmax(x []float32, mask []uint64) int {
	best := -1
	for i, v := range x {
		if mask != nil && mask[i/64]>>(i%64)&1 == 0 || !(float64(v) > math.Inf(-1)) {
			continue
		}
		if best < 0 || v > x[best] {
			best = i
		}
	}
	return best
}

// Rows have equal numbers, infinities and NaN; masks have words that are full, empty and in between. There is no
// tolerance.
func TestArgmax(t *testing.T) {
	everyISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(21, 22))
		odd := []float32{float32(math.NaN()), float32(math.Inf(-1)), float32(math.Inf(1)), 0, -math.MaxFloat32, 3}
		for _, n := range []int{0, 1, 7, 63, 64, 65, 127, 1000, 4096} {
			for round := range 60 {
				x, mask := make([]float32, n), make([]uint64, (n+63)/64)
				for i := range x {
					switch x[i] = float32(rng.NormFloat64()); {
					case round%3 == 0:
						x[i] = float32(rng.IntN(4))
					case round%3 == 1 && rng.IntN(4) > 0:
						x[i] = odd[rng.IntN(len(odd)-round%2)]
					case round%12 == 2:
						x[i] = odd[rng.IntN(2)]
					}
				}
				for i := range mask {
					mask[i] = []uint64{0, math.MaxUint64, rng.Uint64(), rng.Uint64() & rng.Uint64() & rng.Uint64()}[rng.IntN(4)]
				}
				for _, m := range [][]uint64{mask, nil} {
					if got, want := Argmax(x, m), plainArgmax(x, m); got != want {
						t.Fatalf("%d numbers, round %d: %d, want %d", n, round, got, want)
					}
				}
			}
		}
	})
}

func BenchmarkArgmax(b *testing.B) {
	x, full, few := make([]float32, 32000), make([]uint64, 500), make([]uint64, 500)
	rng := rand.New(rand.NewPCG(23, 24))
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	for i := range full {
		full[i], few[i] = math.MaxUint64, uint64(1)<<rng.IntN(64)
	}
	for name, mask := range map[string][]uint64{"all": nil, "full mask": full, "few": few} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				Argmax(x, mask)
			}
		})
	}
}

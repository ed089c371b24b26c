//go:build cgo

package kernels

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
)

// The references here are written from the formats' definitions, in double precision, and share nothing
// with the C++ code.

// normalFloat is the NF4 codebook (Dettmers et al. 2023, "QLoRA", appendix E).
var normalFloat = [16]float64{
	-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
	-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
	0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
	0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
}

// fromHalf decodes an fp16.
func fromHalf(h uint16) float64 {
	sign := 1 - 2*float64(h>>15)
	exponent, fraction := int(h>>10&31), float64(h&1023)
	switch exponent {
	case 0:
		return sign * math.Ldexp(fraction, -24)
	case 31:
		if fraction == 0 {
			return math.Inf(int(sign))
		}
		return math.NaN()
	}
	return sign * math.Ldexp(1024+fraction, exponent-25)
}

// toHalf rounds to the nearest fp16, ties to even, by search.
func toHalf(f float64) uint16 {
	lo, hi := uint16(0), uint16(0x7bff)
	for lo < hi {
		mid := (lo + hi + 1) / 2
		if fromHalf(mid) <= math.Abs(f) {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	if lo < 0x7bff {
		below, above := math.Abs(f)-fromHalf(lo), fromHalf(lo+1)-math.Abs(f)
		if above < below || above == below && lo&1 == 1 {
			lo++
		}
	}
	if math.Signbit(f) {
		lo |= 0x8000
	}
	return lo
}

// blocks is an NF4 weight (out, in) in the form that packing reads.
type blocks struct {
	in, out, rowBytes int
	data              []byte
}

// randomBlocks makes a weight of random codes and absmax values around 0.05, some of them zero or subnormal.
func randomBlocks(rng *rand.Rand, in, out int) blocks {
	b := blocks{in: in, out: out, rowBytes: in/32*18 + 7}
	b.data = make([]byte, b.rowBytes*out)
	for r := range out {
		row := b.data[r*b.rowBytes:]
		for i := range in / 32 {
			block := row[18*i : 18*i+18]
			absmax := toHalf(0.05 * math.Exp(rng.NormFloat64()))
			switch rng.IntN(40) {
			case 0:
				absmax = 0
			case 1:
				absmax = uint16(rng.IntN(1024))
			}
			binary.LittleEndian.PutUint16(block, absmax)
			for j := range 16 {
				block[2+j] = byte(rng.Uint32())
			}
		}
	}
	return b
}

// code returns the code at a row and column, and its block's absmax.
func (b blocks) code(row, column int) (code byte, absmax float64) {
	block := b.data[row*b.rowBytes+column/32*18:]
	absmax = fromHalf(binary.LittleEndian.Uint16(block))
	if column%32 >= 16 {
		return block[2+column%16] >> 4, absmax
	}
	return block[2+column%16] & 15, absmax
}

// product is one output of a reference product and what its error is measured against.
type product struct {
	y      float64
	sum    float64 // sum of |w x|
	square float64 // sum of (w x)^2
	// What rounding activations and codebook to integers can add up to.
	bound16, bound8 float64
}

// matmul returns the products (rows, out) of activations (rows, in).
func (b blocks) matmul(x []float32, xStride, rows int) []product {
	y := make([]product, rows*b.out)
	for o := range b.out {
		w, absmax := make([]float64, b.in), make([]float64, b.in)
		for i := range b.in {
			code, most := b.code(o, i)
			w[i], absmax[i] = most*normalFloat[code], most
		}
		for t := range rows {
			p := &y[t*b.out+o]
			for first := 0; first < b.in; first += 32 {
				most := 0.0
				for i := first; i < first+32; i++ {
					most = max(most, math.Abs(float64(x[t*xStride+i])))
				}
				for i := first; i < first+32; i++ {
					v := float64(x[t*xStride+i])
					p.y += w[i] * v
					p.sum += math.Abs(w[i] * v)
					p.square += w[i] * v * w[i] * v
					p.bound16 += math.Abs(w[i])*most/8190/2 + (math.Abs(v)+most/8190)*absmax[i]/16383/2
					p.bound8 += math.Abs(w[i])*most/127/2 + (math.Abs(v)+most/127)*absmax[i]/127/2
				}
			}
		}
	}
	return y
}

// everyISA runs f with each path that this CPU has.
func everyISA(t *testing.T, f func(t *testing.T)) {
	for isa := Portable; isa <= BestISA(); isa++ {
		t.Run(isa.String(), func(t *testing.T) {
			defer ForceISA(BestISA())
			if got := ForceISA(isa); got != isa {
				t.Fatalf("ForceISA(%v) = %v", isa, got)
			}
			f(t)
		})
	}
}

func gaussians(rng *rand.Rand, n int, scale float64) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64() * scale)
	}
	return v
}

// sameBits reports the first index at which a and b differ in any bit, or -1.
func sameBits(a, b []float32) int {
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return i
		}
	}
	return -1
}

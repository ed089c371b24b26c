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
	kind    Kind
	in, out int
	data    []byte
}

var nf4Kinds = []Kind{Block32, Block64, DoubleQ}

// randomBlocks makes a weight of random codes and scales around 0.05 of either sign, some of them zero or subnormal.
func randomBlocks(rng *rand.Rand, kind Kind, in, out int) blocks {
	b := blocks{kind: kind, in: in, out: out}
	half := func() []byte {
		h := toHalf(0.05 * math.Exp(rng.NormFloat64()))
		switch rng.IntN(40) {
		case 0:
			h = 0
		case 1:
			h = uint16(rng.IntN(1024))
		case 2, 3, 4, 5, 6, 7, 8, 9:
			h |= 0x8000
		}
		return binary.LittleEndian.AppendUint16(nil, h)
	}
	for r := range out {
		if kind == DoubleQ && r%16 == 0 {
			for range (in/64 + 15) / 16 {
				tile := float32(0.05 / 127 * math.Exp(rng.NormFloat64()))
				b.data = binary.LittleEndian.AppendUint32(b.data, math.Float32bits(tile))
			}
		}
		for range in / kind.width() {
			if kind == DoubleQ {
				b.data = append(b.data, byte(rng.Uint32()))
			} else {
				b.data = append(b.data, half()...)
			}
			for range kind.width() / 2 {
				b.data = append(b.data, byte(rng.Uint32()))
			}
		}
	}
	return b
}

// code returns the code at a row and column, and its block's scale.
func (b blocks) code(row, column int) (code byte, scale float64) {
	width := b.kind.width()
	bytes := 2 + width/2
	if b.kind != DoubleQ {
		block := b.data[(row*b.in/width+column/width)*bytes:]
		return nibble(block[2:], column%width), fromHalf(binary.LittleEndian.Uint16(block))
	}
	bytes = 1 + width/2
	tiles, blocks := (b.in/width+15)/16, b.in/width
	strip := b.data[row/16*(4*tiles+16*blocks*bytes):]
	tile := math.Float32frombits(binary.LittleEndian.Uint32(strip[column/1024*4:]))
	block := strip[4*tiles+(row%16*blocks+column/width)*bytes:]
	return nibble(block[1:], column%width), float64(tile * float32(int8(block[0])))
}

// nibble returns code i of a block.
func nibble(codes []byte, i int) byte {
	return codes[i/32*16+i%16] >> (i % 32 / 16 * 4) & 15
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
		w, scale := make([]float64, b.in), make([]float64, b.in)
		for i := range b.in {
			code, s := b.code(o, i)
			w[i], scale[i] = s*normalFloat[code], math.Abs(s)
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
					p.bound16 += math.Abs(w[i])*most/8190/2 + (math.Abs(v)+most/8190)*scale[i]/16383/2
					p.bound8 += math.Abs(w[i])*most/127/2 + (math.Abs(v)+most/127)*scale[i]/127/2
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

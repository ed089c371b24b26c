package quant

import "math"

// A Q6_K block: 256 weights in 16 groups of 16; a weight is d * scale of its group * (code - 32). 128 bytes hold the
// low four bits of the codes, 64 the high two, 16 the groups' int8 scales, the last two the fp16 d. Each half of a
// block has its own 64 + 32 bytes: of weight 32*k+j of a half, k the quarter, the low bits stand in byte
// j + 32*(k%2) of the low ones, in its low nibble for k < 2, and the high bits in bits 2k and 2k+1 of byte j of the
// high ones. Source: ggml's block_q6_K.
const (
	q6Weights = 256
	q6Bytes   = 128 + 64 + 16 + 2
	q6Group   = 16
)

// EncodeQ6_K encodes src, whose length is a multiple of 256. A group's scale is the best of a few around its
// largest weight over 32; it is then rounded to eight bits of the largest in its block.
func EncodeQ6_K(dst []byte, src []float32) {
	for ; len(src) > 0; src, dst = src[q6Weights:], dst[q6Bytes:] {
		var scales [q6Weights / q6Group]float32
		most := float32(0)
		for g := range scales {
			scales[g] = q6Scale(src[g*q6Group:][:q6Group])
			if math.Abs(float64(scales[g])) > math.Abs(float64(most)) {
				most = scales[g]
			}
		}
		clear(dst[:192])
		putHalf(dst[208:], most/127)
		d := half(dst[208:])
		for g, s := range scales {
			eight := float32(0)
			if d != 0 {
				eight = float32(math.RoundToEven(float64(max(-128, min(127, s/d)))))
			}
			dst[192+g] = byte(int8(eight))
			inverse := float32(0)
			if step := d * eight; step != 0 {
				inverse = 1 / step
			}
			for i, x := range src[g*q6Group:][:q6Group] {
				at := g*q6Group + i
				putQ6(dst, at, uint8(q6Code(x*inverse)+32))
			}
		}
	}
}

// putQ6 writes code u of weight at of a cleared block.
func putQ6(dst []byte, at int, u uint8) {
	h, k, j := at/128, at%128/32, at%32
	dst[64*h+k%2*32+j] |= u & 15 << (k / 2 * 4)
	dst[128+32*h+j] |= u >> 4 << (2 * k)
}

// q6Code rounds to a code less 32.
func q6Code(x float32) float32 {
	return max(-32, min(31, float32(math.RoundToEven(float64(x)))))
}

// q6Scale returns the scale of a group that leaves the least squares, of those tried.
func q6Scale(group []float32) float32 {
	top := float32(0)
	for _, x := range group {
		if math.Abs(float64(x)) > math.Abs(float64(top)) {
			top = x
		}
	}
	inverse := 1 / top
	if top == 0 || math.Abs(float64(inverse)) > math.MaxFloat32/64 {
		return 0
	}
	best, scale := float32(-1), float32(0)
	for try := -4; try <= 4; try++ {
		unit := -(32 + 0.1*float32(try)) * inverse // the largest weight takes the one code without an opposite
		var xc, cc float32
		for _, x := range group {
			c := q6Code(x * unit)
			xc += x * unit * c
			cc += c * c
		}
		if cc == 0 {
			continue
		}
		if gain := xc / unit * (xc / unit) / cc; gain > best {
			best, scale = gain, xc/cc/unit
		}
	}
	return scale
}

// DecodeQ6_K decodes len(dst) weights, a multiple of 256.
func DecodeQ6_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[q6Weights:], src[q6Bytes:] {
		d := half(src[208:])
		for at := range dst[:q6Weights] {
			h, k, j := at/128, at%128/32, at%32
			low := src[64*h+k%2*32+j] >> (k / 2 * 4) & 15
			high := src[128+32*h+j] >> (2 * k) & 3
			dst[at] = d * float32(int8(src[192+at/q6Group])) * float32(int(low|high<<4)-32)
		}
	}
}

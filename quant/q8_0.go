package quant

import "math"

// A Q8_0 block: fp16 scale d, then 32 int8 q; a weight is d*q. Source: ggml's block_q8_0.
const (
	q8Weights = 32
	q8Bytes   = 2 + q8Weights
)

// EncodeQ8_0 encodes src, whose length is a multiple of 32, with d = absmax/127.
func EncodeQ8_0(dst []byte, src []float32) {
	for ; len(src) > 0; src, dst = src[q8Weights:], dst[q8Bytes:] {
		d := absmax(src[:q8Weights]) / 127
		inverse := float32(0)
		if d != 0 {
			inverse = 1 / d
		}
		putHalf(dst, d)
		for i, x := range src[:q8Weights] {
			dst[2+i] = byte(int8(math.RoundToEven(float64(x * inverse))))
		}
	}
}

// DecodeQ8_0 decodes len(dst) weights, a multiple of 32.
func DecodeQ8_0(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[q8Weights:], src[q8Bytes:] {
		d := half(src)
		for i := range dst[:q8Weights] {
			dst[i] = d * float32(int8(src[2+i]))
		}
	}
}

// absmax returns the largest magnitude of finite weights. Their bits without the sign are in its order.
func absmax(x []float32) float32 {
	const sign = 1 << 31
	m := uint32(0)
	for _, v := range x {
		m = max(m, math.Float32bits(v)&^sign)
	}
	return math.Float32frombits(m)
}

package quant

import (
	"encoding/binary"
	"math"

	"github.com/x448/float16"
)

// The conversions here and in q8_0.go and nf4.go work on whole slices, in the file's little-endian order:
// an encoder fills dst with len(src) weights, a decoder fills dst from as many blocks of src.

// DecodeF32 decodes len(dst) float32 weights.
func DecodeF32(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
}

// EncodeF32 encodes src without loss.
func EncodeF32(dst []byte, src []float32) {
	for i, x := range src {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(x))
	}
}

// DecodeF16 decodes len(dst) IEEE half-precision weights.
func DecodeF16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = half(src[2*i:])
	}
}

// EncodeF16 rounds src to half precision, to nearest even; what is too large becomes infinite.
func EncodeF16(dst []byte, src []float32) {
	for i, x := range src {
		putHalf(dst[2*i:], x)
	}
}

// DecodeBF16 decodes len(dst) bfloat16 weights, which are the upper halves of float32.
func DecodeBF16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
	}
}

// EncodeBF16 rounds src to bfloat16, to nearest even. (d4l3k/go-bfloat16 cuts the lower half off.)
func EncodeBF16(dst []byte, src []float32) {
	for i, x := range src {
		b := math.Float32bits(x)
		if x != x {
			b |= 1 << 22 // a NaN stays one, also where all its set bits are in the lower half
		} else {
			b += 0x7fff + b>>16&1
		}
		binary.LittleEndian.PutUint16(dst[2*i:], uint16(b>>16))
	}
}

func half(b []byte) float32 { return float16.Frombits(binary.LittleEndian.Uint16(b)).Float32() }

func putHalf(b []byte, x float32) { binary.LittleEndian.PutUint16(b, float16.Fromfloat32(x).Bits()) }

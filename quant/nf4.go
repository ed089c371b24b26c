package quant

import "math"

// An NF4 block: fp16 absmax, then 16 bytes of codes; weight j is the low nibble of byte j, weight 16+j the
// high one. A weight is absmax * NF4Codebook[code]. The shape is that of ggml's block_iq4_nl.
const (
	nf4Weights = 32
	nf4Bytes   = 2 + nf4Weights/2
	maxHalf    = 65504
)

// NF4Codebook are the 16 values of the 4-bit NormalFloat, quantiles of N(0, 1) scaled to [-1, 1] with an
// exact zero, as Dettmers et al. 2023, "QLoRA", appendix E, publish them.
var NF4Codebook = [16]float32{
	-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
	-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
	0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
	0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
}

// nf4Cells splits [-1, 1] so finely that no cell holds two midpoints between codes: a cell gives the code
// at its lower edge, and one comparison gives the nearest.
const nf4Cells = 64

// nf4Mid[c] is the midpoint between codes c and c+1; nothing lies above the last. nf4Cell[i] is the number
// of midpoints below cell i's lower edge.
var nf4Mid, nf4Cell = nf4Tables()

func nf4Tables() (mid [16]float32, cell [nf4Cells + 1]uint8) {
	for c := range 15 {
		mid[c] = (NF4Codebook[c] + NF4Codebook[c+1]) / 2
	}
	mid[15] = math.MaxFloat32
	for i := range cell {
		edge := float32(i)*2/nf4Cells - 1
		for edge > mid[cell[i]] {
			cell[i]++
		}
	}
	return mid, cell
}

// EncodeNF4 encodes src, whose length is a multiple of 32 and whose weights are finite, with the nearest
// code of each weight relative to its block's absmax, which is rounded to fp16 first. A weight midway
// between two codes takes the lower one.
func EncodeNF4(dst []byte, src []float32) {
	for ; len(src) > 0; src, dst = src[nf4Weights:], dst[nf4Bytes:] {
		putHalf(dst, min(absmax(src[:nf4Weights]), maxHalf))
		inverse := float32(0)
		if d := half(dst); d != 0 {
			inverse = 1 / d
		}
		for j := range nf4Weights / 2 {
			dst[2+j] = nf4Code(src[j]*inverse) | nf4Code(src[nf4Weights/2+j]*inverse)<<4
		}
	}
}

// nf4Code returns the code nearest to x; beyond [-1, 1] it is that of the end.
func nf4Code(x float32) uint8 {
	if x > 1 {
		return 15
	}
	if x < -1 {
		return 0
	}
	c := nf4Cell[int((x+1)*(nf4Cells/2))]
	above := uint8(0) // a value and not a branch: which side x falls on cannot be predicted
	if x > nf4Mid[c&15] {
		above = 1
	}
	return c + above
}

// DecodeNF4 decodes len(dst) weights, a multiple of 32.
func DecodeNF4(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[nf4Weights:], src[nf4Bytes:] {
		d := half(src)
		for j := range nf4Weights / 2 {
			b := src[2+j]
			dst[j] = d * NF4Codebook[b&15]
			dst[nf4Weights/2+j] = d * NF4Codebook[b>>4]
		}
	}
}

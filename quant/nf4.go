package quant

import "math"

// An NF4 block: the scale, then for every 32 weights 16 bytes of codes, weight j in the low nibble of byte j
// and weight 16+j in the high one. A weight is scale * NF4Codebook[code].
//
// The scale is fp16 in blocks of 32 and of 64. With double quantization (nf4dq.go) it is eight bits.
const (
	nf4Weights   = 32
	nf4Bytes     = 2 + nf4Weights/2
	nf4Wide      = 64
	nf4WideBytes = 2 + nf4Wide/2
	maxHalf      = 65504
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

// nf4Code returns the code nearest to x; beyond [-1, 1] it is that of the end. A value midway between two
// codes takes the lower one, as in bitsandbytes.
func nf4Code(x float32) uint8 {
	x = min(max(x, -1), 1)
	c := nf4Cell[int((x+1)*(nf4Cells/2))]
	above := uint8(0) // a value and not a branch: which side x falls on cannot be predicted
	if x > nf4Mid[c&15] {
		above = 1
	}
	return c + above
}

// EncodeNF4 encodes src, whose length is a multiple of 32 and whose weights are finite, with the scale and codes
// that nf4Scale chooses for each block: the root-mean-square error is less than that of EncodeNF4Exact.
func EncodeNF4(dst []byte, src []float32) { encodeBlocks(dst, src, nf4Weights, nf4Scale) }

// EncodeNF4_64 is EncodeNF4 in blocks of 64.
func EncodeNF4_64(dst []byte, src []float32) { encodeBlocks(dst, src, nf4Wide, nf4Scale) }

// EncodeNF4Exact encodes as bitsandbytes does: the scale of a block is its absmax, a weight takes the code nearest
// to its quotient with it. The absmax is rounded to fp16 after that; bitsandbytes keeps it in float32.
func EncodeNF4Exact(dst []byte, src []float32) { encodeBlocks(dst, src, nf4Weights, nil) }

// EncodeNF4_64Exact is EncodeNF4Exact in blocks of 64.
func EncodeNF4_64Exact(dst []byte, src []float32) { encodeBlocks(dst, src, nf4Wide, nil) }

// encodeBlocks encodes blocks of n weights. scale chooses a block's scale; nil: the exact encoding.
func encodeBlocks(dst []byte, src []float32, n int, scale func(block []float32) float32) {
	for ; len(src) > 0; src, dst = src[n:], dst[2+n/2:] {
		block := src[:n]
		if scale == nil {
			m := absmax(block)
			putHalf(dst, min(m, maxHalf))
			putCodes(dst[2:], block, m)
			continue
		}
		putHalf(dst, min(max(scale(block), -maxHalf), maxHalf))
		putCodes(dst[2:], block, half(dst))
	}
}

// putCodes writes the codes of a block: the nearest to each weight's quotient with the scale.
func putCodes(dst []byte, block []float32, scale float32) {
	inverse := float32(0)
	if scale != 0 {
		inverse = 1 / scale
	}
	if math.IsInf(float64(inverse), 0) { // a scale below 2^-128, whose block counts as zero
		inverse = 0
	}
	for ; len(block) > 0; block, dst = block[nf4Weights:], dst[nf4Weights/2:] {
		low, high := block[:nf4Weights/2], block[nf4Weights/2:nf4Weights]
		for j := range low {
			dst[j] = nf4Code(low[j]*inverse) | nf4Code(high[j]*inverse)<<4
		}
	}
}

// DecodeNF4 decodes len(dst) weights, a multiple of 32.
func DecodeNF4(dst []float32, src []byte) { decodeBlocks(dst, src, nf4Weights) }

// DecodeNF4_64 decodes len(dst) weights, a multiple of 64.
func DecodeNF4_64(dst []float32, src []byte) { decodeBlocks(dst, src, nf4Wide) }

func decodeBlocks(dst []float32, src []byte, n int) {
	for ; len(dst) > 0; dst, src = dst[n:], src[2+n/2:] {
		getCodes(dst[:n], src[2:], half(src))
	}
}

// getCodes decodes a block.
func getCodes(block []float32, src []byte, scale float32) {
	for ; len(block) > 0; block, src = block[nf4Weights:], src[nf4Weights/2:] {
		low, high := block[:nf4Weights/2], block[nf4Weights/2:nf4Weights]
		for j := range low {
			b := src[j]
			low[j] = scale * NF4Codebook[b&15]
			high[j] = scale * NF4Codebook[b>>4]
		}
	}
}

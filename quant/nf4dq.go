package quant

import (
	"encoding/binary"
	"math"
)

// Double quantization: the scale of a block of 64 is a signed 8-bit part of a float32 that 256 blocks share, 16
// rows by 16 blocks, a tile. A weight is tile * scale * NF4Codebook[code]; 4 + 8/64 + 32/16384 = 4.127 bits.
//
// A tensor is a sequence of strips of 16 rows (the last may have fewer), each of which stands on its own:
//
//	tiles  float32 [ceil(n_in/1024)]
//	rows   [rows][n_in/64] of { int8 scale; 32 bytes of codes, as in blocks with an fp16 scale }
const (
	dqBytes  = 1 + nf4Wide/2
	dqRows   = 16 // in a strip
	dqBlocks = 16 // of a row, in a tile
)

// dqSize returns the bytes of a weight. It fits where the number of weights does.
func dqSize(in, out int64) int64 {
	strips := (out + dqRows - 1) / dqRows
	return strips*int64(dqTiles(int(in/nf4Wide)))*4 + out*(in/nf4Wide)*dqBytes
}

// dqTiles returns how many tiles a row of so many blocks crosses.
func dqTiles(blocks int) int { return (blocks + dqBlocks - 1) / dqBlocks }

// EncodeNF4DQ encodes rows of width weights, a multiple of 64; a strip must begin with src. The weights are
// finite. Scales are chosen by nf4Scale, and codes for the scale that is left of it in eight bits.
func EncodeNF4DQ(dst []byte, src []float32, width int) { encodeDQ(dst, src, width, false) }

// EncodeNF4DQExact encodes as bitsandbytes codes: the code nearest to a weight's quotient with the absmax of its
// block. The absmax is rounded to eight bits after that, in the even steps of this format.
func EncodeNF4DQExact(dst []byte, src []float32, width int) { encodeDQ(dst, src, width, true) }

func encodeDQ(dst []byte, src []float32, width int, exact bool) {
	blocks := width / nf4Wide
	tiles := dqTiles(blocks)
	scales := make([]float32, dqRows*blocks)
	for len(src) > 0 {
		rows := min(dqRows, len(src)/width)
		choose := nf4Scale
		if exact {
			choose = absmax
		}
		for b := range rows * blocks {
			scales[b] = choose(src[b*nf4Wide:][:nf4Wide])
		}
		body := dst[4*tiles:]
		for t := range tiles {
			unit := dqUnit(scales[:rows*blocks], blocks, t)
			binary.LittleEndian.PutUint32(dst[4*t:], math.Float32bits(unit))
			for r := range rows {
				for b := t * dqBlocks; b < min(blocks, (t+1)*dqBlocks); b++ {
					at := r*blocks + b
					to, block, scale := body[at*dqBytes:], src[at*nf4Wide:][:nf4Wide], scales[at]
					eight := dqScale(scale, unit)
					to[0] = byte(eight)
					if !exact {
						scale = unit * float32(eight)
					}
					putCodes(to[1:], block, scale)
				}
			}
		}
		src, dst = src[rows*width:], body[rows*blocks*dqBytes:]
	}
}

// dqUnit returns the float32 of tile t of a strip: the least with which 127 reaches its largest scale.
func dqUnit(scales []float32, blocks, t int) float32 {
	most := float32(0)
	for row := scales; len(row) > 0; row = row[blocks:] {
		most = max(most, absmax(row[t*dqBlocks:min(blocks, (t+1)*dqBlocks)]))
	}
	return most / 127
}

// dqScale returns scale in units, in eight bits.
func dqScale(scale, unit float32) int8 {
	if unit == 0 {
		return 0
	}
	return int8(max(-127, min(127, math.RoundToEven(float64(scale)/float64(unit)))))
}

// DecodeNF4DQ decodes len(dst) weights in rows of width; a strip must begin with src.
func DecodeNF4DQ(dst []float32, src []byte, width int) {
	blocks := width / nf4Wide
	tiles := dqTiles(blocks)
	for len(dst) > 0 {
		rows := min(dqRows, len(dst)/width)
		body := src[4*tiles:]
		for at := range rows * blocks {
			unit := math.Float32frombits(binary.LittleEndian.Uint32(src[at%blocks/dqBlocks*4:]))
			from := body[at*dqBytes:]
			getCodes(dst[at*nf4Wide:][:nf4Wide], from[1:], unit*float32(int8(from[0])))
		}
		dst, src = dst[rows*width:], body[rows*blocks*dqBytes:]
	}
}

package quant

import (
	"fmt"
	"math"
)

// Type is how a tensor's weights are encoded, by ggml's numbers; the NF4 types have none there (carrier.go).
type Type uint32

// The types this package encodes or decodes. Others are known by name and size only.
const (
	F32    Type = 0
	F16    Type = 1
	Q8_0   Type = 8
	Q6_K   Type = 14
	IQ4_NL Type = 20
	I8     Type = 24
	BF16   Type = 30
	MXFP4  Type = 39
)

// The NF4 types. A weight is scale * NF4Codebook[code]; they differ in how a block's scale is kept.
const (
	NF4    Type = 1<<16 + iota // blocks of 32 with an fp16 scale: 4.5 bits a weight
	NF4_64                     // blocks of 64 with an fp16 scale: 4.25 bits
	NF4_DQ                     // blocks of 64 with an 8-bit scale, and a float32 per 256 blocks: 4.127 bits
)

// NF4 reports whether the type is one of the NF4 types.
func (t Type) NF4() bool { return t >= NF4 && t <= NF4_DQ }

// types gives every type of ggml its name, the weights of a block and the bytes they take.
// A type number that ggml never used, or no longer uses, has no weights.
var types = [...]struct {
	name           string
	weights, bytes int64
}{
	0: {"F32", 1, 4}, 1: {"F16", 1, 2}, 2: {"Q4_0", 32, 18}, 3: {"Q4_1", 32, 20},
	6: {"Q5_0", 32, 22}, 7: {"Q5_1", 32, 24}, 8: {"Q8_0", 32, 34}, 9: {"Q8_1", 32, 36},
	10: {"Q2_K", 256, 84}, 11: {"Q3_K", 256, 110}, 12: {"Q4_K", 256, 144}, 13: {"Q5_K", 256, 176},
	14: {"Q6_K", 256, 210}, 15: {"Q8_K", 256, 292},
	16: {"IQ2_XXS", 256, 66}, 17: {"IQ2_XS", 256, 74}, 18: {"IQ3_XXS", 256, 98}, 19: {"IQ1_S", 256, 50},
	20: {"IQ4_NL", 32, 18}, 21: {"IQ3_S", 256, 110}, 22: {"IQ2_S", 256, 82}, 23: {"IQ4_XS", 256, 136},
	24: {"I8", 1, 1}, 25: {"I16", 1, 2}, 26: {"I32", 1, 4}, 27: {"I64", 1, 8}, 28: {"F64", 1, 8},
	29: {"IQ1_M", 256, 56}, 30: {"BF16", 1, 2},
	34: {"TQ1_0", 256, 54}, 35: {"TQ2_0", 256, 66}, 39: {"MXFP4", 32, 17},
}

// String returns ggml's name of the type, in capitals as in "Q8_0".
func (t Type) String() string {
	switch {
	case t.NF4():
		return [...]string{"NF4", "NF4-64", "NF4-DQ"}[t-NF4]
	case !t.known():
		return fmt.Sprintf("type %d", uint32(t))
	}
	return types[t].name
}

// Block returns how many weights of a row form a block and the bytes of one; 0, 0 for an unknown type. The
// float32 scales of NF4_DQ come on top; Size counts them.
func (t Type) Block() (weights, bytes int64) {
	switch {
	case t.NF4():
		return [...]int64{nf4Weights, nf4Wide, nf4Wide}[t-NF4], [...]int64{nf4Bytes, nf4WideBytes, dqBytes}[t-NF4]
	case !t.known():
		return 0, 0
	}
	return types[t].weights, types[t].bytes
}

func (t Type) known() bool {
	return t.NF4() || int64(t) < int64(len(types)) && types[t].weights > 0
}

// Size returns the bytes of a tensor of these dimensions. The error says what is wrong with them.
func (t Type) Size(dims []int64) (int64, error) { return t.size(dims) }

// size returns the bytes of a tensor of these dimensions. It errs where the type is unknown, where a
// dimension is not positive, where a row is not whole blocks, and where the size does not fit int64.
func (t Type) size(dims []int64) (int64, error) {
	if !t.known() {
		return 0, fmt.Errorf("unknown weight %s", t)
	}
	weights, bytes := t.Block()
	if len(dims) == 0 || dims[0]%weights != 0 {
		return 0, fmt.Errorf("dimensions %v are not whole %s blocks of %d", dims, t, weights)
	}
	size := bytes
	for i, d := range dims {
		if d < 1 {
			return 0, fmt.Errorf("dimension %d of %v is not positive", i, dims)
		}
		if i == 0 {
			d /= weights
		}
		// The product of the dimensions must fit as well: a block may hold fewer bytes than weights.
		if size > math.MaxInt64/weights/d {
			return 0, fmt.Errorf("dimensions %v are too large", dims)
		}
		size *= d
	}
	if t == NF4_DQ {
		if len(dims) != 2 {
			return 0, fmt.Errorf("dimensions %v are not those of a matrix, as %s needs", dims, t)
		}
		size = dqSize(dims[0], dims[1])
	}
	return size, nil
}

// unit returns how many weights of the tensor are coded together: a block, and in NF4_DQ a strip of rows.
func (t Tensor) unit() int64 {
	if t.Type == NF4_DQ {
		return dqRows * t.Dims[0]
	}
	weights, _ := t.Type.Block()
	return weights
}

// bytes returns the bytes of the tensor's first n weights, whole units or all of them.
func (t Tensor) bytes(n int64) int64 {
	if t.Type == NF4_DQ {
		return dqSize(t.Dims[0], n/t.Dims[0])
	}
	weights, size := t.Type.Block()
	return n / weights * size
}

// decoder returns the function that decodes src into dst: whole blocks, and for NF4_DQ whole strips of rows.
func (t Tensor) decoder() (func(dst []float32, src []byte), error) {
	switch t.Type {
	case F32:
		return DecodeF32, nil
	case F16:
		return DecodeF16, nil
	case BF16:
		return DecodeBF16, nil
	case Q8_0:
		return DecodeQ8_0, nil
	case Q6_K:
		return DecodeQ6_K, nil
	case NF4:
		return DecodeNF4, nil
	case NF4_64:
		return DecodeNF4_64, nil
	case NF4_DQ:
		return func(dst []float32, src []byte) { DecodeNF4DQ(dst, src, int(t.Dims[0])) }, nil
	}
	return nil, fmt.Errorf("%w: %s", ErrType, t.Type)
}

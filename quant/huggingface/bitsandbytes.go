package huggingface

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/x448/float16"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/quant/safetensors"
)

// This file reads what bitsandbytes saves of a linear layer that it quantized to NF4. Beside the tensor "X.weight"
// of packed codes (U8, or what bnb_4bit_quant_storage calls the same bytes; of two neighbours the first is the high
// nibble; the matrix row by row) stand
//
//	X.weight.quant_state.bitsandbytes__nf4  a JSON object as U8: shape, blocksize, dtype, nested_...
//	X.weight.quant_map                      F32[16]: the codebook
//	X.weight.absmax                         F32 of each block, or U8 where they are quantized in turn:
//	X.weight.nested_quant_map               F32[256]: absmax = map[code] * nested_absmax[block / 256] + nested_offset
//	X.weight.nested_absmax                  F32
//
// Source: bitsandbytes, functional.py (QuantState.as_dict, quantize_4bit, dequantize_4bit).

// nf4Block is the block size that bitsandbytes uses and our files have.
const nf4Block = 64

// bitsandbytes is one quantized matrix.
type bitsandbytes struct {
	codes, absmax *stored
	elements      int64
	nested        []float32 // absmax of each nestedSize values of absmax; nil: absmax is F32
	nestedMap     []float32
	nestedSize    int64
	offset        float32
}

// quantState is the JSON object.
type quantState struct {
	Type         string  `json:"quant_type"`
	BlockSize    int64   `json:"blocksize"`
	Shape        []int64 `json:"shape"`
	NestedSize   int64   `json:"nested_blocksize"`
	NestedDType  string  `json:"nested_dtype"`
	NestedOffset float64 `json:"nested_offset"`
}

// bitsandbytes reads what belongs to the codes t of a matrix of that shape.
func (s *shards) bitsandbytes(t *stored, shape []int64, used map[string]bool) (*bitsandbytes, error) {
	part := func(name string, dtype safetensors.DType, elements int64) (*stored, error) {
		p, ok := s.tensors[t.Name+"."+name]
		if !ok {
			return nil, t.err(fmt.Errorf("%q, which belongs to it, is in no shard", t.Name+"."+name))
		}
		used[p.Name] = true
		if p.DType != dtype || p.Elements() != elements {
			return nil, p.err(fmt.Errorf("it is %s of %d values, not %s of %d", p.DType, p.Elements(), dtype, elements))
		}
		return p, nil
	}
	for _, other := range []string{"fp4"} {
		if p, ok := s.tensors[t.Name+".quant_state.bitsandbytes__"+other]; ok {
			return nil, unsupported(p.shard, "tensor %q: bitsandbytes' %s is not supported, only nf4", t.Name, other)
		}
	}
	state, err := s.quantState(t, shape, used)
	if err != nil {
		return nil, err
	}
	b := &bitsandbytes{codes: t, elements: shape[0] * shape[1], nestedSize: state.NestedSize, offset: float32(state.NestedOffset)}
	if t.Size != b.elements/2 {
		return nil, t.err(fmt.Errorf("it has %d bytes, codes of %v take %d", t.Size, shape, b.elements/2))
	}
	codebook, err := part("quant_map", safetensors.F32, 16)
	if err != nil {
		return nil, err
	}
	if err := checkCodebook(codebook); err != nil {
		return nil, err
	}
	blocks := b.elements / nf4Block
	if state.NestedSize == 0 {
		b.absmax, err = part("absmax", safetensors.F32, blocks)
		return b, err
	}
	if b.absmax, err = part("absmax", safetensors.U8, blocks); err != nil {
		return nil, err
	}
	for _, n := range []struct {
		name     string
		elements int64
		to       *[]float32
	}{{"nested_quant_map", 256, &b.nestedMap}, {"nested_absmax", (blocks + state.NestedSize - 1) / state.NestedSize, &b.nested}} {
		p, err := part(n.name, safetensors.F32, n.elements)
		if err != nil {
			return nil, err
		}
		*n.to = make([]float32, n.elements)
		if err := p.float32s(*n.to, 0); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// quantState reads the JSON object, and holds it against the shape.
func (s *shards) quantState(t *stored, shape []int64, used map[string]bool) (quantState, error) {
	var state quantState
	p, ok := s.tensors[t.Name+".quant_state.bitsandbytes__nf4"]
	if !ok {
		return state, t.err(fmt.Errorf("%q, which belongs to it, is in no shard", t.Name+".quant_state.bitsandbytes__nf4"))
	}
	used[p.Name] = true
	if p.DType != safetensors.U8 || p.Size > 1<<16 {
		return state, p.err(fmt.Errorf("it is %s of %d bytes, not a short U8", p.DType, p.Size))
	}
	raw := make([]byte, p.Size)
	if err := p.readAt(raw, 0); err != nil {
		return state, err
	}
	if err := json.Unmarshal(raw, &state); err != nil {
		return state, p.err(err)
	}
	switch {
	case state.Type != "nf4":
		return state, p.err(fmt.Errorf("quant_type is %q, not nf4", state.Type))
	case !slices.Equal(state.Shape, shape):
		return state, p.err(fmt.Errorf("shape is %v, %s calls for %v", state.Shape, configFile, shape))
	case state.BlockSize != nf4Block:
		return state, unsupported(p.shard, "tensor %q: blocksize is %d, not %d", p.Name, state.BlockSize, nf4Block)
	case shape[1]%nf4Block != 0:
		return state, unsupported(p.shard, "tensor %q: rows of %d values are not whole blocks of %d", t.Name, shape[1], nf4Block)
	case state.NestedSize < 0 || state.NestedSize > 1<<20 || math.IsNaN(state.NestedOffset) || math.Abs(state.NestedOffset) > 1e30:
		return state, p.err(fmt.Errorf("nested_blocksize is %d and nested_offset %g", state.NestedSize, state.NestedOffset))
	case state.NestedSize > 0 && state.NestedDType != "float32" && state.NestedDType != "":
		return state, p.err(fmt.Errorf("nested_dtype is %q, not float32", state.NestedDType))
	}
	return state, nil
}

// checkCodebook holds quant_map against the codebook that our files mean.
func checkCodebook(t *stored) error {
	var got [16]float32
	if err := t.float32s(got[:], 0); err != nil {
		return err
	}
	for i, x := range got {
		if math.Abs(float64(x-quant.NF4Codebook[i])) > 1e-6 {
			return unsupported(t.shard, "tensor %q: value %d is %g, NF4 has %g", t.Name, i, x, quant.NF4Codebook[i])
		}
	}
	return nil
}

// scales returns the absmax of n blocks from the first on.
func (b *bitsandbytes) scales(first, n int64) ([]float32, error) {
	out := make([]float32, n)
	if b.nested == nil {
		return out, b.absmax.float32s(out, first)
	}
	raw := make([]byte, n)
	if err := b.absmax.readAt(raw, first); err != nil {
		return nil, err
	}
	for i, code := range raw {
		out[i] = b.nestedMap[code]*b.nested[(first+int64(i))/b.nestedSize] + b.offset
	}
	return out, nil
}

// decoded is the matrix as F32 weights.
func (b *bitsandbytes) decoded(name string, dims []int64) weights {
	return weights{quant.Tensor{Name: name, Type: quant.F32, Dims: dims}, asFloats(b.float32s)}
}

// float32s decodes len(dst) weights from the first on.
func (b *bitsandbytes) float32s(dst []float32, first int64) error {
	last := first + int64(len(dst)) - 1
	scales, err := b.scales(first/nf4Block, last/nf4Block-first/nf4Block+1)
	if err != nil {
		return err
	}
	raw := make([]byte, last/2-first/2+1)
	if err := b.codes.readAt(raw, first/2); err != nil {
		return err
	}
	for i := range dst {
		at := first + int64(i)
		code := raw[at/2-first/2] >> 4
		if at%2 == 1 {
			code = raw[at/2-first/2] & 15
		}
		dst[i] = quant.NF4Codebook[code] * scales[at/nf4Block-first/nf4Block]
	}
	return nil
}

// coded is the matrix as NF4 blocks of ours, with the very codes it has. The absmax is rounded to float16.
func (b *bitsandbytes) coded(name string, dims []int64) weights {
	_, size := quant.NF4_64.Block()
	return weights{quant.Tensor{Name: name, Type: quant.NF4_64, Dims: dims}, func(p []byte, off int64) error {
		first, end := off/size, (off+int64(len(p))+size-1)/size
		raw := make([]byte, (end-first)*size)
		if err := b.blocks(raw, first); err != nil {
			return err
		}
		copy(p, raw[off-first*size:])
		return nil
	}}
}

// blocks fills dst with our blocks of 64 weights, from number first on: fp16 absmax, then for each 32 weights 16 bytes
// of codes, whose low nibbles are the first half of them.
func (b *bitsandbytes) blocks(dst []byte, first int64) error {
	const half = 16
	_, size := quant.NF4_64.Block()
	n := int64(len(dst)) / size
	scales, err := b.scales(first, n)
	if err != nil {
		return err
	}
	codes := make([]byte, n*nf4Block/2)
	if err := b.codes.readAt(codes, first*nf4Block/2); err != nil {
		return err
	}
	for i := range n {
		block, packed := dst[i*size:][:size], codes[i*nf4Block/2:][:nf4Block/2]
		scale := float16.Fromfloat32(scales[i])
		if scale.IsNaN() || scale.IsInf(0) {
			return b.absmax.err(fmt.Errorf("the absmax %g of block %d does not fit float16", scales[i], first+i))
		}
		binary.LittleEndian.PutUint16(block, scale.Bits())
		for j := range int64(nf4Block / 2) {
			at := j/half*2*half + j%half // of the 32 weights j/half, weight j%half
			block[2+j] = nibble(packed, at) | nibble(packed, at+half)<<4
		}
	}
	return nil
}

// nibble returns code j of packed ones.
func nibble(packed []byte, j int64) byte {
	if j%2 == 0 {
		return packed[j/2] >> 4
	}
	return packed[j/2] & 15
}

package quant

import (
	"fmt"
	"strings"
)

// step is what Quantize does with one tensor. A nil encode copies it.
type step struct {
	from, to Tensor
	decode   func(dst []float32, src []byte)
	encode   func(dst []byte, src []float32)
	change   Change // made after decode; may be nil
}

// linears are the block tensors that every architecture uses as the weight of a matrix product and nothing
// else. Only these become NF4: the runtime's NF4 kernel is a matrix product, and a tensor that a model
// convolves, multiplies or looks up rows in would be read with the wrong codebook.
var linears = []string{
	"attn_q", "attn_k", "attn_v", "attn_qkv", "attn_output",
	"ffn_gate", "ffn_up", "ffn_down",
	"ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp",
}

// isLinear reports whether name is "blk.N.X.weight" with X in linears.
func isLinear(name string) bool {
	parts := strings.Split(name, ".")
	if len(parts) != 4 || parts[0] != "blk" || parts[3] != "weight" {
		return false
	}
	for _, l := range linears {
		if parts[2] == l {
			return true
		}
	}
	return false
}

// plan decides what becomes of each tensor, without reading any weights.
func plan(f *File, o Options) ([]step, error) {
	if err := quantizable(f, o); err != nil {
		return nil, err
	}
	steps := make([]step, len(f.Tensors))
	found := false
	for i, t := range f.Tensors {
		steps[i] = step{from: t, to: t}
		blocks := len(t.Dims) == 2 && t.Dims[0]%nf4Weights == 0
		switch head := t.Name == "token_embd.weight" || t.Name == "output.weight"; {
		case blocks && isLinear(t.Name):
			decode, err := decoder(t.Type, false)
			if err != nil {
				return nil, fmt.Errorf("tensor %q is quantized already: %w; start from F32, F16, BF16 or Q8_0", t.Name, err)
			}
			steps[i].decode, steps[i].encode, steps[i].to.Type = decode, EncodeNF4, IQ4_NL
			found = true
		case blocks && head && o.Head != "keep" && t.Type != Q8_0:
			// A head that is smaller than Q8_0 already stays as it is: nothing is gained by growing it.
			if decode, err := decoder(t.Type, false); err == nil {
				steps[i].decode, steps[i].encode, steps[i].to.Type = decode, EncodeQ8_0, Q8_0
			}
		}
		if steps[i].encode == nil && t.Type == IQ4_NL {
			return nil, fmt.Errorf("tensor %q: %w: IQ4_NL would be read as NF4", t.Name, ErrType)
		}
		size, err := steps[i].to.Type.size(t.Dims)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		steps[i].to.Size = size
	}
	if !found {
		return nil, fmt.Errorf("%w: it has no linear layer that could become NF4", ErrType)
	}
	return steps, nil
}

// quantizable checks the options and the file's metadata.
func quantizable(f *File, o Options) error {
	if o.Type != "nf4" {
		return fmt.Errorf("%w: type %q", ErrType, o.Type)
	}
	if o.Head != "" && o.Head != "q8_0" && o.Head != "keep" {
		return fmt.Errorf("%w: head type %q", ErrType, o.Head)
	}
	architecture, nf4 := PlainArchitecture(f.Architecture())
	switch parts, _ := f.Metadata.Uint("split.count"); {
	case architecture == "":
		return fmt.Errorf("%w: general.architecture is missing", ErrFormat)
	case nf4:
		return fmt.Errorf("%w: general.architecture is %q, it is NF4 already", ErrType, f.Architecture())
	case parts > 1:
		return fmt.Errorf("%w: split.count: it is one of %d parts; merge them first", ErrType, parts)
	}
	if t, ok := f.Metadata.String("general.type"); ok && t != "model" {
		return fmt.Errorf("%w: general.type is %q, not a model", ErrType, t)
	}
	return nil
}

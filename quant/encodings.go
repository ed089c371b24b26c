package quant

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// tensorEncoding is what Quantize does with one tensor. A nil encode copies it.
type tensorEncoding struct {
	from, to Tensor
	decode   func(dst []float32, src []byte)
	encode   func(dst []byte, src []float32)
	change   Change            // made after decode; may be nil
	limit    float32           // the largest weight that encode takes; 0: any
	valid    func([]byte) bool // of what was encoded or copied: are all weights finite; may be nil
	narrower bool              // the rows are not whole blocks of the type that was asked for
}

// unit returns how many weights are coded together: chunks are whole units, but for the end of a tensor.
func (s *tensorEncoding) unit() int64 { return max(s.from.unit(), s.to.unit()) }

// codec is one way to encode: encode makes the function for rows of so many weights.
type codec struct {
	to     Type
	encode func(width int64) func(dst []byte, src []float32)
}

func flat(encode func(dst []byte, src []float32)) func(int64) func([]byte, []float32) {
	return func(int64) func([]byte, []float32) { return encode }
}

// codecs returns the codecs for linear layers and for heads, the wanted one first; the others are for rows that
// are not whole blocks of it.
func (o Options) codecs() (linear, head []codec) {
	narrow := codec{NF4, flat(EncodeNF4)}
	wide := codec{NF4_64, flat(EncodeNF4_64)}
	dq := codec{NF4_DQ, func(width int64) func([]byte, []float32) {
		return func(dst []byte, src []float32) { encodeDQ(dst, src, int(width), o.Exact) }
	}}
	if o.Exact {
		narrow.encode, wide.encode = flat(EncodeNF4Exact), flat(EncodeNF4_64Exact)
	}
	switch {
	case o.Type == "nf4-dq":
		linear = []codec{dq, narrow}
	case cmp.Or(o.Block, DefaultBlock) == nf4Wide:
		linear = []codec{wide, narrow}
	default:
		linear = []codec{narrow}
	}
	eight := codec{Q8_0, flat(EncodeQ8_0)}
	switch o.Head {
	case "", "q8_0":
		head = []codec{eight}
	case "q6_k":
		head = []codec{{Q6_K, flat(EncodeQ6_K)}, eight}
	}
	return linear, head
}

// choose returns the first codec whose blocks fill the tensor's rows.
func choose(codecs []codec, t Tensor) (codec, bool) {
	for _, c := range codecs {
		if weights, _ := c.to.Block(); len(t.Dims) == 2 && t.Dims[0]%weights == 0 {
			return c, true
		}
	}
	return codec{}, false
}

// with returns the encoding of t with c.
func (c codec) with(t Tensor) (tensorEncoding, error) {
	decode, err := t.decoder()
	if err != nil {
		return tensorEncoding{}, err
	}
	s := tensorEncoding{from: t, to: t, decode: decode, encode: c.encode(t.Dims[0])}
	s.to.Type = c.to
	return s, nil
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

// encodingsOf decides how each tensor is encoded, without reading any weights.
func encodingsOf(f *File, o Options) ([]tensorEncoding, error) {
	if err := quantizable(f, o); err != nil {
		return nil, err
	}
	linear, head := o.codecs()
	encodings := make([]tensorEncoding, len(f.Tensors))
	found, unfit := false, ""
	for i, t := range f.Tensors {
		encodings[i] = tensorEncoding{from: t, to: t}
		c, fits := choose(linear, t)
		switch {
		case fits && isLinear(t.Name):
			s, err := c.with(t)
			if err != nil || t.Type == Q6_K {
				return nil, fmt.Errorf("tensor %q is quantized already: %w: %s; start from F32, F16, BF16 or Q8_0", t.Name, ErrType, t.Type)
			}
			s.narrower = c.to != linear[0].to
			encodings[i], found = s, true
		case isLinear(t.Name):
			unfit = fmt.Sprintf(": tensor %q has dimensions %v, and NF4 needs matrices whose first dimension is a multiple of %d", t.Name, t.Dims, nf4Weights)
		case t.Name == "token_embd.weight" || t.Name == "output.weight":
			encodings[i] = headEncoding(head, t)
		}
		if to := encodings[i].to.Type; to == IQ4_NL || to == MXFP4 {
			return nil, fmt.Errorf("tensor %q: %w: %s would be read as NF4", t.Name, ErrType, to)
		}
		size, err := encodings[i].to.Type.size(t.Dims)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		encodings[i].to.Size = size
	}
	if !found {
		return nil, fmt.Errorf("%w: it has no linear layer that could become NF4%s", ErrType, unfit)
	}
	return encodings, nil
}

// headEncoding encodes a head, unless that would not make it smaller or cannot be done.
func headEncoding(codecs []codec, t Tensor) tensorEncoding {
	same := tensorEncoding{from: t, to: t}
	c, fits := choose(codecs, t)
	if !fits {
		return same
	}
	s, err := c.with(t)
	if err != nil {
		return same
	}
	if size, err := c.to.size(t.Dims); err != nil || size >= t.Size {
		return same
	}
	s.narrower = c.to != codecs[0].to
	return s
}

// quantizable checks the options and the file's metadata.
func quantizable(f *File, o Options) error {
	if !slices.Contains(Types, o.Type) {
		return fmt.Errorf("%w: type %q", ErrType, o.Type)
	}
	if o.Head != "" && !slices.Contains(Heads, o.Head) {
		return fmt.Errorf("%w: head type %q", ErrType, o.Head)
	}
	switch {
	case o.Block != 0 && o.Block != nf4Weights && o.Block != nf4Wide:
		return fmt.Errorf("%w: blocks of %d weights; NF4 has blocks of %d and %d", ErrType, o.Block, nf4Weights, nf4Wide)
	case o.Block == nf4Weights && o.Type == "nf4-dq":
		return fmt.Errorf("%w: nf4-dq has blocks of %d weights, not of %d", ErrType, nf4Wide, nf4Weights)
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

package qloratest

// #cgo CXXFLAGS: -std=c++17 -Wno-psabi
// #include <stdlib.h>
// #include "ggml.h"
// #include "sample.h"
import "C"

import (
	"fmt"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
)

// Shape describes a model of random numbers.
type Shape struct {
	Embedding, Layers, Heads, KVHeads, HeadSize, FeedForward, Vocab int

	Kind    Kind // of the layers' weights
	EndKind Kind // of the embedding and the head

	Neox      bool // RoPE pairs halves apart (qwen) instead of neighbours (llama)
	Bias      bool // on q, k and v (qwen2)
	QKNorm    bool // qwen3
	Tied      bool
	Stretched bool // RoPE with frequency factors and YaRN
	Seed      uint64
}

// Kind is how a weight is coded: ggml's types, its interleaved (X8) layouts, and those of runtime/kernels.
type Kind int

// The kinds that training can read.
const (
	F32     Kind = C.LQ_F32
	F16     Kind = C.LQ_F16
	BF16    Kind = C.LQ_BF16
	Q8_0    Kind = C.LQ_Q8_0
	Q4_0    Kind = C.LQ_Q4_0
	Q4_0X8  Kind = C.LQ_Q4_0_X8
	Q4_1    Kind = C.LQ_Q4_1
	Q5_0    Kind = C.LQ_Q5_0
	Q5_1    Kind = C.LQ_Q5_1
	Q4_K    Kind = C.LQ_Q4_K
	Q4_KX8  Kind = C.LQ_Q4_K_X8
	Q5_K    Kind = C.LQ_Q5_K
	Q6_K    Kind = C.LQ_Q6_K
	IQ4NL   Kind = C.LQ_IQ4_NL
	IQ4NLX8 Kind = C.LQ_IQ4_NL_X8
	NF4     Kind = C.LQ_NF4

	Q8_0Strips Kind = C.LQ_Q8_0_STRIPS
	Q6_KStrips Kind = C.LQ_Q6_K_STRIPS

	Q2_KX8 Kind = C.LQ_Q2_K_X8

	NF4_64 Kind = C.LQ_MAKE_NF4 + C.LK_NF4_64
	NF4_DQ Kind = C.LQ_MAKE_NF4 + C.LK_NF4_DQ
)

// IQ4_XS is one of Decoded.
const IQ4_XS Kind = C.LQ_MAKE_GGML + C.GGML_TYPE_IQ4_XS

// Decoded are the kinds that ggml itself decodes.
var Decoded = []Kind{
	C.LQ_MAKE_GGML + C.GGML_TYPE_Q2_K, C.LQ_MAKE_GGML + C.GGML_TYPE_Q3_K, C.LQ_MAKE_GGML + C.GGML_TYPE_IQ4_XS, C.LQ_MAKE_GGML + C.GGML_TYPE_MXFP4,
	C.LQ_MAKE_GGML + C.GGML_TYPE_TQ1_0, C.LQ_MAKE_GGML + C.GGML_TYPE_TQ2_0, C.LQ_MAKE_GGML + C.GGML_TYPE_IQ1_S, C.LQ_MAKE_GGML + C.GGML_TYPE_IQ1_M,
	C.LQ_MAKE_GGML + C.GGML_TYPE_IQ2_XXS, C.LQ_MAKE_GGML + C.GGML_TYPE_IQ2_XS, C.LQ_MAKE_GGML + C.GGML_TYPE_IQ2_S,
	C.LQ_MAKE_GGML + C.GGML_TYPE_IQ3_XXS, C.LQ_MAKE_GGML + C.GGML_TYPE_IQ3_S,
}

func (k Kind) String() string {
	if k >= C.LQ_MAKE_GGML {
		return C.GoString(C.ggml_type_name(C.enum_ggml_type(k - C.LQ_MAKE_GGML)))
	}
	names := [...]string{"none", "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_0_X8", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q4_K_X8", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_NL_X8", "NF4",
		"Q8_0_STRIPS", "Q6_K_STRIPS", "a type of ggml's", "Q2_K_X8", "NF4_32", "NF4_64", "NF4_DQ"}
	return names[k]
}

// A Sample is a model of random numbers. Closing its Model releases it.
type Sample struct {
	Model *qlora.Model
	c     *C.lq_sample
}

// New makes the model. It returns an error for a kind that ggml cannot make on this CPU.
func New(s Shape) (*Sample, error) {
	spec := C.lq_sample_spec{
		n_embd: C.int(s.Embedding), n_layers: C.int(s.Layers), n_heads: C.int(s.Heads), n_kv_heads: C.int(s.KVHeads), head_size: C.int(s.HeadSize),
		n_ff: C.int(s.FeedForward), n_vocab: C.int(s.Vocab), kind: C.int(s.Kind), end_kind: C.int(s.EndKind), rope_neox: intOf(s.Neox),
		bias: intOf(s.Bias), qk_norm: intOf(s.QKNorm), tied: intOf(s.Tied), stretched: intOf(s.Stretched), seed: C.uint64_t(s.Seed),
	}
	made := C.lq_sample_new(&spec)
	if made == nil {
		return nil, fmt.Errorf("no sample model of kind %v with ends of %v on this CPU", s.Kind, s.EndKind)
	}
	m := qlora.NewModel(unsafe.Pointer(C.lq_sample_model(made)), func() { C.lq_sample_free(made) })
	return &Sample{m, made}, nil
}

// Hash is one number over every byte of every tensor.
func (s *Sample) Hash() uint64 { return uint64(C.lq_sample_hash(s.c)) }

// Write writes the model as a GGUF file without a vocabulary. Kinds that no file has (X8, NF4) cannot be written.
func (s *Sample) Write(architecture, path string) error {
	a, p := C.CString(architecture), C.CString(path)
	defer C.free(unsafe.Pointer(a))
	defer C.free(unsafe.Pointer(p))
	if C.lq_sample_write(s.c, a, p) != 0 {
		return fmt.Errorf("the sample cannot be written to %s", path)
	}
	return nil
}

func intOf(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

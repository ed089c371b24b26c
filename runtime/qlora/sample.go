package qlora

// #include <stdlib.h>
// #include "sample.h"
import "C"

import (
	"fmt"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Sample describes a model of random numbers, for tests and benchmarks.
type Sample struct {
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

	NF4_64 Kind = C.LQ_NF4_64
	NF4_DQ Kind = C.LQ_NF4_DQ
)

func (k Kind) String() string {
	names := [...]string{"none", "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_0_X8", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q4_K_X8", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_NL_X8", "NF4",
		"Q8_0_STRIPS", "Q6_K_STRIPS", "NF4_64", "NF4_DQ"}
	return names[k]
}

// NewSample makes the model. It returns an error for a kind that ggml cannot make on this CPU.
func NewSample(s Sample) (*Model, error) {
	spec := C.lq_sample_spec{
		n_embd: C.int(s.Embedding), n_layers: C.int(s.Layers), n_heads: C.int(s.Heads), n_kv_heads: C.int(s.KVHeads), head_size: C.int(s.HeadSize),
		n_ff: C.int(s.FeedForward), n_vocab: C.int(s.Vocab), kind: C.int(s.Kind), end_kind: C.int(s.EndKind), rope_neox: flagOf(s.Neox),
		bias: flagOf(s.Bias), qk_norm: flagOf(s.QKNorm), tied: flagOf(s.Tied), stretched: flagOf(s.Stretched), seed: C.uint64_t(s.Seed),
	}
	made := C.lq_sample_new(&spec)
	if made == nil {
		return nil, fmt.Errorf("no sample model of kind %v with ends of %v on this CPU", s.Kind, s.EndKind)
	}
	m := &Model{c: C.lq_sample_model(made), release: func() { C.lq_sample_free(made) }}
	m.hash = func() uint64 { return uint64(C.lq_sample_hash(made)) }
	m.write = func(architecture, path string) bool {
		a, p := C.CString(architecture), C.CString(path)
		defer C.free(unsafe.Pointer(a))
		defer C.free(unsafe.Pointer(p))
		return C.lq_sample_write(made, a, p) == 0
	}
	return m, nil
}

// stock is a file as llama.cpp by itself loads and computes it: the tests' outside witness.
type stock struct{ c *C.lq_stock }

func loadStock(path string, repack bool) (*stock, error) {
	p := C.CString(path)
	defer C.free(unsafe.Pointer(p))
	c := C.lq_stock_load(p, flagOf(repack))
	if c == nil {
		return nil, fmt.Errorf("llama.cpp does not load %s", path)
	}
	return &stock{c}, nil
}

// model returns the engine's view of what llama.cpp loaded.
func (s *stock) model() (*Model, error) {
	return OfLlama(C.lq_stock_model(s.c), nil, nil, nil)
}

// logits decodes one sequence and returns the logits of all its tokens.
func (s *stock) logits(tokens []runtime.Token, vocab int) ([]float32, error) {
	out := make([]float32, len(tokens)*vocab)
	if status := C.lq_stock_logits(s.c, first(tokens), C.int(len(tokens)), (*C.float)(unsafe.Pointer(&out[0]))); status != 0 {
		return nil, fmt.Errorf("llama_decode returns %d", status)
	}
	return out, nil
}

func (s *stock) close() { C.lq_stock_free(s.c) }

func flagOf(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

// isa is one of the paths that the engine chooses from.
type isa int

var isas = []isa{C.LQ_PORTABLE, C.LQ_AVX2, C.LQ_AVX512, C.LQ_AVX512_BF16, C.LQ_AVX512_BYTES, C.LQ_AMX}

const isaPairs isa = C.LQ_AVX512_BF16 // this one and those above it multiply bfloat16 pairs

func (i isa) String() string  { return C.GoString(C.lq_isa_name(C.int(i))) }
func (i isa) available() bool { return C.int(i) <= C.lq_best_isa() }

// The checks return the largest difference between a fast kernel and its plain twin, divided by the root mean
// square of the latter; -1 where this CPU or ggml cannot make the operands. The tests call them.

func checkFill(i isa, k Kind, in, out int, seed uint64) float64 {
	return float64(C.lq_check_fill(C.int(i), C.int(k), C.int(in), C.int(out), C.uint64_t(seed)))
}

type productCheck struct {
	form                    C.int
	kind                    Kind
	rows, depth, cols, rank int
	transposed, accumulate  bool
	threads                 int
}

var forms = []C.int{C.LQ_FORM_BY_DEPTH, C.LQ_FORM_BY_COLUMN, C.LQ_FORM_FORWARD, C.LQ_FORM_BACKWARD}

const firstWeightForm = C.LQ_FORM_FORWARD

func (p productCheck) run(i isa, seed uint64) float64 {
	return float64(C.lq_check_product(C.int(i), p.form, C.int(p.kind), C.int(p.rows), C.int(p.depth), C.int(p.cols), C.int(p.rank), flagOf(p.transposed),
		flagOf(p.accumulate), C.int(p.threads), C.uint64_t(seed)))
}

var smallKernels = []string{"norm", "norm backward", "rope", "rope backward", "swiglu", "swiglu backward", "loss", "loss gradient", "adamw", "dropout"}

func checkSmall(i isa, which, rows, n, threads int, seed uint64) float64 {
	return float64(C.lq_check_small(C.int(i), C.int(which), C.int(rows), C.int(n), C.int(threads), C.uint64_t(seed)))
}

func checkAttention(i isa, backward bool, heads, kvHeads, headSize int, lengths []int32, threads int, seed uint64) float64 {
	return float64(C.lq_check_attention(C.int(i), flagOf(backward), C.int(heads), C.int(kvHeads), C.int(headSize), (*C.int)(&lengths[0]), C.int(len(lengths)),
		C.int(threads), C.uint64_t(seed)))
}

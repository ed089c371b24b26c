package qloratest

// #include "sample.h"
import "C"

import "errors"

// ISA is one of the paths that the engine chooses from, an lq_isa.
type ISA int

// ISAs are all paths, from the slowest to the fastest.
var ISAs = []ISA{C.LQ_PORTABLE, C.LQ_AVX2, C.LQ_AVX512, C.LQ_AVX512_BF16, C.LQ_AVX512_BYTES, C.LQ_AMX}

// Pairs is the first path that multiplies pairs of bfloat16, as all after it do; Bytes the one that multiplies bytes.
const (
	Pairs ISA = C.LQ_AVX512_BF16
	Bytes ISA = C.LQ_AVX512_BYTES
)

func (i ISA) String() string { return C.GoString(C.lq_isa_name(C.int(i))) }

// Available reports whether this CPU runs the path.
func (i ISA) Available() bool { return C.int(i) <= C.lq_best_isa() }

// The checks return the largest difference between a fast kernel and its scalar reference, divided by the root mean
// square of the latter; -1 where this CPU or ggml cannot make the operands.

// CheckFill decodes a weight (out, in).
func CheckFill(i ISA, k Kind, in, out int, seed uint64) float64 {
	return float64(C.lq_check_fill(C.int(i), C.int(k), C.int(in), C.int(out), C.uint64_t(seed)))
}

// Form is how the right operand of a product is read.
type Form int

// The forms; the last two read a weight.
const (
	ByDepth  Form = C.LQ_FORM_BY_DEPTH
	ByColumn Form = C.LQ_FORM_BY_COLUMN
	Forward  Form = C.LQ_FORM_FORWARD
	Backward Form = C.LQ_FORM_BACKWARD
)

// Product describes a matrix product (Rows, Cols) of depth Depth, with a second pair of operands of depth Rank.
type Product struct {
	Form                    Form
	Kind                    Kind
	Rows, Depth, Cols, Rank int
	Transposed, Accumulate  bool
	Threads                 int
}

// Check computes the product.
func (p Product) Check(i ISA, seed uint64) float64 {
	return float64(C.lq_check_product(C.int(i), C.int(p.Form), C.int(p.Kind), C.int(p.Rows), C.int(p.Depth), C.int(p.Cols), C.int(p.Rank), intOf(p.Transposed),
		intOf(p.Accumulate), C.int(p.Threads), C.uint64_t(seed)))
}

// SmallKernels are the names of the kernels that CheckSmall numbers.
var SmallKernels = []string{"norm", "norm backward", "rope", "rope backward", "swiglu", "swiglu backward", "loss", "loss gradient", "adamw", "dropout", "norm weight"}

// CheckSmall runs kernel number `which` over `rows` rows of n.
func CheckSmall(i ISA, which, rows, n, threads int, seed uint64) float64 {
	return float64(C.lq_check_small(C.int(i), C.int(which), C.int(rows), C.int(n), C.int(threads), C.uint64_t(seed)))
}

// CheckAttention runs attention, or its gradients, over sequences of the lengths given.
func CheckAttention(i ISA, backward bool, heads, kvHeads, headSize int, lengths []int32, threads int, seed uint64) float64 {
	return float64(C.lq_check_attention(C.int(i), intOf(backward), C.int(heads), C.int(kvHeads), C.int(headSize), (*C.int)(&lengths[0]), C.int(len(lengths)),
		C.int(threads), C.uint64_t(seed)))
}

// CheckPoolWithoutThreads makes a Pool of threads where the system gives too few of them, and returns what is wrong with it.
func CheckPoolWithoutThreads() error {
	if fault := C.lq_check_pool_without_threads(); fault != nil {
		return errors.New(C.GoString(fault))
	}
	return nil
}

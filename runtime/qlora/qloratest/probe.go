package qloratest

// #include "sample.h"
import "C"

import (
	"fmt"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Gradients are those of a trainer's last step, in C's memory; they are valid until its Close. trainer is an lq_trainer.
func Gradients(trainer unsafe.Pointer) []float32 {
	t := (*C.lq_trainer)(trainer)
	return unsafe.Slice((*float32)(unsafe.Pointer(C.lq_probe_gradients(t))), int(C.lq_parameter_count(t)))
}

// Slices returns how many slices what a trainer began has left, once it has its workspace, and the cost of the largest of them, in
// operations, divided by what a slice should cost.
func Slices(trainer unsafe.Pointer) (left int, largest float64) {
	var most C.double
	left = int(C.lq_probe_slices((*C.lq_trainer)(trainer), &most))
	return left, float64(most)
}

// RowNorms are those of the rows of W + scale*B*A of a module with DoRA, as the last batch found them; nil without DoRA.
func RowNorms(trainer unsafe.Pointer, module int) []float32 {
	t := (*C.lq_trainer)(trainer)
	var p C.lq_parameter_offsets
	C.lq_get_offsets(t, C.int(module), &p)
	return unsafe.Slice((*float32)(unsafe.Pointer(C.lq_probe_row_norms(t, C.int(module)))), int(p.n_out))
}

// Part is a range [From, To) of the parameters: A, B or the magnitudes of a module.
type Part struct {
	Name     string
	From, To int
}

// PartsOf returns A and B of a module, and its magnitudes where it trains with DoRA.
func PartsOf(trainer unsafe.Pointer, module int) []Part {
	t := (*C.lq_trainer)(trainer)
	var p C.lq_parameter_offsets
	C.lq_get_offsets(t, C.int(module), &p)
	a, b, rank := int(p.a), int(p.b), int(p.rank)
	parts := []Part{{"A", a, a + rank*int(p.n_in)}, {"B", b, b + rank*int(p.n_out)}}
	if C.lq_probe_row_norms(t, C.int(module)) != nil {
		parts = append(parts, Part{"magnitude", int(p.m), int(p.m) + int(p.n_out)})
	}
	return parts
}

// NormOf returns the weight of a norm that trains.
func NormOf(trainer unsafe.Pointer, norm int) Part {
	var at C.size_t
	var n C.int
	C.lq_get_norm((*C.lq_trainer)(trainer), C.int(norm), &at, &n)
	return Part{"norm", int(at), int(at) + int(n)}
}

// Logits returns the logits of every token of packed sequences, row by row, under the adapter as it stands and
// without dropout. vocab is the width of a row.
func Logits(trainer unsafe.Pointer, vocab int, tokens []runtime.Token, ends []int) ([]float32, error) {
	t := (*C.lq_trainer)(trainer)
	e := make([]int32, len(ends))
	for i, end := range ends {
		e[i] = int32(end)
	}
	out := make([]float32, len(tokens)*vocab)
	if C.lq_probe_logits(t, first(tokens), C.int(len(tokens)), first(e), C.int(len(e)), (*C.float)(unsafe.Pointer(&out[0]))) < 0 {
		return nil, fmt.Errorf("logits: %s", C.GoString(C.lq_error(t)))
	}
	return out, nil
}

func first(x []int32) *C.int32_t { return (*C.int32_t)(unsafe.Pointer(&x[0])) }

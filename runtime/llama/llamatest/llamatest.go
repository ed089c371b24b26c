//go:build cgo && linux

package llamatest

/*
#cgo CXXFLAGS: -std=c++17
#cgo CPPFLAGS: -DNDEBUG
#include <stdlib.h>
#include "llamatest.h"
*/
import "C"

import (
	"errors"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// StockLoad loads a file just as llama.cpp does, without a word about NF4, and returns its error.
func StockLoad(path string) error {
	p := C.CString(path)
	defer C.free(unsafe.Pointer(p))
	var e C.ll_error
	m := C.ll_model_load(&C.ll_load_options{path: p, use_mmap: 1}, &e)
	if m == nil {
		return errors.New(C.GoString(&e.text[0]))
	}
	C.ll_model_free(m)
	return nil
}

// Reference is a stock context of llama.cpp with one sequence, whose adapters apply to every row.
type Reference struct {
	ptr   *C.test_reference
	vocab int
}

// NewReference makes one on a ll_model with a vocabulary of so many tokens. kv and flash are a ll_kv_type and a
// ll_flash.
func NewReference(model unsafe.Pointer, vocab, cells, threads, kv, flash int) (*Reference, error) {
	var e C.ll_error
	r := C.test_reference_new(model, C.int32_t(cells), C.int32_t(threads), C.int32_t(kv), C.int32_t(flash), &e)
	if r == nil {
		return nil, errors.New(C.GoString(&e.text[0]))
	}
	return &Reference{ptr: r, vocab: vocab}, nil
}

// Add applies a GGUF LoRA file with llama.cpp's own code; adapters add up.
func (r *Reference) Add(path string, scale float32) error {
	p := C.CString(path)
	defer C.free(unsafe.Pointer(p))
	var e C.ll_error
	if C.test_reference_add(r.ptr, p, C.float(scale), &e) != C.LL_OK {
		return errors.New(C.GoString(&e.text[0]))
	}
	return nil
}

// Clear takes all adapters away.
func (r *Reference) Clear() { C.test_reference_clear(r.ptr) }

// Decode appends tokens and returns the logits of each.
func (r *Reference) Decode(tokens []runtime.Token) ([][]float32, error) {
	return rowsOf(len(tokens), r.vocab, func(out *C.float, e *C.ll_error) C.int {
		return C.test_reference_decode(r.ptr, (*C.int32_t)(&tokens[0]), C.int(len(tokens)), out, e)
	})
}

// Embed appends tokens and returns llama.cpp's own embedding of each, of width numbers, not pooled.
func (r *Reference) Embed(tokens []runtime.Token, width int) ([][]float32, error) {
	return rowsOf(len(tokens), width, func(out *C.float, e *C.ll_error) C.int {
		return C.test_reference_embed(r.ptr, (*C.int32_t)(&tokens[0]), C.int(len(tokens)), out, e)
	})
}

// rowsOf returns the n rows that fill writes.
func rowsOf(n, width int, fill func(out *C.float, e *C.ll_error) C.int) ([][]float32, error) {
	flat := make([]float32, n*width)
	var e C.ll_error
	if fill((*C.float)(&flat[0]), &e) != C.LL_OK {
		return nil, errors.New(C.GoString(&e.text[0]))
	}
	out := make([][]float32, n)
	for i := range out {
		out[i] = flat[i*width : (i+1)*width]
	}
	return out, nil
}

// Close frees the context.
func (r *Reference) Close() { C.test_reference_free(r.ptr) }

// Attend computes attention for rows consecutive rows of one sequence, the last of which sees the cells. q is (rows,
// heads, size); k and v are float16 (cell, kvHeads, size). heads/kvHeads is at most 16.
func Attend(q []float32, k, v []uint16, cells []int32, rows, heads, kvHeads, size int, scale float32) []float32 {
	out := make([]float32, len(q))
	C.test_attend((*C.float)(&q[0]), (*C.uint16_t)(&k[0]), (*C.uint16_t)(&v[0]), (*C.float)(&out[0]), (*C.int32_t)(&cells[0]),
		C.int(len(cells)), C.int(rows), C.int(heads), C.int(kvHeads), C.int(size), C.float(scale))
	return out
}

// Draw draws from logits with a ll_sampler and accepts the token; it is negative where none is possible.
func Draw(sampler unsafe.Pointer, logits []float32) runtime.Token {
	return runtime.Token(C.test_draw(sampler, (*C.float)(&logits[0])))
}

// FailAllocation makes the nth operator new from now on throw, whichever thread it is on; 0: none.
func FailAllocation(n int) { C.test_allocations_fail(C.int64_t(n)) }

// AllocationsLeft returns how many are left until the one that FailAllocation asked for; 0: it has come.
func AllocationsLeft() int { return int(C.test_allocations_left()) }

// CountWorkers begins to count the operator new of all threads but the caller's, which must be locked to its thread.
func CountWorkers() { C.test_allocations_of_workers(1) }

// AllocationsOfWorkers ends the count and returns it.
func AllocationsOfWorkers() int { return int(C.test_allocations_of_workers(0)) }

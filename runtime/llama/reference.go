//go:build cgo && linux

package llama

// #include <stdlib.h>
// #include "wall.h"
import "C"

import (
	"fmt"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file is for tests, which may not speak C themselves: the stock path that the
// seams are compared with, and a look at what a device computed.

// StockLoad loads a file just as llama.cpp does, without a word about NF4, and returns its error.
func StockLoad(path string) error {
	p := C.CString(path)
	defer C.free(unsafe.Pointer(p))
	var e C.wall_error
	m := C.wall_model_load(&C.wall_load_options{path: p, use_mmap: 1}, &e)
	if m == nil {
		return wallError(&e)
	}
	C.wall_model_free(m)
	return nil
}

// reference is a stock context of llama.cpp with one sequence, whose adapters apply to every row.
type reference struct {
	ptr   *C.wall_reference
	vocab int
}

func newReference(m *Model, cells, threads int, kv KVType, flash FlashAttention) (*reference, error) {
	ptr, release, err := m.acquire()
	if err != nil {
		return nil, err
	}
	defer release()
	var e C.wall_error
	r := C.wall_reference_new(ptr, C.int32_t(cells), C.int32_t(threads), C.int32_t(kv), C.int32_t(flash), &e)
	if r == nil {
		return nil, wallError(&e)
	}
	return &reference{ptr: r, vocab: m.facts.VocabSize}, nil
}

// add applies a GGUF LoRA file with llama.cpp's own code; adapters add up.
func (r *reference) add(path string, scale float32) error {
	p := C.CString(path)
	defer C.free(unsafe.Pointer(p))
	var e C.wall_error
	if C.wall_reference_add(r.ptr, p, C.float(scale), &e) != C.WALL_OK {
		return wallError(&e)
	}
	return nil
}

// clear takes all adapters away.
func (r *reference) clear() { C.wall_reference_clear(r.ptr) }

// decode appends tokens and returns the logits of each.
func (r *reference) decode(tokens []runtime.Token) ([][]float32, error) {
	flat := make([]float32, len(tokens)*r.vocab)
	var e C.wall_error
	if C.wall_reference_decode(r.ptr, (*C.int32_t)(&tokens[0]), C.int(len(tokens)), (*C.float)(&flat[0]), &e) != C.WALL_OK {
		return nil, wallError(&e)
	}
	out := make([][]float32, len(tokens))
	for i := range out {
		out[i] = flat[i*r.vocab : (i+1)*r.vocab]
	}
	return out, nil
}

func (r *reference) close() { C.wall_reference_free(r.ptr) }

// draw draws from logits and accepts the token; -1 where none is possible.
func (s *Sampler) draw(logits []float32) runtime.Token {
	var e C.wall_error
	return runtime.Token(C.wall_sampler_draw(s.ptr, (*C.float)(&logits[0]), &e))
}

// Logits returns a copy of the logits of a row of the last Decode, which must have had a sampler. It is for
// measurements.
func (d *Device) Logits(row int) ([]float32, error) { return d.logits(row) }

// logits returns a copy of the logits of a row of the last Decode, which must have had a sampler.
func (d *Device) logits(row int) ([]float32, error) {
	var n C.int32_t
	p := C.wall_device_logits(d.ptr, C.int(row), &n)
	if p == nil {
		return nil, fmt.Errorf("row %d has no logits", row)
	}
	return append([]float32(nil), unsafe.Slice((*float32)(p), int(n))...), nil
}

// graphBuilds is how many graphs llama.cpp has built for the device, reservations included.
func (d *Device) graphBuilds() int { return int(C.wall_device_graph_builds(d.ptr)) }

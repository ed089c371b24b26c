//go:build cgo

package kernels

/*
#include "kernels.h"
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// Format is how a packed integer weight came: one of ggml's formats.
type Format int

// The formats, and the weights and bytes of their blocks.
const (
	Q8_0 Format = C.LK_Q8_0 // 32 weights in 34 bytes
	Q6K  Format = C.LK_Q6_K // 256 weights in 210 bytes
)

func (f Format) String() string { return [...]string{"q8_0", "q6_k"}[f] }

// block returns the weights of a block and its bytes.
func (f Format) block() (weights, bytes int) {
	if f == Q6K {
		return 256, 210
	}
	return 32, 34
}

// Integer is a packed weight (Out, In) of six or eight bits.
type Integer struct {
	In, Out int
	Format  Format
	w       *C.lk_int
}

// PackInteger packs out rows of in weights. rows holds, every rowBytes bytes, a row of the format's blocks. It
// returns ErrMemory where there is none. The caller must Close the weight.
func PackInteger(rows []byte, rowBytes, in, out int, format Format) (*Integer, error) {
	weights, size := format.block()
	if in <= 0 || out <= 0 || in%weights != 0 || rowBytes < in/weights*size || len(rows) < (out-1)*rowBytes+in/weights*size {
		return nil, fmt.Errorf("kernels: %d bytes in rows of %d are no %v weight of shape (%d, %d)", len(rows), rowBytes, format, out, in)
	}
	w := C.lk_int_pack(unsafe.Pointer(&rows[0]), C.size_t(rowBytes), C.int(in), C.int(out), C.int(format))
	if w == nil {
		return nil, fmt.Errorf("kernels: packing a %v weight of shape (%d, %d): %w", format, out, in, ErrMemory)
	}
	return &Integer{In: in, Out: out, Format: format, w: w}, nil
}

// Close frees the weight. It may be called twice.
func (w *Integer) Close() {
	C.lk_int_free(w.w)
	w.w = nil
}

// Bytes returns the memory that the weight holds.
func (w *Integer) Bytes() int { return int(C.lk_int_bytes(w.w)) }

// DequantizeRow writes the In weights of one row to out.
func (w *Integer) DequantizeRow(row int, out []float32) {
	_ = out[w.In-1]
	C.lk_int_dequantize_row(w.w, C.int(row), (*C.float)(&out[0]))
}

// IntegerActivationBytes returns the bytes of one prepared activation row.
func IntegerActivationBytes(in int) int { return int(C.lk_int_activation_bytes(C.int(in))) }

// IntegerActivations prepares rows of in activations for MatMul: row t stands at x[t*xStride:] and is written to
// xq[t*xqStride:]; xStride counts floats, xqStride bytes. It does the share of thread ith of nth.
func IntegerActivations(in int, x []float32, xStride, rows int, xq []byte, xqStride, ith, nth int) {
	_, _ = x[(rows-1)*xStride+in-1], xq[(rows-1)*xqStride+IntegerActivationBytes(in)-1]
	C.lk_int_activations(C.int(in), (*C.float)(&x[0]), C.size_t(4*xStride), C.int(rows),
		unsafe.Pointer(&xq[0]), C.size_t(xqStride), C.int(ith), C.int(nth))
}

// MatMul writes the Out products of every row to y[t*yStride:]. xq holds rows that IntegerActivations prepared.
// xqStride counts bytes, yStride floats. It does the share of thread ith of nth.
func (w *Integer) MatMul(xq []byte, xqStride, rows int, y []float32, yStride, ith, nth int) {
	_, _ = xq[(rows-1)*xqStride], y[(rows-1)*yStride+w.Out-1]
	C.lk_int_matmul(w.w, unsafe.Pointer(&xq[0]), C.size_t(xqStride), C.int(rows),
		(*C.float)(&y[0]), C.size_t(4*yStride), C.int(ith), C.int(nth))
}

// MatMulF32 is MatMul with the activations as they are: row t stands at x[t*xStride:]. Both strides count floats.
func (w *Integer) MatMulF32(x []float32, xStride, rows int, y []float32, yStride, ith, nth int) {
	_, _ = x[(rows-1)*xStride+w.In-1], y[(rows-1)*yStride+w.Out-1]
	C.lk_int_matmul_f32(w.w, (*C.float)(&x[0]), C.size_t(4*xStride), C.int(rows), (*C.float)(&y[0]), C.size_t(4*yStride), C.int(ith), C.int(nth))
}

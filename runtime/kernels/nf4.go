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

// Mode is how NF4 products are computed.
type Mode int

// The modes. The errors are relative to exact products with the same weights, in the root mean square.
const (
	F32 Mode = C.LK_NF4_F32 // float activations: the reference, 1e-6
	I16 Mode = C.LK_NF4_I16 // int16 codebook and activations: 1e-4
	I8  Mode = C.LK_NF4_I8  // int8 codebook and activations: the default and the fastest, 7e-3
)

func (m Mode) String() string { return [...]string{"f32", "i16", "i8"}[m] }

// Kind is how the scales of an NF4 weight are kept: an lk_nf4_kind of layout.h.
type Kind int

// The kinds, with the bits of a weight.
const (
	Block32 Kind = C.LK_NF4_32 // an fp16 scale for 32 weights: 4.5
	Block64 Kind = C.LK_NF4_64 // an fp16 scale for 64: 4.25
	DoubleQ Kind = C.LK_NF4_DQ // double quantization, an int8 scale for 64: 4.127
)

func (k Kind) String() string { return [...]string{"nf4", "nf4-64", "nf4-dq"}[k] }

// width returns the weights of a block.
func (k Kind) width() int {
	if k == Block32 {
		return 32
	}
	return 64
}

// NF4 is a packed NF4 weight (Out, In).
type NF4 struct {
	In, Out int
	Kind    Kind
	Mode    Mode
	w       *C.lk_nf4
}

// PackNF4 packs out rows of in weights. source holds the rows' blocks in the layout of kernels.h. It returns
// ErrMemory where there is none. The caller must Close the weight.
func PackNF4(kind Kind, source []byte, in, out int, mode Mode) (*NF4, error) {
	if in <= 0 || out <= 0 || in%kind.width() != 0 || len(source) != SourceBytes(kind, in, out) {
		return nil, fmt.Errorf("kernels: %d bytes are no %v weight of shape (%d, %d)", len(source), kind, out, in)
	}
	w := C.lk_nf4_pack(C.lk_nf4_kind(kind), unsafe.Pointer(&source[0]), C.int(in), C.int(out), C.int(mode))
	if w == nil {
		return nil, fmt.Errorf("kernels: packing an NF4 weight of shape (%d, %d): %w", out, in, ErrMemory)
	}
	return &NF4{In: in, Out: out, Kind: kind, Mode: mode, w: w}, nil
}

// SourceBytes returns the bytes of the rows that PackNF4 reads.
func SourceBytes(kind Kind, in, out int) int {
	return int(C.lk_nf4_source_bytes(C.lk_nf4_kind(kind), C.int(in), C.int(out)))
}

// BadRow returns the first row of what PackNF4 would read that has a scale which is infinite or NaN, or -1.
func BadRow(kind Kind, source []byte, in, out int) int {
	return int(C.lk_nf4_bad_row(C.lk_nf4_kind(kind), unsafe.Pointer(&source[0]), C.int(in), C.int(out)))
}

// Close frees the weight. It may be called twice.
func (w *NF4) Close() {
	C.lk_nf4_free(w.w)
	w.w = nil
}

// Bytes returns the memory that the weight holds.
func (w *NF4) Bytes() int { return int(C.lk_nf4_bytes(w.w)) }

// DequantizeRow writes the In weights of one row to out.
func (w *NF4) DequantizeRow(row int, out []float32) {
	_ = out[w.In-1]
	C.lk_nf4_dequantize_row(w.w, C.int(row), (*C.float)(&out[0]))
}

// ActivationBytes returns the bytes of one prepared activation row.
func ActivationBytes(mode Mode, in int) int {
	return int(C.lk_nf4_activation_bytes(C.int(mode), C.int(in)))
}

// Activations prepares rows of in activations for MatMul: row t stands at x[t*xStride:] and is written to
// xq[t*xqStride:]; xStride counts floats, xqStride bytes. It does the share of thread ith of nth.
func Activations(mode Mode, in int, x []float32, xStride, rows int, xq []byte, xqStride, ith, nth int) {
	_, _ = x[(rows-1)*xStride+in-1], xq[(rows-1)*xqStride+ActivationBytes(mode, in)-1]
	C.lk_nf4_activations(C.int(mode), C.int(in), (*C.float)(&x[0]), C.size_t(4*xStride), C.int(rows),
		unsafe.Pointer(&xq[0]), C.size_t(xqStride), C.int(ith), C.int(nth))
}

// MatMul writes the Out products of every row to y[t*yStride:]. xq holds rows that Activations prepared
// for the weight's mode, or in mode F32 the activations themselves. xqStride counts bytes, yStride
// floats. It does the share of thread ith of nth.
func (w *NF4) MatMul(xq []byte, xqStride, rows int, y []float32, yStride, ith, nth int) {
	_, _ = xq[(rows-1)*xqStride], y[(rows-1)*yStride+w.Out-1]
	C.lk_nf4_matmul(w.w, unsafe.Pointer(&xq[0]), C.size_t(xqStride), C.int(rows),
		(*C.float)(&y[0]), C.size_t(4*yStride), C.int(ith), C.int(nth))
}

// MatMulF32 is MatMul in mode F32, whatever the weight's is: row t of the activations stands at x[t*xStride:]. Both
// strides count floats.
func (w *NF4) MatMulF32(x []float32, xStride, rows int, y []float32, yStride, ith, nth int) {
	_, _ = x[(rows-1)*xStride+w.In-1], y[(rows-1)*yStride+w.Out-1]
	C.lk_nf4_matmul_f32(w.w, (*C.float)(&x[0]), C.size_t(4*xStride), C.int(rows), (*C.float)(&y[0]), C.size_t(4*yStride), C.int(ith), C.int(nth))
}

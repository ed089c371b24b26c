//go:build cgo

package kernels

/*
#include "kernels.h"
*/
import "C"

import (
	"fmt"
	"runtime"
	"unsafe"
)

// MaxRank is the largest rank that packs.
const MaxRank = C.LK_MAX_RANK

// Storage is how a packed LoRA keeps its weights.
type Storage int

// The storage types. F16 rounds each weight to eleven bits whatever its size: A and B are each scaled by a
// power of two to fit fp16's range.
const (
	StoreF16 Storage = C.LK_LORA_F16
	StoreF32 Storage = C.LK_LORA_F32
)

func (s Storage) String() string { return [...]string{"f16", "f32"}[s] }

// LoRA is one packed module: A (Rank, In) and B (Out, Rank).
type LoRA struct {
	Rank, In, Out int
	m             *C.lk_lora
}

// PackLoRA packs a (rank, in) and b (out, rank), both row-major. It returns ErrMemory where there is none.
// The caller must Close the module.
func PackLoRA(a, b []float32, rank, in, out int, storage Storage) (*LoRA, error) {
	if rank <= 0 || rank > MaxRank || in <= 0 || out <= 0 || len(a) < rank*in || len(b) < out*rank {
		return nil, fmt.Errorf("kernels: %d and %d floats are no LoRA of rank %d and shape (%d, %d)", len(a), len(b), rank, out, in)
	}
	m := C.lk_lora_pack(nil, (*C.float)(&a[0]), (*C.float)(&b[0]), C.int(rank), C.int(in), C.int(out), C.int(storage))
	if m == nil {
		return nil, fmt.Errorf("kernels: packing a LoRA of rank %d and shape (%d, %d): %w", rank, out, in, ErrMemory)
	}
	return &LoRA{Rank: rank, In: in, Out: out, m: m}, nil
}

// SetGain makes the module add gain .* base beside B A x, where base is the row before any term was added. gain
// holds Out values. It returns ErrMemory where there is none.
func (m *LoRA) SetGain(gain []float32) error {
	if len(gain) != m.Out {
		return fmt.Errorf("kernels: %d gains for %d outputs", len(gain), m.Out)
	}
	if C.lk_lora_set_gain(m.m, (*C.float)(&gain[0])) == 0 {
		return fmt.Errorf("kernels: the gains of %d outputs: %w", m.Out, ErrMemory)
	}
	return nil
}

// SetShift makes the module add shift, which holds Out values, whatever x is. It returns ErrMemory where there is none.
func (m *LoRA) SetShift(shift []float32) error {
	if len(shift) != m.Out {
		return fmt.Errorf("kernels: a shift of %d values for %d outputs", len(shift), m.Out)
	}
	if C.lk_lora_set_shift(m.m, (*C.float)(&shift[0])) == 0 {
		return fmt.Errorf("kernels: the shift of %d outputs: %w", m.Out, ErrMemory)
	}
	return nil
}

// Close frees the module. It may be called twice.
func (m *LoRA) Close() {
	C.lk_lora_free(m.m)
	m.m = nil
}

// Bytes returns the memory that the module holds.
func (m *LoRA) Bytes() int { return int(C.lk_lora_bytes(m.m)) }

// Hidden returns the floats that Shrink needs for this module in a row's hidden vector.
func (m *LoRA) Hidden() int { return C.LK_LORA_PARTS * int(C.lk_lora_padded(m.m)) }

// Term is one module of a row's composition and its scale.
type Term struct {
	M     *LoRA
	Scale float32
}

// Rows are the compositions of a batch's rows, in C memory. The modules must outlive them.
type Rows struct {
	n     int
	rows  []C.lk_row
	terms []C.lk_term
	pin   runtime.Pinner
}

// NewRows lays out one composition per row; an empty one is the base. The caller must Close the Rows.
func NewRows(rows [][]Term) *Rows {
	r := &Rows{n: len(rows), rows: make([]C.lk_row, len(rows))}
	for _, terms := range rows {
		for _, t := range terms {
			r.terms = append(r.terms, C.lk_term{m: t.M.m, scale: C.float(t.Scale)})
		}
	}
	at := 0
	for i, terms := range rows {
		if len(terms) > 0 {
			r.pin.Pin(&r.terms[at])
			r.rows[i] = C.lk_row{terms: &r.terms[at], n: C.int(len(terms))}
			at += len(terms)
		}
	}
	return r
}

// Close releases what the Rows pin. It may be called twice.
func (r *Rows) Close() { r.pin.Unpin() }

// Shrink writes the hidden vector of every row, the products with the A of its terms, to h[t*hStride:].
// x holds in floats per row. Strides count floats. It does the share of thread ith of nth.
func (r *Rows) Shrink(x []float32, xStride, in int, h []float32, hStride, ith, nth int) {
	_, _ = x[(r.n-1)*xStride+in-1], h[(r.n-1)*hStride]
	C.lk_lora_shrink(&r.rows[0], C.int(r.n), (*C.float)(&x[0]), C.size_t(4*xStride), C.int(in),
		(*C.float)(&h[0]), C.size_t(4*hStride), C.int(ith), C.int(nth))
}

// Expand adds the scaled products with the B of every row's terms, and their gains times what was there before, to
// the out floats at y[t*yStride:]. All threads must have finished Shrink. Strides count floats. It does the share of thread ith of nth.
func (r *Rows) Expand(h []float32, hStride int, y []float32, yStride, out, ith, nth int) {
	_, _ = h[(r.n-1)*hStride], y[(r.n-1)*yStride+out-1]
	C.lk_lora_expand(&r.rows[0], C.int(r.n), (*C.float)(&h[0]), C.size_t(4*hStride),
		(*C.float)(&y[0]), C.size_t(4*yStride), C.int(out), C.int(ith), C.int(nth))
}

// MatMulExpand is w.MatMul and then r.Expand, in one: y[t*yStride:] becomes the products of row t with w and with
// its terms. It prefetches what ahead points at.
func (r *Rows) MatMulExpand(w *NF4, xq []byte, xqStride int, h []float32, hStride int, y []float32, yStride int, ahead []byte, ith, nth int) {
	_, _, _ = xq[(r.n-1)*xqStride], h[(r.n-1)*hStride], y[(r.n-1)*yStride+w.Out-1]
	piece := C.lk_piece{data: unsafe.Pointer(unsafe.SliceData(ahead)), bytes: C.size_t(len(ahead))}
	r.pin.Pin(piece.data)
	C.lk_nf4_matmul_lora(w.w, unsafe.Pointer(&xq[0]), C.size_t(xqStride), &r.rows[0], C.int(r.n), (*C.float)(&h[0]), C.size_t(4*hStride),
		(*C.float)(&y[0]), C.size_t(4*yStride), &piece, 1, C.int(ith), C.int(nth))
}

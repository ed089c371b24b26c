//go:build cgo && linux

package llama

// #include "wall.h"
import "C"

// attend computes attention for rows consecutive rows of one sequence, the last of which sees the cells. q is (rows,
// heads, size); k and v are float16 (cell, kvHeads, size). heads/kvHeads is at most 16. Tests call it.
func attend(q []float32, k, v []uint16, cells []int32, rows, heads, kvHeads, size int, scale float32) []float32 {
	out := make([]float32, len(q))
	C.wall_attend((*C.float)(&q[0]), (*C.uint16_t)(&k[0]), (*C.uint16_t)(&v[0]), (*C.float)(&out[0]), (*C.int32_t)(&cells[0]),
		C.int(len(cells)), C.int(rows), C.int(heads), C.int(kvHeads), C.int(size), C.float(scale))
	return out
}

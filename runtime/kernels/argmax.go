//go:build cgo

package kernels

/*
#include "kernels.h"
*/
import "C"

import "unsafe"

// Argmax returns the index of the largest of some numbers, the first of equal ones; -1 where none is larger than -Inf. Of
// a mask that is not nil only those count whose bits are set, number i at bit i%64 of word i/64.
func Argmax(x []float32, mask []uint64) int {
	if mask != nil && len(x) > 0 {
		_ = mask[(len(x)-1)/64]
	}
	return int(C.lk_argmax((*C.float)(unsafe.SliceData(x)), (*C.uint64_t)(unsafe.SliceData(mask)), C.int(len(x))))
}

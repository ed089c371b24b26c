//go:build cgo && linux

package llama

/*
#include <stdlib.h>
#include "../kernels/kernels.h"
#include "c_api.h"
*/
import "C"

import (
	"math"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// nf4Tensors lists the NF4 tensors of a file of that architecture in C's memory, of which a device is to hold so many layers. The
// caller frees them.
func nf4Tensors(file *quant.File, architecture string, deviceLayers int) (list []C.ll_nf4, free func()) {
	blocks, _ := file.Metadata.Uint(architecture + ".block_count")
	kinds := map[quant.Type]C.lk_nf4_kind{quant.NF4: C.LK_NF4_32, quant.NF4_64: C.LK_NF4_64, quant.NF4_DQ: C.LK_NF4_DQ}
	memory := C.calloc(C.size_t(len(file.Tensors)+1), C.sizeof_ll_nf4)
	list = unsafe.Slice((*C.ll_nf4)(memory), len(file.Tensors))
	n := 0
	for _, t := range file.Tensors {
		if kind, ok := kinds[t.Type]; ok && len(t.Dims) == 2 && t.Dims[0] <= math.MaxInt32 && t.Dims[1] <= math.MaxInt32 {
			list[n] = C.ll_nf4{name: C.CString(t.Name), kind: kind, n_in: C.int32_t(t.Dims[0]), n_out: C.int32_t(t.Dims[1]), offset: C.uint64_t(t.Offset)}
			if t.Type != quant.NF4 && onDevice(t.Name, int(blocks), deviceLayers) {
				list[n].converted = 1
			}
			n++
		}
	}
	list = list[:n]
	return list, func() {
		for _, t := range list {
			C.free(unsafe.Pointer(t.name))
		}
		C.free(memory)
	}
}

func nf4Mode(m NF4Mode) C.int {
	return map[NF4Mode]C.int{NF4Float: C.LK_NF4_F32, NF4Int16: C.LK_NF4_I16, NF4Int8: C.LK_NF4_I8}[m]
}

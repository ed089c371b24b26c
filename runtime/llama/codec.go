//go:build cgo && linux

package llama

// #include "c_api.h"
import "C"

import (
	"fmt"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// Codec returns ggml's code for a weight type. A type that needs an importance matrix to be written can only be
// read. The error wraps quant.ErrType.
func Codec(t quant.Type) (quant.Codec, error) {
	can := C.ll_codec(C.int(t))
	if can&C.LL_DECODES == 0 {
		return quant.Codec{}, fmt.Errorf("%w: %s cannot be decoded", quant.ErrType, t)
	}
	c := quant.Codec{Decode: func(dst []float32, src []byte) {
		C.ll_decode(C.int(t), unsafe.Pointer(&src[0]), (*C.float)(&dst[0]), C.int64_t(len(dst)))
	}, Valid: func(b []byte) bool { return valid(t, b) }}
	if can&C.LL_ENCODES != 0 {
		c.Encode = func(dst []byte, src []float32) {
			C.ll_encode(C.int(t), (*C.float)(&src[0]), unsafe.Pointer(&dst[0]), C.int64_t(len(src)))
		}
	}
	return c, nil
}

// valid reports whether no weight, and no scale of weights, is infinite or NaN.
func valid(t quant.Type, b []byte) bool {
	return C.ll_valid(C.int(t), unsafe.Pointer(&b[0]), C.size_t(len(b))) != 0
}

//go:build cgo && linux

package llama

// #include <stdlib.h>
// #include "wall.h"
import "C"

import (
	"fmt"
	"os"
	"runtime/cgo"
	"unsafe"
)

// QuantizeTypes are the types that Quantize takes.
var QuantizeTypes = []string{
	"f32", "f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q4_k_s", "q4_k_m", "q5_k_m", "q6_k", "iq4_nl", "iq4_xs",
}

// Quantize writes the model file in to out with its weights in the given type, with llama.cpp's quantizer.
// out appears whole or not at all. threads is the number of threads, 0 for one per CPU. progress is called
// from this goroutine with the part that is done; it may be nil. The error wraps ErrQuantize.
func Quantize(in, out, typ string, threads int, progress func(float64)) (err error) {
	partial := out + ".partial"
	defer func() {
		if err != nil {
			os.Remove(partial)
			err = fmt.Errorf("%w: %s: %w", ErrQuantize, in, err)
		}
	}()
	cIn, cOut, cType := C.CString(in), C.CString(partial), C.CString(typ)
	defer C.free(unsafe.Pointer(cIn))
	defer C.free(unsafe.Pointer(cOut))
	defer C.free(unsafe.Pointer(cType))
	var handle C.uintptr_t
	if progress != nil {
		h := cgo.NewHandle(progress)
		defer h.Delete()
		handle = C.uintptr_t(h)
	}
	var e C.wall_error
	if C.wall_quantize(cIn, cOut, cType, C.int(threads), handle, 0, &e) != C.WALL_OK {
		return wallError(&e)
	}
	if err := flush(partial); err != nil {
		return err
	}
	return os.Rename(partial, out)
}

func flush(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

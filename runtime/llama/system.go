//go:build cgo && linux

package llama

// #include "c_api.h"
import "C"

// SystemInfo says, in one line, which instruction sets the kernels and llama.cpp use.
func SystemInfo() string {
	var text [1024]C.char
	C.ll_system_info(&text[0], C.size_t(len(text)))
	return C.GoString(&text[0])
}

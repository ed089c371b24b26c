//go:build cgo && linux

package devicetest

/*
#cgo CXXFLAGS: -std=c++17
#cgo CPPFLAGS: -DNDEBUG
#include <stdlib.h>
#include "devicetest.h"
*/
import "C"

import (
	"testing"
	"unsafe"

	_ "github.com/ollama/ollama/ml/backend/ggml/ggml/src" // ggml itself
)

// defaultMemory is how much memory the device has.
const defaultMemory = 8 << 30

// Backend is a back end of ggml that the device can stand for.
type Backend uint32

// The back ends.
const (
	CUDA   Backend = C.DEVICETEST_CUDA
	Vulkan Backend = C.DEVICETEST_VULKAN
)

// Register adds the device to ggml's registry, which keeps it until the process ends, and returns its name. Until the test ends
// the device takes only the operations that all of the back ends take which it stands for; none named: CUDA's and Vulkan's.
func Register(t testing.TB, standsFor ...Backend) string {
	t.Helper()
	C.devicetest_register()
	if len(standsFor) > 0 {
		all := Backend(0)
		for _, b := range standsFor {
			all |= b
		}
		C.devicetest_stand_for(C.uint(all))
		t.Cleanup(func() { C.devicetest_stand_for(C.uint(CUDA | Vulkan)) })
	}
	return C.GoString(C.devicetest_name())
}

// LimitMemory gives the device so many bytes until the test ends.
func LimitMemory(t testing.TB, bytes int64) {
	C.devicetest_set_memory(C.size_t(bytes))
	t.Cleanup(func() { C.devicetest_set_memory(defaultMemory) })
}

// Used returns the bytes of all buffers that exist on the device.
func Used() int64 { return int64(C.devicetest_used()) }

// takers are the back ends that take an operation, which does not meet the conditions of facts.h that without has.
func takers(op string, sub int, result, first, second string, without uint) Backend {
	names := []*C.char{C.CString(op), C.CString(result), C.CString(first), C.CString(second)}
	defer func() {
		for _, n := range names {
			C.free(unsafe.Pointer(n))
		}
	}()
	return Backend(C.devicetest_takers(names[0], C.int(sub), names[1], names[2], names[3], C.uint(without)))
}

// widthOf32 is the condition WIDTH_OF_32.
const widthOf32 = 1 << 9

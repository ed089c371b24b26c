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

// Codebook is what a back end multiplies IQ4_NL's blocks with.
type Codebook int

// The codebooks. NF4 is the default.
const (
	NF4         Codebook = iota // as floats: a back end built for this program, with Vulkan
	NF4Integers                 // rounded to 127 steps: the same with CUDA, where products are in integers
	IQ4NL                       // ggml's own
)

// SetCodebook gives the device a codebook until the test ends.
func SetCodebook(t testing.TB, c Codebook) {
	C.devicetest_set_codebook(C.int(c))
	t.Cleanup(func() { C.devicetest_set_codebook(C.int(NF4)) })
}

// RefuseIQ4NL makes the device take no product with IQ4_NL weights until the test ends.
func RefuseIQ4NL(t testing.TB) {
	C.devicetest_refuse_iq4nl(1)
	t.Cleanup(func() { C.devicetest_refuse_iq4nl(0) })
}

// RoundToHalves makes the device multiply floats in half precision until the test ends, where there are more than 8 rows of them.
func RoundToHalves(t testing.TB) {
	C.devicetest_round_to_halves(1)
	t.Cleanup(func() { C.devicetest_round_to_halves(0) })
}

// LimitMemory gives the device so many bytes until the test ends.
func LimitMemory(t testing.TB, bytes int64) {
	C.devicetest_set_memory(C.size_t(bytes))
	t.Cleanup(func() { C.devicetest_set_memory(defaultMemory) })
}

// Used returns the bytes of all buffers that exist on the device.
func Used() int64 { return int64(C.devicetest_used()) }

// Products is what the device computed of products of one kind.
type Products struct {
	Calls                  int64
	Multiplications, Bytes float64 // bytes: of the weights that were read, each once per call
}

// TakeProducts returns what the device has computed since the last call: by the rank that adapters are padded to, and 0 for
// products with whole weights.
func TakeProducts() map[int]Products {
	var kinds [64]C.devicetest_products
	out := map[int]Products{}
	for _, k := range kinds[:C.devicetest_take_products(&kinds[0], C.int(len(kinds)))] {
		out[int(k.rank)] = Products{int64(k.calls), float64(k.multiplications), float64(k.bytes)}
	}
	return out
}

// Transfers is how data came to the device, and how often someone waited for what it computes.
type Transfers struct {
	Waits  int64 // synchronizations of back ends that have computed graphs
	Async  int64 // copies put into the queue of a back end
	Copies int64 // copies that were done at once
}

// TakeTransfers returns what happened since the last call.
func TakeTransfers() Transfers {
	var t C.devicetest_transfers
	C.devicetest_take_transfers(&t)
	return Transfers{int64(t.waits), int64(t.async), int64(t.copies)}
}

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

// tryProduct reports whether the device multiplies matrices with so many rows between them and values before the first.
func tryProduct(rowsBetween, valuesBefore int) bool {
	return C.devicetest_try_product(C.int(rowsBetween), C.int(valuesBefore)) != 0
}

// widthOf32 is the condition WIDTH_OF_32.
const widthOf32 = 1 << 9

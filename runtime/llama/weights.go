//go:build cgo && linux

package llama

/*
#include "c_api.h"

static void * packed_lookup(void) { return (void *) ll_model_packed; }
*/
import "C"

import (
	"sync"
	"unsafe"
)

// Weights is a hold on the tensors of a loaded model for runtime/qlora, which reads them in place. They are not
// to be changed. The model's memory stays until Release, also when the Model is closed before.
type Weights struct {
	Llama    unsafe.Pointer // a llama_model
	PackedOf unsafe.Pointer // the lk_packed_of of kernels/layout.h, to be called with Context
	Context  unsafe.Pointer
	Release  func() // may be called twice
}

// Weights lends the tensors.
func (m *Model) Weights() (*Weights, error) {
	ptr, release, err := m.acquire()
	if err != nil {
		return nil, err
	}
	defer release()
	shared := C.ll_model_share(ptr)
	if shared == nil {
		return nil, memoryError("a handle of the model")
	}
	return &Weights{
		Llama: C.ll_model_llama(shared), PackedOf: C.packed_lookup(), Context: unsafe.Pointer(shared),
		Release: sync.OnceFunc(func() { C.ll_model_free(shared) }),
	}, nil
}

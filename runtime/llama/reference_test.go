//go:build cgo && linux

package llama

import (
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama/llamatest"
)

// newReference makes a stock context of llama.cpp on a model. The types' numbers are those of c_api.h.
func newReference(m *Model, cells, threads int, kv KVType, flash FlashAttention) (*llamatest.Reference, error) {
	ptr, release, err := m.acquire()
	if err != nil {
		return nil, err
	}
	defer release()
	return llamatest.NewReference(unsafe.Pointer(ptr), m.facts.VocabSize, cells, threads, int(kv), int(flash))
}

// draw draws from logits and accepts the token; it is negative where none is possible.
func (s *Sampler) draw(logits []float32) runtime.Token {
	return llamatest.Draw(unsafe.Pointer(s.ptr), logits)
}

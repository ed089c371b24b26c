package qloratest

// #include <stdlib.h>
// #include "sample.h"
import "C"

import (
	"fmt"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
)

// Llama is a GGUF file as llama.cpp by itself loads it and computes with it.
type Llama struct{ c *C.lq_stock }

// LoadLlama loads the file; with repack ggml may choose its own layouts.
func LoadLlama(path string, repack bool) (*Llama, error) {
	p := C.CString(path)
	defer C.free(unsafe.Pointer(p))
	c := C.lq_stock_load(p, intOf(repack))
	if c == nil {
		return nil, fmt.Errorf("llama.cpp does not load %s", path)
	}
	return &Llama{c}, nil
}

// LoadLlamaOn loads the file's last layers, the output head counted as one, into the memory of a device, and the others into that
// of the CPU. It computes no logits.
func LoadLlamaOn(path, device string, layers int) (*Llama, error) {
	p, d := C.CString(path), C.CString(device)
	defer C.free(unsafe.Pointer(p))
	defer C.free(unsafe.Pointer(d))
	c := C.lq_stock_load_on(p, d, C.int(layers))
	if c == nil {
		return nil, fmt.Errorf("llama.cpp does not load %s on %s", path, device)
	}
	return &Llama{c}, nil
}

// Model returns the engine's view of what llama.cpp loaded.
func (l *Llama) Model() (*qlora.Model, error) {
	return qlora.OfLlama(C.lq_stock_model(l.c), nil, nil, nil)
}

// Handle is the llama_model.
func (l *Llama) Handle() unsafe.Pointer { return C.lq_stock_model(l.c) }

// Logits decodes one sequence and returns the logits of all its tokens.
func (l *Llama) Logits(tokens []runtime.Token, vocab int) ([]float32, error) {
	out := make([]float32, len(tokens)*vocab)
	if status := C.lq_stock_logits(l.c, first(tokens), C.int(len(tokens)), (*C.float)(unsafe.Pointer(&out[0]))); status != 0 {
		return nil, fmt.Errorf("llama_decode returns %d", status)
	}
	return out, nil
}

// Close frees the model.
func (l *Llama) Close() { C.lq_stock_free(l.c) }

package qlora

// #cgo CXXFLAGS: -std=c++17 -Wno-psabi
// #include <stdlib.h>
// #include "c_api.h"
// #include "model_llama.h"
import "C"

import (
	"fmt"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/runtime"
	_ "github.com/lorikeet-ai/lorikeet/runtime/kernels" // links lk_nf4_* and lk_int_*
	_ "github.com/ollama/ollama/llama/llama.cpp/src"    // links ggml
)

// A Model is the base as the engine sees it: sizes, and views of weights that someone else owns and keeps in
// place until Close. It may be used by several trainers, one after the other or at once, which share its workspace.
type Model struct {
	c         *C.lq_model
	graphs    *C.lq_graphs // nil where the CPU trains
	release   func()
	workspace workspace
}

// NewModel returns the Model of views, an lq_model of c_api.h, which stay valid until Close calls release.
func NewModel(views unsafe.Pointer, release func()) *Model {
	m := &Model{c: (*C.lq_model)(views), release: release}
	m.workspace.turn = make(chan struct{}, 1)
	return m
}

// OfLlama returns views of the tensors of a loaded llama_model. packedOf, an lk_packed_of of kernels/layout.h, is
// asked with context for the packed weight that stands for a tensor; nil: there are none. release is called by Close
// and may give the owner's hold on the model back. It returns an error wrapping runtime.ErrTrain that names the
// architecture or the tensor which training does not support, or runtime.ErrMemory; release is then not called.
//
// A model whose layers lie on a device of ggml's is trained there: all of its layers and its output head must lie on it.
func OfLlama(model, packedOf, context unsafe.Pointer, release func()) (*Model, error) {
	return ofLlama(model, packedOf, context, false, release)
}

// ofLlama is OfLlama; with onDevice the back end of the CPU is taken for a device, where the tensors lie there.
func ofLlama(model, packedOf, context unsafe.Pointer, onDevice bool, release func()) (*Model, error) {
	const size = 512
	message := (*C.char)(C.calloc(size, 1))
	if message == nil {
		return nil, fmt.Errorf("%w: there is none for an error message", runtime.ErrMemory)
	}
	defer C.free(unsafe.Pointer(message))
	var views *C.lq_llama
	if err := errorOf(C.lq_llama_new(model, (*C.lk_packed_of)(packedOf), context, flagOf(onDevice), &views, message, size), message); err != nil {
		return nil, err
	}
	m := NewModel(unsafe.Pointer(C.lq_llama_model(views)), func() {
		C.lq_llama_free(views)
		if release != nil {
			release()
		}
	})
	m.graphs = C.lq_llama_graphs(views)
	return m, nil
}

// OnDevice reports whether a device of ggml's trains the model, and not the CPU.
func (m *Model) OnDevice() bool { return m.graphs != nil }

// Layers returns the number of transformer blocks.
func (m *Model) Layers() int { return int(m.c.n_layers) }

// Vocab returns the number of rows of the output head.
func (m *Model) Vocab() int { return int(m.c.n_vocab) }

// Tied reports whether the model uses its embedding as its output head, which then cannot be trained alone.
func (m *Model) Tied() bool { return m.c.tied != 0 }

// Close releases the views and the workspace; all trainers must be closed. The weights are their owner's. It may be called twice.
func (m *Model) Close() error {
	m.workspace.close()
	if m.release != nil {
		m.release()
		m.release, m.c, m.graphs = nil, nil, nil
	}
	return nil
}

// Linears are the linear tensors of one transformer block, by their names in a GGUF file.
var Linears = []string{"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"}

// tensorOf reads a GGUF tensor name such as "blk.3.attn_q.weight" or "output.weight".
func tensorOf(name string) (layer, target int, ok bool) {
	switch name {
	case "token_embd.weight":
		return 0, C.LQ_EMBED, true
	case "output.weight":
		return 0, C.LQ_HEAD, true
	}
	for i, linear := range Linears {
		var l int
		if n, err := fmt.Sscanf(name, "blk.%d."+linear+".weight", &l); n == 1 && err == nil && name == tensorName(l, i) {
			return l, i, true
		}
	}
	return 0, 0, false
}

// layerNorms are the norms of one transformer block, by their names in a GGUF file, in the order of C's.
var layerNorms = []string{"attn_norm", "ffn_norm", "attn_q_norm", "attn_k_norm"}

// normOf reads a GGUF tensor name such as "blk.3.attn_norm.weight" or "output_norm.weight".
func normOf(name string) (layer, norm int, ok bool) {
	if name == "output_norm.weight" {
		return 0, C.LQ_OUT_NORM, true
	}
	for i, norm := range layerNorms {
		var l int
		if n, err := fmt.Sscanf(name, "blk.%d."+norm+".weight", &l); n == 1 && err == nil && name == fmt.Sprintf("blk.%d.%s.weight", l, norm) {
			return l, i, true
		}
	}
	return 0, 0, false
}

// tensorName is the inverse of tensorOf.
func tensorName(layer, target int) string {
	switch target {
	case C.LQ_EMBED:
		return "token_embd.weight"
	case C.LQ_HEAD:
		return "output.weight"
	}
	return fmt.Sprintf("blk.%d.%s.weight", layer, Linears[target])
}

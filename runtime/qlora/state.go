package qlora

// #include "wall.h"
import "C"

import (
	"slices"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// parameters are the adapter's numbers in C's memory; they are valid until Close.
func (t *Trainer) parameters() []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(C.lq_parameters(t.c))), int(C.lq_parameter_count(t.c)))
}

// LoRA returns a copy of the adapter as it stands, in the base's row order. The engine trains the embedding as a
// linear layer of one-hot rows, (width, vocabulary); runtime.LoRA has it as it is stored, (vocabulary, width).
func (t *Trainer) LoRA() *runtime.LoRA {
	all := t.parameters()
	lora := &runtime.LoRA{}
	for i, m := range t.spec.Modules {
		var p C.lq_place
		C.lq_get_place(t.c, C.int(i), &p)
		x := runtime.LoRAModule{Tensor: m.Tensor, Rank: m.Rank, In: int(p.n_in), Out: int(p.n_out), Scale: m.Scale}
		a, b := all[p.a:][:x.Rank*x.In], all[p.b:][:x.Rank*x.Out]
		if x.Tensor == tensorName(0, C.LQ_EMBED) { // both lie as the other one is wanted
			x.In, x.Out = x.Out, x.In
			x.A, x.B = slices.Clone(b), slices.Clone(a)
		} else {
			x.A, x.B = slices.Clone(a), transposed(b, x.Rank, x.Out)
		}
		if m.DoRA {
			x.Magnitude = slices.Clone(all[p.m:][:p.n_out])
		}
		lora.Modules = append(lora.Modules, x)
	}
	return lora
}

// transposed returns x (rows, cols) as (cols, rows).
func transposed(x []float32, rows, cols int) []float32 {
	y := make([]float32, len(x))
	for r := range rows {
		for c := range cols {
			y[c*rows+r] = x[r*cols+c]
		}
	}
	return y
}

// State returns the adapter, the optimizer's moments and the step counter, between two steps. A Trainer made
// with the same model, spec and precision and restored from it goes on with the same bits.
func (t *Trainer) State() []byte {
	state := make([]byte, int(C.lq_state_bytes(t.c)))
	C.lq_save_state(t.c, unsafe.Pointer(&state[0]))
	return state
}

// Restore puts a State back. It returns an error wrapping runtime.ErrTrain for one that was cut short or
// belongs to another job, and then changes nothing.
func (t *Trainer) Restore(state []byte) error {
	if len(state) == 0 {
		state = []byte{0}
	}
	return t.check(C.lq_load_state(t.c, unsafe.Pointer(&state[0]), C.size_t(len(state))))
}

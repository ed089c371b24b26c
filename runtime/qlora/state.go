package qlora

// #include "c_api.h"
import "C"

import (
	"io"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// parameters are the adapter's numbers in C's memory; they are valid until Close.
func (t *Trainer) parameters() []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(C.lq_parameters(t.c))), int(C.lq_parameter_count(t.c)))
}

// View returns the adapter as it stands, in the base's row order. The engine trains the embedding as a linear layer of one-hot
// rows, (width, vocabulary); runtime.LoRA has it as it is stored, (vocabulary, width).
func (t *Trainer) View() (*runtime.LoRAView, error) {
	if t.c == nil {
		return nil, runtime.ErrClosed
	}
	if err := t.start(); err != nil {
		return nil, err
	}
	all := t.parameters()
	v := &runtime.LoRAView{Invocation: t.spec.Invocation}
	for i, m := range t.spec.Modules {
		var p C.lq_parameter_offsets
		C.lq_get_offsets(t.c, C.int(i), &p)
		x := runtime.ModuleView{Tensor: m.Tensor, Rank: int(p.rank), In: int(p.n_in), Out: int(p.n_out), Scale: m.Scale}
		x.A = runtime.RowMajor(all[p.a:][:x.Rank*x.In], x.Rank, x.In)
		x.B = runtime.RowMajor(all[p.b:][:x.Rank*x.Out], x.Rank, x.Out).Transposed()
		if x.Tensor == tensorName(0, C.LQ_EMBED) {
			x.In, x.Out = x.Out, x.In
			x.A, x.B = x.B.Transposed(), runtime.RowMajor(x.A.Values, x.Out, x.Rank)
		}
		if m.DoRA {
			x.Magnitude = all[p.m:][:p.n_out]
		}
		v.Modules = append(v.Modules, x)
	}
	for i, tensor := range t.spec.Norms {
		v.Norms = append(v.Norms, runtime.LoRANorm{Tensor: tensor, Values: t.norm(i)})
	}
	return v, nil
}

// norm is the weight of a norm of the spec, in C's memory.
func (t *Trainer) norm(i int) []float32 {
	var at C.size_t
	var n C.int
	C.lq_get_norm(t.c, C.int(i), &at, &n)
	return t.parameters()[at:][:n]
}

// LoRA returns a copy of the adapter as it stands.
func (t *Trainer) LoRA() *runtime.LoRA {
	v, err := t.View()
	if err != nil {
		return &runtime.LoRA{}
	}
	return v.Copy()
}

// transpose writes x (rows, cols) to y as (cols, rows).
func transpose(y, x []float32, rows, cols int) {
	for r := range rows {
		for c := range cols {
			y[c*rows+r] = x[r*cols+c]
		}
	}
}

// statePiece is how many bytes of a state are copied at a time.
const statePiece = 256 << 10

// WriteState writes all that a Trainer with the same model and spec needs to go on bit for bit.
func (t *Trainer) WriteState(w io.Writer) error {
	if t.c == nil {
		return runtime.ErrClosed
	}
	if err := t.start(); err != nil {
		return err
	}
	total := int(C.lq_state_bytes(t.c))
	piece := make([]byte, min(statePiece, total))
	for at := 0; at < total; at += len(piece) {
		piece = piece[:min(len(piece), total-at)]
		C.lq_read_state(t.c, C.size_t(at), unsafe.Pointer(&piece[0]), C.size_t(len(piece)))
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

// Reseed changes the seed of the spec.
func (t *Trainer) Reseed(seed uint64) {
	t.spec.Seed = seed
	if t.c != nil {
		C.lq_reseed(t.c, C.uint64_t(seed))
	}
}

// ResetOptimizer forgets the optimizer's state. What was begun is dropped.
func (t *Trainer) ResetOptimizer() error {
	if t.c == nil {
		return runtime.ErrClosed
	}
	t.giveBack()
	C.lq_reset_optimizer(t.c)
	return nil
}

// ReadState takes up a state of size bytes. It returns an error wrapping runtime.ErrTrain for one that was cut short or
// belongs to another job, and then changes nothing. After an error of r the Trainer can only be closed.
func (t *Trainer) ReadState(r io.Reader, size int64) error {
	if t.c == nil {
		return runtime.ErrClosed
	}
	t.giveBack()
	piece := make([]byte, min(statePiece, max(size, 1)))
	for at := int64(0); at == 0 || at < size; at += int64(len(piece)) {
		piece = piece[:min(int64(len(piece)), max(size-at, 0))]
		if _, err := io.ReadFull(r, piece); err != nil {
			return err
		}
		from := unsafe.Pointer(unsafe.SliceData(piece))
		if err := t.check(C.lq_write_state(t.c, C.size_t(at), from, C.size_t(len(piece)), C.size_t(size))); err != nil {
			return err
		}
	}
	return nil
}

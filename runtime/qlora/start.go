package qlora

// #include "c_api.h"
import "C"

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// checkStart returns an error wrapping runtime.ErrTrain that names the tensor in which spec.Start is not an adapter of the spec's
// modules. Tensors of the spec that the model lacks are found elsewhere.
func (m *Model) checkStart(spec *runtime.TrainSpec) error {
	for _, x := range spec.Modules {
		if x.Init != runtime.InitDefault && spec.Start != nil {
			return fmt.Errorf("%w: %s has an initialisation, and the adapter to train on from is one already", runtime.ErrTrain, x.Tensor)
		}
	}
	if spec.Start == nil {
		return nil
	}
	wrong := func(tensor, format string, values ...any) error {
		return fmt.Errorf("%w: the adapter to train on from does not fit at %s: %s", runtime.ErrTrain, tensor, fmt.Sprintf(format, values...))
	}
	if !slices.Equal(spec.Start.Invocation, spec.Invocation) {
		return fmt.Errorf("%w: the adapter to train on from has the invocation tokens %v, this run has %v", runtime.ErrTrain, spec.Start.Invocation, spec.Invocation)
	}
	for _, b := range spec.Start.Biases {
		return wrong(b.Tensor, "it has a bias, which is not trained")
	}
	for _, r := range spec.Start.Rows {
		return wrong(r.Tensor, "it has rows of its own, which are not trained")
	}
	if err := m.checkStartNorms(spec, wrong); err != nil {
		return err
	}
	wanted := make(map[string]runtime.TrainModule, len(spec.Modules))
	for _, x := range spec.Modules {
		wanted[x.Tensor] = x
	}
	for i := range spec.Start.Modules {
		x := &spec.Start.Modules[i]
		w, ok := wanted[x.Tensor]
		if !ok {
			return wrong(x.Tensor, "this run does not train it, or the adapter has it twice")
		}
		delete(wanted, x.Tensor)
		if x.Rank != w.Rank {
			return wrong(x.Tensor, "its rank is %d, this run has %d", x.Rank, w.Rank)
		}
		if x.Scale != w.Scale {
			return wrong(x.Tensor, "its scale (alpha by rank) is %v, this run has %v", x.Scale, w.Scale)
		}
		if (x.Magnitude != nil) != w.DoRA {
			return wrong(x.Tensor, "DoRA must be on for both or for neither: the adapter has it %v, this run %v", x.Magnitude != nil, w.DoRA)
		}
		if err := m.checkValues(x); err != nil {
			return wrong(x.Tensor, "%v", err)
		}
	}
	for _, x := range spec.Modules { // in their order, so that the message is the same every time
		if _, ok := wanted[x.Tensor]; ok {
			return wrong(x.Tensor, "this run trains it, the adapter lacks it")
		}
	}
	return nil
}

// checkStartNorms compares the norms of the adapter to train on from with those of the run.
func (m *Model) checkStartNorms(spec *runtime.TrainSpec, wrong func(tensor, format string, values ...any) error) error {
	left := slices.Clone(spec.Norms)
	for _, n := range spec.Start.Norms {
		i := slices.Index(left, n.Tensor)
		if i < 0 {
			return wrong(n.Tensor, "it has a norm of its own, which this run does not train, or has it twice")
		}
		left = slices.Delete(left, i, i+1)
		if width := m.normWidth(n.Tensor); len(n.Values) != width {
			return wrong(n.Tensor, "it has %d values, the base's norm has %d", len(n.Values), width)
		}
		if err := checkFinite(n.Values); err != nil {
			return wrong(n.Tensor, "%v", err)
		}
	}
	if len(left) > 0 {
		return wrong(left[0], "this run trains the norm, the adapter lacks it")
	}
	return nil
}

// normWidth returns how many values the weight of a norm has.
func (m *Model) normWidth(tensor string) int {
	if _, norm, _ := normOf(tensor); norm == C.LQ_Q_NORM || norm == C.LQ_K_NORM {
		return int(m.c.head_size)
	}
	return int(m.c.n_embd)
}

// checkFinite looks for what is not a number.
func checkFinite(values []float32) error {
	for _, v := range values {
		if v-v != 0 { // infinite or NaN
			return fmt.Errorf("it has the value %v", float64(v))
		}
	}
	return nil
}

// checkValues compares the sizes of an adapter's module with those of the base's tensor, and looks for what is not a number.
func (m *Model) checkValues(x *runtime.LoRAModule) error {
	layer, target, ok := tensorOf(x.Tensor)
	if !ok || layer >= m.Layers() {
		return nil // which C refuses by name
	}
	w := m.weightOf(layer, target)
	if x.In != int(w.n_in) || x.Out != int(w.n_out) {
		return fmt.Errorf("it is of a tensor %d by %d, the base's is %d by %d", x.In, x.Out, int(w.n_in), int(w.n_out))
	}
	if len(x.A) != x.Rank*x.In || len(x.B) != x.Rank*x.Out || x.Magnitude != nil && len(x.Magnitude) != x.MagnitudeSize() {
		return fmt.Errorf("it has %d, %d and %d values in A, B and the magnitude", len(x.A), len(x.B), len(x.Magnitude))
	}
	for _, values := range [][]float32{x.A, x.B, x.Magnitude} {
		if err := checkFinite(values); err != nil {
			return err
		}
	}
	return nil
}

// weightOf returns the base's tensor, of which on a device only the sizes are known. layer is one of the model's.
func (m *Model) weightOf(layer, target int) *C.lq_weight {
	switch target {
	case C.LQ_EMBED:
		return &m.c.embed
	case C.LQ_HEAD:
		return &m.c.head
	}
	return &unsafe.Slice(m.c.layers, m.Layers())[layer].linear[target]
}

// startFrom gives the parameters the values of an adapter that was checked; nil: it leaves them.
func (t *Trainer) startFrom(start *runtime.LoRA) {
	if start == nil {
		return
	}
	byTensor := make(map[string]*runtime.LoRAModule, len(start.Modules))
	for i := range start.Modules {
		byTensor[start.Modules[i].Tensor] = &start.Modules[i]
	}
	all := t.parameters()
	for i, m := range t.spec.Modules {
		var p C.lq_parameter_offsets
		C.lq_get_offsets(t.c, C.int(i), &p)
		x := byTensor[m.Tensor]
		if m.Tensor == tensorName(0, C.LQ_EMBED) { // as LoRA returns them
			copy(all[p.b:], x.A)
			copy(all[p.a:], x.B)
		} else {
			copy(all[p.a:], x.A)
			transpose(all[p.b:], x.B, x.Out, x.Rank)
		}
		copy(all[p.m:], x.Magnitude)
	}
	for i, tensor := range t.spec.Norms {
		for _, n := range start.Norms {
			if n.Tensor == tensor {
				copy(t.norm(i), n.Values)
			}
		}
	}
	C.lq_parameters_changed(t.c)
}

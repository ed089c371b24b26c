package qlora

// #include "c_api.h"
import "C"

import (
	"fmt"
	goruntime "runtime"
	"time"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Begin starts a micro-batch. What was begun before and not finished is dropped.
func (t *Trainer) Begin(mode runtime.TrainMode, b runtime.TrainBatch) error {
	if t.c == nil {
		return runtime.ErrClosed
	}
	if len(b.Tokens) == 0 || len(b.Labels) != len(b.Tokens) || len(b.Ends) == 0 {
		return fmt.Errorf("%w: a batch has %d tokens, %d labels and %d sequences", runtime.ErrTrain, len(b.Tokens), len(b.Labels), len(b.Ends))
	}
	if b.Weights != nil && len(b.Weights) != len(b.Tokens) {
		return fmt.Errorf("%w: a batch has %d tokens and %d weights", runtime.ErrTrain, len(b.Tokens), len(b.Weights))
	}
	if b.Active != nil && len(b.Active) != len(b.Ends) {
		return fmt.Errorf("%w: a batch has %d sequences and %d positions from which on the adapter acts", runtime.ErrTrain, len(b.Ends), len(b.Active))
	}
	t.giveBack()
	modes := map[runtime.TrainMode]C.int{runtime.TrainFirst: C.LQ_FIRST, runtime.TrainFurther: C.LQ_FURTHER, runtime.TrainEval: C.LQ_EVAL}
	ends := int32s(b.Ends)
	cb := C.lq_batch{
		tokens: first(b.Tokens), labels: first(b.Labels), n: C.int(len(b.Tokens)), ends: first(ends), n_ends: C.int(len(ends)),
		norm: C.double(b.Norm), base: flagOf(b.Base), entropies: flagOf(b.Entropies),
	}
	var pins goruntime.Pinner // of what the struct points to, while C reads it
	defer pins.Unpin()
	pins.Pin(cb.tokens)
	pins.Pin(cb.labels)
	pins.Pin(cb.ends)
	if b.Weights != nil {
		cb.weights = (*C.float)(unsafe.Pointer(&b.Weights[0]))
		pins.Pin(cb.weights)
	}
	if b.Active != nil {
		cb.active = first(int32s(b.Active))
		pins.Pin(cb.active)
	}
	return t.check(C.lq_begin(t.c, modes[mode], &cb))
}

// BeginUpdate starts the optimizer's step over the gradients of the micro-batches so far.
func (t *Trainer) BeginUpdate(u runtime.TrainUpdate) error {
	if t.c == nil {
		return runtime.ErrClosed
	}
	t.giveBack()
	if u.RateB == 0 {
		u.RateB = u.Rate
	}
	return t.check(C.lq_begin_update(t.c, &C.lq_update{
		lr: C.float(u.Rate), lr_b: C.float(u.RateB), beta1: C.float(u.Beta1), beta2: C.float(u.Beta2), eps: C.float(u.Epsilon),
		weight_decay: C.float(u.WeightDecay), clip: C.float(u.Clip),
	}))
}

// Slice does the next slice of what was begun and reports whether there are more.
func (t *Trainer) Slice() (more bool, err error) {
	more, _, err = t.Slices(0)
	return more, err
}

// Slices does the next slice, and further ones in the same crossing to C while there is time: it is a runtime.BatchSlicer.
func (t *Trainer) Slices(budget time.Duration) (more bool, longest time.Duration, err error) {
	if t.c == nil {
		return false, 0, runtime.ErrClosed
	}
	if err := t.reserveNow(); err != nil {
		return false, 0, err
	}
	var seconds C.double
	status := C.lq_slices(t.c, C.double(budget.Seconds()), &seconds)
	longest = time.Duration(float64(seconds) * float64(time.Second))
	if err := t.check(status); err != nil || status != C.LQ_MORE {
		if t.alone {
			t.giveBack()
		}
		return false, longest, err
	}
	return true, longest, nil
}

// Result returns the numbers of what was last done.
func (t *Trainer) Result() runtime.TrainResult {
	if t.c == nil {
		return runtime.TrainResult{}
	}
	var r C.lq_result
	C.lq_get_result(t.c, &r)
	return runtime.TrainResult{
		Loss: float64(r.loss), Labelled: int(r.labelled), Correct: int(r.correct), GradNorm: float64(r.grad_norm), Steps: int64(r.steps),
		LogProbs: copyOf(r.log_probs, r.n_tokens), Entropies: copyOf(r.entropies, r.n_tokens),
	}
}

// copyOf returns Go's copy of n floats of C's; nil for none.
func copyOf(from *C.float, n C.int) []float32 {
	if from == nil {
		return nil
	}
	return append([]float32(nil), unsafe.Slice((*float32)(unsafe.Pointer(from)), int(n))...)
}

func int32s(x []int) []int32 {
	y := make([]int32, len(x))
	for i, v := range x {
		y[i] = int32(v)
	}
	return y
}

func flagOf(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

func first(x []int32) *C.int32_t { return (*C.int32_t)(unsafe.Pointer(&x[0])) }

package qlora

// #include "c_api.h"
import "C"

import (
	"fmt"
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
	modes := map[runtime.TrainMode]C.int{runtime.TrainFirst: C.LQ_FIRST, runtime.TrainFurther: C.LQ_FURTHER, runtime.TrainEval: C.LQ_EVAL}
	ends := int32s(b.Ends)
	return t.check(C.lq_begin(t.c, modes[mode], first(b.Tokens), first(b.Labels), C.int(len(b.Tokens)), first(ends), C.int(len(ends)), C.double(b.Norm)))
}

// BeginUpdate starts the optimizer's step over the gradients of the micro-batches so far.
func (t *Trainer) BeginUpdate(u runtime.TrainUpdate) error {
	if t.c == nil {
		return runtime.ErrClosed
	}
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
	if t.c == nil {
		return false, runtime.ErrClosed
	}
	status := C.lq_slice(t.c)
	return status == C.LQ_MORE, t.check(status)
}

// Result returns the numbers of what was last done.
func (t *Trainer) Result() runtime.TrainResult {
	if t.c == nil {
		return runtime.TrainResult{}
	}
	var r C.lq_result
	C.lq_get_result(t.c, &r)
	return runtime.TrainResult{Loss: float64(r.loss), Labelled: int(r.labelled), Correct: int(r.correct), GradNorm: float64(r.grad_norm), Steps: int64(r.steps)}
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

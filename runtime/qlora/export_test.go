//go:build cgo

package qlora

import (
	"bytes"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// What the tests, which are a package of their own, see of a Trainer.

// Handle is the lq_trainer, for package qloratest.
func (t *Trainer) Handle() unsafe.Pointer { return unsafe.Pointer(t.c) }

// Parameters are the adapter's numbers in C's memory.
func (t *Trainer) Parameters() []float32 { return t.parameters() }

// Spec is what the Trainer was made with.
func (t *Trainer) Spec() *runtime.TrainSpec { return &t.spec }

// EstimateKeeping returns the bytes of a Trainer that keeps the activations of `kept` layers.
func EstimateKeeping(m *Model, spec *runtime.TrainSpec, o Options, kept int) (int64, error) {
	bytes, err := estimate(m, spec, o, kept)
	return int64(bytes.own + bytes.workspace), err
}

// OnPath returns Options that run one path, an lq_isa.
func OnPath(isa int) Options { return Options{isa: &isa} }

// OfLlamaByGraphs is OfLlama for tensors in the memory of the CPU, whose back end then is the device that trains.
func OfLlamaByGraphs(model unsafe.Pointer) (*Model, error) {
	return ofLlama(model, nil, nil, true, nil)
}

// InBlocks returns Options of a device that computes the attention of n queries at a time, in float32.
func InBlocks(n int) Options { return Options{Precision: Single, queryBlock: n} }

// State returns what WriteState writes.
func (t *Trainer) State() []byte {
	var b bytes.Buffer
	if err := t.WriteState(&b); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// Restore takes such a state up.
func (t *Trainer) Restore(state []byte) error {
	return t.ReadState(bytes.NewReader(state), int64(len(state)))
}

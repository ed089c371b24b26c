//go:build !cgo

package qlora

// Without cgo there is no engine. The types are here so that what imports this package compiles; nothing can be
// made of them.

import (
	"context"
	"fmt"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// ErrUnsupported is the error of every constructor; it wraps runtime.ErrTrain.
var ErrUnsupported = fmt.Errorf("%w: this build has no trainer: it needs cgo", runtime.ErrTrain)

// Model is the base as the engine sees it.
type Model struct{}

// NewModel returns a Model of which nothing can be made.
func NewModel(unsafe.Pointer, func()) *Model { return &Model{} }

// OfLlama returns ErrUnsupported.
func OfLlama(model, nf4Of, context unsafe.Pointer, release func()) (*Model, error) {
	return nil, ErrUnsupported
}

// LimitMemory does nothing.
func (m *Model) LimitMemory(int64) {}

// TrainingMemory is 0.
func (m *Model) TrainingMemory() (bytes, limit int64) { return 0, 0 }

// Layers is 0.
func (m *Model) Layers() int { return 0 }

// Close does nothing.
func (m *Model) Close() error { return nil }

// Options are how a Trainer computes.
type Options struct {
	Threads   int
	Precision Precision
	Served    *Served
	Original  func(tensor string) (Original, error)
}

// Original is a weight as it was before quantization.
type Original struct {
	Type           string
	In, Out, Heads int
	Data           []byte
}

// Served says what serving keeps in half precision.
type Served struct{ KV, Adapters bool }

// Precision is how matrix products are computed.
type Precision int

// The precisions.
const (
	Fast Precision = iota
	Half
	Single
)

// Trainer trains one adapter.
type Trainer struct{ runtime.Trainer }

// New returns ErrUnsupported.
func New(*Model, runtime.TrainSpec, Options) (*Trainer, error) { return nil, ErrUnsupported }

// Open returns ErrUnsupported.
func Open(context.Context, *Model, runtime.TrainSpec, Options) (*Trainer, error) {
	return nil, ErrUnsupported
}

// Estimate returns ErrUnsupported.
func Estimate(*Model, runtime.TrainSpec, Options) (runtime.TrainMemory, error) {
	return runtime.TrainMemory{}, ErrUnsupported
}

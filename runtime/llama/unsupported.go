//go:build !cgo || !linux

package llama

// Without cgo there is no llama.cpp. The types are here so that what imports this package compiles; nothing
// can be made of them.

import (
	"context"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Model is a loaded base.
type Model struct{ runtime.Model }

// Load returns ErrUnsupported.
func Load(Options) (*Model, error) { return nil, ErrUnsupported }

// HasTokenizer reports whether the file has a vocabulary with texts.
func (m *Model) HasTokenizer() bool { return false }

// Close does nothing.
func (m *Model) Close() error { return nil }

// Weights is a hold on the tensors of a loaded model.
type Weights struct {
	Llama, PackedOf, Context unsafe.Pointer
	Release                  func()
}

// Weights returns ErrUnsupported.
func (m *Model) Weights() (*Weights, error) { return nil, ErrUnsupported }

// Device is one context of llama.cpp.
type Device struct{ runtime.Device }

// NewDevice returns ErrUnsupported.
func NewDevice(*Model, DeviceOptions) (*Device, error) { return nil, ErrUnsupported }

// LoadBackend returns ErrUnsupported.
func LoadBackend(string) error { return ErrUnsupported }

// LoadBackends returns ErrUnsupported.
func LoadBackends(string) []error { return []error{ErrUnsupported} }

// Devices returns none.
func Devices() []DeviceInfo { return nil }

// QuantizeTypes are the types that Quantize takes: none.
var QuantizeTypes []string

// Quantize returns ErrUnsupported.
func Quantize(ctx context.Context, in, out, typ string, threads int, progress func(float64)) error {
	return ErrUnsupported
}

// Codec returns ErrUnsupported.
func Codec(quant.Type) (quant.Codec, error) { return quant.Codec{}, ErrUnsupported }

// Logits returns ErrUnsupported.
func (d *Device) Logits(int) ([]float32, error) { return nil, ErrUnsupported }

// SystemInfo says that there is nothing.
func SystemInfo() string { return ErrUnsupported.Error() }

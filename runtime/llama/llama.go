// Package llama runs models with llama.cpp: it implements runtime.Model and runtime.Device, and it is the
// only package that calls that library.
//
// Go calls the C functions of c_api.h and no others. Each is a whole step of work: load a model, or decode a batch and
// draw a token for every row that asks for one. No type of llama.cpp and no C++ exception passes that interface.
//
// Two things that llama.cpp cannot do are added without changing its source (hooks.h): a different adapter for every row
// of one batch, and products with NF4 weights. The linker redirects the functions that the --wrap flags in model.go name
// to ours; outside our own contexts they only call the originals. That needs GNU ld or lld, so the package builds on
// Linux; elsewhere, and without cgo, every constructor returns an error.
//
// The words used here:
//
//   - target: a base tensor that an adapter may change.
//   - pack: an adapter in the layout of our kernels, for the targets of one model.
//   - sequence adapters: which packs, with which scales, each sequence of a device is decoded with.
//   - back end: how adapters are multiplied: fused (our kernels) or mmid (ggml's mul_mat_id).
//   - slot: where an adapter lies in a device's memory, for the mmid back end.
package llama

import (
	"errors"
	"log/slog"
)

// The errors of this package; others are wrapped around them with the details.
var (
	ErrLoad        = errors.New("the model cannot be loaded")
	ErrDevice      = errors.New("the device cannot be created")
	ErrBackend     = errors.New("the back end cannot be loaded")
	ErrQuantize    = errors.New("the model cannot be quantized")
	ErrUnsupported = errors.New("this build has no llama.cpp: it needs cgo on Linux")
)

// NF4Mode says how products with NF4 weights are computed.
type NF4Mode int

// The modes, with their root mean square error relative to exact products with the same weights. Rounding the weights to
// four bits already costs 9e-2, so the default's error hardly counts; ggml rounds activations to 8 bits, too, for all of
// its own quantized types.
const (
	NF4Int8  NF4Mode = iota // 8-bit integers, 7e-3: the default
	NF4Int16                // 16-bit integers, 1e-4: half as fast where many rows are computed
	NF4Float                // floats, 1e-6: the reference
)

// Options say what to load and how.
type Options struct {
	Path  string // of a GGUF file
	Bytes []byte // the file itself, instead of Path; not needed once Load returns
	Name  string // names the model where the file does not; "": the file's base name

	NF4 NF4Mode

	// Device names the device that computes layers, as Devices does; "": the first GPU.
	Device string
	// GPULayers is how many layers the device computes and holds, the last ones first and the output head counted as one
	// more; or AllLayers, or AutoLayers. 0: none, the CPU computes all.
	GPULayers int
	Room      Room // for AutoLayers

	// CheckTensors reads all weights before they are loaded, and refuses a file with one that is infinite or NaN.
	// Norms and biases, and the scales of NF4, always are.
	CheckTensors bool

	// PackFloat32 keeps adapters in float32, twice the memory; otherwise float16.
	PackFloat32 bool
	// KeepPlain makes Pack also keep the plain matrices, which the slots of devices with the MMID back end are filled from.
	KeepPlain bool

	// Progress is called with the part that is done, from 0 to 1, from Load's goroutine. It may be nil.
	Progress func(float64)
	// Log receives what llama.cpp has to say, line by line, from the goroutine that calls into it, until
	// the model and what was made from it are closed. It must not call into this package. It may be nil.
	Log func(slog.Level, string)
}

// BackendVersion is the version of the module whose ggml this program has; the names of the back ends that it loads end with it.
const BackendVersion = "v0.17.4"

// DeviceType is a kind of device.
type DeviceType string

// The kinds. A GPU of either kind can hold layers.
const (
	CPU           DeviceType = "CPU"
	GPU           DeviceType = "GPU"
	IntegratedGPU DeviceType = "integrated GPU" // its memory is the host's
	Accelerator   DeviceType = "accelerator"
)

func (t DeviceType) computesLayers() bool { return t == GPU || t == IntegratedGPU }

// DeviceInfo describes a device that can compute.
type DeviceInfo struct {
	Name        string // by which Options choose it: "CUDA0"
	Description string
	Type        DeviceType
	Backend     string // of ggml, that has the device
	Library     string // the shared object that the back end was loaded from; "": it is part of this program
	Memory      int64  // bytes
	Free        int64
}

// KVType is how the KV cache stores keys and values.
type KVType int

// The types.
const (
	KVF16 KVType = iota
	KVF32
	KVQ8 // half the memory of F16; needs flash attention and heads of a multiple of 32 values
)

// FlashAttention says whether attention runs as one fused operation.
type FlashAttention int

// The choices. Auto is on, unless the model rules it out.
const (
	FlashAuto FlashAttention = iota
	FlashOn
	FlashOff
)

// Backend is how adapters are multiplied.
type Backend int

// The back ends.
const (
	Fused Backend = iota // our kernels, for layers that the CPU computes; MMID for those of a device
	MMID                 // ggml's mul_mat_id over slots in the memory of the layers, for all layers
)

// SlotType is how the values of adapters lie in slots.
type SlotType int

// The types. Auto is F16 in the memory of a device, and F32, which is the reference, on the CPU and with PackFloat32.
const (
	SlotAuto SlotType = iota
	SlotF16
	SlotF32
)

// SlotProducts is how rows are multiplied with their slots.
type SlotProducts int

// The ways. Auto is MulMatID where the device has that operation, and Gathered where not; where many rows share slots, as those of a
// prompt do, the different slots of the batch are copied side by side and multiplied with all rows, as one matrix.
const (
	ProductsAuto SlotProducts = iota
	MulMatID
	Gathered // the slots of a batch's rows are copied side by side first: slower, and every back end can
)

// DeviceOptions are the sizes and choices of a device. A zero field takes its default.
type DeviceOptions struct {
	Sequences int // sequences that may hold KV at once; 16
	Cells     int // tokens in the KV cache over all sequences; 4096; rounded up to a multiple of 256
	Batch     int // rows in one Decode; 512
	UBatch    int // rows that are computed at once; 512
	Threads   int // compute threads; the number of CPUs

	KV             KVType
	FlashAttention FlashAttention
	// SplitKV gives each sequence its own Cells/Sequences cells instead of letting all share. Sequences can
	// then not share a prefix in part, and the graph is rebuilt for every batch of other sequences. With UBatch 1 a row's bits
	// do not depend on which other rows are decoded, whatever the device: it is computed by itself, over its own cells alone.
	SplitKV bool

	LoRA Backend
	// SlotBytes bounds the memory for adapters that lie in slots; 0: as much as 256 ranks take. An adapter takes its rank,
	// rounded up to a power of two, once, whatever the number of sequences that use it.
	SlotBytes int64
	Slots     SlotType
	Products  SlotProducts

	fullLogits bool // nothing of them is computed in a device's memory: for tests
}

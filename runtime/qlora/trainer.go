package qlora

// #include <stdlib.h>
// #include "c_api.h"
import "C"

import (
	"context"
	"fmt"
	goruntime "runtime"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Precision is how matrix products are computed.
type Precision int

// The precisions.
const (
	// Fast multiplies what the CPU multiplies fastest: going forward, coded weights with activations rounded to
	// 8 bits in blocks of 32, as ggml decodes; else bfloat16 pairs summed in float32, which AMX multiplies faster
	// than any bytes; float32 where it has none of these. A device multiplies weights in bfloat16.
	Fast Precision = iota
	// Half is Fast without products of bytes.
	Half
	// Single is float32.
	Single
)

// Options are how a Trainer computes; they do not change what is trained.
type Options struct {
	Threads   int // 0: one per CPU. The results are the same bits for every number
	Precision Precision

	// Served, where set, has evaluations (runtime.TrainEval) compute what exact rows are decoded to (runtime.Row): in float32,
	// whatever the Precision, with what serving keeps in half precision rounded to it. Where a device trains it changes nothing.
	Served *Served

	// Original lends a tensor's weight as it was before quantization, for runtime.InitLoftQ; nil: there is none. It may be called often, by
	// any goroutine.
	Original func(tensor string) (Original, error)

	isa        *int // the path to run, an lq_isa; nil: the best one that the precision allows
	queryBlock int  // of a device, in tests: most queries whose attention is computed at a time
}

// Served says what serving keeps in half precision.
type Served struct {
	KV       bool // keys and values
	Adapters bool // A and B
}

// code is the lq_served of Options.Served.
func (s *Served) code() C.int {
	if s == nil {
		return 0
	}
	return C.LQ_EXACT + C.LQ_HALF_KV*flagOf(s.KV) + C.LQ_HALF_ADAPTERS*flagOf(s.Adapters)
}

// A Trainer is one adapter in training. It implements runtime.Trainer; its threads sleep between slices.
//
// Of its own it has the adapter's parameters, their gradients and moments. What a micro-batch computes in is the workspace of the
// Model, which is one Trainer's at a time: from the first slice of a micro-batch to its last. Engine.Work waits for it in the
// order of the calls (Reserve). Where its slices end early, be it by an error or by a context, what was begun is dropped. Updates
// need no workspace, and run between the slices of other trainers' micro-batches. Slice may also be called without Engine.Work:
// it then takes the workspace itself, or returns runtime.ErrTrainBusy while another Trainer has it.
type Trainer struct {
	c      *C.lq_trainer
	model  *Model
	spec   runtime.TrainSpec
	memory runtime.TrainMemory
	taken  int64 // of the bound, of its own
	holds  bool  // the workspace is its own,
	alone  bool  // taken by Slice itself
}

var (
	_ runtime.Trainer  = (*Trainer)(nil)
	_ runtime.Reserver = (*Trainer)(nil)
)

// New is Open, and computes the adapter's first values on the calling goroutine.
func New(m *Model, spec runtime.TrainSpec, o Options) (*Trainer, error) {
	t, err := Open(context.Background(), m, spec, o)
	if err != nil {
		return nil, err
	}
	if err := t.start(); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// Open makes a Trainer whose adapter computes exactly the base, or what spec.Start does. Its first slices, with those of the first micro-batch or
// before it, compute the adapter's first values; until then LoRA and WriteState do so, all at once. It keeps the activations
// of as many layers as spec.Memory allows and, whenever a micro-batch begins, as the Model's bound leaves. It returns an error
// wrapping runtime.ErrTrain that names the tensor or the setting at fault, or the bytes that are missing; with
// runtime.ErrTrainBusy they are missing because other Trainers have them. The model must stay open until Close.
func Open(ctx context.Context, m *Model, spec runtime.TrainSpec, o Options) (*Trainer, error) {
	memory, err := Estimate(m, spec, o)
	if err != nil {
		return nil, err
	}
	shared, err := m.workspace.shared(m.graphs)
	if err != nil {
		return nil, err
	}
	t := &Trainer{model: m, spec: spec, memory: memory}
	if err := m.workspace.admit(ctx, t, memory.Own+spec.Reserved, memory.Minimum-memory.Own); err != nil {
		return nil, err
	}
	err = withOptions(m, &spec, o, memory.Kept, func(co *C.lq_options, message *C.char, size C.size_t) error {
		if m.graphs != nil {
			return errorOf(C.lq_graphs_new(m.graphs, shared, co, &t.c, message, size), message)
		}
		return errorOf(C.lq_new(m.c, shared, co, &t.c, message, size), message)
	})
	if err != nil {
		m.workspace.leave(t)
		return nil, err
	}
	if err := t.allocate(); err != nil {
		t.Close()
		return nil, err
	}
	t.startFrom(spec.Start)
	t.spec.Start = nil // it is the caller's, who may let it go
	return t, nil
}

// Estimate returns the memory that New would take, without taking it. It fails as New does.
func Estimate(m *Model, spec runtime.TrainSpec, o Options) (runtime.TrainMemory, error) {
	bytes, err := estimate(m, &spec, o, 0)
	if err != nil {
		return runtime.TrainMemory{}, err
	}
	own := int64(bytes.own)
	least := own + int64(bytes.workspace)
	if spec.Memory > 0 && least+spec.Reserved > spec.Memory {
		return runtime.TrainMemory{}, fmt.Errorf("%w: %w: it needs %.1f MiB with micro-batches of %d tokens, and may take %.1f MiB; a lower max_length or lower ranks need less",
			runtime.ErrTrain, runtime.ErrTrainMemory, mib(least+spec.Reserved), spec.MaxTokens, mib(spec.Memory))
	}
	for kept := m.mostKept(); kept > 0; kept-- {
		bytes, err := estimate(m, &spec, o, kept)
		all := own + int64(bytes.workspace)
		if err == nil && (spec.Memory <= 0 || all+spec.Reserved <= spec.Memory) {
			return runtime.TrainMemory{Bytes: all, Own: own, Minimum: least, Kept: kept}, nil
		}
	}
	return runtime.TrainMemory{Bytes: least, Own: own, Minimum: least}, nil
}

// mostKept is the largest number of layers whose activations a Trainer may keep: a device computes all of them again.
func (m *Model) mostKept() int {
	if m.graphs != nil {
		return 0
	}
	return m.Layers()
}

// estimate returns the bytes of a Trainer that keeps the activations of `kept` layers.
func estimate(m *Model, spec *runtime.TrainSpec, o Options, kept int) (bytes C.lq_bytes, err error) {
	err = withOptions(m, spec, o, kept, func(co *C.lq_options, message *C.char, size C.size_t) error {
		if m.graphs != nil {
			return errorOf(C.lq_graphs_memory(m.graphs, co, &bytes, message, size), message)
		}
		return errorOf(C.lq_memory(m.c, co, &bytes, message, size), message)
	})
	return bytes, err
}

// withOptions calls f with the settings in C's form and a buffer for an error message.
func withOptions(m *Model, spec *runtime.TrainSpec, o Options, kept int, f func(co *C.lq_options, message *C.char, size C.size_t) error) error {
	if m.c == nil {
		return fmt.Errorf("%w: the model is closed", runtime.ErrClosed)
	}
	n := len(spec.Modules)
	first := (*C.lq_module)(C.calloc(C.size_t(n+1), C.sizeof_lq_module))
	if first == nil {
		return fmt.Errorf("%w: there is none for a list of %d modules", runtime.ErrMemory, n)
	}
	defer C.free(unsafe.Pointer(first))
	for i, module := range unsafe.Slice(first, n) {
		x := spec.Modules[i]
		layer, target, ok := tensorOf(x.Tensor)
		if !ok {
			return fmt.Errorf("%w: %s is not a tensor that can be trained", runtime.ErrTrain, x.Tensor)
		}
		module = C.lq_module{layer: C.int(layer), target: C.int(target), rank: C.int(x.Rank), scale: C.float(x.Scale), dora: flagOf(x.DoRA), init: C.int(x.Init), init_iterations: C.int(x.Iterations)}
		if x.Init == runtime.InitLoftQ {
			if err := o.addOriginal(x.Tensor, &module); err != nil {
				return err
			}
		}
		unsafe.Slice(first, n)[i] = module
	}
	norms := (*C.lq_whole_norm)(C.calloc(C.size_t(len(spec.Norms)+1), C.sizeof_lq_whole_norm))
	if norms == nil {
		return fmt.Errorf("%w: there is none for a list of %d norms", runtime.ErrMemory, len(spec.Norms))
	}
	defer C.free(unsafe.Pointer(norms))
	for i, name := range spec.Norms {
		layer, norm, ok := normOf(name)
		if !ok {
			return fmt.Errorf("%w: %s is not a norm that can be trained", runtime.ErrTrain, name)
		}
		unsafe.Slice(norms, len(spec.Norms))[i] = C.lq_whole_norm{layer: C.int(layer), norm: C.int(norm)}
	}
	if err := m.checkStart(spec); err != nil {
		return err
	}
	threads := o.Threads
	if threads <= 0 {
		threads = goruntime.NumCPU()
	}
	co := C.lq_options{
		modules: first, n_modules: C.int(n), norms: norms, n_norms: C.int(len(spec.Norms)), max_tokens: C.int(spec.MaxTokens), keep: C.int(kept), threads: C.int(threads),
		activated: flagOf(len(spec.Invocation) > 0), isa: o.path(), seed: C.uint64_t(spec.Seed), dropout: C.float(spec.Dropout), noise: C.float(spec.NEFTune),
		single: flagOf(o.Precision == Single), query_block: C.int(o.queryBlock), served: o.Served.code(),
	}
	const size = 512
	message := (*C.char)(C.calloc(size, 1))
	if message == nil {
		return fmt.Errorf("%w: there is none for an error message", runtime.ErrMemory)
	}
	defer C.free(unsafe.Pointer(message))
	return f(&co, message, size)
}

func (o *Options) path() C.int {
	if o.isa != nil {
		return C.int(*o.isa)
	}
	limit := map[Precision]C.int{Half: C.LQ_AVX512_BF16, Single: C.LQ_AVX512}
	if most, ok := limit[o.Precision]; ok && C.lq_best_isa() > most {
		return most
	}
	return C.LQ_AUTO
}

// Memory returns what the Trainer holds.
func (t *Trainer) Memory() runtime.TrainMemory { return t.memory }

// Close frees everything. It may be called twice.
func (t *Trainer) Close() error {
	if t.c != nil {
		t.giveBack()
		C.lq_free(t.c)
		t.c = nil
		t.model.workspace.leave(t)
	}
	return nil
}

// check turns what a call on the trainer returned into an error.
func (t *Trainer) check(status C.int) error { return errorOf(status, C.lq_error(t.c)) }

// errorOf turns an lq_status and the sentence that belongs to it into an error.
func errorOf(status C.int, message *C.char) error {
	if status >= 0 {
		return nil
	}
	kinds := map[C.int]error{C.LQ_INVALID: runtime.ErrTrain, C.LQ_MEMORY: runtime.ErrMemory, C.LQ_DIVERGED: runtime.ErrDiverged}
	if kind, ok := kinds[status]; ok {
		return fmt.Errorf("%w: %s", kind, C.GoString(message))
	}
	return fmt.Errorf("training engine: %s", C.GoString(message))
}

package qlora

// #include "c_api.h"
import "C"

import (
	"fmt"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Original is a weight (Out, In) as it was before quantization, row-major.
type Original struct {
	Type    string // F32, F16 or BF16
	In, Out int
	Heads   int    // of q and k: the rows are in Hugging Face's order of so many heads; 0: in GGUF's
	Data    []byte // not in Go's memory; it stays in place until the Trainer is closed
}

// originalKinds are the types of an Original, with the bytes of a value.
var originalKinds = map[string]struct {
	kind C.int
	size int
}{"F32": {C.LQ_F32, 4}, "F16": {C.LQ_F16, 2}, "BF16": {C.LQ_BF16, 2}}

// addOriginal gives a module that begins with LoftQ its weight before quantization. The error wraps runtime.ErrTrain and names the
// tensor.
func (o *Options) addOriginal(tensor string, module *C.lq_module) error {
	if o.Original == nil {
		return fmt.Errorf(`%w: %s cannot begin as "loftq" (init_lora_weights) without its weights as they were before quantization`, runtime.ErrTrain, tensor)
	}
	w, err := o.Original(tensor)
	if err != nil {
		return fmt.Errorf(`%w: %s cannot begin as "loftq" (init_lora_weights): %w`, runtime.ErrTrain, tensor, err)
	}
	kind, ok := originalKinds[w.Type]
	if !ok || w.In < 1 || w.Out < 1 || len(w.Data) != w.In*w.Out*kind.size {
		return fmt.Errorf("%w: the original's %s is %s of %d by %d in %d bytes, not F32, F16 or BF16 of that size", runtime.ErrTrain, tensor, w.Type, w.In, w.Out, len(w.Data))
	}
	module.original = C.lq_weight{kind: kind.kind, n_in: C.int(w.In), n_out: C.int(w.Out), data: unsafe.Pointer(&w.Data[0]), row_bytes: C.size_t(w.In * kind.size)}
	module.original_heads = C.int(w.Heads)
	return nil
}

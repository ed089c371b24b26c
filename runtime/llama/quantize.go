//go:build cgo && linux

package llama

// #include <stdlib.h>
// #include "c_api.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/cgo"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/quant/modelfile"
)

// QuantizeTypes are the types that Quantize takes.
var QuantizeTypes = []string{
	"f32", "f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q4_k_s", "q4_k_m", "q5_k_m", "q6_k", "iq4_nl", "iq4_xs",
}

// Quantize writes the model file in to out with its weights in the given type, as llama.cpp's quantizer would: the
// same tensors of the same bytes, in the memory that quant.Quantize takes. llama.cpp quantizes a skeleton of the file
// and so decides on each tensor's type; its encoders then do the work, a few MiB of weights at a time. (Its own
// quantizer holds the largest tensor five times over.) Only the parts of a split file go to that quantizer itself.
//
// out appears whole or not at all. threads is the number of threads, 0 for one per CPU. progress is called with the part
// that is done; it may be nil. The error wraps ErrQuantize, or ctx's error.
func Quantize(ctx context.Context, in, out, typ string, threads int, progress func(float64)) error {
	if err := quantize(ctx, in, out, typ, threads, progress); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrQuantize, in, err)
	}
	return nil
}

func quantize(ctx context.Context, in, out, typ string, threads int, progress func(float64)) error {
	f, err := quant.Open(in)
	if err != nil {
		return err
	}
	defer f.Close()
	if f.NF4() {
		return fmt.Errorf("%w: general.architecture is %q: it is NF4 already; start from a model that is not quantized", quant.ErrType, f.Architecture())
	}
	if err := modelfile.Check(f, in); err != nil {
		return err
	}
	if parts, _ := f.Metadata.Uint("split.count"); parts > 1 {
		return quantizeWhole(ctx, in, out, typ, threads, progress)
	}
	like, err := decide(f, filepath.Dir(out), typ)
	if err != nil {
		return errors.Join(unfit(f, typ), err)
	}
	o := quant.Options{Threads: threads}
	if progress != nil {
		o.Progress = func(done, total int64) { progress(float64(done) / float64(total)) }
	}
	_, err = f.WriteLike(ctx, out, like, coder, o)
	return err
}

// unfit names the first matrix whose rows are not whole blocks of 32 weights. llama.cpp refuses it where such a type was asked
// for, with a message that does not name it.
func unfit(f *quant.File, typ string) error {
	for _, t := range f.Tensors {
		if len(t.Dims) > 1 && t.Dims[0]%32 != 0 {
			return fmt.Errorf("%w: tensor %q has dimensions %v: %s needs a first dimension that is a multiple of 32; f16, bf16 and f32 do not, "+
				"and nf4 leaves such tensors as they are", quant.ErrType, t.Name, t.Dims, typ)
		}
	}
	return nil
}

// decide returns the header of what llama.cpp makes of a skeleton of f. It works in a folder inside dir.
func decide(f *quant.File, dir, typ string) (*quant.File, error) {
	dir, err := os.MkdirTemp(dir, ".quantize-*.tmp")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	skeleton, decided := filepath.Join(dir, "skeleton.gguf"), filepath.Join(dir, "decided.gguf")
	if err := f.Skeleton(skeleton); err != nil {
		return nil, err
	}
	if err := library(skeleton, decided, typ, 1, nil); err != nil {
		return nil, err
	}
	like, err := quant.Open(decided)
	if err != nil {
		return nil, err
	}
	return like, like.Close()
}

// coder is Codec, and knows F32, for which ggml has no code.
func coder(t quant.Type) (quant.Codec, error) {
	if t == quant.F32 {
		return quant.Codec{Decode: quant.DecodeF32, Encode: quant.EncodeF32, Valid: func(b []byte) bool { return valid(t, b) }}, nil
	}
	return Codec(t)
}

// quantizeWhole runs llama.cpp's quantizer, which cannot be interrupted: when ctx ends, it is no longer waited for.
func quantizeWhole(ctx context.Context, in, out, typ string, threads int, progress func(float64)) error {
	partial := out + ".partial"
	done := make(chan error, 1)
	go func() {
		err := library(in, partial, typ, threads, progress)
		if err == nil && ctx.Err() == nil {
			err = flush(partial)
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			os.Remove(partial)
		} else {
			err = os.Rename(partial, out)
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// library is llama.cpp's quantizer.
func library(in, out, typ string, threads int, progress func(float64)) error {
	cIn, cOut, cType := C.CString(in), C.CString(out), C.CString(typ)
	defer C.free(unsafe.Pointer(cIn))
	defer C.free(unsafe.Pointer(cOut))
	defer C.free(unsafe.Pointer(cType))
	var handle C.uintptr_t
	if progress != nil {
		h := cgo.NewHandle(progress)
		defer h.Delete()
		handle = C.uintptr_t(h)
	}
	var e C.ll_error
	status, errno := C.ll_quantize(cIn, cOut, cType, C.int(threads), handle, 0, &e)
	if disk.Failed(errno) == nil && !errors.Is(disk.NoSpace(errno), disk.ErrNoSpace) {
		errno = nil // anything may have set it
	}
	if errno != nil {
		errno = fmt.Errorf("writing %s: %w", filepath.Base(out), disk.NoSpace(errno))
	}
	if status != C.LL_OK {
		return errors.Join(errno, cError(&e))
	}
	return errno // llama.cpp does not look whether closing its file wrote the rest
}

func flush(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

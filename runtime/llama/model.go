//go:build cgo && linux

package llama

/*
#cgo CXXFLAGS: -std=c++17
#cgo CPPFLAGS: -DNDEBUG
#cgo LDFLAGS: -Wl,--export-dynamic
#cgo LDFLAGS: -Wl,--wrap=ggml_mul_mat
#cgo LDFLAGS: -Wl,--wrap=ggml_mul
#cgo LDFLAGS: -Wl,--wrap=ggml_get_rows
#cgo LDFLAGS: -Wl,--wrap=ggml_flash_attn_ext
#cgo LDFLAGS: -Wl,--wrap=ggml_flash_attn_ext_add_sinks
#cgo LDFLAGS: -Wl,--wrap=ggml_flash_attn_ext_set_prec
#cgo LDFLAGS: -Wl,--wrap=_ZNK22llama_kv_cache_context17set_input_kq_maskEP11ggml_tensorPK12llama_ubatchb
#cgo LDFLAGS: -Wl,--wrap=_ZNK11llama_model11build_graphERK16llm_graph_params
#cgo LDFLAGS: -Wl,--wrap=_ZNK11llama_model9n_tensorsEv
#cgo LDFLAGS: -Wl,--wrap=gguf_init_from_file
#cgo LDFLAGS: -Wl,--wrap=gguf_get_tensor_offset
#cgo LDFLAGS: -Wl,--wrap=_ZNK18llama_model_loader13load_data_forEP11ggml_tensor
#include <stdlib.h>
#include "c_api.h"
*/
import "C"

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	goruntime "runtime"
	"runtime/cgo"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	_ "github.com/ollama/ollama/llama/llama.cpp/src" // llama.cpp itself
	"golang.org/x/sys/unix"

	"github.com/lorikeet-ai/lorikeet/grammar"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/quant/modelfile"
	"github.com/lorikeet-ai/lorikeet/runtime"
	_ "github.com/lorikeet-ai/lorikeet/runtime/kernels" // the symbols of kernels.h
	_ "github.com/lorikeet-ai/lorikeet/runtime/qlora"   // those of read.h
	"github.com/lorikeet-ai/lorikeet/tokenizer"
)

func init() { C.ll_init() }

// Model is a loaded base. It implements runtime.Model. Devices, samplers and packs made from it stay valid
// after Close; its memory is freed when the last of them is closed.
type Model struct {
	facts       runtime.Facts
	targets     map[string]int // the number of each target in calls to C
	norms       map[string]int // the same of norms
	ends        []runtime.Token
	tokenizer   *tokenizer.Tokenizer // nil where the file has none
	packFloat32 bool
	keepPlain   bool

	pieces atomic.Pointer[tokenizer.Tokenizer] // the same for Piece, which does not wait for mu; nil after Close

	constraints sync.Once // makes tokens
	tokens      *grammar.Tokens

	mu  sync.RWMutex // held for reading during calls, for writing in Close
	ptr *C.ll_model
	log *callback
}

var _ runtime.Model = (*Model)(nil)

// Load loads a GGUF file: one of llama.cpp's, or one of ours with NF4 weights. The error wraps ErrLoad and
// says what the file or llama.cpp gives as the cause.
func Load(o Options) (*Model, error) {
	m, err := load(o)
	if err != nil {
		name := o.Path
		if name == "" {
			name = o.Name
		}
		return nil, fmt.Errorf("%w: %s: %w", ErrLoad, name, err)
	}
	return m, nil
}

func load(o Options) (*Model, error) {
	file, path, done, err := open(o)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := modelfile.Check(file, o.Path); err != nil {
		return nil, err
	}
	if err := checkWeights(file, o.CheckTensors); err != nil {
		return nil, err
	}
	m := &Model{targets: map[string]int{}, norms: map[string]int{}, packFloat32: o.PackFloat32, keepPlain: o.KeepPlain, log: newCallback(o.Log)}
	// Before llama.cpp is given the file: it ends the process where two tokens are equal.
	if m.tokenizer, err = tokenizer.New(&file.Metadata); err != nil {
		m.log.release()
		return nil, err
	}
	if err := m.open(o, file, path); err != nil {
		m.log.release()
		return nil, err
	}
	if err := m.describe(o, file); err != nil {
		m.Close()
		return nil, err
	}
	m.pieces.Store(m.tokenizer)
	return m, nil
}

// open returns the file's header and a path that C can open. The caller calls done when both were used.
func open(o Options) (f *quant.File, path string, done func(), err error) {
	if o.Bytes == nil {
		f, err = quant.Open(o.Path)
		if err != nil {
			return nil, "", nil, err
		}
		return f, o.Path, func() { f.Close() }, nil
	}
	f, err = quant.Read(bytes.NewReader(o.Bytes), int64(len(o.Bytes)))
	if err != nil {
		return nil, "", nil, err
	}
	// llama.cpp loads from a path: a file that lives in memory gives it one.
	fd, err := unix.MemfdCreate("model.gguf", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, "", nil, fmt.Errorf("memfd: %w", err)
	}
	memory := os.NewFile(uintptr(fd), "model.gguf")
	if _, err := memory.Write(o.Bytes); err != nil {
		memory.Close()
		return nil, "", nil, err
	}
	return f, fmt.Sprintf("/proc/self/fd/%d", fd), func() { memory.Close() }, nil
}

// repacked are the weight types that ggml copies into a layout of its own at load. Mapping their file would
// keep a second copy of them in memory, as it would where layers go to a device.
var repacked = []string{"Q4_0", "Q4_K", "Q2_K", "IQ4_NL"}

func (m *Model) open(o Options, file *quant.File, path string) error {
	plain, nf4 := quant.PlainArchitecture(file.Architecture())
	device, layers, err := o.choose(file, plain)
	if err != nil {
		return err
	}
	m.facts.Device, m.facts.DeviceLayers = device, layers
	options := C.ll_load_options{
		path:     C.CString(path),
		nf4_mode: nf4Mode(o.NF4),
		log:      m.log.handle(),
	}
	defer C.free(unsafe.Pointer(options.path))
	if nf4 {
		options.architecture = C.CString(plain)
		defer C.free(unsafe.Pointer(options.architecture))
		tensors, free := nf4Tensors(file, plain, layers)
		defer free()
		options.nf4, options.n_nf4 = unsafe.SliceData(tensors), C.int(len(tensors))
	}
	if o.Bytes == nil && device == "" && (nf4 || !slices.Contains(repacked, mainType(file).String())) {
		options.use_mmap = 1
	}
	if o.Progress != nil {
		h := cgo.NewHandle(o.Progress)
		defer h.Delete()
		options.progress = C.uintptr_t(h)
	}
	var pinned goruntime.Pinner // a struct that C reads may hold pinned pointers only
	defer pinned.Unpin()
	if ends := endTokens(file); len(ends) > 0 {
		pinned.Pin(&ends[0])
		options.end_tokens, options.n_end_tokens = (*C.int32_t)(&ends[0]), C.int32_t(len(ends))
	}
	options.no_eos = withoutKey(file, "eos")
	if device != "" {
		options.device, options.device_layers = C.CString(device), C.int(layers)
		defer C.free(unsafe.Pointer(options.device))
	}
	backends.RLock()
	defer backends.RUnlock()
	var e C.ll_error
	if m.ptr = C.ll_model_load(&options, &e); m.ptr == nil {
		return cError(&e)
	}
	return nil
}

// withoutKey is 1 where a byte-level vocabulary names no such special token. llama.cpp then takes token 11 for it.
func withoutKey(f *quant.File, special string) C.int {
	model, _ := f.Metadata.String("tokenizer.ggml.model")
	if _, ok := f.Metadata.Get("tokenizer.ggml." + special + "_token_id"); ok || model != "gpt2" {
		return 0
	}
	return 1
}

// endTokens are the tokens that the file says end an answer.
func endTokens(f *quant.File) []int32 {
	var ends []int32
	list, _ := f.Metadata.Ints(quant.EndTokensKey)
	for _, id := range list {
		if id >= 0 && id <= math.MaxInt32 {
			ends = append(ends, int32(id))
		}
	}
	return ends
}

// mainType is the type that most bytes of the file's layers have; embeddings and head often have another.
func mainType(f *quant.File) quant.Type {
	bytes := map[quant.Type]int64{}
	for _, t := range f.Tensors {
		if strings.HasPrefix(t.Name, "blk.") {
			bytes[t.Type] += t.Size
		}
	}
	var best quant.Type
	for t, n := range bytes {
		if n > bytes[best] || n == bytes[best] && t < best {
			best = t
		}
	}
	return best
}

func (m *Model) describe(o Options, file *quant.File) error {
	var f C.ll_facts
	C.ll_model_facts(m.ptr, &f)
	fingerprint, err := file.Fingerprint()
	if err != nil {
		return err
	}
	m.facts = runtime.Facts{
		Device:        m.facts.Device,
		DeviceLayers:  min(m.facts.DeviceLayers, int(f.layers)+1),
		Name:          C.GoString(f.name),
		Architecture:  C.GoString(f.architecture),
		Quantization:  mainType(file).String(),
		Fingerprint:   fingerprint,
		ContextLength: int(f.context_length),
		VocabSize:     int(f.vocab_size),
		Embedding:     int(f.embedding),
		Layers:        int(f.layers),
		Heads:         int(f.heads),
		KVHeads:       int(f.kv_heads),
		HeadSize:      int(f.head_size),
		RopeNorm:      f.rope_norm != 0,
		Parameters:    int64(f.parameters),
		Resident:      int64(f.resident),
		ChatTemplate:  C.GoString(f.chat_template),
		BOS:           -1,
		EOS:           -1,
		Targets:       map[string]runtime.Shape{},
		Refused:       map[string]string{},
		Biases:        map[string]int{},
		Norms:         map[string]int{},
	}
	m.describeTokenizer()
	for _, t := range file.Tensors {
		if strings.HasPrefix(t.Name, "blk.") && strings.HasSuffix(t.Name, ".bias") && len(t.Dims) == 1 {
			m.facts.Biases[t.Name] = int(t.Dims[0])
		}
	}
	m.facts.Pooling = poolingOf(file, m.facts.Architecture)
	m.facts.ToolTemplate, _ = file.Metadata.String("tokenizer.chat_template.tool_use")
	_, untied := file.Tensor("output.weight")
	m.facts.TiedHead = !untied
	for _, t := range file.Tensors {
		m.facts.Bytes += t.Size
	}
	if m.facts.Parameters > 0 {
		m.facts.BitsPerWeight = 8 * float64(m.facts.Bytes) / float64(m.facts.Parameters)
		m.facts.ResidentBits = 8 * float64(m.facts.Resident) / float64(m.facts.Parameters)
	}
	if m.facts.Name == "" {
		m.facts.Name = o.Name
	}
	if m.facts.Name == "" {
		m.facts.Name = strings.TrimSuffix(filepath.Base(o.Path), ".gguf")
	}
	m.describeTargets()
	m.ends = make([]runtime.Token, C.ll_end_tokens(m.ptr, nil, 0))
	if len(m.ends) > 0 {
		C.ll_end_tokens(m.ptr, (*C.int32_t)(&m.ends[0]), C.int32_t(len(m.ends)))
	}
	return nil
}

// describeTargets sets the tensors that an adapter may change, and those that it may not.
func (m *Model) describeTargets() {
	for i := range int(C.ll_model_targets(m.ptr)) {
		var in, out C.int32_t
		name := C.GoString(C.ll_model_target(m.ptr, C.int(i), &in, &out))
		m.targets[name] = i
		m.facts.Targets[name] = runtime.Shape{In: int(in), Out: int(out)}
	}
	for i := range int(C.ll_model_norms(m.ptr)) {
		var width C.int32_t
		name := C.GoString(C.ll_model_norm(m.ptr, C.int(i), &width))
		m.norms[name], m.facts.Norms[name] = i, int(width)
	}
	for i := range int(C.ll_model_refusals(m.ptr)) {
		var reason *C.char
		name := C.GoString(C.ll_model_refusal(m.ptr, C.int(i), &reason))
		m.facts.Refused[name] = C.GoString(reason)
	}
}

// poolingOf returns how the file says that embeddings are made, by llama.cpp's numbers.
func poolingOf(file *quant.File, architecture string) runtime.Pooling {
	kind, _ := file.Metadata.Uint(architecture + ".pooling_type")
	return map[uint64]runtime.Pooling{1: runtime.PoolingMean, 2: runtime.PoolingCLS, 3: runtime.PoolingLast}[kind]
}

// describeTokenizer sets the facts of the tokenizer.
func (m *Model) describeTokenizer() {
	t := m.tokenizer
	if t == nil {
		return
	}
	m.facts.BOS, m.facts.EOS, m.facts.AddBOS = t.BOS(), t.EOS(), t.AddsBOS()
	m.facts.BOSText, m.facts.EOSText = string(t.Piece(t.BOS(), true)), string(t.Piece(t.EOS(), true))
	m.facts.Tokenizer, m.facts.TokenizerProven = t.Family()
	m.facts.TokenBytes = t.BytesPerToken()
}

// Facts implements runtime.Model.
func (m *Model) Facts() *runtime.Facts { return &m.facts }

// HasTokenizer reports whether the file has a vocabulary with texts; without one only tokens go in and out.
func (m *Model) HasTokenizer() bool { return m.tokenizer != nil }

// Close frees the model once nothing made from it is open. It may be called twice, and on nil.
func (m *Model) Close() error {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ptr != nil {
		C.ll_model_free(m.ptr)
		m.ptr = nil
		m.pieces.Store(nil)
		m.log.release()
	}
	return nil
}

// acquire keeps the model open until release is called; it returns runtime.ErrClosed where it is closed.
func (m *Model) acquire() (ptr *C.ll_model, release func(), err error) {
	m.mu.RLock()
	if m.ptr == nil {
		m.mu.RUnlock()
		return nil, nil, fmt.Errorf("model: %w", runtime.ErrClosed)
	}
	return m.ptr, m.mu.RUnlock, nil
}

// cError returns the error that a call left; it wraps runtime.ErrMemory where that is what there was too little of.
func cError(e *C.ll_error) error {
	text := C.GoString(&e.text[0])
	if e.code == C.LL_NO_MEMORY {
		return memoryError(text)
	}
	return errors.New(text)
}

//go:build cgo && linux

package llamatest

/*
#include <stdlib.h>
#include "llama.h"
*/
import "C"

import (
	"fmt"
	"unsafe"

	_ "github.com/ollama/ollama/llama/llama.cpp/src" // llama.cpp itself
)

// Vocab is the vocabulary of a GGUF file, as llama.cpp reads it. It is not safe for use by several goroutines.
type Vocab struct{ model *C.struct_llama_model }

// OpenVocab reads the vocabulary of the file at path and none of its tensors.
func OpenVocab(path string) (*Vocab, error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	p := C.llama_model_default_params()
	p.vocab_only = true
	model := C.llama_model_load_from_file(name, p)
	if model == nil {
		return nil, fmt.Errorf("llama.cpp does not read the vocabulary of %s", path)
	}
	return &Vocab{model}, nil
}

// Tokenize is llama_tokenize. The text must be short: a long run of one kind of character ends the process.
func (v *Vocab) Tokenize(text string, framing, special bool) []int32 {
	tokens := make([]int32, 2*len(text)+16)
	t := append([]byte(text), 0)
	n := C.llama_tokenize(C.llama_model_get_vocab(v.model), (*C.char)(unsafe.Pointer(&t[0])), C.int32_t(len(text)),
		(*C.llama_token)(&tokens[0]), C.int32_t(len(tokens)), C.bool(framing), C.bool(special))
	return tokens[:max(n, 0)]
}

// Piece is llama_token_to_piece.
func (v *Vocab) Piece(token int32, special bool) string {
	piece := make([]byte, 1<<12)
	n := C.llama_token_to_piece(C.llama_model_get_vocab(v.model), C.llama_token(token), (*C.char)(unsafe.Pointer(&piece[0])),
		C.int32_t(len(piece)), 0, C.bool(special))
	return string(piece[:max(n, 0)])
}

// Close frees the vocabulary.
func (v *Vocab) Close() { C.llama_model_free(v.model) }

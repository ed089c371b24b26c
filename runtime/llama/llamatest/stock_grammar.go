//go:build cgo && linux

package llamatest

// #cgo CXXFLAGS: -std=c++17
// #include <stdlib.h>
// #include "stock_grammar.h"
import "C"

import (
	"unsafe"

	_ "github.com/ollama/ollama/llama/llama.cpp/src" // llama.cpp itself
)

// Grammar is a grammar as llama.cpp by itself reads and follows it. It has no bounds: what is given to it must be small.
type Grammar struct{ c *C.stock_grammar }

// NewGrammar parses a grammar for a vocabulary whose tokens have these bytes, without zeros; ends are the tokens that
// end an answer. It returns nil where llama.cpp refuses the grammar.
func NewGrammar(text string, pieces []string, ends []int32) *Grammar {
	t := C.CString(text)
	defer C.free(unsafe.Pointer(t))
	array := make([]*C.char, len(pieces))
	for i, p := range pieces {
		array[i] = C.CString(p)
		defer C.free(unsafe.Pointer(array[i]))
	}
	c := C.stock_grammar_new(t, unsafe.SliceData(array), C.int32_t(len(array)), (*C.int32_t)(unsafe.SliceData(ends)), C.int32_t(len(ends)))
	if c == nil {
		return nil
	}
	return &Grammar{c}
}

// Admits reports whether a token may come next.
func (g *Grammar) Admits(token int32) bool { return C.stock_grammar_admits(g.c, C.int32_t(token)) != 0 }

// Accept goes on behind a token that is admitted.
func (g *Grammar) Accept(token int32) { C.stock_grammar_accept(g.c, C.int32_t(token)) }

// Close frees the grammar.
func (g *Grammar) Close() { C.stock_grammar_free(g.c) }

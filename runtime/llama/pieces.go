//go:build cgo && linux

package llama

// #include "wall.h"
import "C"

import (
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// A pieceTable holds the bytes of all tokens, read once when the model is loaded. They never change.
type pieceTable struct {
	bytes  []byte   // of one token after the other
	ends   []uint32 // (vocabulary) where each token's end
	hidden []uint8  // (vocabulary) 1: a control token
}

// readPieces reads the table. A model without a tokenizer has an empty one.
func (m *Model) readPieces() (*pieceTable, error) {
	p := &pieceTable{}
	if !m.hasVocab {
		return p, nil
	}
	p.ends, p.hidden = make([]uint32, m.facts.VocabSize), make([]uint8, m.facts.VocabSize)
	for {
		var e C.wall_error
		n := int64(C.wall_pieces(m.ptr, (*C.char)(unsafe.Pointer(unsafe.SliceData(p.bytes))), C.size_t(len(p.bytes)),
			(*C.uint32_t)(unsafe.SliceData(p.ends)), (*C.uint8_t)(unsafe.SliceData(p.hidden)), &e))
		if n < 0 {
			return nil, wallError(&e)
		}
		if n <= int64(len(p.bytes)) {
			return p, nil
		}
		p.bytes = make([]byte, n)
	}
}

// Piece implements runtime.Model. It neither allocates nor calls C.
func (m *Model) Piece(t runtime.Token, special bool) []byte {
	p := m.pieces.Load()
	if p == nil || t < 0 || int(t) >= len(p.ends) || p.hidden[t] != 0 && !special {
		return nil
	}
	begin, end := uint32(0), p.ends[t]
	if t > 0 {
		begin = p.ends[t-1]
	}
	return p.bytes[begin:end:end]
}

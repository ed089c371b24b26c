//go:build cgo && linux

package llama

// #include <stdlib.h>
// #include "c_api.h"
import "C"

import (
	"context"
	"fmt"
	"slices"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Tokenize implements runtime.Model. llama.cpp's own tokenizer is never asked: the time it takes is not bounded by the
// text's length, and some texts end the process.
func (m *Model) Tokenize(text string, bos, special bool) ([]runtime.Token, error) {
	_, release, err := m.acquire()
	if err != nil {
		return nil, err
	}
	defer release()
	if m.tokenizer == nil {
		return nil, fmt.Errorf("tokenize: the model file has no tokenizer")
	}
	return m.tokenizer.Tokenize(context.Background(), text, bos, special)
}

// Piece implements runtime.Model. It neither allocates nor calls C.
func (m *Model) Piece(t runtime.Token, special bool) []byte {
	if k := m.pieces.Load(); k != nil {
		return k.Piece(t, special)
	}
	return nil
}

// EndOfGeneration implements runtime.Model.
func (m *Model) EndOfGeneration(t runtime.Token) bool { return slices.Contains(m.ends, t) }

// KnownTemplate implements runtime.Model.
func (m *Model) KnownTemplate(messages []runtime.Message, generationPrompt bool) (string, error) {
	ptr, release, err := m.acquire()
	if err != nil {
		return "", err
	}
	defer release()
	roles, contents := cStrings{}, cStrings{}
	defer roles.free()
	defer contents.free()
	size := 256
	for _, message := range messages {
		roles.add(message.Role)
		contents.add(message.Content)
		size += len(message.Role) + len(message.Content) + 64
	}
	for {
		var e C.ll_error
		out := make([]byte, size)
		n := int(C.ll_known_template(ptr, roles.pointer(), contents.pointer(), C.int(len(messages)), flag(generationPrompt),
			(*C.char)(unsafe.Pointer(&out[0])), C.int32_t(len(out)), &e))
		switch {
		case n < 0 && e.text[0] != 0:
			return "", fmt.Errorf("%w: %w", runtime.ErrTemplate, cError(&e))
		case n < 0:
			return "", fmt.Errorf("%w: the model's chat format is not one that llama.cpp knows", runtime.ErrTemplate)
		case n <= size:
			return string(out[:n]), nil
		}
		size = n
	}
}

// cStrings is an array of C strings in C memory.
type cStrings []*C.char

func (s *cStrings) add(text string) { *s = append(*s, C.CString(text)) }

func (s cStrings) pointer() **C.char {
	if len(s) == 0 {
		return nil
	}
	return &s[0]
}

func (s cStrings) free() {
	for _, p := range s {
		C.free(unsafe.Pointer(p))
	}
}

func flag(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

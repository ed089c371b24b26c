//go:build cgo && linux

package llama

// #include <stdlib.h>
// #include "wall.h"
import "C"

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Tokenize implements runtime.Model.
func (m *Model) Tokenize(text string, bos, special bool) ([]runtime.Token, error) {
	ptr, release, err := m.acquire()
	if err != nil {
		return nil, err
	}
	defer release()
	tokens := make([]runtime.Token, len(text)/2+16)
	for {
		var e C.wall_error
		n := int(C.wall_tokenize(ptr, (*C.char)(unsafe.Pointer(unsafe.StringData(text))), C.size_t(len(text)), flag(bos), flag(special),
			(*C.int32_t)(&tokens[0]), C.int32_t(len(tokens)), &e))
		if n < 0 {
			return nil, fmt.Errorf("tokenize: %w", wallError(&e))
		}
		if n <= len(tokens) {
			return tokens[:n], nil
		}
		tokens = make([]runtime.Token, n)
	}
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
		var e C.wall_error
		out := make([]byte, size)
		n := int(C.wall_known_template(ptr, roles.pointer(), contents.pointer(), C.int(len(messages)), flag(generationPrompt),
			(*C.char)(unsafe.Pointer(&out[0])), C.int32_t(len(out)), &e))
		switch {
		case n < 0 && e.text[0] != 0:
			return "", fmt.Errorf("%w: %w", runtime.ErrTemplate, wallError(&e))
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

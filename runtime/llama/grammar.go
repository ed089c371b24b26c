//go:build cgo && linux

package llama

// #include "c_api.h"
import "C"

import (
	"errors"
	goruntime "runtime"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/grammar"
)

var errNoVocabulary = errors.New("the model has no tokens to write it with, or none to end it")

// vocabulary returns the model's tokens as matchers need them, made by the first caller.
func (m *Model) vocabulary() *grammar.Tokens {
	m.constraints.Do(func() {
		m.tokens = grammar.NewTokens(m.facts.VocabSize, func(t int32) ([]byte, bool) {
			text := m.tokenizer.Piece(t, true)
			return text, len(text) > 0 && len(m.tokenizer.Piece(t, false)) == 0
		}, m.EndOfGeneration)
	})
	return m.tokens
}

// compileGrammar returns the rules of a grammar; nil for none. llama.cpp never sees the text: its parser and what
// follows a grammar there have no bounds. package grammar reads it, and grammar.cpp follows the rules.
func (m *Model) compileGrammar(text string) (*grammar.Program, error) {
	if text == "" {
		return nil, nil
	}
	if m.tokenizer == nil || len(m.ends) == 0 {
		return nil, errNoVocabulary
	}
	g, err := grammar.Parse(text, vocabulary{m})
	if err != nil {
		return nil, err
	}
	return g.Compile()
}

// vocabulary is a model's, for grammars that name tokens.
type vocabulary struct{ m *Model }

// TokenOf implements grammar.Vocabulary.
func (v vocabulary) TokenOf(text string) (int32, bool) {
	tokens, err := v.m.Tokenize(text, false, true)
	if err != nil || len(tokens) != 1 {
		return 0, false
	}
	return tokens[0], true
}

// HasToken implements grammar.Vocabulary.
func (v vocabulary) HasToken(token int32) bool { return token >= 0 && int(token) < v.m.facts.VocabSize }

// EndsAnswer implements grammar.Vocabulary.
func (v vocabulary) EndsAnswer(token int32) bool { return v.m.EndOfGeneration(token) }

// cGrammar returns the program for one call of C, its arrays pinned; nil for none.
func cGrammar(p *grammar.Program, pinner *goruntime.Pinner) *C.ll_grammar {
	if p == nil {
		return nil
	}
	w := &C.ll_grammar{
		elements: (*C.ll_grammar_element)(pinned(pinner, p.Elements)), n_elements: C.int32_t(len(p.Elements)),
		rules: (*C.int32_t)(pinned(pinner, p.Rules)), n_rules: C.int32_t(len(p.Rules)),
		ranges: (*C.ll_grammar_range)(pinned(pinner, p.Ranges)), n_ranges: C.int32_t(len(p.Ranges)),
		classes: (*C.int32_t)(pinned(pinner, p.Classes)), n_classes: C.int32_t(len(p.Classes)),
	}
	return w
}

// pinned returns the first element of a slice, which stays where it is until the pinner unpins it; nil for none.
func pinned[T any](pinner *goruntime.Pinner, s []T) unsafe.Pointer {
	if len(s) == 0 {
		return nil
	}
	pinner.Pin(&s[0])
	return unsafe.Pointer(&s[0])
}

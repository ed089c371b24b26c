package server

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// maxPrompts bounds the prompts of one request.
const maxPrompts = 64

// prompt is a text to continue.
type prompt struct {
	tokens []runtime.Token
	text   string // for echo
}

// promptField is a field that holds texts or tokens.
type promptField struct {
	name   string
	most   int // entries of a list
	encode func(string) ([]runtime.Token, error)
	cut    bool // a text that is longer than the context is cut, and not refused
}

// prompts reads such a field: a text, a list of texts, a list of token ids, or a list of those.
func (s *Server) prompts(raw json.RawMessage, f promptField) ([]prompt, error) {
	switch kind := jsonvalue.Kind(raw); kind {
	case "null":
		return nil, refuse(codeMissing, f.name, "is missing")
	case "string":
		p, err := s.textPrompt(raw, f.name, &f)
		return []prompt{p}, err
	case "array":
	default:
		return nil, refuse(codeType, f.name, "must be a string or an array, not %s", jsonvalue.Article(kind))
	}
	var list []json.RawMessage
	if err := decodeField(raw, f.name, &list); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, refuse(codeValue, f.name, "is an empty array")
	}
	if jsonvalue.Kind(list[0]) == "number" {
		p, err := s.tokenPrompt(raw, f.name)
		return []prompt{p}, err
	}
	if len(list) > f.most {
		return nil, refuse(codeValue, f.name, "has %d entries, at most %d are read", len(list), f.most)
	}
	ps := make([]prompt, len(list))
	for i, entry := range list {
		param := fmt.Sprintf("%s[%d]", f.name, i)
		var err error
		switch kind := jsonvalue.Kind(entry); kind {
		case "string":
			ps[i], err = s.textPrompt(entry, param, &f)
		case "array":
			ps[i], err = s.tokenPrompt(entry, param)
		default:
			err = refuse(codeType, param, "must be a string or an array of token ids, not %s", jsonvalue.Article(kind))
		}
		if err != nil {
			return nil, err
		}
	}
	return ps, nil
}

// textPrompt tokenises a text, in which control tokens count: the writer of a raw prompt writes all of it. One that
// begins with BOS gets no other one.
func (s *Server) textPrompt(raw json.RawMessage, param string, f *promptField) (prompt, error) {
	var p prompt
	if err := decodeField(raw, param, &p.text); err != nil {
		return p, err
	}
	if f.cut {
		p.text = s.begin(p.text)
	}
	err := s.fits(p.text)
	if err == nil {
		p.tokens, err = f.encode(p.text)
	}
	if f.cut && len(p.tokens) > s.context {
		last := p.tokens[len(p.tokens)-1]
		p.tokens = p.tokens[:s.context]
		if s.model.EndOfGeneration(last) { // what the model puts behind every text
			p.tokens[s.context-1] = last
		}
	}
	if err != nil {
		return p, withParam(param, err)
	}
	if len(p.tokens) == 0 || p.text == "" {
		return p, refuse(codeValue, param, "is empty")
	}
	return p, nil
}

// begin returns as much of a text as fills the context in any case, so that the rest is not tokenized.
func (s *Server) begin(text string) string {
	most := s.model.Facts().TokenBytes * s.context
	if most <= 0 || len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}

// fits refuses a text that has more tokens than the context holds by its length alone, before it is tokenized.
func (s *Server) fits(text string) error {
	if most := s.model.Facts().TokenBytes; most > 0 && len(text)/most > s.context {
		return &runtime.ContextError{Prompt: (len(text) + most - 1) / most, Context: s.context, AtLeast: true}
	}
	return nil
}

// tokenPrompt checks token ids.
func (s *Server) tokenPrompt(raw json.RawMessage, param string) (prompt, error) {
	var p prompt
	if err := decodeField(raw, param, &p.tokens); err != nil {
		return p, refuse(codeType, param, "must be an array of token ids, all of them integers")
	}
	if len(p.tokens) == 0 {
		return p, refuse(codeValue, param, "is empty")
	}
	if err := s.checkTokens(p.tokens, param); err != nil {
		return p, err
	}
	p.text = s.text(p.tokens)
	return p, nil
}

// checkTokens refuses ids that the vocabulary does not have.
func (s *Server) checkTokens(tokens []runtime.Token, param string) error {
	vocab := s.model.Facts().VocabSize
	for i, t := range tokens {
		if t < 0 || int(t) >= vocab {
			return refuse(codeValue, fmt.Sprintf("%s[%d]", param, i), "is %d, the model has tokens 0 to %d", t, vocab-1)
		}
	}
	return nil
}

// text joins tokens, control tokens included.
func (s *Server) text(tokens []runtime.Token) string {
	var b []byte
	for _, t := range tokens {
		b = append(b, s.model.Piece(t, true)...)
	}
	return valid(b)
}

package tinker

import (
	"bytes"
	"slices"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// stop says what ends a sequence besides the model's own tokens. The engine's stop texts would leave out the tokens that they
// are made of, which training needs.
type stop struct {
	tokens  []runtime.Token
	texts   [][]byte
	longest int
	piece   func(runtime.Token) []byte
}

// newStop reads what a call names. A text that is a control token of the model is that token: it has no text in an answer.
func (s *Service) newStop(r *Sample) *stop {
	p := &stop{tokens: slices.Clone(r.StopTokens), piece: func(t runtime.Token) []byte { return s.o.Model.Piece(t, false) }}
	for _, text := range r.StopTexts {
		if t, ok := s.singleToken(text); ok {
			p.tokens = append(p.tokens, t)
			continue
		}
		p.texts = append(p.texts, []byte(text))
		p.longest = max(p.longest, len(text))
	}
	return p
}

// matcher looks for the stops in one sequence.
func (p *stop) matcher() *stopMatcher { return &stopMatcher{stop: p} }

type stopMatcher struct {
	*stop
	tail []byte // the end of the text so far: as much as may be the beginning of a stop text
}

// ends reports whether a token ends the sequence: it is a stop token, or completes a stop text.
func (m *stopMatcher) ends(t runtime.TokenText) bool {
	if slices.Contains(m.tokens, t.Token) {
		return true
	}
	if len(m.texts) == 0 {
		return false
	}
	m.tail = append(m.tail, m.piece(t.Token)...)
	for _, text := range m.texts {
		if bytes.Contains(m.tail, text) {
			return true
		}
	}
	m.tail = m.tail[max(0, len(m.tail)-(m.longest-1)):]
	return false
}

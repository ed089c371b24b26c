package dataset

import (
	"strings"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Run is a piece of a sequence's text: neighbouring tokens of which all are learned, or none is.
type Run struct {
	Text    string
	Tokens  int
	Learned bool
}

// Runs returns the sequence as text, in runs, and whether that is all of it: it ends after about most bytes. Control tokens
// have their texts. A character whose bytes are those of tokens of two runs is U+FFFD in both.
func (s *Sequence) Runs(m runtime.Model, most int) (list []Run, whole bool) {
	var text []byte
	size := 0
	add := func(t runtime.Token, learned bool) {
		if n := len(list); n == 0 || list[n-1].Learned != learned {
			if n > 0 {
				list[n-1].Text = strings.ToValidUTF8(string(text), "\uFFFD")
			}
			list, text = append(list, Run{Learned: learned}), text[:0]
		}
		piece := m.Piece(t, true)
		text, size = append(text, piece...), size+len(piece)
		list[len(list)-1].Tokens++
	}
	at := 0
	for ; at < len(s.Tokens) && size < most; at++ {
		add(s.Tokens[at], at > 0 && s.Labels[at-1] != unlabelled)
	}
	whole = at == len(s.Tokens)
	if last := len(s.Tokens) - 1; whole && last >= 0 && s.Labels[last] != unlabelled {
		add(s.Labels[last], true)
	}
	if len(list) > 0 {
		list[len(list)-1].Text = strings.ToValidUTF8(string(text), "\uFFFD")
	}
	return list, whole
}

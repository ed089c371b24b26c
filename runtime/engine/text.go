package engine

import (
	"bytes"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// text joins the bytes of an answer's tokens to whole characters and looks for stop strings. It holds back the tokens
// whose bytes may still become part of a character or of a stop string. The text of an Event is exactly the bytes of
// the Event's tokens.
type text struct {
	stops    [][]byte
	held     []byte              // bytes not sent yet
	tokens   []runtime.TokenText // the tokens that held is made of
	searched int                 // held[:searched] has been searched for stop strings
}

// newText returns a text that ends at the first of stops. Empty stop strings stop nothing.
func newText(stops []string) *text {
	t := &text{}
	for _, s := range stops {
		if s != "" {
			t.stops = append(t.stops, []byte(s))
		}
	}
	return t
}

// add appends a token and returns what can be sent, which may be nothing. When a stop string is
// complete it returns it, and all that comes before it; nothing may be added after that.
func (t *text) add(token runtime.TokenText) (ev runtime.Event, stop string) {
	t.tokens = append(t.tokens, token)
	t.held = append(t.held, token.Bytes...)
	if at, s := t.findStop(); s != nil {
		return t.cut(at), string(s)
	}
	return t.release(t.releasable()), ""
}

// flush returns what is held back, at the end of an answer that no stop string ended. The bytes of a
// character that never became whole have no text.
func (t *text) flush() runtime.Event {
	tokens := t.tokens
	ev := runtime.Event{Text: valid(t.held[:len(t.held)-incomplete(t.held)]), Tokens: tokens}
	t.held, t.tokens = nil, nil
	return ev
}

// findStop returns the earliest stop string in held and where it begins; of two that begin there, the longer.
func (t *text) findStop() (at int, stop []byte) {
	at = len(t.held)
	for _, s := range t.stops {
		from := max(0, t.searched-len(s)+1)
		i := bytes.Index(t.held[from:], s)
		if i < 0 {
			continue
		}
		if i += from; i < at || i == at && len(s) > len(stop) {
			at, stop = i, s
		}
	}
	t.searched = len(t.held)
	return at, stop
}

// releasable returns how many tokens can be sent: their bytes end with a whole character, and no stop string can begin
// in them and end in tokens to come.
func (t *text) releasable() int {
	end := len(t.held) - t.possibleStopBytes()
	n, at := 0, 0
	for i, tok := range t.tokens {
		at += len(tok.Bytes)
		if at > end {
			break
		}
		if incomplete(t.held[:at]) == 0 {
			n = i + 1
		}
	}
	return n
}

// possibleStopBytes returns the length of the longest suffix of held that is a prefix of a stop string.
func (t *text) possibleStopBytes() int {
	longest := 0
	for _, s := range t.stops {
		for n := min(len(s)-1, len(t.held)); n > longest; n-- {
			if bytes.HasSuffix(t.held, s[:n]) {
				longest = n
				break
			}
		}
	}
	return longest
}

// release removes the first n tokens and returns them with their text.
func (t *text) release(n int) runtime.Event {
	if n == 0 {
		return runtime.Event{}
	}
	size := 0
	for _, tok := range t.tokens[:n] {
		size += len(tok.Bytes)
	}
	ev := runtime.Event{Text: valid(t.held[:size]), Tokens: t.tokens[:n:n]}
	t.held, t.tokens = t.held[size:], t.tokens[n:]
	t.searched -= size
	return ev
}

// cut returns the text before position at, and the tokens that have bytes in it.
func (t *text) cut(at int) runtime.Event {
	n, size := 0, 0
	for ; n < len(t.tokens) && size < at; n++ {
		size += len(t.tokens[n].Bytes)
	}
	ev := runtime.Event{Text: valid(t.held[:at]), Tokens: t.tokens[:n:n]}
	t.held, t.tokens = nil, nil
	return ev
}

// incomplete returns how many bytes at the end of b begin a character that more bytes can complete.
func incomplete(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if tail := b[len(b)-n:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				return n
			}
			return 0
		}
	}
	return 0
}

// valid returns b as a string in which every byte that is not UTF-8 is U+FFFD.
func valid(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return string([]rune(string(b)))
}

package chat

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Only the template can write control tokens. A client's text that spells one, such as "<|im_end|>", stays text, so that no
// client can end its own turn and begin the system's. Before rendering, the first character of each control token in a
// client's text is replaced by a reserved character. That keeps the length of the text and passes through every filter.
// When the rendered text is tokenized, the original characters are restored, and those stretches are tokenized without
// parsing control tokens. Texts without control tokens are not changed.

// Reserved characters, at the end of Unicode's last private-use plane. Where a client's text has one itself, it is written
// as escapeRune and a character of the first plane.
const (
	firstMask    rune = 0x10F000 // of the mask for starts[0]
	escapeRune   rune = 0x10FFF0
	endRune      rune = 0x10FFF1 // marks the end of a message that is to be continued
	breakRune    rune = 0x10FFF2 // stands before a text that could complete a control token, and is nothing itself
	lastReserved rune = 0x10FFFD
	escapeShift  rune = 0x100000
	maxMasks          = int(escapeRune - firstMask)
)

// masker hides the control tokens of one vocabulary. It never changes after it has been made.
type masker struct {
	root   *trieNode     // of the control tokens
	ends   *trieNode     // of the same, read backwards
	allow  bool          // control tokens count wherever they stand
	starts []rune        // first characters of control tokens
	mask   map[rune]rune // from one of them to what stands for it
}

// trieNode is a node of the trie of the control tokens' bytes.
type trieNode struct {
	next map[byte]*trieNode
	end  bool // a control token ends here
}

// newMasker knows the control tokens of m.
func newMasker(m runtime.Model) *masker {
	k := &masker{root: &trieNode{}, ends: &trieNode{}, mask: map[rune]rune{}}
	for t := range runtime.Token(m.Facts().VocabSize) {
		if len(m.Piece(t, false)) > 0 {
			continue // also a token that counts in every text
		}
		if text := m.Piece(t, true); len(text) > 0 && utf8.Valid(text) {
			k.add(string(text))
		}
	}
	return k
}

func (k *masker) add(text string) {
	start, _ := utf8.DecodeRuneInString(text)
	if _, known := k.mask[start]; !known {
		if len(k.starts) == maxMasks {
			return
		}
		k.mask[start] = firstMask + rune(len(k.starts))
		k.starts = append(k.starts, start)
	}
	n, backwards := k.root, k.ends
	for i := range len(text) {
		n, backwards = n.at(text[i]), backwards.at(text[len(text)-1-i])
	}
	n.end, backwards.end = true, true
}

// at returns the node that follows with a byte, which it makes where there is none.
func (n *trieNode) at(b byte) *trieNode {
	if n.next == nil {
		n.next = map[byte]*trieNode{}
	}
	if n.next[b] == nil {
		n.next[b] = &trieNode{}
	}
	return n.next[b]
}

// completes reports whether s begins with the rest of a control token, such as "start|>", of which the template may have
// written the beginning. A rest of letters and digits alone does not count: whole words begin like that.
func (k *masker) completes(s string) bool {
	for end := minRest; end <= min(len(s), maxRest); end++ {
		n, i := k.ends, end-1
		for n = n.next[s[i]]; n != nil && i > 0; n = n.next[s[i]] {
			i--
		}
		if n != nil && len(n.next) > 0 && strings.ContainsFunc(s[:end], func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
			return true
		}
	}
	return false
}

// The rest of a control token that is looked for, in bytes. Many a text begins with a single ">".
const minRest, maxRest = 2, 128

// match returns the length of the longest control token that s begins with, or 0. cut reports that s ends within one.
func (k *masker) match(s string) (length int, cut bool) {
	n := k.root
	for i := range len(s) {
		if n = n.next[s[i]]; n == nil {
			return length, false
		}
		if n.end {
			length = i + 1
		}
	}
	return length, true
}

func reserved(r rune) bool { return r >= firstMask && r <= lastReserved }

// hide returns a client's text as the template sees it. The beginning of a control token at the end of the text is masked
// too, because the text that follows it could complete the token. And the rest of one at the beginning of the text, also
// after white space that a template may trim, is set apart from what the template writes before it.
func (k *masker) hide(s string) string {
	if k == nil {
		return s
	}
	if text := strings.TrimLeftFunc(s, pythonSpace); !k.allow && k.completes(text) {
		return s[:len(s)-len(text)] + string(breakRune) + k.hideTokens(text)
	}
	return k.hideTokens(s)
}

// hideTokens masks the control tokens in a text.
func (k *masker) hideTokens(s string) string {
	if strings.IndexByte(s, 0xF4) < 0 && (len(k.starts) == 0 || !strings.ContainsAny(s, string(k.starts))) {
		return s
	}
	var b strings.Builder
	from := 0
	for i, r := range s {
		if reserved(r) {
			b.WriteString(s[from:i])
			b.WriteRune(escapeRune)
			b.WriteRune(r - escapeShift)
			from = i + utf8.RuneLen(r)
			continue
		}
		mask, starts := k.mask[r]
		if !starts || k.allow {
			continue
		}
		length, cut := k.match(s[i:])
		if length == 0 && (!cut || unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsSpace(r)) {
			continue
		}
		b.WriteString(s[from:i])
		b.WriteRune(mask)
		from = i + utf8.RuneLen(r)
	}
	b.WriteString(s[from:])
	return b.String()
}

// hidden reports whether a rendered text has anything that show would change.
func hidden(s string) bool {
	return strings.IndexByte(s, 0xF4) >= 0 && strings.ContainsFunc(s, reserved)
}

// show restores the masked characters of a rendered text.
func (k *masker) show(s string) string {
	if !hidden(s) {
		return s
	}
	var b strings.Builder
	escaped := false
	for _, r := range s {
		switch {
		case escaped:
			b.WriteRune(r + escapeShift)
			escaped = false
		case r == escapeRune:
			escaped = true
		case r == breakRune:
		case reserved(r) && int(r-firstMask) < len(k.starts):
			b.WriteRune(k.starts[r-firstMask])
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// encode tokenizes a rendered text without BOS. The stretches between two control tokens of the template that have
// something hidden are tokenized as text; all others as if nothing were hidden anywhere.
func (k *masker) encode(m runtime.Model, text string) ([]runtime.Token, error) {
	var all []runtime.Token
	add := func(s string, special bool) error {
		if s == "" {
			return nil
		}
		tokens, err := m.Tokenize(s, false, special)
		all = append(all, tokens...)
		return err
	}
	pending, start := 0, 0 // where what is not tokenized yet begins, and the stretch that is being read
	stretch := func(end int) error {
		if !hidden(text[start:end]) {
			return nil
		}
		if err := add(text[pending:start], true); err != nil {
			return err
		}
		pending = end
		return add(k.show(text[start:end]), false)
	}
	for i := 0; i < len(text); {
		length, _ := k.match(text[i:])
		if length == 0 {
			i++
			continue
		}
		if err := stretch(i); err != nil {
			return nil, err
		}
		i += length
		start = i
	}
	if err := stretch(len(text)); err != nil {
		return nil, err
	}
	return all, add(text[pending:], true)
}

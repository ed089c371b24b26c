package tokenizer

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// spacePrefixKey says where SentencePiece's BPE puts a space mark: see spacePrefix. llama.cpp does not read it.
const spacePrefixKey = "lorikeet.tokenizer.space_prefix"

// spaceMark is what SentencePiece writes for a space.
const spaceMark = "▁"

// spacePrefix is where a text gets a space mark in front that it does not have itself.
type spacePrefix string

const (
	prefixNever   spacePrefix = "never"
	prefixSegment spacePrefix = "segment" // before each text between added tokens: SentencePiece's dummy prefix, tokenizers' Prepend
	prefixAlways  spacePrefix = "always"  // the same, but not before one that begins with a mark: Metaspace "always"
	prefixFirst   spacePrefix = "first"   // before the beginning of the whole text, unless it has one: Metaspace "first"
)

// pieces is SentencePiece's BPE ("llama").
type pieces struct {
	ids     map[string]Token // of single characters
	byteIDs [256]Token       // the tokens that stand for bytes, or none
	unknown Token            // for characters that have no token and no bytes, or none
	merges  *merges
	prefix  spacePrefix
}

func newPieces(m *quant.Metadata, v *vocabulary) (*pieces, error) {
	p := &pieces{ids: map[string]Token{}, prefix: prefixSegment, unknown: v.token(m, "unknown_token_id", 0)}
	if add, ok := m.Bool("tokenizer.ggml.add_space_prefix"); ok && !add {
		p.prefix = prefixNever
	}
	switch name, ok := m.String(spacePrefixKey); spacePrefix(name) {
	case prefixNever, prefixSegment, prefixAlways, prefixFirst:
		p.prefix = spacePrefix(name)
	default:
		if ok {
			return nil, fmt.Errorf("%w: %s is %q", ErrUnsupported, spacePrefixKey, name)
		}
	}
	for b := range p.byteIDs {
		p.byteIDs[b] = none
		if id, ok := v.ids[byteText(byte(b))]; ok && v.kinds[id] == byteToken {
			p.byteIDs[b] = id
		}
	}
	for id, text := range v.texts {
		if utf8.RuneCountInString(text) == 1 && v.isPiece(Token(id)) {
			p.ids[text] = Token(id)
		}
	}
	if list, ok := m.Strings("tokenizer.ggml.merges"); ok {
		var err error
		p.merges, err = readMerges(v, list)
		return p, err
	}
	if v.scores == nil {
		return nil, fmt.Errorf("%w: tokenizer.ggml.scores is missing", ErrFormat)
	}
	p.merges = v.scoredMerges()
	return p, nil
}

func byteText(b byte) string { return fmt.Sprintf("<0x%02X>", b) }

// isPiece reports whether a token may come of a text by merging. Control tokens may not, whatever the text is.
func (v *vocabulary) isPiece(id Token) bool {
	k := v.kinds[id]
	return k == normal || k == userDefined || k == unused && v.scores != nil && v.texts[id] != ""
}

// scoredMerges ranks every pair of tokens that makes a token by the score of what it makes. Pairs that make the same
// token, or tokens of one score, have one rank, so that of two the leftmost is merged first.
func (v *vocabulary) scoredMerges() *merges {
	order := make([]Token, 0, len(v.texts))
	for id := range v.texts {
		if v.isPiece(Token(id)) {
			order = append(order, Token(id))
		}
	}
	slices.SortStableFunc(order, func(a, b Token) int { return cmp.Compare(v.scores[b], v.scores[a]) })
	m := newMerges(2 * len(order))
	rank := uint32(0)
	for i, id := range order {
		if i > 0 && v.scores[id] != v.scores[order[i-1]] {
			rank++
		}
		text := v.texts[id]
		for cut := range text {
			if cut == 0 {
				continue
			}
			left, okLeft := v.ids[text[:cut]]
			right, okRight := v.ids[text[cut:]]
			if okLeft && okRight && v.isPiece(left) && v.isPiece(right) {
				m.set(left, right, merge{rank, id})
			}
		}
	}
	return m
}

// normalize writes the spaces of a text between added tokens as marks.
func (p *pieces) normalize(s string) string {
	s = strings.ReplaceAll(s, " ", spaceMark)
	if p.prefix == prefixSegment {
		s = spaceMark + s
	}
	return s
}

// encode appends the tokens of a normalized text; first says that it is the beginning of the whole text.
func (p *pieces) encode(s string, first bool, r *run) {
	if (p.prefix == prefixAlways || p.prefix == prefixFirst && first) && !strings.HasPrefix(s, spaceMark) {
		s = spaceMark + s
	}
	start, lastUnknown := len(r.out), false
	for i := 0; i < len(s); {
		_, n := utf8.DecodeRuneInString(s[i:])
		text := s[i : i+n]
		i += n
		if r.stopped(n) {
			return
		}
		if id, ok := p.ids[text]; ok {
			r.out, lastUnknown = append(r.out, id), false
			continue
		}
		lastUnknown = p.fallBack(text, lastUnknown, r)
	}
	r.merger.merges = p.merges
	r.out = r.out[:start+len(r.merger.merge(r.out[start:]))]
}

// fallBack appends the tokens of the bytes of a character without a token, or one unknown token for all the
// characters in a row that have no bytes either. It reports whether it was the latter.
func (p *pieces) fallBack(text string, lastUnknown bool, r *run) bool {
	for i := range len(text) {
		if p.byteIDs[text[i]] == none {
			if !lastUnknown && p.unknown != none {
				r.out = append(r.out, p.unknown)
			}
			return true
		}
	}
	for i := range len(text) {
		r.out = append(r.out, p.byteIDs[text[i]])
	}
	return false
}

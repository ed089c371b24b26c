package tokenizer

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// The keys by which an import says how tokenizer.json changes and cuts a text. llama.cpp does not read them. Where there
// is no normalizerKey a text is changed as SentencePiece does, by GGUF's keys.
const (
	// normalizerKey is, of a unigram model, a list of the steps below with spaces between them.
	wordsKey  = "lorikeet.tokenizer.words"                // one of the words below
	extraKey  = "tokenizer.ggml.remove_extra_whitespaces" // the spaces around a text are removed, those in a row are one
	prefixKey = "tokenizer.ggml.add_space_prefix"
)

// normalizerSteps are what an import may do to a text between added tokens.
var normalizerSteps = map[string]func(string) string{
	"strip_left":      func(s string) string { return strings.TrimLeftFunc(s, isSpace) },
	"strip_right":     func(s string) string { return strings.TrimRightFunc(s, isSpace) },
	"spaces_to_mark":  func(s string) string { return mergeSpaces(s, spaceMark) }, // two and more become one mark
	"spaces_to_space": func(s string) string { return mergeSpaces(s, " ") },
	"mark":            func(s string) string { return strings.ReplaceAll(s, " ", spaceMark) },
	"prepend": func(s string) string {
		if s == "" {
			return ""
		}
		return spaceMark + s
	},
}

// words is where a text between added tokens is cut into words that tokens do not cross.
type words string

const (
	wordsWhole   words = "whole"  // nowhere
	wordsByMark  words = "marks"  // before each space mark: Metaspace
	wordsBySpace words = "spaces" // at white space, which is lost, then before each mark: WhitespaceSplit, Metaspace
)

// unigramText is what a unigram model does to a text before it looks for tokens.
type unigramText struct {
	imported bool // normalizerKey is there: steps are all that is done to a text
	steps    []func(string) string
	charsmap *charsmap // or nil
	trims    bool      // extraKey
	prefix   spacePrefix
	words    words
	loses    bool // bytes of a text may be lost
}

func readUnigramText(m *quant.Metadata) (unigramText, error) {
	u := unigramText{prefix: prefixNever, words: wordsWhole}
	var err error
	if u.charsmap, err = readCharsmap(m); err != nil {
		return u, err
	}
	u.trims, _ = m.Bool(extraKey)
	if add, _ := m.Bool(prefixKey); add {
		u.prefix = prefixSegment
	}
	var names string
	if names, u.imported = m.String(normalizerKey); !u.imported {
		u.loses = u.trims || u.charsmap != nil
		return u, nil
	}
	for _, name := range strings.Fields(names) {
		step, ok := normalizerSteps[name]
		switch {
		case name == "charsmap" && u.charsmap != nil:
			step = u.charsmap.graphemes
		case !ok:
			return u, fmt.Errorf("%w: %s has the step %q, or it has no %s for it", ErrUnsupported, normalizerKey, name, charsmapKey)
		}
		u.steps = append(u.steps, step)
		u.loses = u.loses || name != "mark" && name != "prepend"
	}
	prefix, _ := m.String(spacePrefixKey)
	switch u.prefix = spacePrefix(prefix); u.prefix {
	case prefixNever, prefixAlways, prefixFirst:
	default:
		return u, fmt.Errorf("%w: %s is %q", ErrUnsupported, spacePrefixKey, prefix)
	}
	cut, _ := m.String(wordsKey)
	switch u.words = words(cut); u.words {
	case wordsWhole, wordsByMark, wordsBySpace:
	default:
		return u, fmt.Errorf("%w: %s is %q", ErrUnsupported, wordsKey, cut)
	}
	u.trims, u.loses = false, u.loses || u.words == wordsBySpace
	return u, nil
}

// normalize changes a text between added tokens. Bytes that are no UTF-8 become replacement characters.
func (u *unigramText) normalize(s string) string {
	s = validText(s)
	if u.imported {
		for _, step := range u.steps {
			s = step(s)
		}
		return s
	}
	if u.charsmap != nil {
		s = u.charsmap.longest(s)
	}
	if u.trims {
		if s = mergeSpaces(strings.Trim(s, " "), " "); s == "" {
			return ""
		}
	}
	s = strings.ReplaceAll(s, " ", spaceMark)
	if u.prefix == prefixSegment {
		s = spaceMark + s
	}
	for u.trims && strings.HasSuffix(s, spaceMark) {
		s = strings.TrimSuffix(s, spaceMark)
	}
	return s
}

// each gives the words of a normalized text to do; first says that the text is the beginning of the whole.
func (u *unigramText) each(s string, first bool, do func(word string)) {
	if u.words != wordsBySpace {
		u.mark(s, first, do)
		return
	}
	for start := 0; start < len(s); {
		n := strings.IndexFunc(s[start:], isSpace)
		if n < 0 {
			n = len(s) - start
		}
		if n > 0 {
			u.mark(s[start:start+n], first && start == 0, do)
		}
		start += n
		if start < len(s) {
			_, n = utf8.DecodeRuneInString(s[start:])
			start += n
		}
	}
}

// mark writes spaces as marks, puts one in front where the prefix says so, and cuts before each where words are cut there.
func (u *unigramText) mark(s string, first bool, do func(word string)) {
	s = strings.ReplaceAll(s, " ", spaceMark)
	if (u.prefix == prefixAlways || u.prefix == prefixFirst && first) && !strings.HasPrefix(s, spaceMark) {
		s = spaceMark + s
	}
	if u.words == wordsWhole {
		do(s)
		return
	}
	for start := 0; start < len(s); {
		from := min(start+len(spaceMark), len(s))
		if !strings.HasPrefix(s[start:], spaceMark) {
			from = start
		}
		end := strings.Index(s[from:], spaceMark)
		if end < 0 {
			do(s[start:])
			return
		}
		do(s[start : from+end])
		start = from + end
	}
}

// mergeSpaces puts by for two and more spaces in a row.
func mergeSpaces(s, by string) string {
	if !strings.Contains(s, "  ") {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		at := strings.Index(s, "  ")
		if at < 0 {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:at])
		b.WriteString(by)
		s = strings.TrimLeft(s[at:], " ")
	}
	return b.String()
}

// validText puts a replacement character for each byte that is no UTF-8.
func validText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		b.WriteRune(r)
	}
	return b.String()
}

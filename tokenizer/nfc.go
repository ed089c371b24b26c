package tokenizer

import (
	"slices"
	"sync"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// manyMarks is a number of marks on one character from which on norm may put U+034F between them (it does beyond 30,
// counted after decomposition).
const manyMarks = 8

// nfc puts a text into Unicode's form NFC as tokenizers does it. norm's own NFC differs in two things: into a character
// with more than 30 marks it puts U+034F (UAX 15-D4, stream-safe text), and it knows the marks that Unicode has got
// since version 9, which tokenizers does not.
func nfc(s string) string {
	if norm.NFC.IsNormalString(s) {
		return s
	}
	if !hasOddMarks(s) {
		return norm.NFC.String(s)
	}
	out := make([]byte, 0, len(s))
	var parts []part
	for len(s) > 0 {
		n := norm.NFC.QuickSpanString(s)
		out = append(out, s[:n]...)
		if s = s[n:]; s == "" {
			break
		}
		n = segment(s)
		if !hasOddMarks(s[:n]) {
			out = norm.NFC.AppendString(out, s[:n])
		} else {
			parts = decompose(parts[:0], s[:n])
			for _, p := range compose(parts) {
				out = append(out, p.text...)
			}
		}
		s = s[n:]
	}
	return string(out)
}

// hasOddMarks reports whether norm's NFC of s may be another one than ours.
func hasOddMarks(s string) bool {
	marks := 0
	for i := 0; i < len(s); {
		if s[i] < utf8.RuneSelf {
			marks, i = 0, i+1
			continue
		}
		p := norm.NFC.PropertiesString(s[i:])
		if marks++; p.BoundaryBefore() {
			marks = 0
		}
		if r, _ := utf8.DecodeRuneInString(s[i:]); marks > manyMarks || isNewMark(r) {
			return true
		}
		i += max(p.Size(), 1)
	}
	return false
}

// segment returns the end of the characters from the beginning of s on that compose among themselves alone.
func segment(s string) int {
	_, end := utf8.DecodeRuneInString(s)
	for end < len(s) && !norm.NFC.PropertiesString(s[end:]).BoundaryBefore() {
		_, n := utf8.DecodeRuneInString(s[end:])
		end += n
	}
	return end
}

// newMarks are the marks since Unicode 9. To tokenizers they are characters that compose with nothing and that no
// mark passes. The composition of U+11938 is as new.
var newMarks = [][2]rune{
	{0x7fd, 0x7fd}, {0x898, 0x89f}, {0x8ca, 0x8d3}, {0x9fe, 0x9fe}, {0xc3c, 0xc3c}, {0xd3b, 0xd3c}, {0xeba, 0xeba},
	{0x1715, 0x1715}, {0x1abf, 0x1ace}, {0x1df6, 0x1dfa}, {0xa82c, 0xa82c}, {0x10d24, 0x10d27}, {0x10eab, 0x10eac},
	{0x10efd, 0x10eff}, {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x1145e, 0x1145e},
	{0x11839, 0x1183a}, {0x11930, 0x11930}, {0x11938, 0x11938}, {0x1193d, 0x1193e}, {0x11943, 0x11943}, {0x119e0, 0x119e0},
	{0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d42}, {0x11d44, 0x11d45}, {0x11d97, 0x11d97},
	{0x11f41, 0x11f42}, {0x16ff0, 0x16ff1}, {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef},
	{0x1e4ec, 0x1e4ef},
}

func isNewMark(r rune) bool {
	if r < newMarks[0][0] {
		return false
	}
	i, found := slices.BinarySearchFunc(newMarks, r, func(x [2]rune, r rune) int { return int(x[0] - r) })
	return found || i > 0 && r <= newMarks[i-1][1]
}

// part is a character of a decomposed segment with its combining class; bytes that are not UTF-8 are parts as well.
type part struct {
	text  string
	class uint8
}

// The syllables of Hangul, which compose and decompose by a formula.
const firstSyllable, lastSyllable = 0xac00, 0xd7a3

// decompose appends the parts of a segment in canonical order (UAX 15, section 1.3).
func decompose(parts []part, s string) []part {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		text := s[i : i+n]
		i += n
		p := norm.NFD.PropertiesString(text)
		switch {
		case isNewMark(r):
			parts = append(parts, part{text, 0})
			continue
		case p.Decomposition() == nil && (r < firstSyllable || r > lastSyllable):
			parts = append(parts, part{text, p.CCC()})
			continue
		}
		for decomposed := norm.NFD.String(text); len(decomposed) > 0; {
			_, n := utf8.DecodeRuneInString(decomposed)
			parts = append(parts, part{decomposed[:n], norm.NFD.PropertiesString(decomposed).CCC()})
			decomposed = decomposed[n:]
		}
	}
	for i := 0; i < len(parts); {
		end := i
		for end < len(parts) && parts[end].class != 0 {
			end++
		}
		sortMarks(parts[i:end])
		i = end + 1
	}
	return parts
}

// sortMarks sorts by class, those of one class as they stand, in a time linear in their number.
func sortMarks(marks []part) {
	byClass := func(a, b part) int { return int(a.class) - int(b.class) }
	if slices.IsSortedFunc(marks, byClass) {
		return
	}
	var next [257]int
	for _, x := range marks {
		next[int(x.class)+1]++
	}
	for i := range 256 {
		next[i+1] += next[i]
	}
	sorted := make([]part, len(marks))
	for _, x := range marks {
		sorted[next[x.class]] = x
		next[x.class]++
	}
	copy(marks, sorted)
}

// compose composes parts in place. A part joins the last starter unless a part of its class or a higher one stands
// between them.
func compose(parts []part) []part {
	pairs := composites()
	out, starter := parts[:0], -1
	for _, p := range parts {
		if starter >= 0 && (starter == len(out)-1 || out[len(out)-1].class < p.class) {
			if whole, ok := pairs.of(out[starter].text, p.text); ok {
				out[starter].text = whole
				continue
			}
		}
		out = append(out, p)
		if p.class == 0 {
			starter = len(out) - 1
		}
	}
	return out
}

// compositions maps two characters to the one that they compose to.
type compositions map[[2]rune]rune

// composites collects the primary composites: a character that is its own NFC and decomposes is composed of all of
// its decomposition but the last character, and that.
var composites = sync.OnceValue(func() compositions {
	c := compositions{}
	for r := rune(0xa0); r <= 0x2ffff; r++ {
		if r >= firstSyllable && r <= 0xdfff {
			r = 0xdfff // Hangul syllables are computed, and surrogates are none
			continue
		}
		if isNewMark(r) {
			continue
		}
		text := string(r)
		parts := []rune(norm.NFD.String(text))
		if len(parts) < 2 || norm.NFC.String(text) != text {
			continue
		}
		last := len(parts) - 1
		if first := []rune(norm.NFC.String(string(parts[:last]))); len(first) == 1 {
			c[[2]rune{first[0], parts[last]}] = r
		}
	}
	return c
})

func (c compositions) of(left, right string) (string, bool) {
	l, nl := utf8.DecodeRuneInString(left)
	r, nr := utf8.DecodeRuneInString(right)
	if nl != len(left) || nr != len(right) {
		return "", false
	}
	const (
		sBase, lBase, vBase, tBase = firstSyllable, 0x1100, 0x1161, 0x11a7
		lCount, vCount, tCount     = 19, 21, 28
	)
	if l >= lBase && l < lBase+lCount && r >= vBase && r < vBase+vCount {
		return string(sBase + ((l-lBase)*vCount+r-vBase)*tCount), true
	}
	if l >= sBase && l < sBase+lCount*vCount*tCount && (l-sBase)%tCount == 0 && r > tBase && r < tBase+tCount {
		return string(l + r - tBase), true
	}
	x, ok := c[[2]rune{l, r}]
	return string(x), ok
}

package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// A splitter cuts a text into pieces, all of it and in order, and gives each to emit. Pieces are not empty.
type splitter func(s string, emit func(piece string))

// chain cuts with each splitter what the one before it gave.
func chain(splitters []splitter, emit func(string)) func(string) {
	for i := len(splitters) - 1; i >= 0; i-- {
		split, next := splitters[i], emit
		emit = func(s string) {
			if s != "" {
				split(s, next)
			}
		}
	}
	return emit
}

// A matcher returns the length of its match at the beginning of s, 0 where there is none. s goes on to the end of the
// piece that is being split, which is where its expression sees the end of the text. It must be linear in its match,
// and where it has none, in a constant.
type matcher func(s string) int

// isolate makes a splitter of a matcher: each match is a piece, and so is what lies between two.
func isolate(match matcher) splitter {
	return func(s string, emit func(string)) {
		gap := 0
		for i := 0; i < len(s); {
			n := match(s[i:])
			if n == 0 {
				_, size := utf8.DecodeRuneInString(s[i:])
				i += size
				continue
			}
			if gap < i {
				emit(s[gap:i])
			}
			emit(s[i : i+n])
			i += n
			gap = i
		}
		if gap < len(s) {
			emit(s[gap:])
		}
	}
}

// each matches one character of the classes: \p{N}
func (c classifier) each(in class) matcher {
	return func(s string) int { return c.runMost(s, 0, in, 1) }
}

// upTo matches a run of the classes, of no more than most characters: \p{N}{1,3}
func (c classifier) upTo(in class, most int) matcher {
	return func(s string) int { return c.runMost(s, 0, in, most) }
}

// all matches a run of the classes: \p{N}+
func (c classifier) all(in class) matcher {
	return func(s string) int { return c.run(s, 0, in) }
}

// spaced matches a run of the classes and one white space before it: \s?\p{L}+
func (c classifier) spaced(in class) matcher {
	return func(s string) int {
		start := c.runMost(s, 0, space, 1)
		if end := c.run(s, start, in); end > start {
			return end
		}
		return 0
	}
}

// among matches a run of characters that in accepts: [一-龥]+
func among(in func(rune) bool) matcher {
	return func(s string) int {
		for i, r := range s {
			if !in(r) || r == utf8.RuneError {
				return i
			}
		}
		return len(s)
	}
}

// oneOf matches one character that in accepts: [\p{P}$+]
func oneOf(in func(rune) bool) matcher {
	return func(s string) int {
		if r, n := utf8.DecodeRuneInString(s); in(r) {
			return n
		}
		return 0
	}
}

// punctuationOr accepts \p{P} and the characters of more.
func (c classifier) punctuationOr(more string) func(rune) bool {
	return func(r rune) bool { return c.of(r)&punctuation != 0 || strings.ContainsRune(more, r) }
}

// spacedAmong is among with one white space before it, which may be in the class itself: \s?[!-/\u3000]+
func (c classifier) spacedAmong(in func(rune) bool) matcher {
	run := among(in)
	return func(s string) int {
		start := c.runMost(s, 0, space, 1)
		if n := run(s[start:]); n > 0 || start == 0 {
			return start + n
		}
		return run(s)
	}
}

// threeDigits matches three of ASCII's digits: [0-9][0-9][0-9]
func threeDigits(s string) int {
	for i := range 3 {
		if i >= len(s) || s[i] < '0' || s[i] > '9' {
			return 0
		}
	}
	return 3
}

// trailingSpace cuts the white space at the end off: \s+$
func (c classifier) trailingSpace(s string, emit func(string)) {
	end := len(s)
	for end > 0 {
		r, n := utf8.DecodeLastRuneInString(s[:end])
		if c.of(r)&space == 0 {
			break
		}
		end -= n
	}
	if end > 0 {
		emit(s[:end])
	}
	if end < len(s) {
		emit(s[end:])
	}
}

// threesFromRight cuts runs of the classes so that each piece has three characters, counted from the run's end, and
// the first one to three. What lies between runs stays with what precedes it if joined: (?=(\d{3})+(?!\d)) cuts
// before threes only, so that the first characters of a run stay with what is before them.
func (c classifier) threesFromRight(in class, joined bool) splitter {
	return func(s string, emit func(string)) {
		gap, i := 0, 0
		for i < len(s) {
			end := c.run(s, i, in)
			if end == i {
				_, n := c.at(s, i)
				i += n
				continue
			}
			count := utf8.RuneCountInString(s[i:end])
			first := c.runMost(s, i, in, count%3)
			if !joined || first == i {
				if gap < i {
					emit(s[gap:i])
				}
				gap = i
			}
			for cut := first; cut < end; cut = c.runMost(s, cut, in, 3) {
				if gap < cut {
					emit(s[gap:cut])
				}
				gap = cut
			}
			if !joined {
				emit(s[gap:end])
				gap = end
			}
			i = end
		}
		if gap < len(s) {
			emit(s[gap:])
		}
	}
}

// mappedDigits cuts runs of bytes whose letters in GPT-2's alphabet are numbers from those whose are not. The Digits
// pre-tokenizer does that to a text which ByteLevel has written in that alphabet already: ² ³ ¹ ¼ ½ ¾ are the
// letters of the bytes 0xB2, 0xB3, 0xB9 and 0xBC to 0xBE, wherever they stand.
func mappedDigits(s string, emit func(string)) {
	isNumber := func(b byte) bool {
		return b >= '0' && b <= '9' || b == 0xb2 || b == 0xb3 || b == 0xb9 || b >= 0xbc && b <= 0xbe
	}
	start := 0
	for i := 1; i < len(s); i++ {
		if isNumber(s[i]) != isNumber(s[i-1]) {
			emit(s[start:i])
			start = i
		}
	}
	emit(s[start:])
}

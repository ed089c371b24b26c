package tokenizer

import (
	"sync"
	"unicode"
	"unicode/utf8"
)

// class is the set of classes that a character is in, as the expressions of pre-tokenizers name them.
type class uint16

const (
	upperCase   class = 1 << iota // \p{Lu}
	lowerCase                     // \p{Ll}
	titleCase                     // \p{Lt}
	modifier                      // \p{Lm}
	otherLetter                   // \p{Lo}
	mark                          // \p{M}
	number                        // \p{N}
	digit                         // \d, which is \p{Nd}
	punctuation                   // \p{P}
	symbol                        // \p{S}
	space                         // \s
	lineBreak                     // [\r\n]
	han                           // \p{Han}
	numeric                       // what the Digits pre-tokenizer takes for a number: \p{N} of a newer Unicode
	pointed                       // what the Punctuation pre-tokenizer takes for punctuation: ASCII's and \p{P} of an older Unicode
	asciiLetter                   // [A-Za-z]

	letter = upperCase | lowerCase | titleCase | modifier | otherLetter // \p{L}
)

const pageSize = 256

// classPages has the classes of every character, in pages of 256 characters; equal pages are shared.
var classPages = sync.OnceValue(func() *[(unicode.MaxRune + 1) / pageSize]*[pageSize]class {
	all := make([]class, unicode.MaxRune+1)
	set := func(t *unicode.RangeTable, c class) {
		for _, r := range t.R16 {
			for x := rune(r.Lo); x <= rune(r.Hi); x += rune(r.Stride) {
				all[x] |= c
			}
		}
		for _, r := range t.R32 {
			for x := rune(r.Lo); x <= rune(r.Hi); x += rune(r.Stride) {
				all[x] |= c
			}
		}
	}
	for _, x := range []struct {
		table *unicode.RangeTable
		class class
	}{
		{unicode.Lu, upperCase}, {unicode.Ll, lowerCase}, {unicode.Lt, titleCase}, {unicode.Lm, modifier},
		{unicode.Lo, otherLetter}, {unicode.M, mark}, {unicode.N, number | numeric}, {unicode.Nd, digit},
		{unicode.P, punctuation | pointed}, {unicode.S, symbol}, {unicode.White_Space, space}, {unicode.Han, han},
	} {
		set(x.table, x.class)
	}
	for _, a := range addedSince15 {
		for x := a.first; x <= a.last; x++ {
			all[x] |= a.class
		}
	}
	for _, r := range notPointed {
		for x := r[0]; x <= r[1]; x++ {
			all[x] &^= pointed
		}
	}
	for c := rune(0); c < utf8.RuneSelf; c++ {
		if c > ' ' && c < 0x7f && all[c]&(letter|number) == 0 {
			all[c] |= pointed
		}
		if all[c]&letter != 0 {
			all[c] |= asciiLetter
		}
	}
	all['\r'] |= lineBreak
	all['\n'] |= lineBreak
	return paged(all)
})

func paged(all []class) *[(unicode.MaxRune + 1) / pageSize]*[pageSize]class {
	pages := new([(unicode.MaxRune + 1) / pageSize]*[pageSize]class)
	seen := map[[pageSize]class]*[pageSize]class{}
	for i := range pages {
		page := [pageSize]class(all[i*pageSize:])
		if seen[page] == nil {
			seen[page] = &page
		}
		pages[i] = seen[page]
	}
	return pages
}

// classifier looks classes up. The zero value is not ready; newClassifier makes one.
type classifier struct {
	pages *[(unicode.MaxRune + 1) / pageSize]*[pageSize]class
	ascii *[pageSize]class
}

func newClassifier() classifier {
	pages := classPages()
	return classifier{pages, pages[0]}
}

func (c classifier) of(r rune) class { return c.pages[r/pageSize][r%pageSize] }

// at returns the class of the character at s[i:] and its length in bytes; at the end of s, no class and 0.
func (c classifier) at(s string, i int) (class, int) {
	if i >= len(s) {
		return 0, 0
	}
	if b := s[i]; b < utf8.RuneSelf {
		return c.ascii[b], 1
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	return c.of(r), n
}

// run returns the end of the characters from s[i:] on that are in one of the classes.
func (c classifier) run(s string, i int, in class) int {
	for i < len(s) {
		k, n := c.at(s, i)
		if k&in == 0 {
			break
		}
		i += n
	}
	return i
}

// runNot returns the end of the characters from s[i:] on that are in none of the classes.
func (c classifier) runNot(s string, i int, out class) int {
	for i < len(s) {
		k, n := c.at(s, i)
		if k&out != 0 {
			break
		}
		i += n
	}
	return i
}

// runMost is run, of no more than most characters.
func (c classifier) runMost(s string, i int, in class, most int) int {
	for ; most > 0; most-- {
		k, n := c.at(s, i)
		if k&in == 0 {
			break
		}
		i += n
	}
	return i
}

package grammar

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/grammar/automaton"
)

// This file reads what stands for text: strings, classes and tokens; and below them, characters, blanks and names.

func (p *parser) literal() (item, error) {
	at := p.here
	p.next()
	part := item{kind: literal}
	for !p.take(`"`) {
		from := p.here
		r, err := p.char(at, "string")
		if err != nil {
			return part, err
		}
		if r == 0 || !utf8.ValidRune(r) {
			return part, from.fault("no answer can have the character U+%04X", r)
		}
		part.text = append(part.text, r)
	}
	return part, nil
}

func (p *parser) class() (item, error) {
	at := p.here
	p.next()
	negated := p.take("^")
	var ranges []Range
	for !p.take("]") {
		from := p.here
		first, err := p.char(at, "class")
		if err != nil {
			return item{}, err
		}
		last := first
		if strings.HasPrefix(p.text, "-") && !strings.HasPrefix(p.text, "-]") {
			p.next()
			if last, err = p.char(at, "class"); err != nil {
				return item{}, err
			}
		}
		if last < first {
			return item{}, from.fault("the range from U+%04X to U+%04X runs backwards", first, last)
		}
		ranges = append(ranges, Range{Lo: first, Hi: last})
	}
	if ranges = automaton.Normalize(ranges); negated {
		ranges = complement(ranges)
	}
	if len(ranges) == 0 || len(ranges) == 1 && ranges[0] == (Range{}) {
		return item{}, at.fault("the class is empty: no character is in it")
	}
	return item{kind: class, ranges: slices.Clip(ranges)}, nil
}

// escapes are the characters that stand for another one, or for themselves, after a backslash.
var escapes = map[rune]rune{'t': '\t', 'r': '\r', 'n': '\n', '\\': '\\', '"': '"', '[': '[', ']': ']'}

// char reads one character of the string or class that begins at from.
func (p *parser) char(from place, what string) (rune, error) {
	if p.text == "" {
		return 0, p.here.fault("unexpected end: the %s on line %d, column %d is not closed", what, from.line, from.column)
	}
	at := p.here
	r := p.next()
	if r != '\\' {
		return r, nil
	}
	if p.text == "" {
		return 0, p.here.fault("unexpected end: the %s on line %d, column %d is not closed", what, from.line, from.column)
	}
	r = p.next()
	if digits := map[rune]int{'x': 2, 'u': 4, 'U': 8}[r]; digits > 0 {
		return p.hex(at, r, digits)
	}
	c, known := escapes[r]
	if !known {
		return 0, at.fault("unknown escape %s", shown(`\`+string(r)))
	}
	return c, nil
}

func (p *parser) hex(at place, letter rune, digits int) (rune, error) {
	value := uint64(0)
	for range digits {
		d := strings.IndexRune("0123456789abcdef", unicode.ToLower(p.peek()))
		if d < 0 {
			return 0, p.here.fault("expecting %d hexadecimal digits after \\%c, found %s", digits, letter, p.found())
		}
		value = value<<4 | uint64(d)
		p.next()
	}
	if value > unicode.MaxRune {
		return 0, at.fault("there is no character U+%X; the last is U+%X", value, unicode.MaxRune)
	}
	return rune(value), nil
}

// token reads <text>, <[id]>, or one of them with ! before it.
func (p *parser) token() (item, error) {
	at := p.here
	part := item{kind: token}
	if p.take("!") {
		part.kind = notToken
	}
	if p.peek() != '<' {
		return part, p.here.fault("expecting a token in angle brackets after !, found %s", p.found())
	}
	end := strings.IndexByte(p.text, '>')
	if end < 0 {
		return part, at.fault("unexpected end: the token is not closed with >")
	}
	text := p.text[:end+1]
	if len(text) > maxToken {
		return part, at.fault("the token has %d bytes, at most %d are read", len(text), maxToken)
	}
	var known bool
	if part.id, known = p.lookUp(text); !known {
		return part, at.fault("%s is not one token of the model", shown(text))
	}
	if part.kind == token && p.vocabulary.EndsAnswer(part.id) {
		return part, at.fault("%s ends the answer: it comes by itself where the grammar is at its end", shown(text))
	}
	p.skip(utf8.RuneCountInString(text))
	return part, nil
}

// lookUp returns the token that a text in angle brackets means.
func (p *parser) lookUp(text string) (id int32, ok bool) {
	if p.vocabulary == nil {
		return 0, false
	}
	if id, ok = p.tokens[text]; ok {
		return id, true
	}
	if number, is := strings.CutPrefix(text, "<["); is {
		id, ok = tokenID(number)
	} else {
		id, ok = p.vocabulary.TokenOf(text)
	}
	if !ok || !p.vocabulary.HasToken(id) {
		return 0, false
	}
	p.tokens[text] = id
	return id, true
}

// tokenID reads the id of a token before ]>.
func tokenID(text string) (id int32, ok bool) {
	digits, ok := strings.CutSuffix(text, "]>")
	if !ok || digits == "" || len(digits) > 9 {
		return 0, false
	}
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0, false
		}
		id = id*10 + d - '0'
	}
	return id, true
}

// ---- characters ------------------------------------------------------------------------------------

// peek returns the next character, or -1 at the end.
func (p *parser) peek() rune {
	if p.text == "" {
		return -1
	}
	r, _ := utf8.DecodeRuneInString(p.text)
	return r
}

// next reads one character. The caller has seen that there is one.
func (p *parser) next() rune {
	r, size := utf8.DecodeRuneInString(p.text)
	last := p.text[0]
	p.text = p.text[size:]
	if r == '\n' || last == '\r' && !strings.HasPrefix(p.text, "\n") {
		p.here = place{p.here.line + 1, 1}
	} else {
		p.here.column++
	}
	return r
}

func (p *parser) skip(n int) {
	for range n {
		p.next()
	}
}

// take reads word if it comes next.
func (p *parser) take(word string) bool {
	if !strings.HasPrefix(p.text, word) {
		return false
	}
	p.skip(utf8.RuneCountInString(word))
	return true
}

// found says what comes next, for an error.
func (p *parser) found() string {
	r := p.peek()
	switch {
	case r < 0:
		return "the end of the grammar"
	case r == '\n', r == '\r':
		return "the end of the line"
	}
	return shown(string(r))
}

// space skips blanks and comments, and newlines where they mean nothing.
func (p *parser) space(newlines bool) {
	for {
		switch r := p.peek(); {
		case r == ' ', r == '\t', newlines && (r == '\n' || r == '\r'):
			p.next()
		case r == '#':
			for r = p.peek(); r >= 0 && r != '\n' && r != '\r'; r = p.peek() {
				p.next()
			}
		default:
			return
		}
	}
}

func isWord(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-'
}

// word reads the name of a rule; "" where none comes next.
func (p *parser) word() string {
	n := 0
	for n < len(p.text) && isWord(rune(p.text[n])) {
		n++
	}
	name := p.text[:n]
	p.skip(n)
	return name
}

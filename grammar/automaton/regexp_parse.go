package automaton

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// This file reads regular expressions in the syntax of ECMA-262, which JSON schemas have, and that of the named groups
// that Python writes. What no finite automaton can do (back-references), or what is not supported, is an error that names
// it.

// What a piece of an expression is.
type op uint8

const (
	opClass  op = iota // a character of ranges
	opSeq              // its parts, one after the other
	opChoice           // one of its parts
	opRepeat           // its part, least to most times
	opStart            // ^
	opEnd              // $
	opAhead            // (?= or (?!: what follows begins with its part, or does not
	opMark             // a place about which the text before it says something: a mark of ranges
)

type regexpNode struct {
	op          op
	ranges      []Range
	parts       []*regexpNode
	least, most int // of opRepeat; most: -1 for any number
	not         bool
}

// Bounds of an expression.
const (
	maxPattern        = 64 << 10 // bytes
	maxPatternNesting = 100      // of groups
	maxPatternRepeat  = 70_000   // a number between braces
)

type regexpParser struct {
	text  string
	at    int
	depth int

	marks   []int32 // of all places
	behinds []behind
}

func (p *regexpParser) parse() (*regexpNode, error) {
	if len(p.text) > maxPattern {
		return nil, fmt.Errorf("has %d bytes, at most %d are read", len(p.text), maxPattern)
	}
	n, err := p.choice()
	if err == nil && p.at < len(p.text) {
		err = fmt.Errorf("has an unexpected ) at character %d", p.at+1)
	}
	return n, err
}

func (p *regexpParser) rest() string { return p.text[p.at:] }

func (p *regexpParser) take(prefix string) bool {
	if strings.HasPrefix(p.rest(), prefix) {
		p.at += len(prefix)
		return true
	}
	return false
}

func (p *regexpParser) choice() (*regexpNode, error) {
	if p.depth++; p.depth > maxPatternNesting {
		return nil, fmt.Errorf("has groups nested deeper than %d", maxPatternNesting)
	}
	defer func() { p.depth-- }()
	out := &regexpNode{op: opChoice}
	for {
		s, err := p.sequence()
		if err != nil {
			return nil, err
		}
		out.parts = append(out.parts, s)
		if !p.take("|") {
			break
		}
	}
	if len(out.parts) == 1 {
		return out.parts[0], nil
	}
	return out, nil
}

func (p *regexpParser) sequence() (*regexpNode, error) {
	out := &regexpNode{op: opSeq}
	for p.at < len(p.text) && p.text[p.at] != '|' && p.text[p.at] != ')' {
		atom, err := p.atom()
		if err != nil {
			return nil, err
		}
		if atom, err = p.quantified(atom); err != nil {
			return nil, err
		}
		out.parts = append(out.parts, atom)
	}
	return out, nil
}

func (p *regexpParser) quantified(atom *regexpNode) (*regexpNode, error) {
	least, most := 1, 1
	switch {
	case p.take("*"):
		least, most = 0, -1
	case p.take("+"):
		most = -1
	case p.take("?"):
		least = 0
	default:
		var ok bool
		if least, most, ok = p.braces(); !ok {
			return atom, nil
		}
	}
	p.take("?") // a lazy one admits the same texts
	switch {
	case most >= 0 && most < least:
		return nil, fmt.Errorf("has the repetition {%d,%d}, which runs backwards", least, most)
	case max(least, most) > maxPatternRepeat:
		return nil, fmt.Errorf("repeats something %d times, at most %d are supported", max(least, most), maxPatternRepeat)
	case atom.op == opStart || atom.op == opEnd || atom.op == opAhead || atom.op == opMark:
		return nil, fmt.Errorf("repeats something that has no characters")
	}
	if c := p.rest(); c != "" && (c[0] == '*' || c[0] == '+' || c[0] == '?') {
		return nil, fmt.Errorf("has two repetitions of one thing at character %d", p.at+1)
	}
	return &regexpNode{op: opRepeat, parts: []*regexpNode{atom}, least: least, most: most}, nil
}

// braces reads {2}, {2,} or {2,5}; a brace that begins none of these stands for itself.
func (p *regexpParser) braces() (least, most int, ok bool) {
	if !strings.HasPrefix(p.rest(), "{") {
		return 0, 0, false
	}
	inner, _, closed := strings.Cut(p.rest()[1:], "}")
	if !closed {
		return 0, 0, false
	}
	first, second, two := strings.Cut(inner, ",")
	least, err := strconv.Atoi(first)
	if err != nil || first[0] == '-' || first[0] == '+' {
		return 0, 0, false
	}
	switch most = least; {
	case two && second == "":
		most = -1
	case two:
		if most, err = strconv.Atoi(second); err != nil || second[0] == '-' || second[0] == '+' {
			return 0, 0, false
		}
	}
	p.at += len(inner) + 2
	return least, most, true
}

func (p *regexpParser) atom() (*regexpNode, error) {
	c, size := utf8.DecodeRuneInString(p.rest())
	switch c {
	case '(':
		p.at++
		return p.group()
	case '[':
		p.at++
		return p.class()
	case '.':
		p.at++
		return &regexpNode{ranges: complement(lineEnds)}, nil
	case '^':
		p.at++
		return &regexpNode{op: opStart}, nil
	case '$':
		p.at++
		return &regexpNode{op: opEnd}, nil
	case '\\':
		return p.escapedAtom()
	case '*', '+', '?':
		return nil, fmt.Errorf("has nothing to repeat at character %d", p.at+1)
	}
	p.at += size
	return &regexpNode{ranges: []Range{{c, c}}}, nil
}

func (p *regexpParser) group() (*regexpNode, error) {
	out := &regexpNode{op: opSeq}
	switch {
	case p.take("?:"):
	case p.take("?="):
		out.op = opAhead
	case p.take("?!"):
		out.op, out.not = opAhead, true
	case p.take("?<="):
		return p.lookBehind(false)
	case p.take("?<!"):
		return p.lookBehind(true)
	case p.take("?P<"), p.take("?<"):
		name, _, closed := strings.Cut(p.rest(), ">")
		if !closed {
			return nil, fmt.Errorf("has the name of a group that is not closed")
		}
		p.at += len(name) + 1
	case p.take("?"):
		return nil, fmt.Errorf("has a group with flags or of an unknown kind at character %d, which is not supported", p.at)
	}
	inner, err := p.choice()
	if err != nil {
		return nil, err
	}
	if !p.take(")") {
		return nil, fmt.Errorf("has a group that is not closed")
	}
	if out.op == opAhead && uses(inner, opMark) {
		return nil, fmt.Errorf("looks behind, or for a word boundary, within a look-ahead, which is not supported")
	}
	out.parts = []*regexpNode{inner}
	return out, nil
}

func (p *regexpParser) escapedAtom() (*regexpNode, error) {
	if next := p.rest(); len(next) > 1 {
		switch e := next[1]; {
		case e == 'b':
			p.at += 2
			return p.mark(boundary), nil
		case e == 'B':
			p.at += 2
			return p.mark(noBoundary), nil
		case e >= '1' && e <= '9' || e == 'k':
			return nil, fmt.Errorf("refers back to a group (\\%c), which is not supported", e)
		case e == 'A':
			p.at += 2
			return &regexpNode{op: opStart}, nil
		case e == 'Z' || e == 'z':
			p.at += 2
			return &regexpNode{op: opEnd}, nil
		}
	}
	ranges, _, err := p.escape()
	return &regexpNode{ranges: ranges}, err
}

// escape reads what begins with a backslash: a class, or a single character.
func (p *regexpParser) escape() (ranges []Range, single bool, err error) {
	p.at++
	c, size := utf8.DecodeRuneInString(p.rest())
	if size == 0 {
		return nil, false, fmt.Errorf("ends with a backslash")
	}
	p.at += size
	one := func(c int32) ([]Range, bool, error) { return []Range{{c, c}}, true, nil }
	switch c {
	case 'd':
		return digits, false, nil
	case 'D':
		return complement(digits), false, nil
	case 'w':
		return wordLetter, false, nil
	case 'W':
		return complement(wordLetter), false, nil
	case 's':
		return blanks, false, nil
	case 'S':
		return complement(blanks), false, nil
	case 'p', 'P':
		return p.unicodeProperty(c == 'P')
	case 'n':
		return one('\n')
	case 'r':
		return one('\r')
	case 't':
		return one('\t')
	case 'f':
		return one('\f')
	case 'v':
		return one('\v')
	case '0':
		return one(0)
	case 'x':
		return p.hex(2)
	case 'u':
		if p.take("{") {
			digits, _, _ := strings.Cut(p.rest(), "}")
			ranges, single, err = p.hex(len(digits))
			p.take("}")
			return ranges, single, err
		}
		return p.hex(4)
	}
	if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
		return nil, false, fmt.Errorf("has the escape \\%c, which is not supported", c)
	}
	return one(c)
}

func (p *regexpParser) hex(n int) ([]Range, bool, error) {
	if n <= len(p.rest()) {
		v, err := strconv.ParseUint(p.rest()[:n], 16, 32)
		if err == nil && v <= utf8.MaxRune && (v < 0xd800 || v > 0xdfff) {
			p.at += n
			return []Range{{int32(v), int32(v)}}, true, nil
		}
	}
	return nil, false, fmt.Errorf("has an escape at character %d whose number is not a character's", p.at+1)
}

func (p *regexpParser) unicodeProperty(not bool) ([]Range, bool, error) {
	name := ""
	if p.take("{") {
		name, _, _ = strings.Cut(p.rest(), "}")
		p.at += len(name)
		if !p.take("}") {
			return nil, false, fmt.Errorf("has the name of a property that is not closed")
		}
	} else if p.at < len(p.text) {
		name = p.text[p.at : p.at+1]
		p.at++
	}
	if _, value, ok := strings.Cut(name, "="); ok {
		name = value
	}
	ranges, ok := property(name)
	if !ok {
		return nil, false, fmt.Errorf("names the property %.40q, which is not known", name)
	}
	if not {
		ranges = complement(ranges)
	}
	return ranges, false, nil
}

func (p *regexpParser) class() (*regexpNode, error) {
	not := p.take("^")
	var ranges []Range
	for {
		if p.at >= len(p.text) {
			return nil, fmt.Errorf("has a class that is not closed")
		}
		if p.take("]") {
			break
		}
		from, single, err := p.classMember()
		if err != nil {
			return nil, err
		}
		if rest := p.rest(); single && len(rest) > 1 && rest[0] == '-' && rest[1] != ']' {
			p.at++
			to, alsoSingle, err := p.classMember()
			switch {
			case err != nil:
				return nil, err
			case alsoSingle && to[0].Lo < from[0].Lo:
				return nil, fmt.Errorf("has a range in a class that runs backwards")
			case alsoSingle:
				from = []Range{{from[0].Lo, to[0].Lo}}
			default: // [a-\d] is a, - and digits
				ranges = append(append(ranges, Range{'-', '-'}), to...)
			}
		}
		ranges = append(ranges, from...)
	}
	out := Normalize(ranges)
	if not {
		return &regexpNode{ranges: complement(out)}, nil
	}
	return &regexpNode{ranges: complement(complement(out))}, nil // without surrogates
}

func (p *regexpParser) classMember() ([]Range, bool, error) {
	c, size := utf8.DecodeRuneInString(p.rest())
	if c != '\\' {
		p.at += size
		return []Range{{c, c}}, true, nil
	}
	if strings.HasPrefix(p.rest(), `\b`) {
		p.at += 2
		return []Range{{'\b', '\b'}}, true, nil
	}
	return p.escape()
}

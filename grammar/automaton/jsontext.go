package automaton

import (
	"strings"
	"unicode/utf8"
)

// This file writes characters as the bytes of JSON strings. Every string has one text here, so that texts are equal where
// strings are: characters stand for themselves, but " and \ and the control characters below U+0020, whose escapes are
// the short ones where there are such, and \u00xx otherwise.

var shortEscapes = map[int32]byte{'"': '"', '\\': '\\', '\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't'}

const hexDigits = "0123456789abcdef"

// AppendString appends the JSON text of a string, with its quotes.
func AppendString(to []byte, text string) []byte {
	return append(appendBody(append(to, '"'), text), '"')
}

func appendBody(to []byte, text string) []byte {
	for _, c := range text {
		to = appendCharacter(to, c)
	}
	return to
}

func appendCharacter(to []byte, c int32) []byte {
	if e, ok := shortEscapes[c]; ok {
		return append(to, '\\', e)
	}
	if c < 0x20 {
		return append(to, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
	}
	return utf8.AppendRune(to, c)
}

// encoder writes the edges of an automaton over characters as paths of bytes.
type encoder struct {
	plain bool // characters stand for themselves, as they do outside of JSON
	nfa   NFA
	nodes map[string]int32 // what has been read since the state `from` -> the state for it
	from  int32
}

// node returns the state in which a beginning of a character has been read.
func (e *encoder) node(read string) int32 {
	if read == "" {
		return e.from
	}
	s, ok := e.nodes[read]
	if !ok {
		s = e.nfa.State()
		e.nodes[read] = s
	}
	return s
}

// path makes a sequence of ranges of bytes lead to a state.
func (e *encoder) path(ranges [][2]byte, to int32) {
	read := make([]byte, 0, 16)
	for i, r := range ranges {
		at := e.node(string(read))
		read = append(read, r[0], r[1])
		next := to
		if i < len(ranges)-1 {
			_, known := e.nodes[string(read)]
			if next = e.node(string(read)); known {
				continue
			}
		}
		e.nfa.Add(at, int32(r[0]), int32(r[1]), next)
	}
}

// character makes the characters of a range lead to a state.
func (e *encoder) character(lo, hi, to int32) {
	if e.plain {
		e.multibyte(lo, hi, to)
		return
	}
	for ; lo <= min(hi, '\\'); lo++ {
		if _, short := shortEscapes[lo]; !short && lo >= 0x20 {
			end := min(hi, 0x7f)
			for c := lo; c <= end; c++ {
				if c == '"' || c == '\\' {
					end = c - 1
				}
			}
			e.path([][2]byte{{byte(lo), byte(end)}}, to)
			lo = end
			continue
		}
		var ranges [][2]byte
		for _, b := range appendCharacter(nil, lo) {
			ranges = append(ranges, [2]byte{b, b})
		}
		e.path(ranges, to)
	}
	if lo <= min(hi, 0x7f) {
		e.path([][2]byte{{byte(lo), byte(min(hi, 0x7f))}}, to)
		lo = 0x80
	}
	e.multibyte(lo, hi, to)
}

// multibyte splits a range until its UTF-8 is one range for each byte.
func (e *encoder) multibyte(lo, hi, to int32) {
	for _, last := range []int32{0x7f, 0x7ff, 0xffff} {
		if lo <= last && hi > last {
			e.multibyte(lo, last, to)
			lo = last + 1
		}
	}
	if lo > hi {
		return
	}
	size := utf8.RuneLen(lo)
	for i := 1; i < size; i++ {
		m := int32(1)<<(6*i) - 1
		if lo&^m == hi&^m {
			continue
		}
		if lo&m != 0 {
			e.multibyte(lo, lo|m, to)
			e.multibyte(lo|m+1, hi, to)
			return
		}
		if hi&m != m {
			e.multibyte(lo, hi&^m-1, to)
			e.multibyte(hi&^m, hi, to)
			return
		}
	}
	var ranges [][2]byte
	first, last := string(lo), string(hi)
	for i := range size {
		ranges = append(ranges, [2]byte{first[i], last[i]})
	}
	e.path(ranges, to)
}

// Encode returns the automaton, over bytes, of the JSON strings whose characters d accepts, with their quotes.
func Encode(d *DFA) (*DFA, error) { return encode(d, false) }

// EncodePlain returns the automaton, over bytes, of the texts that d accepts.
func EncodePlain(d *DFA) (*DFA, error) { return encode(d, true) }

func encode(d *DFA, plain bool) (*DFA, error) {
	e := &encoder{plain: plain}
	for range d.Edges {
		e.nfa.State()
	}
	before, after := e.nfa.State(), e.nfa.State()
	if plain {
		e.nfa.Skip(before, 0)
	} else {
		e.nfa.Add(before, '"', '"', 0)
	}
	for s, edges := range d.Edges {
		e.from, e.nodes = int32(s), make(map[string]int32)
		for _, x := range edges {
			if x.Lo < 0xd800 && x.Hi > 0xdfff {
				e.character(x.Lo, 0xd7ff, x.To)
				x.Lo = 0xe000
			}
			e.character(x.Lo, x.Hi, x.To)
		}
		switch {
		case d.Accept[s] && plain:
			e.nfa.Skip(int32(s), after)
		case d.Accept[s]:
			e.nfa.Add(int32(s), '"', '"', after)
		}
		if e.nfa.Size() > 4*MaxStates {
			return nil, ErrTooLarge
		}
	}
	return e.nfa.Determinize(before, after)
}

// EncodeAny returns the automaton of all JSON strings, with every way of writing them but halves of characters.
func EncodeAny() *DFA {
	e := &encoder{nodes: make(map[string]int32)}
	before, after, body := e.nfa.State(), e.nfa.State(), e.nfa.State()
	e.nfa.Add(before, '"', '"', body)
	e.nfa.Add(body, '"', '"', after)
	e.from = body
	for _, r := range characters {
		e.character(max(r.Lo, 0x20), r.Hi, body)
	}
	escape := e.node(strings.Repeat(`\`, 2))
	for _, c := range `"\/bfnrt` {
		e.nfa.Add(escape, c, c, body)
	}
	u := e.nfa.State()
	e.nfa.Add(escape, 'u', 'u', u)
	hexadecimal := func(from int32, first string, to int32) {
		for _, c := range first {
			e.nfa.Add(from, c, c, to)
		}
	}
	const all = "0123456789abcdefABCDEF"
	second, afterD, third, fourth := e.nfa.State(), e.nfa.State(), e.nfa.State(), e.nfa.State()
	hexadecimal(u, "0123456789abcefABCEF", second)
	hexadecimal(u, "dD", afterD)
	hexadecimal(second, all, third)
	hexadecimal(afterD, "01234567", third)
	hexadecimal(third, all, fourth)
	hexadecimal(fourth, all, body)
	d, err := e.nfa.Determinize(before, after)
	if err != nil {
		return nothing() // it has some twenty states: this does not happen
	}
	return d
}

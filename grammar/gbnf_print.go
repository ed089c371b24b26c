package grammar

import (
	"fmt"
	"strconv"
	"strings"
)

// This file writes a grammar in its canonical form: one rule a line, no comments, classes as sorted ranges without
// negation, tokens by their ids, and every character that is not a plain one of ASCII as an escape. llama.cpp's parser
// reads it as Parse does; the tests of runtime/llama compare the two, and what is then matched, through it.

// String returns the canonical form. Parse(g.String()) is the same grammar and has the same canonical form.
func (g *Grammar) String() string {
	var b strings.Builder
	for _, r := range g.rules {
		b.WriteString(r.name + " ::= ")
		writeAlternatives(&b, r.body)
		b.WriteByte('\n')
	}
	return b.String()
}

func writeAlternatives(b *strings.Builder, all alternatives) {
	for i, s := range all {
		if i > 0 {
			b.WriteString(" | ")
		}
		if len(s) == 0 {
			b.WriteString(`""`)
		}
		for j, part := range s {
			if j > 0 {
				b.WriteByte(' ')
			}
			writeItem(b, part)
			for _, count := range part.repeats {
				b.WriteString(count.String())
			}
		}
	}
}

func writeItem(b *strings.Builder, part item) {
	switch part.kind {
	case literal:
		b.WriteByte('"')
		for _, r := range part.text {
			writeChar(b, r)
		}
		b.WriteByte('"')
	case class:
		b.WriteByte('[')
		for _, r := range part.ranges {
			writeChar(b, r.Lo)
			if r.Hi > r.Lo {
				b.WriteByte('-')
				writeChar(b, r.Hi)
			}
		}
		b.WriteByte(']')
	case anything:
		b.WriteByte('.')
	case reference:
		b.WriteString(part.name)
	case token:
		fmt.Fprintf(b, "<[%d]>", part.id)
	case notToken:
		fmt.Fprintf(b, "!<[%d]>", part.id)
	case group:
		b.WriteByte('(')
		writeAlternatives(b, part.inner)
		b.WriteByte(')')
	}
}

// writeChar writes a character that means itself in strings and in classes, or its escape.
func writeChar(b *strings.Builder, r rune) {
	switch {
	case r >= ' ' && r < 0x7f && !strings.ContainsRune(`"\[]^-`, r):
		b.WriteByte(byte(r))
	case r <= 0xff:
		fmt.Fprintf(b, `\x%02X`, r)
	case r <= 0xffff:
		fmt.Fprintf(b, `\u%04X`, r)
	default:
		fmt.Fprintf(b, `\U%08X`, r)
	}
}

// String writes a repetition in its shortest form.
func (r repeat) String() string {
	switch {
	case r.least == 0 && r.most < 0:
		return "*"
	case r.least == 1 && r.most < 0:
		return "+"
	case r.least == 0 && r.most == 1:
		return "?"
	case r.most < 0:
		return fmt.Sprintf("{%d,}", r.least)
	case r.most == r.least:
		return fmt.Sprintf("{%d}", r.least)
	}
	return fmt.Sprintf("{%d,%d}", r.least, r.most)
}

// shown quotes a text of the grammar for an error, cut to a length that can be read.
func shown(text string) string {
	const most = 40
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "..."
	}
	return strconv.Quote(text)
}

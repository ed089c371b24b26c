package grammar

import (
	"slices"
	"unicode"
)

// This file turns a grammar into flat rules, in which groups are rules of their own and repetitions are spelled out.
// It stops at maxElements, so that its time and memory do not depend on what the numbers of repetitions multiply to.

// Kind says what an Element is.
type Kind uint32

// The kinds. runtime/llama/c_api.h has the same numbers.
const (
	End      Kind = iota // of a rule
	Or                   // between two alternatives of a rule
	Ref                  // the rule Value
	Char                 // the character Value
	Class                // one character of the class Value
	Token                // the token Value
	NotToken             // any token but Value
)

// Element is one step of a rule.
type Element struct {
	Kind  Kind
	Value uint32
}

// Program is a grammar as flat rules. Every rule ends with End and every Value is in range. No rule begins with itself,
// rules begin with each other at most 500 deep, and no place can be read in more than MaxReadings ways before the
// answer has begun. (Where rules recurse in their middle, an answer can come to have more.)
type Program struct {
	Elements []Element
	Rules    []int32 // where each begins in Elements; the first is root
	Ranges   []Range
	Classes  []int32 // where each begins in Ranges, which are sorted and apart within a class
}

// Compile returns the flat rules, or an *Error that says why they cannot be followed in bounded time.
func (g *Grammar) Compile() (*Program, error) {
	c := &compiler{grammar: g, names: make([]int, len(g.rules)), classes: make(map[string]uint32)}
	c.reserve(g.rules[g.root].at, "root")
	c.names[g.root] = 0
	for i, r := range g.rules {
		if i != g.root {
			c.names[i] = c.reserve(r.at, r.name)
		}
	}
	for i, r := range g.rules {
		c.owner = r.name
		if err := c.define(c.names[i], r.body); err != nil {
			return nil, err
		}
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return c.program(), nil
}

type compiler struct {
	grammar *Grammar
	owner   string // the named rule that is being compiled
	names   []int  // number of a named rule in grammar -> in flat
	flat    []flatRule
	size    int // elements in flat
	out     Program
	classes map[string]uint32
}

// flatRule is one of the flat rules, and where it comes from.
type flatRule struct {
	elements []Element
	at       place
	owner    string
}

// reserve makes a rule whose elements come later.
func (c *compiler) reserve(at place, owner string) int {
	c.flat = append(c.flat, flatRule{at: at, owner: owner})
	return len(c.flat) - 1
}

// count adds n elements to those that there are.
func (c *compiler) count(n int, at place) error {
	if c.size += n; c.size > maxElements {
		return at.fault("with its repetitions the grammar has more than %d elements", maxElements)
	}
	return nil
}

func (c *compiler) define(id int, all alternatives) error {
	var out []Element
	for i, s := range all {
		if i > 0 {
			out = append(out, Element{Kind: Or})
		}
		for _, part := range s {
			var err error
			if out, err = c.item(out, part); err != nil {
				return err
			}
		}
	}
	return c.finish(id, out)
}

// finish sets the elements of a rule.
func (c *compiler) finish(id int, elements []Element) error {
	elements = append(elements, Element{Kind: End})
	c.flat[id].elements = elements
	return c.count(1, c.flat[id].at)
}

// helper makes a rule of the given elements and returns the reference to it.
func (c *compiler) helper(elements []Element, at place) (Element, error) {
	id := c.reserve(at, c.owner)
	if err := c.count(len(elements), at); err != nil {
		return Element{}, err
	}
	return Element{Ref, uint32(id)}, c.finish(id, elements)
}

// item appends a part of a sequence.
func (c *compiler) item(out []Element, part item) ([]Element, error) {
	from := len(out)
	switch part.kind {
	case literal:
		for _, r := range part.text {
			out = append(out, Element{Char, uint32(r)})
		}
	case class:
		out = append(out, Element{Class, c.class(part.ranges)})
	case anything:
		out = append(out, Element{Class, c.class([]Range{{Lo: 0, Hi: unicode.MaxRune}})})
	case reference:
		out = append(out, Element{Ref, uint32(c.names[part.target])})
	case token:
		out = append(out, Element{Token, uint32(part.id)})
	case notToken:
		out = append(out, Element{NotToken, uint32(part.id)})
	case group:
		id := c.reserve(part.at, c.owner)
		if err := c.define(id, part.inner); err != nil {
			return nil, err
		}
		out = append(out, Element{Ref, uint32(id)})
	}
	if err := c.count(len(out)-from, part.at); err != nil {
		return nil, err
	}
	for _, r := range part.repeats {
		body := slices.Clone(out[from:])
		again, err := c.repeat(body, r)
		if err != nil {
			return nil, err
		}
		out = append(out[:from], again...)
	}
	return out, nil
}

// repeat spells a repetition out: S{m,n} is m times S and a rule for up to n-m more of them,
//
//	up(1) ::= S |    up(k) ::= S up(k-1) |    and for any number    up ::= S up |
//
// where S is a single element: what has more is made a rule first.
func (c *compiler) repeat(body []Element, r repeat) ([]Element, error) {
	s := body[0]
	if len(body) > 1 {
		var err error
		if s, err = c.helper(body, r.at); err != nil {
			return nil, err
		}
	}
	if err := c.count(r.least+1, r.at); err != nil {
		return nil, err
	}
	out := slices.Repeat([]Element{s}, r.least)
	if r.most == r.least {
		return out, nil
	}
	if r.most < 0 {
		more, err := c.helper([]Element{s, {Ref, uint32(len(c.flat))}, {Kind: Or}}, r.at)
		return append(out, more), err
	}
	more, err := c.helper([]Element{s, {Kind: Or}}, r.at)
	for range r.most - r.least - 1 {
		if err != nil {
			return nil, err
		}
		more, err = c.helper([]Element{s, more, {Kind: Or}}, r.at)
	}
	return append(out, more), err
}

// class returns the number of a class. Equal ones are one.
func (c *compiler) class(ranges []Range) uint32 {
	var b []byte
	for _, r := range ranges {
		for _, x := range []rune{r.Lo, r.Hi} {
			b = append(b, byte(x), byte(x>>8), byte(x>>16))
		}
	}
	key := string(b)
	id, known := c.classes[key]
	if !known {
		id = uint32(len(c.classes))
		c.classes[key] = id
		c.out.Classes = append(c.out.Classes, int32(len(c.out.Ranges)))
		c.out.Ranges = append(c.out.Ranges, ranges...)
	}
	return id
}

// program joins the flat rules.
func (c *compiler) program() *Program {
	p := &c.out
	p.Elements = make([]Element, 0, c.size)
	for _, r := range c.flat {
		p.Rules = append(p.Rules, int32(len(p.Elements)))
		p.Elements = append(p.Elements, r.elements...)
	}
	return p
}

package automaton

import (
	"fmt"
	"slices"
	"unicode"
)

// This file has what an expression says about the text before a place: look-behind and word boundaries. Such a place
// becomes a mark, a symbol beyond all characters. The expression is compiled with its marks, an automaton for each kind of
// mark tells where it may stand, and from what both admit the marks are taken out again.

// The marks: \b, \B, and from firstBehind on the look-behinds, in their order.
const (
	firstMark   = unicode.MaxRune + 1
	boundary    = firstMark
	noBoundary  = firstMark + 1
	firstBehind = firstMark + 2
	maxBehinds  = 16
)

// behind is a look-behind: (?<= or (?<!.
type behind struct {
	before *regexpNode
	not    bool
}

// lookBehind reads what follows (?<= or (?<!.
func (p *regexpParser) lookBehind(not bool) (*regexpNode, error) {
	inner, err := p.choice()
	switch {
	case err != nil:
		return nil, err
	case !p.take(")"):
		return nil, fmt.Errorf("has a group that is not closed")
	case uses(inner, opAhead, opMark, opEnd):
		return nil, fmt.Errorf("has an assertion within a look-behind, which is not supported")
	case len(p.behinds) == maxBehinds:
		return nil, fmt.Errorf("looks behind at more than %d places", maxBehinds)
	}
	p.behinds = append(p.behinds, behind{inner, not})
	return p.mark(firstBehind + int32(len(p.behinds)) - 1), nil
}

func (p *regexpParser) mark(m int32) *regexpNode {
	p.marks = append(p.marks, m)
	return &regexpNode{op: opMark, ranges: []Range{{m, m}}}
}

// uses reports whether one of some operations is in an expression.
func uses(n *regexpNode, ops ...op) bool {
	return slices.Contains(ops, n.op) || slices.ContainsFunc(n.parts, func(p *regexpNode) bool { return uses(p, ops...) })
}

// withMarks accepts the texts of d with any marks in them.
func (p *regexpParser) withMarks(d *DFA) *DFA {
	if len(p.marks) == 0 {
		return d
	}
	out := &DFA{Edges: make([][]Edge, len(d.Edges)), Accept: d.Accept}
	for s, edges := range d.Edges {
		out.Edges[s] = append(slices.Clone(edges), Edge{firstMark, firstBehind + maxBehinds, int32(s)})
	}
	return out
}

// withoutMarks accepts the texts of d whose marks stand where they may, without the marks.
func (p *regexpParser) withoutMarks(d *DFA) (*DFA, error) {
	if slices.Contains(p.marks, boundary) || slices.Contains(p.marks, noBoundary) {
		var err error
		if d, err = Intersect(d, p.withBoundaries()); err != nil {
			return nil, err
		}
	}
	for i, b := range p.behinds {
		places, err := p.placesBehind(b, firstBehind+int32(i))
		if err != nil {
			return nil, err
		}
		if d, err = Intersect(d, places); err != nil {
			return nil, err
		}
	}
	var n NFA
	for range d.Edges {
		n.State()
	}
	end := n.State()
	for s, edges := range d.Edges {
		for _, e := range edges {
			if e.Lo < firstMark {
				n.Add(int32(s), e.Lo, min(e.Hi, unicode.MaxRune), e.To)
			}
			if e.Hi >= firstMark {
				n.Skip(int32(s), e.To)
			}
		}
		if d.Accept[s] {
			n.Skip(int32(s), end)
		}
	}
	return n.Determinize(0, end)
}

// placesBehind accepts the texts in which a mark stands only after what a look-behind asks for. All other marks may stand
// anywhere.
func (p *regexpParser) placesBehind(b behind, mark int32) (*DFA, error) {
	ends, err := p.found(b.before, onlyEmpty())
	if err != nil {
		return nil, err
	}
	n := int32(len(ends.Edges)) // a further state: nothing that ends so can follow
	out := &DFA{Edges: make([][]Edge, n+1), Accept: make([]bool, n+1)}
	for s := range n + 1 {
		var edges []Edge
		if s < n {
			edges = ends.Edges[s]
		}
		overlay(edges, Anything().Edges[0], func(lo, hi, to, _ int32) {
			if to < 0 {
				to = n
			}
			out.Edges[s] = append(out.Edges[s], Edge{lo, hi, to})
		})
		out.Accept[s] = true
		out.Edges[s] = append(out.Edges[s], Edge{firstMark, mark - 1, s})
		if (s < n && ends.Accept[s]) != b.not {
			out.Edges[s] = append(out.Edges[s], Edge{mark, mark, s})
		}
		out.Edges[s] = append(out.Edges[s], Edge{mark + 1, firstBehind + maxBehinds, s})
	}
	return out, nil
}

// withBoundaries accepts the texts in which \b and \B stand where they may. All other marks may stand anywhere.
func (p *regexpParser) withBoundaries() *DFA {
	// The states are by what the last character is, and what the next one has to be.
	const after, afterWord, wordNext, afterWordNoWordNext, noWordNext, afterWordWordNext = 0, 1, 2, 3, 4, 5
	out := &DFA{Accept: []bool{after: true, afterWord: true, wordNext: false, afterWordNoWordNext: true, noWordNext: true, afterWordWordNext: false}}
	for s := range int32(len(out.Accept)) {
		var edges []Edge
		add := func(ranges []Range, to int32) {
			for _, r := range ranges {
				edges = append(edges, Edge{r.Lo, r.Hi, to})
			}
		}
		if s != afterWordNoWordNext && s != noWordNext {
			add(wordLetter, afterWord)
		}
		if s != wordNext && s != afterWordWordNext {
			add(complement(wordLetter), after)
		}
		switch s {
		case after, wordNext:
			add([]Range{{boundary, boundary}}, wordNext)
		case afterWord, afterWordNoWordNext:
			add([]Range{{boundary, boundary}}, afterWordNoWordNext)
		}
		switch s {
		case after, noWordNext:
			add([]Range{{noBoundary, noBoundary}}, noWordNext)
		case afterWord, afterWordWordNext:
			add([]Range{{noBoundary, noBoundary}}, afterWordWordNext)
		}
		add([]Range{{firstBehind, firstBehind + maxBehinds}}, s)
		slices.SortFunc(edges, func(a, b Edge) int { return int(a.Lo - b.Lo) })
		out.Edges = append(out.Edges, edges)
	}
	return out
}

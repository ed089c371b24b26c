package automaton

import "slices"

// This file finds expressions such as ^[a-z]{1,500}$, whose repetition need not be written out: see Counted.

// fewestCounted is from how many repetitions on an expression is one that Counted finds.
const fewestCounted = 16

// Counted returns the automaton of an expression without the bounds of a repetition, and the fewest and the most
// characters that the whole text then has, the second -1 for no bound. ok is false for expressions that are not ^, texts of
// one length, a repetition of one character of a class, texts of one length, and $, and for those that repeat little.
func Counted(text string) (d *DFA, least, most int, ok bool) {
	p := &regexpParser{text: text}
	root, err := p.parse()
	if err != nil || len(p.marks) > 0 || root.op != opSeq || len(root.parts) < 3 {
		return nil, 0, 0, false
	}
	last := len(root.parts) - 1
	if root.parts[0].op != opStart || root.parts[last].op != opEnd {
		return nil, 0, 0, false
	}
	parts := append([]*regexpNode{}, root.parts...)
	var repeat *regexpNode
	others := 0 // characters beside the repetition
	for i, part := range root.parts[1:last] {
		l, m := lengths(part)
		switch {
		case hasAssertion(part) || !part.hasUnits():
			return nil, 0, 0, false
		case l == m:
			others += l
		case repeat != nil || part.op != opRepeat || !part.parts[0].oneCharacter():
			return nil, 0, 0, false
		default:
			repeat = part
			parts[i+1] = &regexpNode{op: opRepeat, parts: part.parts, most: -1}
		}
	}
	if repeat == nil || max(repeat.least, repeat.most) < fewestCounted && (repeat.least > 1 || repeat.most >= 0) {
		return nil, 0, 0, false
	}
	if d, err = p.found(&regexpNode{op: opSeq, parts: parts}, Anything()); err != nil {
		return nil, 0, 0, false
	}
	if most = -1; repeat.most >= 0 {
		most = others + repeat.most
	}
	return d, others + repeat.least, most, true
}

// oneCharacter reports whether an expression is one character of a class.
func (n *regexpNode) oneCharacter() bool {
	for n.op == opSeq && len(n.parts) == 1 {
		n = n.parts[0]
	}
	return n.op == opClass
}

// hasUnits reports whether each class in an expression has a character that is one unit of UTF-16.
func (n *regexpNode) hasUnits() bool {
	if n.op == opClass {
		return len(n.ranges) > 0 && n.ranges[0].Lo <= 0xffff
	}
	return !slices.ContainsFunc(n.parts, func(p *regexpNode) bool { return !p.hasUnits() })
}

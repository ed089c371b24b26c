package automaton

import "unicode/utf8"

// This file finds expressions such as ^[a-z]{1,500}$, whose repetition need not be written out: see Counted.

// fewestCounted is from how many repetitions on an expression is one that Counted finds.
const fewestCounted = 16

// Counted returns the automaton of an expression without the bounds of its last repetition, and the fewest and the most
// characters that the whole text then has, the second -1 for no bound. ok is false for expressions that are not ^, texts of
// one length, a repetition of one character of a class, and $, and for those that repeat little. In every state of the
// automaton any number of characters can follow.
func Counted(text string) (d *DFA, least, most int, ok bool) {
	p := &regexpParser{text: text}
	root, err := p.parse()
	if err != nil || len(p.marks) > 0 || root.op != opSeq || len(root.parts) < 3 {
		return nil, 0, 0, false
	}
	last := len(root.parts) - 1
	repeat := root.parts[last-1]
	if root.parts[0].op != opStart || root.parts[last].op != opEnd || repeat.op != opRepeat || !repeat.parts[0].oneCharacter() {
		return nil, 0, 0, false
	}
	if max(repeat.least, repeat.most) < fewestCounted && (repeat.least > 1 || repeat.most >= 0) {
		return nil, 0, 0, false
	}
	before := 0
	for _, part := range root.parts[1 : last-1] {
		l, m := lengths(part)
		if l != m || hasAssertion(part) {
			return nil, 0, 0, false
		}
		before += l
	}
	parts := append([]*regexpNode{}, root.parts...)
	parts[last-1] = &regexpNode{op: opRepeat, parts: repeat.parts, most: -1}
	if d, err = p.found(&regexpNode{op: opSeq, parts: parts}, Anything()); err != nil {
		return nil, 0, 0, false
	}
	if most = -1; repeat.most >= 0 {
		most = before + repeat.most
	}
	return d, before + repeat.least, most, true
}

// oneCharacter reports whether an expression is one character of a class in which one has a single unit of UTF-16.
func (n *regexpNode) oneCharacter() bool {
	for n.op == opSeq && len(n.parts) == 1 {
		n = n.parts[0]
	}
	return n.op == opClass && len(n.ranges) > 0 && n.ranges[0].Lo <= 0xffff && utf8.ValidRune(n.ranges[0].Lo)
}

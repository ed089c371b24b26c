package automaton

import (
	"errors"
	"fmt"
)

// Regexp returns the texts in which an expression is found somewhere, as the keyword pattern of JSON schemas means it.
// The error says in the form "has ..." or "needs ..." why there is no automaton.
func Regexp(text string) (*DFA, error) {
	p := &regexpParser{text: text}
	root, err := p.parse()
	if err != nil {
		return nil, err
	}
	d, err := p.found(root, Anything())
	if err != nil || len(p.marks) == 0 {
		return d, err
	}
	return p.withoutMarks(d)
}

// found returns the texts in which an expression is found somewhere, before one of rest.
func (p *regexpParser) found(root *regexpNode, rest *DFA) (*DFA, error) {
	// Found at the beginning, where ^ holds, or after some characters, where it does not.
	first, err := p.before(root, rest, true)
	if err != nil {
		return nil, err
	}
	later, err := p.before(root, rest, false)
	if err != nil {
		return nil, err
	}
	var n NFA
	from, middle, to := n.State(), n.State(), n.State()
	n.Embed(first, from, to)
	if !later.Empty() {
		for _, r := range characters {
			n.Add(from, r.Lo, r.Hi, middle)
			n.Add(middle, r.Lo, r.Hi, middle)
		}
		n.Embed(later, middle, to)
	}
	return n.Determinize(from, to)
}

// Anything accepts all texts.
func Anything() *DFA {
	d := &DFA{Edges: make([][]Edge, 1), Accept: []bool{true}}
	for _, r := range characters {
		d.Edges[0] = append(d.Edges[0], Edge{r.Lo, r.Hi, 0})
	}
	return d
}

// onlyEmpty accepts the empty text.
func onlyEmpty() *DFA { return &DFA{Edges: [][]Edge{nil}, Accept: []bool{true}} }

// before returns the texts that begin with a text of the expression and go on with one of rest. atStart says whether the
// expression begins where the whole text does. Expressions are compiled from their end to their beginning, so that what
// an assertion says about the text after it is an intersection with the automaton of that text.
func (p *regexpParser) before(n *regexpNode, rest *DFA, atStart bool) (*DFA, error) {
	if rest.Empty() {
		return nothing(), nil
	}
	switch n.op {
	case opStart:
		if atStart {
			return rest, nil
		}
		return nothing(), nil
	case opEnd:
		return Intersect(rest, p.withMarks(onlyEmpty()))
	case opAhead:
		ahead, err := p.before(n.parts[0], Anything(), atStart)
		if err != nil {
			return nil, err
		}
		ahead = p.withMarks(ahead)
		if n.not {
			return Subtract(rest, ahead)
		}
		return Intersect(rest, ahead)
	case opSeq:
		return p.stretches(n.parts, rest, atStart)
	case opChoice:
		return p.choices(n.parts, rest, atStart)
	}
	if hasAssertion(n) {
		return p.unrolled(n, rest, atStart)
	}
	return concat([]*regexpNode{n}, rest)
}

// stretches compiles stretches without assertions in one step.
func (p *regexpParser) stretches(parts []*regexpNode, rest *DFA, atStart bool) (*DFA, error) {
	for end := len(parts); end > 0; {
		from := end
		for from > 0 && !hasAssertion(parts[from-1]) {
			from--
		}
		var err error
		if from < end {
			rest, err = concat(parts[from:end], rest)
		} else {
			from--
			here := atStart
			for _, part := range parts[:from] {
				if least, most := lengths(part); most != 0 {
					if least == 0 && atStart && uses(parts[from], opStart) {
						return nil, errors.New("has ^ after something that may be empty, which is not supported")
					}
					here = false
				}
			}
			rest, err = p.before(parts[from], rest, here)
		}
		if err != nil {
			return nil, err
		}
		end = from
	}
	return rest, nil
}

func (p *regexpParser) choices(parts []*regexpNode, rest *DFA, atStart bool) (*DFA, error) {
	var n NFA
	from, to := n.State(), n.State()
	for _, part := range parts {
		d, err := p.before(part, rest, atStart)
		if err != nil {
			return nil, err
		}
		n.Embed(d, from, to)
		if n.Size() > 4*MaxStates {
			return nil, ErrTooLarge
		}
	}
	return n.Determinize(from, to)
}

// unrolled writes out a repetition of something that has assertions in it.
func (p *regexpParser) unrolled(n *regexpNode, rest *DFA, atStart bool) (*DFA, error) {
	if n.most < 0 || n.most > 16 {
		return nil, fmt.Errorf("repeats an assertion, which is not supported")
	}
	after := rest
	for i := n.most; i > 0; i-- {
		once, err := p.before(n.parts[0], after, atStart && i == 1)
		if err != nil {
			return nil, err
		}
		if after = once; i > n.least {
			if after, err = Union(once, rest); err != nil {
				return nil, err
			}
		}
	}
	return after, nil
}

func concat(parts []*regexpNode, rest *DFA) (*DFA, error) {
	var n NFA
	from, to := n.State(), n.State()
	at := from
	for _, p := range parts {
		next := n.State()
		if err := n.regexp(p, at, next); err != nil {
			return nil, err
		}
		at = next
	}
	n.Embed(rest, at, to)
	return n.Determinize(from, to)
}

// regexp makes the texts of an expression without assertions lead from one state to another.
func (n *NFA) regexp(p *regexpNode, from, to int32) error {
	if n.Size() > 4*MaxStates {
		return ErrTooLarge
	}
	switch p.op {
	case opClass, opMark:
		for _, r := range p.ranges {
			n.Add(from, r.Lo, r.Hi, to)
		}
	case opChoice:
		for _, part := range p.parts {
			if err := n.regexp(part, from, to); err != nil {
				return err
			}
		}
	case opSeq:
		for _, part := range p.parts {
			next := n.State()
			if err := n.regexp(part, from, next); err != nil {
				return err
			}
			from = next
		}
		n.Skip(from, to)
	case opRepeat:
		return n.repeat(p, from, to)
	}
	return nil
}

func (n *NFA) repeat(p *regexpNode, from, to int32) error {
	for range p.least {
		next := n.State()
		if err := n.regexp(p.parts[0], from, next); err != nil {
			return err
		}
		from = next
	}
	if p.most < 0 {
		loop, back := n.State(), n.State()
		n.Skip(from, loop)
		if err := n.regexp(p.parts[0], loop, back); err != nil {
			return err
		}
		n.Skip(back, loop)
		n.Skip(loop, to)
		return nil
	}
	for range p.most - p.least {
		n.Skip(from, to)
		next := n.State()
		if err := n.regexp(p.parts[0], from, next); err != nil {
			return err
		}
		from = next
	}
	n.Skip(from, to)
	return nil
}

// hasAssertion reports whether something in an expression says more about a text than which characters it has here.
func hasAssertion(n *regexpNode) bool {
	return uses(n, opStart, opEnd, opAhead)
}

// lengths returns the fewest and the most characters of an expression's texts, the second -1 for any number.
func lengths(n *regexpNode) (least, most int) {
	switch n.op {
	case opClass:
		return 1, 1
	case opStart, opEnd, opAhead, opMark:
		return 0, 0
	case opSeq:
		for _, p := range n.parts {
			l, m := lengths(p)
			least += l
			if most += m; m < 0 || most < 0 {
				most = -1 << 20
			}
		}
		return least, max(most, -1)
	case opChoice:
		least, most = lengths(n.parts[0])
		for _, p := range n.parts[1:] {
			l, m := lengths(p)
			least = min(least, l)
			if m < 0 || most < 0 {
				most = -1
			} else {
				most = max(most, m)
			}
		}
		return least, most
	}
	l, m := lengths(n.parts[0])
	if n.most < 0 && m != 0 || m < 0 {
		return l * n.least, -1
	}
	return l * n.least, m * max(n.most, 0)
}

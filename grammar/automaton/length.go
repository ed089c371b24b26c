package automaton

import "slices"

// This file has how long the words of automata are.

// OfLength accepts the words of d with at least some number of characters, and at most some number of units of UTF-16: see
// Lexer.Completes. most is -1 for no bound.
func OfLength(d *DFA, least, most int) (*DFA, error) {
	var err error
	if least > 0 && d.shortest() < least {
		long := &DFA{Edges: make([][]Edge, least+1), Accept: make([]bool, least+1)}
		for i := range least + 1 {
			long.Edges[i] = []Edge{{0, 0x10ffff, int32(min(i+1, least))}}
		}
		long.Accept[least] = true
		if d, err = Intersect(d, long); err != nil {
			return nil, err
		}
	}
	if longest := d.longest(); most < 0 || longest >= 0 && longest <= most {
		return d, nil
	}
	short := &DFA{Edges: make([][]Edge, most+1), Accept: make([]bool, most+1)}
	for i := range most + 1 {
		short.Accept[i] = true
		if i < most {
			short.Edges[i] = []Edge{{0, 0xffff, int32(i + 1)}}
		}
		if i+1 < most {
			short.Edges[i] = append(short.Edges[i], Edge{0x10000, 0x10ffff, int32(i + 2)})
		}
	}
	return Intersect(d, short)
}

// Size is how many edges there are.
func (d *DFA) Size() (n int) {
	for _, edges := range d.Edges {
		n += len(edges)
	}
	return n
}

// Extends reports whether wherever a word can end, any number of further characters of one unit of UTF-16 can follow, too:
// after one of them it can end again.
func (d *DFA) Extends() bool {
	for s, accept := range d.Accept {
		if accept && !slices.ContainsFunc(d.Edges[s], func(e Edge) bool { return e.Lo <= 0xffff && d.Accept[e.To] }) {
			return false
		}
	}
	return true
}

// shortest returns the fewest characters of a word; 0 where there are no words.
func (d *DFA) shortest() int {
	reached := make([]bool, len(d.Edges))
	reached[0] = true
	now := []int32{0}
	for length := 0; len(now) > 0; length++ {
		var next []int32
		for _, s := range now {
			if d.Accept[s] {
				return length
			}
			for _, e := range d.Edges[s] {
				if !reached[e.To] {
					reached[e.To] = true
					next = append(next, e.To)
				}
			}
		}
		now = next
	}
	return 0
}

// longest returns the most units of UTF-16 of a word; -1 where there is no most.
func (d *DFA) longest() int {
	const unseen, open = -3, -2
	length := make([]int, len(d.Edges)) // of what can follow a state
	for i := range length {
		length[i] = unseen
	}
	var from func(s int32) int
	from = func(s int32) int {
		switch length[s] {
		case unseen:
		case open: // a circle
			return -1
		default:
			return length[s]
		}
		length[s] = open
		most := 0
		for _, e := range d.Edges[s] {
			l := from(e.To)
			if l < 0 {
				length[s] = -1
				return -1
			}
			most = max(most, l+1)
			if e.Hi > 0xffff {
				most = max(most, l+2)
			}
		}
		length[s] = most
		return most
	}
	return from(0)
}

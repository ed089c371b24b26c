package automaton

import "slices"

// Edge leads from a state to another one by a symbol from Lo to Hi, both included: a character or a byte.
type Edge struct{ Lo, Hi, To int32 }

// DFA is a deterministic automaton. State 0 is where it begins, a missing edge leads nowhere. It never changes. The
// functions of this package return DFAs in which every state but the first can reach an accepting one.
type DFA struct {
	Edges  [][]Edge // of each state, sorted and apart
	Accept []bool   // of each state
}

// Empty reports whether the automaton accepts nothing.
func (d *DFA) Empty() bool { return !d.Accept[0] && len(d.Edges[0]) == 0 }

// Next returns the state after a symbol; -1 for none.
func (d *DFA) Next(state, symbol int32) int32 {
	edges := d.Edges[state]
	i, found := slices.BinarySearchFunc(edges, symbol, func(e Edge, s int32) int {
		switch {
		case e.Hi < s:
			return -1
		case e.Lo > s:
			return 1
		}
		return 0
	})
	if !found {
		return -1
	}
	return edges[i].To
}

// Accepts reports whether the characters of a text are accepted.
func (d *DFA) Accepts(text string) bool {
	state := int32(0)
	for _, c := range text {
		if state = d.Next(state, c); state < 0 {
			return false
		}
	}
	return d.Accept[state]
}

// nothing accepts no word.
func nothing() *DFA { return &DFA{Edges: [][]Edge{nil}, Accept: []bool{false}} }

// trimmed drops the states that cannot reach an accepting one.
func (d *DFA) trimmed() *DFA {
	n := len(d.Edges)
	back := make([][]int32, n)
	for s, edges := range d.Edges {
		for _, e := range edges {
			if b := back[e.To]; len(b) == 0 || b[len(b)-1] != int32(s) {
				back[e.To] = append(b, int32(s))
			}
		}
	}
	live := make([]bool, n)
	var queue []int32
	for s, a := range d.Accept {
		if a {
			live[s] = true
			queue = append(queue, int32(s))
		}
	}
	for len(queue) > 0 {
		s := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, p := range back[s] {
			if !live[p] {
				live[p] = true
				queue = append(queue, p)
			}
		}
	}
	if !live[0] {
		return nothing()
	}
	number, count := make([]int32, n), int32(0)
	for s := range number {
		if number[s] = -1; live[s] {
			number[s] = count
			count++
		}
	}
	out := &DFA{Edges: make([][]Edge, count), Accept: make([]bool, count)}
	for s, edges := range d.Edges {
		if !live[s] {
			continue
		}
		var kept []Edge
		for _, e := range edges {
			if !live[e.To] {
				continue
			}
			e.To = number[e.To]
			if k := len(kept); k > 0 && kept[k-1].To == e.To && kept[k-1].Hi+1 == e.Lo {
				kept[k-1].Hi = e.Hi
			} else {
				kept = append(kept, e)
			}
		}
		out.Edges[number[s]], out.Accept[number[s]] = kept, d.Accept[s]
	}
	return out
}

// Intersect accepts what both accept.
func Intersect(a, b *DFA) (*DFA, error) {
	return product(a, b, func(x, y bool) bool { return x && y }, func(x, y int32) bool { return x >= 0 && y >= 0 })
}

// Union accepts what one of the two accepts.
func Union(a, b *DFA) (*DFA, error) {
	return product(a, b, func(x, y bool) bool { return x || y }, func(x, y int32) bool { return x >= 0 || y >= 0 })
}

// Subtract accepts what a accepts and b does not.
func Subtract(a, b *DFA) (*DFA, error) {
	return product(a, b, func(x, y bool) bool { return x && !y }, func(x, y int32) bool { return x >= 0 })
}

// product follows two automata side by side; -1 stands for a state that one of them does not have.
func product(a, b *DFA, accept func(x, y bool) bool, keep func(x, y int32) bool) (*DFA, error) {
	type pair struct{ x, y int32 }
	numbers := map[pair]int32{{0, 0}: 0}
	list := []pair{{0, 0}}
	out := &DFA{}
	for at := 0; at < len(list); at++ {
		p := list[at]
		var ea, eb []Edge
		ax, by := false, false
		if p.x >= 0 {
			ea, ax = a.Edges[p.x], a.Accept[p.x]
		}
		if p.y >= 0 {
			eb, by = b.Edges[p.y], b.Accept[p.y]
		}
		var edges []Edge
		overlay(ea, eb, func(lo, hi, x, y int32) {
			if !keep(x, y) {
				return
			}
			to := pair{x, y}
			n, known := numbers[to]
			if !known {
				n = int32(len(list))
				numbers[to] = n
				list = append(list, to)
			}
			edges = append(edges, Edge{lo, hi, n})
		})
		if len(list) > MaxStates {
			return nil, ErrTooLarge
		}
		out.Edges, out.Accept = append(out.Edges, edges), append(out.Accept, accept(ax, by))
	}
	return out.trimmed(), nil
}

// overlay calls f for every stretch of symbols on which neither of two lists of edges changes.
func overlay(a, b []Edge, f func(lo, hi, x, y int32)) {
	at := int32(0)
	for len(a) > 0 || len(b) > 0 {
		next, x, y := int32(1<<30), int32(-1), int32(-1)
		for i, l := range [2][]Edge{a, b} {
			if len(l) == 0 {
				continue
			}
			if l[0].Lo > at {
				next = min(next, l[0].Lo)
				continue
			}
			next = min(next, l[0].Hi+1)
			if i == 0 {
				x = l[0].To
			} else {
				y = l[0].To
			}
		}
		if x >= 0 || y >= 0 {
			f(at, next-1, x, y)
		}
		at = next
		if len(a) > 0 && a[0].Hi < at {
			a = a[1:]
		}
		if len(b) > 0 && b[0].Hi < at {
			b = b[1:]
		}
	}
}

// Words accepts the given texts and no other.
func Words(texts []string) (*DFA, error) {
	var n NFA
	from, to := n.State(), n.State()
	texts = slices.Compact(slices.Sorted(slices.Values(texts)))
	next := map[[2]int32]int32{}
	for _, text := range texts {
		at := from
		for _, c := range text {
			s, known := next[[2]int32{at, c}]
			if !known {
				s = n.State()
				n.Add(at, c, c, s)
				next[[2]int32{at, c}] = s
			}
			at = s
		}
		n.Skip(at, to)
	}
	return n.Determinize(from, to)
}

// Shortest returns up to n of the words with the fewest symbols, as texts. Of a symbol's range it takes the first one that
// can be seen.
func (d *DFA) Shortest(n int) (out []string) {
	type visit struct {
		state int32
		text  string
	}
	const most = 10_000
	queue := []visit{{0, ""}}
	for at := 0; at < len(queue) && len(out) < n; at++ {
		v := queue[at]
		if d.Accept[v.state] {
			out = append(out, v.text)
		}
		for _, e := range d.Edges[v.state] {
			for c := max(e.Lo, min(e.Hi, 'a')); c <= e.Hi && c < max(e.Lo, 'a')+26 && len(queue) < most; c++ {
				queue = append(queue, visit{e.To, v.text + string(c)})
			}
		}
	}
	return out
}

// Finite returns the words of an automaton that has at most n, as texts; nil where it has more.
func (d *DFA) Finite(n int) []string {
	if words := countWords(d)[0]; words == 0 || uint64(words) > uint64(n) {
		return nil
	}
	var out []string
	var walk func(state int32, text string)
	walk = func(state int32, text string) {
		if d.Accept[state] {
			out = append(out, text)
		}
		for _, e := range d.Edges[state] {
			for c := e.Lo; c <= e.Hi; c++ {
				walk(e.To, text+string(c))
			}
		}
	}
	walk(0, "")
	return out
}

// All reports whether every text is accepted, as far as that is plain to see.
func (d *DFA) All() bool {
	return len(d.Edges) == 1 && d.Accept[0] && slices.Equal(d.Edges[0], Anything().Edges[0])
}

// ByteWords accepts the bytes of the given texts and no other.
func ByteWords(texts []string) *DFA {
	texts = slices.Compact(slices.Sorted(slices.Values(texts)))
	d := &DFA{Edges: [][]Edge{nil}, Accept: []bool{false}}
	var open []int32 // the states after each byte of the last text
	last := ""
	for _, text := range texts {
		shared := 0
		for shared < min(len(text), len(last)) && text[shared] == last[shared] {
			shared++
		}
		open = open[:shared]
		for _, b := range []byte(text[shared:]) {
			at := int32(0)
			if len(open) > 0 {
				at = open[len(open)-1]
			}
			to := int32(len(d.Edges))
			d.Edges[at] = append(d.Edges[at], Edge{int32(b), int32(b), to})
			d.Edges, d.Accept = append(d.Edges, nil), append(d.Accept, false)
			open = append(open, to)
		}
		if len(open) == 0 {
			d.Accept[0] = true
		} else {
			d.Accept[open[len(open)-1]] = true
		}
		last = text
	}
	return d
}

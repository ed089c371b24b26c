package automaton

import (
	"cmp"
	"slices"
)

// NFA is an automaton under construction. A fragment of it goes from one state to another.
type NFA struct {
	edges [][]Edge
	empty [][]int32 // edges that take no symbol
}

// State makes a state.
func (n *NFA) State() int32 {
	n.edges, n.empty = append(n.edges, nil), append(n.empty, nil)
	return int32(len(n.edges) - 1)
}

// Add makes an edge.
func (n *NFA) Add(from, lo, hi, to int32) { n.edges[from] = append(n.edges[from], Edge{lo, hi, to}) }

// Skip makes an edge that takes no symbol.
func (n *NFA) Skip(from, to int32) { n.empty[from] = append(n.empty[from], to) }

// Size is how many states there are.
func (n *NFA) Size() int { return len(n.edges) }

// Embed makes the words of a DFA lead from one state to another.
func (n *NFA) Embed(d *DFA, from, to int32) {
	base := int32(n.Size())
	for range d.Edges {
		n.State()
	}
	n.Skip(from, base)
	for s, edges := range d.Edges {
		for _, e := range edges {
			n.Add(base+int32(s), e.Lo, e.Hi, base+e.To)
		}
		if d.Accept[s] {
			n.Skip(base+int32(s), to)
		}
	}
}

// Word makes a text lead from one state to another, character by character.
func (n *NFA) Word(text string, from, to int32) {
	for _, c := range text {
		next := n.State()
		n.Add(from, c, c, next)
		from = next
	}
	n.Skip(from, to)
}

// determinizer makes sets of an NFA's states the states of a DFA.
type determinizer struct {
	nfa    *NFA
	marks  []int32 // the round in which a state was added to the set
	round  int32
	set    []int32
	known  map[string]int32
	sets   [][]int32
	key    []byte
	total  int // members over all sets
	events []event
	active map[int32]int32
}

// Determinize returns the DFA of the words that lead from one state to the other.
func (n *NFA) Determinize(from, to int32) (*DFA, error) {
	d := &determinizer{nfa: n, marks: make([]int32, n.Size()), known: make(map[string]int32), active: make(map[int32]int32)}
	d.intern([]int32{from})
	out := &DFA{}
	for at := 0; at < len(d.sets); at++ {
		edges := d.edgesOf(d.sets[at])
		if len(d.sets) > MaxStates || d.total > 6*MaxStates {
			return nil, ErrTooLarge
		}
		_, accept := slices.BinarySearch(d.sets[at], to)
		out.Edges, out.Accept = append(out.Edges, edges), append(out.Accept, accept)
	}
	return out.trimmed(), nil
}

// intern returns the number of a set of states with all that can be reached from them without a symbol.
func (d *determinizer) intern(states []int32) int32 {
	d.round++
	d.set = d.set[:0]
	add := func(s int32) {
		if d.marks[s] != d.round {
			d.marks[s] = d.round
			d.set = append(d.set, s)
		}
	}
	for _, s := range states {
		add(s)
	}
	for i := 0; i < len(d.set); i++ {
		for _, s := range d.nfa.empty[d.set[i]] {
			add(s)
		}
	}
	slices.Sort(d.set)
	d.key = d.key[:0]
	for _, s := range d.set {
		d.key = append(d.key, byte(s), byte(s>>8), byte(s>>16), byte(s>>24))
	}
	if n, ok := d.known[string(d.key)]; ok {
		return n
	}
	n := int32(len(d.sets))
	d.known[string(d.key)] = n
	d.sets = append(d.sets, slices.Clone(d.set))
	d.total += len(d.set)
	return n
}

// event is a symbol at which an edge begins (+1) or has ended (-1).
type event struct{ at, to, change int32 }

func (d *determinizer) edgesOf(set []int32) []Edge {
	d.events = d.events[:0]
	for _, s := range set {
		for _, e := range d.nfa.edges[s] {
			d.events = append(d.events, event{e.Lo, e.To, 1}, event{e.Hi + 1, e.To, -1})
		}
	}
	slices.SortFunc(d.events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	clear(d.active)
	var out []Edge
	var targets []int32
	events := d.events
	for i := 0; i < len(events); {
		at := events[i].at
		for ; i < len(events) && events[i].at == at; i++ {
			if d.active[events[i].to] += events[i].change; d.active[events[i].to] == 0 {
				delete(d.active, events[i].to)
			}
		}
		if len(d.active) == 0 {
			continue
		}
		targets = targets[:0]
		for s := range d.active {
			targets = append(targets, s)
		}
		to, hi := d.intern(targets), events[i].at-1
		if k := len(out); k > 0 && out[k-1].To == to && out[k-1].Hi+1 == at {
			out[k-1].Hi = hi
		} else {
			out = append(out, Edge{at, hi, to})
		}
	}
	return out
}

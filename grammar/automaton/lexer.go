package automaton

import "math"

// Lexer is a DFA over bytes, laid out to be followed fast, with what a matcher has to know about each state. It never
// changes.
type Lexer struct {
	Accept []bool
	// Words is how many words lead from a state to an accepting one, at most Many.
	Words []uint32
	// Boundary and Least are for JSON strings: whether no character is incomplete in a state, and how many units of
	// UTF-16 must at least be completed from there before the string can end.
	Boundary  []bool
	astral    []bool // whether the next byte completes a character beyond U+FFFF
	Least     []int32
	within    []int32 // how many characters these are
	MostLeast int32   // the largest of Least

	first   [4]uint64 // the bytes that may come in state 0
	classes [256]uint8
	width   int32
	next    []int32 // (states, width); nil where that would be large
	edges   [][]Edge
}

// Many stands for any larger number of words.
const Many = math.MaxUint32

// maxTable is how many entries the table of a Lexer may have; larger ones search among edges.
const maxTable = 1 << 18

// NewLexer lays out a DFA over bytes.
func NewLexer(d *DFA) *Lexer {
	l := &Lexer{Accept: d.Accept, edges: d.Edges}
	var cuts [257]bool
	for _, edges := range d.Edges {
		for _, e := range edges {
			cuts[e.Lo], cuts[e.Hi+1] = true, true
		}
	}
	for b := range 256 {
		if b > 0 && cuts[b] {
			l.width++
		}
		l.classes[b] = uint8(l.width)
	}
	l.width++
	if int(l.width)*len(d.Edges) <= maxTable {
		l.next = make([]int32, int(l.width)*len(d.Edges))
		for i := range l.next {
			l.next[i] = -1
		}
		for s, edges := range d.Edges {
			for _, e := range edges {
				for b := e.Lo; b <= e.Hi; b++ {
					l.next[int32(s)*l.width+int32(l.classes[b])] = e.To
				}
			}
		}
	}
	for _, e := range d.Edges[0] {
		for b := e.Lo; b <= e.Hi; b++ {
			l.first[b/64] |= 1 << (b % 64)
		}
	}
	l.Words = countWords(d)
	return l
}

// NewStringLexer lays out an automaton of JSON strings, as Encode makes it.
func NewStringLexer(d *DFA) *Lexer {
	l := NewLexer(d)
	l.findBoundaries()
	l.findLeast()
	return l
}

// Completes returns how many characters of a JSON string a step from one state to the next completes, 0 or 1, and how many
// units of UTF-16 they are. JSON schemas count the first, JavaScript the second: a string that is not too short by the
// first and not too long by the second is right for both.
func (l *Lexer) Completes(from, to int32) (characters, units int32) {
	switch {
	case from == 0 || !l.Boundary[to]:
		return 0, 0
	case l.astral[from]:
		return 1, 2
	}
	return 1, 1
}

// Fits reports whether a JSON string that has come to a state can end with at least need further characters and at most
// slack further units. Where need is not 0, any number of characters, each of one unit, must be able to follow wherever the
// string can end.
func (l *Lexer) Fits(state, slack, need int32) bool {
	if l.Accept[state] {
		return need <= 0 && slack >= 0
	}
	return slack-l.Least[state] >= max(need-l.within[state], 0)
}

// Size is about how many bytes the lexer takes.
func (l *Lexer) Size() int {
	n := 4*len(l.next) + 10*len(l.Accept)
	for _, e := range l.edges {
		n += 24 + 12*len(e)
	}
	return n
}

// Next returns the state after a byte; -1 for none.
func (l *Lexer) Next(state int32, b byte) int32 {
	if l.next != nil {
		return l.next[state*l.width+int32(l.classes[b])]
	}
	d := DFA{Edges: l.edges}
	return d.Next(state, int32(b))
}

// Ends reports whether no word goes on from a state.
func (l *Lexer) Ends(state int32) bool { return len(l.edges[state]) == 0 }

// Fanout returns how many bytes may come in a state.
func (l *Lexer) Fanout(state int32) int {
	n := int32(0)
	for _, e := range l.edges[state] {
		n += e.Hi - e.Lo + 1
	}
	return int(n)
}

// Begins reports whether a word begins with the byte.
func (l *Lexer) Begins(b byte) bool { return l.first[b/64]>>(b%64)&1 != 0 }

// countWords returns how many words lead from each state to an accepting one, at most Many: states on a cycle, and those
// that reach one, have any number.
func countWords(d *DFA) []uint32 {
	n := len(d.Accept)
	words := make([]uint32, n)
	const unseen, open, done = 0, 1, 2
	mark := make([]uint8, n)
	type visit struct{ state, edge int }
	for root := range n {
		if mark[root] != unseen {
			continue
		}
		stack := []visit{{root, 0}}
		mark[root] = open
		for len(stack) > 0 {
			v := &stack[len(stack)-1]
			edges := d.Edges[v.state]
			if v.edge < len(edges) {
				to := int(edges[v.edge].To)
				v.edge++
				switch mark[to] {
				case unseen:
					mark[to] = open
					stack = append(stack, visit{to, 0})
				case open: // a cycle, from every state of which a word can be ended
					words[to] = Many
				}
				continue
			}
			sum := uint64(words[v.state])
			if d.Accept[v.state] {
				sum++
			}
			for _, e := range edges {
				if mark[e.To] == open {
					sum = Many
				}
				sum = min(sum+uint64(e.Hi-e.Lo+1)*uint64(words[e.To]), Many)
			}
			words[v.state], mark[v.state] = uint32(sum), done
			stack = stack[:len(stack)-1]
		}
	}
	return words
}

// What a state of a JSON string stands in.
const (
	inUnknown   = iota
	inCharacter               // at a boundary
	inEscape                  // after a backslash
	inCode                    // after \u and some digits: inCode + how many are missing
	inBytes     = inCode + 5  // in UTF-8 of up to three bytes: inBytes + how many are missing
	inAstral    = inBytes + 4 // in UTF-8 of four bytes, in the same way
	inEnd       = inAstral + 4
)

// findBoundaries follows the automaton from its beginning: what a byte does to the place in a string does not depend on
// the automaton.
func (l *Lexer) findBoundaries() {
	place := make([]int, len(l.Accept))
	l.Boundary, l.astral = make([]bool, len(l.Accept)), make([]bool, len(l.Accept))
	var queue []int32
	reach := func(s int32, where int) {
		if place[s] == inUnknown && s != 0 {
			place[s] = where
			l.Boundary[s], l.astral[s] = where == inCharacter, where == inAstral+1
			queue = append(queue, s)
		}
	}
	for _, e := range l.edges[0] {
		reach(e.To, inCharacter)
	}
	for len(queue) > 0 {
		s := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, e := range l.edges[s] {
			reach(e.To, placeAfter(place[s], byte(e.Lo)))
		}
	}
}

func placeAfter(place int, b byte) int {
	switch {
	case place == inCharacter && b == '"':
		return inEnd
	case place == inCharacter && b == '\\':
		return inEscape
	case place == inCharacter && b >= 0xf0:
		return inAstral + 3
	case place == inCharacter && b >= 0xe0:
		return inBytes + 2
	case place == inCharacter && b >= 0xc0:
		return inBytes + 1
	case place == inEscape && b == 'u':
		return inCode + 4
	case place > inCode+1 && place < inBytes, place > inBytes+1 && place < inAstral, place > inAstral+1 && place < inEnd:
		return place - 1
	}
	return inCharacter
}

// findLeast sets Least, by a search from the accepting states backwards in which only edges that complete a character
// count.
func (l *Lexer) findLeast() {
	n := len(l.Accept)
	l.Least, l.within = make([]int32, n), make([]int32, n)
	back := make([][]int32, n)
	var queue, later []int32
	for s, edges := range l.edges {
		if l.Least[s] = math.MaxInt32; l.Accept[s] {
			l.Least[s] = 0
			queue = append(queue, int32(s))
		}
		for _, e := range edges {
			if b := back[e.To]; len(b) == 0 || b[len(b)-1] != int32(s) {
				back[e.To] = append(b, int32(s))
			}
		}
	}
	for len(queue) > 0 {
		s := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, p := range back[s] {
			cost := l.Least[s]
			characters, units := l.Completes(p, s)
			if cost += units; cost >= l.Least[p] {
				continue
			}
			l.within[p] = l.within[s] + characters
			if l.Least[p] = cost; units == 0 {
				queue = append(queue, p)
			} else {
				later = append(later, p)
			}
		}
		if len(queue) == 0 {
			queue, later = later, queue
		}
	}
	for s, edges := range l.edges {
		if l.Least[s] < math.MaxInt32 && (len(edges) > 0 || l.Accept[s]) {
			l.MostLeast = max(l.MostLeast, l.Least[s])
		}
	}
}

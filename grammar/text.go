package grammar

import (
	"slices"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/lorikeet-ai/lorikeet/grammar/automaton"
)

// This file has free text. Requests with tools have the same markers again and again, so that their lexers are kept: the
// masks of their tokens belong to them.

// recentLexers are those of the texts that were asked for last.
var recentLexers, _ = lru.New[string, *automaton.Lexer](64) // the error is for sizes below 1

func recentLexer(key string, lexer func() *automaton.Lexer) *automaton.Lexer {
	if l, ok := recentLexers.Get(key); ok {
		return l
	}
	l := lexer()
	if l.Size() <= maxRecentBytes {
		recentLexers.Add(key, l)
	}
	return l
}

// TextNotBeginning is free text that begins with none of some prefixes, white space before them left out. The answer may
// end anywhere in it.
func TextNotBeginning(prefixes ...string) Part {
	lexer := recentLexer("not "+strings.Join(prefixes, "\x00"), func() *automaton.Lexer { return notBeginning(prefixes) })
	return Part{&element{kind: kindLexical, lexer: lexer, control: true, mayEnd: true}}
}

// notBeginning has a state for each beginning of a prefix.
func notBeginning(prefixes []string) *automaton.Lexer {
	known := map[string]int32{"": 0}
	states, whole := []string{""}, map[string]bool{}
	for _, p := range prefixes {
		p = strings.TrimLeft(p, " \t\r\n")
		whole[p] = true
		for i := range len(p) - 1 {
			if read := p[:i+1]; known[read] == 0 {
				known[read] = int32(len(states))
				states = append(states, read)
			}
		}
	}
	n := int32(len(states)) // anything from here on
	d := &automaton.DFA{Edges: make([][]automaton.Edge, n+1), Accept: make([]bool, n+1)}
	for s, text := range states {
		for b := range int32(256) {
			to, read := n, text+string([]byte{byte(b)})
			switch {
			case whole[read]:
				continue
			case known[read] != 0:
				to = known[read]
			case s == 0 && strings.IndexByte(" \t\r\n", byte(b)) >= 0:
				to = 0
			}
			d.Edges[s] = append(d.Edges[s], automaton.Edge{Lo: b, Hi: b, To: to})
		}
	}
	d.Edges[n] = []automaton.Edge{{Lo: 0, Hi: 255, To: n}}
	return automaton.NewLexer(d)
}

// TextUnlike is Text that does not begin with a prefix, white space before it left out.
func TextUnlike(prefix string, triggers ...Trigger) Part {
	p := freeText(triggers, true)
	e := p.element
	search, labels := e.lexer, e.labels
	n := int32(len(prefix)) // as many states stand before those of the search, of what the prefix begins with
	key := "unlike " + prefix
	for _, t := range triggers {
		key += "\x00" + t.Marker
	}
	e.lexer = recentLexer(key, func() *automaton.Lexer { return unlike(prefix, search) })
	e.labels = slices.Repeat([]int32{-1}, int(n))
	e.labels = append(e.labels, labels...)
	return p
}

// unlike puts the states of a prefix before those of a search for markers.
func unlike(prefix string, search *automaton.Lexer) *automaton.Lexer {
	n := int32(len(prefix))
	d := &automaton.DFA{Edges: make([][]automaton.Edge, int(n)+len(search.Accept)), Accept: append(make([]bool, n), search.Accept...)}
	found := int32(0) // the search's state after the beginning of the prefix
	for i := range n {
		for b := range int32(256) {
			to := n + search.Next(found, byte(b))
			switch {
			case byte(b) == prefix[i] && i+1 == n || to < n:
				continue
			case byte(b) == prefix[i]:
				to = i + 1
			case i == 0 && strings.IndexByte(" \t\r\n", byte(b)) >= 0:
				to = 0
			}
			d.Edges[i] = append(d.Edges[i], automaton.Edge{Lo: b, Hi: b, To: to})
		}
		found = max(search.Next(found, prefix[i]), 0)
	}
	for s := range int32(len(search.Accept)) {
		for b := range int32(256) {
			if to := search.Next(s, byte(b)); to >= 0 {
				d.Edges[n+s] = append(d.Edges[n+s], automaton.Edge{Lo: b, Hi: b, To: n + to})
			}
		}
	}
	return automaton.NewLexer(d)
}

// freeText reads up to the first marker.
func freeText(triggers []Trigger, mayEnd bool) Part {
	markers := make([]string, len(triggers))
	e := &element{kind: kindLexical, control: true, mayEnd: mayEnd}
	for i, t := range triggers {
		markers[i] = t.Marker
		then := t.Then.element
		if then == nil {
			then = &element{kind: kindSequence}
		}
		e.then = append(e.then, then)
	}
	d, labels := searched(markers)
	e.labels = labels
	e.lexer = recentLexer("for "+strings.Join(markers, "\x00"), func() *automaton.Lexer { return automaton.NewLexer(d) })
	return Part{e}
}

// searched makes an automaton of the search for several words: its states are the beginnings of markers. labels has, of
// each state, the number of the marker that ends there, -1 for none.
func searched(markers []string) (d *automaton.DFA, labels []int32) {
	known := map[string]int32{"": 0}
	states := []string{""}
	for _, m := range markers {
		for i := range len(m) {
			if prefix := m[:i+1]; known[prefix] == 0 {
				known[prefix] = int32(len(states))
				states = append(states, prefix)
			}
		}
	}
	labels = make([]int32, len(states))
	d = &automaton.DFA{Edges: make([][]automaton.Edge, len(states)), Accept: make([]bool, len(states))}
	for s, text := range states {
		labels[s] = int32(slices.Index(markers, text))
		if d.Accept[s] = labels[s] >= 0; d.Accept[s] {
			continue // the first marker that is complete ends the text
		}
		for b := range 256 {
			read := text + string([]byte{byte(b)})
			for known[read] == 0 && read != "" {
				read = read[1:]
			}
			if last := len(d.Edges[s]) - 1; last >= 0 && d.Edges[s][last].To == known[read] {
				d.Edges[s][last].Hi++
				continue
			}
			d.Edges[s] = append(d.Edges[s], automaton.Edge{Lo: int32(b), Hi: int32(b), To: known[read]})
		}
	}
	// A marker that ends inside of another one is found there: its state is one that the search falls back to.
	for s, text := range states {
		for rest := text; !d.Accept[s] && rest != ""; rest = rest[1:] {
			if at, ok := known[rest]; ok && d.Accept[at] {
				d.Accept[s], d.Edges[s], labels[s] = true, nil, labels[at]
			}
		}
	}
	return d, labels
}

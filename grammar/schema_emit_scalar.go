package grammar

import (
	"slices"
	"strings"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/lorikeet-ai/lorikeet/grammar/automaton"
)

// This file makes elements of sets of strings and numbers.

// maxSpelledLength is up to how many characters a bound of a pattern's length becomes a part of its automaton, which
// then has up to about maxSpelledEdges. Longer ones are counted.
const (
	maxSpelledLength = 1024
	maxSpelledEdges  = 20_000
)

// long reports whether the upper bound of a set's length is to be counted.
func (s stringSet) long() bool {
	edges := 0
	for _, d := range s.dfas {
		for _, e := range d.Edges {
			edges += len(e)
		}
	}
	return edges*(s.most-1) > maxSpelledEdges
}

// The lexers of what nothing bounds.
var (
	anyStringLexer = sync.OnceValue(func() *automaton.Lexer { return automaton.NewStringLexer(automaton.EncodeAny()) })
	anyNumberLexer = sync.OnceValue(func() *automaton.Lexer { return automaton.NewLexer(automaton.AnyNumber) })
	anyWholeLexer  = sync.OnceValue(func() *automaton.Lexer { return automaton.NewLexer(automaton.AnyWhole) })
	anyKeyLexer    = sync.OnceValue(func() *automaton.Lexer {
		e, err := automaton.Encode(automaton.Anything())
		if err != nil {
			panic("grammar: " + err.Error()) // it has one state
		}
		return automaton.NewStringLexer(e)
	})
)

// formatLexers are those of single formats, which many schemas have.
var formatLexers sync.Map // *automaton.DFA -> *automaton.Lexer

// numberLexers are those of the ranges that were asked for last.
var numberLexers, _ = lru.New[string, *automaton.Lexer](256) // the error is for sizes below 1

// automaton returns the characters of the strings of a set. Where the upper bound is left out, because it is counted, all
// is false.
func (s stringSet) automaton(all bool) (*automaton.DFA, error) {
	if s.listed {
		return automaton.Words(s.list)
	}
	d := automaton.Anything()
	var err error
	for i, other := range s.dfas {
		if i == 0 {
			d = other
		} else if d, err = automaton.Intersect(d, other); err != nil {
			return nil, err
		}
	}
	most := s.most - 1
	if !all {
		most = -1
	}
	if s.least == 0 && most < 0 {
		return d, nil
	}
	return automaton.OfLength(d, s.least, most)
}

// scalars returns the elements of the strings, numbers and other scalars of a shape; none where it has none.
func (c *schemaCompiler) scalars(s *shape) (out []*element, err error) {
	var listed []string
	for i, w := range words3 {
		if s.words>>i&1 == 0 {
			listed = append(listed, w)
		}
	}
	for _, n := range s.numbers {
		for _, v := range n.list {
			listed = append(listed, strings.TrimSpace(string(v.raw)))
		}
		if !n.listed {
			lexer, err := numberLexer(n)
			if err != nil {
				return nil, c.automatonError(s.at, err)
			}
			out = c.addLexer(out, lexer)
		}
	}
	var together []*automaton.DFA // strings whose characters need not be counted
	for _, set := range s.strings {
		switch {
		case set.listed:
			for _, text := range set.list {
				listed = append(listed, string(automaton.AppendString(nil, text)))
			}
		case len(set.dfas) == 0 && set.least == 0 && set.most == 0:
			out = c.addLexer(out, anyStringLexer())
		case len(set.dfas) == 0 && set.most != 1:
			e := &element{kind: kindLexical, lexer: anyStringLexer(), least: int32(set.least), most: unbounded}
			if set.most > 0 {
				e.most = int32(set.most - 1)
			}
			out = append(out, e)
		case set.loops && len(s.strings) <= maxLoops && max(set.least, set.most-1) >= fewestLooped && set.most != 1:
			if out, err = c.addLoop(out, set); err != nil {
				return nil, c.automatonError(s.at, err)
			}
		case set.most-1 > maxSpelledLength || set.most > 1 && len(s.strings) <= maxLoops && set.long():
			if out, err = c.addCounted(out, set); err != nil {
				return nil, c.automatonError(s.at, err)
			}
		default:
			d, err := set.automaton(true)
			if err != nil {
				return nil, c.automatonError(s.at, err)
			}
			together = append(together, d)
		}
	}
	if out, err = c.addStrings(out, together); err != nil {
		return nil, c.automatonError(s.at, err)
	}
	if len(listed) > 0 {
		out = c.addLexer(out, automaton.NewLexer(automaton.ByteWords(listed)))
	}
	return out, c.checkSize(s.at)
}

// count adds a lexer to those of the schema, once.
func (c *schemaCompiler) count(l *automaton.Lexer) {
	if c.lexers[l] {
		return
	}
	c.lexers[l] = true
	c.states += len(l.Accept)
	c.bytes += l.Size()
}

// checkSize refuses automata that are too many or too large together.
func (c *schemaCompiler) checkSize(at *path) error {
	if c.states > maxSchemaStates || c.bytes > maxSchemaMemory {
		return refuse(Unsupported, at, "and what stands before it need automata of more than %d states or %d MiB", maxSchemaStates, maxSchemaMemory>>20)
	}
	return nil
}

// addLexer adds an element for a lexer, unless it accepts nothing.
func (c *schemaCompiler) addLexer(out []*element, l *automaton.Lexer) []*element {
	if l.Words[0] == 0 {
		return out
	}
	c.count(l)
	return append(out, &element{kind: kindLexical, lexer: l})
}

// addCounted adds strings with a long upper bound: the lexer knows how many characters each state still needs.
func (c *schemaCompiler) addCounted(out []*element, s stringSet) ([]*element, error) {
	d, err := s.automaton(false)
	if err != nil || d.Empty() {
		return out, err
	}
	encoded, err := automaton.Encode(d)
	if err != nil {
		return out, err
	}
	l := automaton.NewStringLexer(encoded)
	c.count(l)
	if l.Least[0] > int32(s.most-1) {
		return out, nil
	}
	return append(out, &element{kind: kindLexical, lexer: l, most: int32(s.most - 1)}), nil
}

// Strings of an automaton in which any number of characters can follow are counted, where that is fewestLooped or more, and
// up to maxLoops such automata are in one place: those of more become one.
const (
	fewestLooped = 16
	maxLoops     = 4
)

// addLoop adds such strings.
func (c *schemaCompiler) addLoop(out []*element, s stringSet) ([]*element, error) {
	encoded, err := automaton.Encode(s.dfas[0])
	if err != nil {
		return out, err
	}
	e := &element{kind: kindLexical, lexer: automaton.NewStringLexer(encoded), least: int32(s.least), most: unbounded}
	c.count(e.lexer)
	if s.most > 0 {
		e.most = int32(s.most - 1)
	}
	if !e.lexer.Fits(0, e.most, e.least) {
		return out, nil
	}
	return append(out, e), nil
}

// addStrings adds strings that one of several automata accepts.
func (c *schemaCompiler) addStrings(out []*element, dfas []*automaton.DFA) ([]*element, error) {
	dfas = slices.DeleteFunc(dfas, (*automaton.DFA).Empty)
	if len(dfas) == 0 {
		return out, nil
	}
	d := dfas[0]
	if l, ok := formatLexers.Load(d); ok && len(dfas) == 1 {
		return c.addLexer(out, l.(*automaton.Lexer)), nil
	}
	var err error
	for _, other := range dfas[1:] {
		if d, err = automaton.Union(d, other); err != nil {
			return out, err
		}
	}
	encoded, err := automaton.Encode(d)
	if err != nil {
		return out, err
	}
	l := automaton.NewStringLexer(encoded)
	if len(dfas) == 1 && automaton.IsFormat(d) {
		formatLexers.Store(d, l)
	}
	return c.addLexer(out, l), nil
}

func (s numberSet) automaton() (*automaton.DFA, error) {
	d := automaton.Numbers
	if s.whole {
		d = automaton.Whole
	}
	var err error
	if s.low != nil || s.high != nil {
		between, err := automaton.Between(s.low, s.high)
		if err != nil {
			return nil, err
		}
		if d, err = automaton.Intersect(d, between); err != nil {
			return nil, err
		}
	}
	for _, other := range s.dfas {
		if d, err = automaton.Intersect(d, other); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func numberLexer(s numberSet) (*automaton.Lexer, error) {
	if s.low == nil && s.high == nil && len(s.dfas) == 0 {
		if s.whole {
			return anyWholeLexer(), nil
		}
		return anyNumberLexer(), nil
	}
	key := ""
	if len(s.dfas) == 0 {
		for _, b := range []*automaton.Bound{s.low, s.high} {
			if b != nil {
				key += b.String()
				if b.Exclusive {
					key += "x"
				}
			}
			key += ","
		}
		if s.whole {
			key += "whole"
		}
		if l, ok := numberLexers.Get(key); ok {
			return l, nil
		}
	}
	d, err := s.automaton()
	if err != nil {
		return nil, err
	}
	if d, err = automaton.Spelled(d); err != nil {
		return nil, err
	}
	l := automaton.NewLexer(d)
	if key != "" {
		numberLexers.Add(key, l)
	}
	return l, nil
}

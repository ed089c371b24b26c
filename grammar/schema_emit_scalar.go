package grammar

import (
	"slices"
	"strings"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/lorikeet-ai/lorikeet/grammar/automaton"
)

// This file makes elements of sets of strings and numbers.

// Bounds of a pattern's length become a part of its automaton where that gets about maxSpelledEdges at most. Others are
// counted while the string is read, up to maxCounted sets of strings in one place.
const (
	maxSpelledEdges = 5000
	maxCounted      = 4
)

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

// automaton returns the characters of the strings of a set.
func (s stringSet) automaton() (*automaton.DFA, error) {
	d, err := s.ofAnyLength()
	if err != nil || s.listed {
		return d, err
	}
	return automaton.OfLength(d, s.least, s.most-1)
}

// ofAnyLength is automaton without the bounds of the length.
func (s stringSet) ofAnyLength() (*automaton.DFA, error) {
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
	return d, nil
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
		default:
			if err := c.late(); err != nil {
				return nil, c.automatonError(s.at, err)
			}
			d, err := set.ofAnyLength()
			if err != nil {
				return nil, c.automatonError(s.at, err)
			}
			if d.Size()*max(set.least, set.most-1) > maxSpelledEdges && len(s.strings) <= maxCounted {
				out, d, err = c.addCounted(out, d, set)
			} else {
				d, err = automaton.OfLength(d, set.least, set.most-1)
			}
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

// addCounted adds strings whose characters are counted: the lexer knows how many of them each state still needs. Where
// nothing has to be counted it returns the automaton instead, and otherwise one without words.
func (c *schemaCompiler) addCounted(out []*element, d *automaton.DFA, s stringSet) (_ []*element, left *automaton.DFA, err error) {
	least := s.least
	if !d.Extends() { // a fewest number of characters cannot be counted: not every number can be reached
		if d, err = automaton.OfLength(d, least, -1); err != nil || s.most == 0 {
			return out, d, err
		}
		least = 0
	}
	none, err := automaton.Words(nil)
	if err != nil || d.Empty() {
		return out, none, err
	}
	encoded, err := automaton.Encode(d)
	if err != nil {
		return out, none, err
	}
	e := &element{kind: kindLexical, lexer: automaton.NewStringLexer(encoded), least: int32(least), most: unbounded}
	if s.most > 0 {
		e.most = int32(s.most - 1)
	}
	if c.count(e.lexer); e.lexer.Fits(0, e.most, e.least) {
		out = append(out, e)
	}
	return out, none, nil
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
		if err = c.late(); err == nil {
			d, err = automaton.Union(d, other)
		}
		if err != nil {
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

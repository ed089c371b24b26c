package grammar

import (
	"math"

	"github.com/lorikeet-ai/lorikeet/grammar/automaton"
)

// This file makes the items of arrays with uniqueItems. Items are compared by their texts. So every value of one has a
// single text: without white space, with properties in one order, with scalars in one form. And it is known how many texts
// there are at least after each beginning, so that none is begun all of whose ends are taken.

// uniqueItem returns the element of a unique item. Properties that no name is given for are left out.
func (c *schemaCompiler) uniqueItem(s *shape, unique *path) (*element, error) {
	e, err := c.single(s, unique)
	if err != nil {
		return nil, err
	}
	findCapacities(e)
	impossible := false
	e.each(func(e *element) { impossible = impossible || e.capacity == 0 })
	if impossible {
		return nil, refuse(Unsupported, unique, "is not supported for such items: write the properties that they need by their names")
	}
	if len(e.parts) == 1 && e.parts[0].kind == kindLexical {
		e = e.parts[0]
	}
	e.prepare()
	return e, nil
}

// single returns the element of a shape's values with one text for each, made once.
func (c *schemaCompiler) single(s *shape, unique *path) (*element, error) {
	if e, ok := c.singles[s]; ok {
		return e, nil
	}
	e := &element{kind: kindChoice, compact: true}
	c.singles[s] = e
	if len(s.scalars) > 0 {
		scalar, err := c.uniqueScalar(s, unique)
		if err != nil {
			return nil, err
		}
		e.parts = append(e.parts, scalar)
	}
	var failed error
	valueOf := func(s *shape) *element {
		e, err := c.single(s, unique)
		if err != nil && failed == nil {
			failed = err
		}
		return e
	}
	for _, o := range s.objects {
		switch {
		case !o.possible():
			continue
		case len(o.free) > 0 && (len(o.names) == 0 || int(o.least) > len(o.names)):
			if len(s.scalars) == 0 {
				return nil, refuse(Unsupported, unique, "is not supported for objects whose properties have no names")
			}
			continue
		}
		object, err := o.emit(valueOf, false)
		if err != nil {
			return nil, c.automatonError(unique, err)
		}
		object.compact = true
		e.parts = append(e.parts, object)
	}
	for _, a := range s.arrays {
		if a.set.unique != nil || !a.possible() {
			continue
		}
		e.parts = append(e.parts, a.single(valueOf))
	}
	return e, failed
}

// single makes an array of the items that itemOf returns.
func (a *arrayShape) single(itemOf func(*shape) *element) *element {
	r := &arrayRules{least: int32(a.set.least), most: unbounded}
	if a.set.most > 0 {
		r.most = int32(a.set.most - 1)
	}
	for i, p := range a.prefix {
		if !p.possible {
			r.most = min(r.most, int32(i))
			break
		}
		r.prefix = append(r.prefix, itemOf(p))
	}
	if a.rest != nil && a.rest.possible && r.most > int32(len(r.prefix)) {
		r.rest = itemOf(a.rest)
	}
	return &element{kind: kindArray, array: r, compact: true}
}

// uniqueScalar returns an element of the scalars of a shape in which every value has one text.
func (c *schemaCompiler) uniqueScalar(s *shape, unique *path) (*element, error) {
	var n automaton.NFA
	from, to := n.State(), n.State()
	var words []string
	for i, w := range words3 {
		if s.words>>i&1 == 0 {
			words = append(words, w)
		}
	}
	for _, set := range s.strings {
		d, err := set.automaton()
		if err == nil {
			d, err = automaton.Encode(d)
		}
		if err != nil {
			return nil, c.automatonError(unique, err)
		}
		n.Embed(d, from, to)
	}
	for _, set := range s.numbers {
		if set.listed {
			for _, v := range set.list {
				if d, ok, _ := automaton.ParseDecimal(string(v.raw)); ok {
					words = append(words, d.String())
				}
			}
			continue
		}
		d, err := set.automaton()
		if err == nil {
			d, err = automaton.Usual(d)
		}
		if err != nil {
			return nil, c.automatonError(unique, err)
		}
		n.Embed(d, from, to)
	}
	if len(words) > 0 {
		n.Embed(automaton.ByteWords(words), from, to)
	}
	d, err := n.Determinize(from, to)
	if err != nil {
		return nil, c.automatonError(unique, err)
	}
	e := &element{kind: kindLexical, lexer: automaton.NewLexer(d)}
	e.capacity = e.lexer.Words[0]
	c.count(e.lexer)
	return e, c.checkSize(unique)
}

// maxRounds is how often capacities are added up: what a schema that refers to itself has is found to that depth.
const maxRounds = 24

// findCapacities finds how many texts the elements of unique items have at least. The numbers grow from round to round
// and are too small in none.
func findCapacities(e *element) {
	var all []*element
	e.each(func(e *element) { all = append(all, e) })
	for range maxRounds {
		changed := false
		for _, e := range all {
			now := e.countTexts()
			changed = changed || now != e.capacity
			e.capacity = now
		}
		if !changed {
			return
		}
	}
}

// countTexts is for elements with one text for each value. Alternatives that begin alike may have the same texts: only the
// largest of them counts.
func (e *element) countTexts() uint32 {
	switch e.kind {
	case kindLexical:
		return e.lexer.Words[0]
	case kindObject:
		return (&frame{element: e, index: -1}).textsLeft()
	case kindArray:
		return (&frame{element: e}).textsLeft()
	}
	var scalars, objects, arrays uint32
	for _, p := range e.parts {
		switch p.kind {
		case kindObject:
			objects = max(objects, p.capacity)
		case kindArray:
			arrays = max(arrays, p.capacity)
		default:
			scalars = max(scalars, p.capacity)
		}
	}
	return plus(scalars, plus(objects, arrays))
}

func plus(a, b uint32) uint32 { return uint32(min(uint64(a)+uint64(b), math.MaxUint32)) }

func times(a, b uint32) uint32 {
	if a == 0 || b == 0 {
		return 0
	}
	if uint64(a)*uint64(b) >= math.MaxUint32 {
		return math.MaxUint32
	}
	return a * b
}

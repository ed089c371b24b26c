package grammar

import (
	"cmp"
	"math"
	"slices"
	"sync"

	"github.com/lorikeet-ai/lorikeet/grammar/automaton"
)

// This file makes elements of shapes; schema_emit_scalar.go those of strings and numbers.

// emit fills the element of a shape with its alternatives.
func (c *schemaCompiler) emit(s *shape) error {
	s.element.parts = append(s.element.parts, s.scalars...)
	for _, a := range s.arrays {
		if !a.possible() {
			continue
		}
		e, err := c.emitArray(a, s.at)
		if err != nil {
			return err
		}
		s.element.parts = append(s.element.parts, e)
	}
	for _, o := range s.objects {
		if o.possible() {
			e, err := o.emit(func(s *shape) *element { return s.element }, true)
			if err != nil {
				return c.automatonError(s.at, err)
			}
			for _, f := range e.object.free {
				c.count(f.keys)
			}
			s.element.parts = append(s.element.parts, e)
		}
	}
	return c.checkSize(s.at)
}

// emit makes an object of the values that valueOf returns, without those of no name where free is false.
func (o *objectShape) emit(valueOf func(*shape) *element, free bool) (*element, error) {
	r := &objectRules{least: o.least, most: o.most}
	for _, n := range o.names {
		if n.value.possible {
			key := string(automaton.AppendString(nil, n.name))[1:]
			r.names = append(r.names, propertyRule{key, valueOf(n.value), n.required})
			r.sorted = append(r.sorted, int32(len(r.sorted)))
		}
	}
	slices.SortFunc(r.sorted, func(a, b int32) int { return cmp.Compare(r.names[a].key, r.names[b].key) })
	r.nextRequired = make([]int32, len(r.names)+1)
	r.requiredFrom = make([]int32, len(r.names)+1)
	r.nextRequired[len(r.names)] = int32(len(r.names))
	for i := len(r.names) - 1; i >= 0; i-- {
		r.nextRequired[i], r.requiredFrom[i] = r.nextRequired[i+1], r.requiredFrom[i+1]
		if r.names[i].required {
			r.nextRequired[i] = int32(i)
			r.requiredFrom[i]++
		}
	}
	for _, f := range o.free {
		if free && f.value.possible {
			keys, err := keyLexer(f.keys)
			if err != nil {
				return nil, err
			}
			r.free = append(r.free, freeRule{keys, valueOf(f.value)})
		}
	}
	return &element{kind: kindObject, object: r}, nil
}

// keyLexer returns the lexer of keys.
func keyLexer(keys *automaton.DFA) (*automaton.Lexer, error) {
	if keys.All() {
		return anyKeyLexer(), nil
	}
	encoded, err := automaton.Encode(keys)
	if err != nil {
		return nil, err
	}
	return automaton.NewStringLexer(encoded), nil
}

func (c *schemaCompiler) emitArray(a *arrayShape, at *path) (*element, error) {
	r := &arrayRules{least: int32(a.set.least), most: unbounded, unique: a.set.unique != nil}
	if a.set.most > 0 {
		r.most = int32(a.set.most - 1)
	}
	itemOf := func(s *shape) (*element, error) {
		if r.unique && r.most > 1 {
			return c.uniqueItem(s, a.set.unique)
		}
		return s.element, nil
	}
	for i, p := range a.prefix {
		if !p.possible {
			r.most = min(r.most, int32(i))
			break
		}
		e, err := itemOf(p)
		if err != nil {
			return nil, err
		}
		r.prefix = append(r.prefix, e)
	}
	if a.rest != nil && a.rest.possible && r.most > int32(len(r.prefix)) {
		var err error
		if r.rest, err = itemOf(a.rest); err != nil {
			return nil, err
		}
	}
	if r.unique = r.unique && r.most > 1; r.unique {
		for i, e := range append(slices.Clone(r.prefix), r.rest) {
			switch {
			case e == nil || e.capacity == math.MaxUint32:
			case len(r.prefix) > 0:
				return nil, refuse(Unsupported, a.set.unique, "is not supported beside prefixItems where an item has few values")
			case i == 0 && e.capacity < uint32(r.least):
				return nil, refuse(BadValue, at.field("minItems"), "is %d, but there are only %d different items", r.least, e.capacity)
			}
		}
	}
	for _, e := range append(slices.Clone(r.prefix), r.rest) {
		r.nested = r.nested || r.unique && e != nil && e.kind != kindLexical
	}
	return &element{kind: kindArray, array: r}, nil
}

// The elements of any JSON object and of any JSON value.
var (
	anyObject = sync.OnceValue(func() *element { return known(`{"type":"object"}`) })
	anyValue  = sync.OnceValue(func() *element { return known(`true`) })
)

// known compiles a schema that is known to be good.
func known(schema string) *element {
	e, err := compileSchema("", []byte(schema))
	if err != nil {
		panic("grammar: " + err.Error())
	}
	e.prepare()
	return e
}

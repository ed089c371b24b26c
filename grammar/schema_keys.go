package grammar

import (
	"slices"

	"github.com/lorikeet-ai/lorikeet/grammar/automaton"
)

// This file has the properties that no name is given for.

// keys returns the automaton of the keys that are under terms; nil for all.
func (c *schemaCompiler) keys(terms []term) (*automaton.DFA, error) {
	if len(terms) == 0 {
		return nil, nil
	}
	sets, err := expand(c, c.stringAlgebra(), terms)
	if err != nil {
		return nil, err
	}
	var n automaton.NFA
	from, to := n.State(), n.State()
	for _, s := range sets {
		if err := c.late(); err != nil {
			return nil, c.automatonError(terms[0].at, err)
		}
		d, err := s.automaton()
		if err != nil {
			return nil, c.automatonError(terms[0].at, err)
		}
		n.Embed(d, from, to)
	}
	d, err := n.Determinize(from, to)
	return d, c.automatonError(terms[0].at, err)
}

// keyClass is keys that the same patterns match, and what their values are under.
type keyClass struct {
	keys   *automaton.DFA
	terms  []term
	asked  bool // a schema says something about them alone
	inPart bool // a pattern of the part that is being read matches
}

// maxKeyClasses bounds what patterns divide keys into.
const maxKeyClasses = 64

// freeShapes adds the properties that no name is given for. They come after the named ones, and are written where a schema
// says something about them, where none names any, or where there must be more. keys, where not nil, are those that there
// may be at all, taken those that there are already.
func (c *schemaCompiler) freeShapes(o objectSet, out *objectShape, keys *automaton.DFA, taken map[string]bool, open bool, at *path) error {
	if keys == nil {
		keys = automaton.Anything()
	}
	classes := []keyClass{{keys: keys, asked: len(o.names) > 0}}
	var err error
	for _, p := range o.parts {
		if classes, err = c.divide(classes, p); err != nil {
			return c.automatonError(at, err)
		}
		if len(classes) > maxKeyClasses {
			return refuse(Unsupported, at, "has too many patternProperties at once")
		}
	}
	names, err := automaton.Words(slices.Collect(func(yield func(string) bool) {
		for name := range taken {
			if !yield(name) {
				return
			}
		}
	}))
	for _, class := range classes {
		if !class.asked && !open && len(out.names) >= o.least {
			continue
		}
		if err == nil && len(taken) > 0 {
			class.keys, err = automaton.Subtract(class.keys, names)
		}
		if err != nil {
			return c.automatonError(at, err)
		}
		if class.keys.Empty() {
			continue
		}
		value := c.shape(class.terms, at)
		if words := class.keys.Finite(maxListedKeys); words != nil {
			for _, name := range words {
				out.names = append(out.names, nameShape{name, value, false})
			}
			continue
		}
		out.free = append(out.free, freeShape{class.keys, value})
	}
	return nil
}

// maxListedKeys is up to how many keys that a pattern or propertyNames leaves are treated like names.
const maxListedKeys = 4096

// divide splits classes of keys by the patterns of a part.
func (c *schemaCompiler) divide(classes []keyClass, p *objectPart) ([]keyClass, error) {
	for i := range classes {
		classes[i].inPart = false
	}
	for _, k := range p.patterns {
		var next []keyClass
		for _, class := range classes {
			if err := c.late(); err != nil {
				return nil, err
			}
			in, err := automaton.Intersect(class.keys, k.keys)
			if err != nil {
				return nil, err
			}
			if !in.Empty() {
				next = append(next, keyClass{in, append(slices.Clone(class.terms), k.term), true, true})
			}
			if class.keys, err = automaton.Subtract(class.keys, k.keys); err != nil {
				return nil, err
			}
			if !class.keys.Empty() {
				next = append(next, class)
			}
		}
		classes = next
		if len(classes) > maxKeyClasses {
			break // and is refused
		}
	}
	for i := range classes {
		if class := &classes[i]; p.others != nil && !class.inPart {
			class.terms, class.asked = append(slices.Clone(class.terms), *p.others), true
		}
	}
	return classes, nil
}

package grammar

import (
	"maps"
	"slices"

	"github.com/lorikeet-ai/lorikeet/grammar/automaton"
	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
)

// objectSet is objects under several schemas at once.
type objectSet struct {
	parts     []*objectPart
	required  []string // in order
	forbidden map[string]bool
	names     []term // that every key is under
	least     int
	most      int // plus one; 0 for no bound
}

// objectPart is what one schema says about properties. A property is under those of its patterns that match, and under
// others where neither a name nor a pattern does.
type objectPart struct {
	order    []string
	named    map[string]term
	patterns []keyPattern
	others   *term // nil: anything

	evaluates bool // these properties have been looked at: see unevaluatedProperties
}

// maxNames is how many properties a schema may name or require.
const maxNames = 10_000

type keyPattern struct {
	keys *automaton.DFA
	term term
}

// terms returns what a property is under.
func (p *objectPart) terms(name string) (out []term) {
	if t, ok := p.named[name]; ok {
		out = append(out, t)
	}
	for _, k := range p.patterns {
		if k.keys.Accepts(name) {
			out = append(out, k.term)
		}
	}
	if len(out) == 0 && p.others != nil {
		out = append(out, *p.others)
	}
	return out
}

func (s objectSet) terms(name string) (out []term) {
	for _, p := range s.parts {
		out = append(out, p.terms(name)...)
	}
	return out
}

func (c *schemaCompiler) meetObjects(a, b objectSet) (objectSet, bool) {
	out := objectSet{parts: slices.Concat(a.parts, b.parts), required: slices.Clone(a.required), names: slices.Concat(a.names, b.names),
		least: max(a.least, b.least), most: a.most, forbidden: a.forbidden}
	if len(b.forbidden) > 0 {
		out.forbidden = maps.Clone(b.forbidden)
		maps.Copy(out.forbidden, a.forbidden)
	}
	if len(b.required) > 0 {
		known := setOf(a.required)
		for _, name := range b.required {
			if !known[name] {
				known[name] = true
				out.required = append(out.required, name)
			}
		}
	}
	if b.most != 0 && (out.most == 0 || b.most < out.most) {
		out.most = b.most
	}
	if out.most != 0 && max(out.least, len(out.required)) >= out.most {
		return out, false
	}
	for _, name := range out.required {
		if out.forbidden[name] || len(a.parts) > 0 && len(b.parts) > 0 && c.contradict(out.terms(name)) {
			return out, false
		}
	}
	return out, true
}

func (s objectSet) free() bool {
	return len(s.parts) == 0 && len(s.required) == 0 && len(s.forbidden) == 0 && len(s.names) == 0 && s.least == 0 && s.most == 0
}

func setOf(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}

func withProperty(name string) objectSet { return objectSet{required: []string{name}} }
func sansProperty(name string) objectSet { return objectSet{forbidden: map[string]bool{name: true}} }

func (c *schemaCompiler) objectAlgebra() algebra[objectSet] {
	return algebra[objectSet]{
		meet: c.meetObjects,
		free: objectSet.free,
		hold: func(t term) ([]objectSet, error) {
			admits, values, given, err := typed(t, "object")
			if err != nil || !admits {
				return nil, err
			}
			s, err := c.readObject(t)
			if err != nil {
				return nil, err
			}
			if !given {
				return []objectSet{s}, nil
			}
			var out []objectSet
			for _, v := range values {
				out = append(out, constantObject(v, t.at))
			}
			return meetAll(out, [][]objectSet{{s}}, c.meetObjects), nil
		},
		fail: func(t term) ([]objectSet, error) {
			admits, values, given, err := typed(t, "object")
			if err != nil || !admits {
				return []objectSet{{}}, err
			}
			s, err := c.readObject(t)
			if err != nil {
				return nil, err
			}
			out, err := c.notObject(s, t)
			if err != nil || !given {
				return out, err
			}
			not := []objectSet{{}}
			for _, v := range values {
				list, err := c.notObject(constantObject(v, t.at), t)
				if err != nil {
					return nil, err
				}
				not = meetAll(not, [][]objectSet{list}, c.meetObjects)
			}
			return append(out, not...), nil
		},
		deps: dependencies,
		last: c.lastProperties,
	}
}

// fieldsOf returns the schemas that a keyword has by name.
func fieldsOf(t term, key string) (*node, *path, error) {
	n, at := t.schema.fields[key], t.at.field(key)
	if !t.schema.has(key) {
		return &node{}, at, nil
	}
	if n.kind != "object" {
		return nil, at, refuse(BadType, at, "must be an object, not %s", jsonvalue.Article(n.kind))
	}
	return n, at, nil
}

// readObject reads the keywords about objects but those of dependencies.
func (c *schemaCompiler) readObject(t term) (s objectSet, err error) {
	if s.least, s.most, err = bounds(t, "minProperties", "maxProperties", maxItems); err != nil {
		return s, err
	}
	s.most++
	if t.schema.has("required") {
		if err := decodeField(t.schema.fields["required"], t.at.field("required"), &s.required); err != nil {
			return s, err
		}
	}
	if t.schema.has("propertyNames") {
		s.names = []term{{t.schema.fields["propertyNames"], t.at.field("propertyNames"), false}}
	}
	properties, at, err := fieldsOf(t, "properties")
	if err != nil {
		return s, err
	}
	p := &objectPart{order: properties.keys, named: make(map[string]term, len(properties.keys)), evaluates: true}
	for _, name := range properties.keys {
		value := properties.fields[name]
		if value.kind == "null" {
			value = anySchema
		}
		p.named[name] = term{value, at.field(name), false}
	}
	if n := len(properties.keys) + len(s.required); n > maxNames {
		return s, refuse(BadValue, t.at, "names %d properties, at most %d are supported", n, maxNames)
	}
	patterns, at, err := fieldsOf(t, "patternProperties")
	if err != nil {
		return s, err
	}
	for _, text := range patterns.keys {
		keys, err := c.pattern(text, at.field(text))
		if err != nil {
			return s, err
		}
		p.patterns = append(p.patterns, keyPattern{keys, term{patterns.fields[text], at.field(text), false}})
	}
	for _, key := range []string{"additionalProperties", "unevaluatedProperties"} {
		if t.schema.has(key) && p.others == nil && (key == "additionalProperties" || t.not) {
			p.others = &term{t.schema.fields[key], t.at.field(key), false}
		}
	}
	if len(p.order) > 0 || len(p.patterns) > 0 || p.others != nil {
		s.parts = []*objectPart{p}
	}
	return s, nil
}

func constantObject(v *node, at *path) objectSet {
	p := &objectPart{order: v.keys, named: make(map[string]term), others: &term{noSchema, at, false}}
	for name, value := range v.fields {
		p.named[name] = term{constant(value), at, false}
	}
	return objectSet{parts: []*objectPart{p}, required: v.keys}
}

// notObject is the objects that are not in the set of one schema, each for one reason.
func (c *schemaCompiler) notObject(s objectSet, t term) (out []objectSet, err error) {
	named := map[string]bool{}
	for _, names := range s.names {
		names.not = !names.not
		keys, err := c.keys([]term{names})
		if err != nil {
			return nil, err
		}
		if name, found := sample(keys, named); found {
			out = append(out, withProperty(name))
		}
	}
	for _, p := range s.parts {
		for _, name := range p.order {
			named[name] = true
			list := c.wrongProperty(p, name, slices.Contains(s.required, name))
			out = append(out, list...)
		}
		for _, k := range p.patterns {
			name, found := sample(k.keys, named)
			if !found {
				continue
			}
			not := k.term
			not.not = !not.not
			out = append(out, objectSet{parts: []*objectPart{{named: map[string]term{name: not}, order: []string{name}}}, required: []string{name}})
		}
		if p.others != nil {
			keys := automaton.Anything()
			for _, k := range p.patterns {
				if err = c.late(); err == nil {
					keys, err = automaton.Subtract(keys, k.keys)
				}
				if err != nil {
					return nil, c.automatonError(t.at, err)
				}
			}
			if name, found := sample(keys, named); found {
				not := *p.others
				not.not = !not.not
				out = append(out, objectSet{parts: []*objectPart{{named: map[string]term{name: not}, order: []string{name}}}, required: []string{name}})
			}
		}
	}
	for _, name := range s.required {
		if !named[name] {
			out = append(out, sansProperty(name))
		}
	}
	if s.least > 0 {
		out = append(out, objectSet{most: s.least})
	}
	if s.most > 0 {
		out = append(out, objectSet{least: s.most})
	}
	return out, nil
}

// wrongProperty is the objects in which a property contradicts its schema, or is missing where it is required: both are
// one set, of objects in which it may be missing and is not valid.
func (c *schemaCompiler) wrongProperty(p *objectPart, name string, required bool) (out []objectSet) {
	for _, not := range p.terms(name) {
		not.not = !not.not
		s := objectSet{parts: []*objectPart{{named: map[string]term{name: not}, order: []string{name}}}}
		if !required {
			s.required = []string{name}
		}
		out = append(out, s)
	}
	return out
}

// sample returns a short text of an automaton that is not taken.
func sample(d *automaton.DFA, taken map[string]bool) (string, bool) {
	for _, text := range d.Shortest(len(taken) + 1) {
		if !taken[text] {
			return text, true
		}
	}
	return "", false
}

// dependencies returns the schemas that apply to objects with a property. Older drafts have both kinds in one keyword.
func dependencies(t term) (out []conditional, err error) {
	for _, key := range []string{"dependentRequired", "dependentSchemas", "dependencies"} {
		n, at, err := fieldsOf(t, key)
		if err != nil {
			return nil, err
		}
		for _, name := range n.keys {
			value, where := n.fields[name], at.field(name)
			if key == "dependentRequired" || key == "dependencies" && value.kind == "array" {
				var required []string
				if err := decodeField(value, where, &required); err != nil {
					return nil, err
				}
				value = &node{id: value.id, kind: "object", keys: []string{"required"}, fields: map[string]*node{"required": value}}
			}
			out = append(out, conditional{name, term{value, where, false}})
		}
	}
	return out, nil
}

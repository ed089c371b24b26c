package grammar

import "slices"

// This file finds contradictions that are plain to see, so that a choice by one property, the usual one, does not become a
// choice by everything that the alternatives say.

// maxLookDepth is how many references and properties deep contradictions are looked for.
const maxLookDepth = 8

// maxCompared is how many pairs of values are compared.
const maxCompared = 10_000

// resolved follows references that stand alone; ok is false where there is more to a schema than can be seen.
func (c *schemaCompiler) resolved(t term, depth int) (term, bool) {
	for ; depth < maxLookDepth; depth++ {
		switch n := t.schema; {
		case n.kind != "object":
			return t, n.kind == "boolean"
		case n.has("$ref"):
			target, err := c.find(t, "$ref")
			if err != nil {
				return t, false
			}
			t = target
		case n.has("allOf") && n.fields["allOf"].kind == "array" && len(n.fields["allOf"].list) == 1 && !n.has("type"):
			t = term{n.fields["allOf"].list[0], t.at, false}
		default:
			return t, true
		}
	}
	return t, false
}

// outline is what is plain to see of a schema.
type outline struct {
	known    bool     // there is no more to it than can be seen
	types    []string // of its values, integers as numbers; nil where they are not named
	values   []*node  // the values themselves; nil where they are not named
	required []string
	named    *node // properties
	closed   bool  // it has no others
}

// outline returns what is plain to see of a schema, found once.
func (c *schemaCompiler) outline(t term) *outline {
	if o, ok := c.outlines[t.schema]; ok {
		return o
	}
	o := &outline{}
	c.outlines[t.schema] = o
	r, known := c.resolved(t, 0)
	if !known || r.schema.kind != "object" {
		return o
	}
	o.types, o.values = c.values(r)
	if r.schema.has("required") && decodeField(r.schema.fields["required"], r.at, &o.required) != nil {
		o.required = nil
	}
	named, _, err := fieldsOf(r, "properties")
	if err != nil {
		return &outline{}
	}
	o.known, o.named = true, named
	o.closed = r.schema.has("additionalProperties") && string(r.schema.fields["additionalProperties"].raw) == "false" && !r.schema.has("patternProperties")
	return o
}

// disjoint reports whether no value is under both schemas; false where that is not plain to see.
func (c *schemaCompiler) disjoint(a, b term, depth int) bool {
	x, y := c.outline(a), c.outline(b)
	if !x.known || !y.known || depth > maxLookDepth {
		return false
	}
	if len(x.values)*len(y.values) > maxCompared {
		return false
	}
	if x.values != nil && y.values != nil {
		return !slices.ContainsFunc(x.values, func(v *node) bool {
			return slices.ContainsFunc(y.values, func(w *node) bool { return equal(v, w) })
		})
	}
	if x.types != nil && y.types != nil && !slices.ContainsFunc(x.types, func(t string) bool { return slices.Contains(y.types, t) }) {
		return true
	}
	if len(x.types) != 1 || x.types[0] != "object" || len(y.types) != 1 || y.types[0] != "object" {
		return false
	}
	return c.disjointObjects(x, y, a.at, depth) || c.disjointObjects(y, x, a.at, depth)
}

// disjointObjects reports whether a requires a property that b does not have, or not with such a value.
func (c *schemaCompiler) disjointObjects(a, b *outline, at *path, depth int) bool {
	for _, name := range a.required {
		x, y := a.named.fields[name], b.named.fields[name]
		if y == nil && b.closed || x != nil && y != nil && c.disjoint(term{x, at, false}, term{y, at, false}, depth+1) {
			return true
		}
	}
	return false
}

// values returns the types of a schema's values, integers as numbers, and the values themselves; nil where they are not
// named.
func (c *schemaCompiler) values(t term) (types []string, values []*node) {
	named, err := typesOf(t)
	if err != nil {
		return nil, nil
	}
	for _, name := range named {
		if name == "integer" {
			name = "number"
		}
		types = append(types, name)
	}
	all, given, err := valuesOf(t)
	if err != nil || !given {
		return types, nil
	}
	types, values = nil, []*node{}
	for _, v := range all {
		values = append(values, v)
		types = append(types, v.kind)
	}
	return types, values
}

// contradict reports whether terms are plainly under nothing together: one names its values, and others exclude them all.
func (c *schemaCompiler) contradict(terms []term) bool {
	for i, t := range terms {
		if t.not {
			continue
		}
		r, ok := c.resolved(t, 0)
		if !ok || r.schema.kind != "object" {
			continue
		}
		_, values := c.values(r)
		if values == nil || len(values)*len(terms) > maxCompared {
			continue
		}
		left := slices.DeleteFunc(slices.Clone(values), func(v *node) bool {
			return slices.ContainsFunc(slices.Delete(slices.Clone(terms), i, i+1), func(o term) bool { return c.excludes(o, v) })
		})
		if len(left) == 0 {
			return true
		}
	}
	return false
}

// excludes reports whether a term that names types or values plainly excludes one.
func (c *schemaCompiler) excludes(t term, v *node) bool {
	if t.not {
		return c.holds(t, v)
	}
	r, ok := c.resolved(t, 0)
	if !ok || r.schema.kind != "object" {
		return false
	}
	types, values := c.values(r)
	if len(values) > maxCompared/100 {
		return false
	}
	if values != nil {
		return !slices.ContainsFunc(values, func(w *node) bool { return equal(v, w) })
	}
	return types != nil && !slices.Contains(types, v.kind)
}

// holds reports whether a schema says nothing but which types or values there are, and a value is one.
func (c *schemaCompiler) holds(t term, v *node) bool {
	for depth := 0; t.schema.kind == "object" && len(t.schema.keys) == 1 && t.schema.has("$ref") && depth < maxLookDepth; depth++ {
		target, err := c.find(t, "$ref")
		if err != nil {
			return false
		}
		t = target
	}
	if t.schema.kind != "object" {
		return false
	}
	for _, key := range t.schema.keys {
		if !slices.Contains([]string{"type", "const", "enum", "title", "description", "default", "examples"}, key) {
			return false
		}
	}
	types, err := typesOf(t)
	values, given, err2 := valuesOf(t)
	if err != nil || err2 != nil || len(values) > maxCompared/100 || !given && (types == nil || v.kind == "number") {
		return false
	}
	inType := types == nil || slices.Contains(types, v.kind)
	return inType && (!given || slices.ContainsFunc(values, func(w *node) bool { return equal(v, w) }))
}

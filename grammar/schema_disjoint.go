package grammar

import "slices"

// This file finds contradictions that are plain to see, so that a choice by one property, the usual one, does not become a
// choice by everything that the alternatives say.

// maxLookDepth is how many references and properties deep contradictions are looked for.
const maxLookDepth = 8

// resolved follows references that stand alone; ok is false where there is more to a schema than can be seen.
func (c *schemaCompiler) resolved(t term, depth int) (term, bool) {
	for ; depth < maxLookDepth; depth++ {
		switch n := t.schema; {
		case n.kind != "object":
			return t, n.kind == "boolean"
		case n.has("$ref"):
			target, err := c.find(t)
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

// disjoint reports whether no value is under both schemas; false where that is not plain to see.
func (c *schemaCompiler) disjoint(a, b term, depth int) bool {
	a, okA := c.resolved(a, depth)
	b, okB := c.resolved(b, depth)
	if !okA || !okB || a.schema.kind != "object" || b.schema.kind != "object" || depth > maxLookDepth {
		return false
	}
	typesA, valuesA := c.values(a)
	typesB, valuesB := c.values(b)
	if valuesA != nil && valuesB != nil {
		return !slices.ContainsFunc(valuesA, func(v *node) bool {
			return slices.ContainsFunc(valuesB, func(w *node) bool { return equal(v, w) })
		})
	}
	if typesA != nil && typesB != nil && !slices.ContainsFunc(typesA, func(t string) bool { return slices.Contains(typesB, t) }) {
		return true
	}
	if !slices.Equal(typesA, []string{"object"}) || !slices.Equal(typesB, []string{"object"}) {
		return false
	}
	return c.disjointObjects(a, b, depth) || c.disjointObjects(b, a, depth)
}

// disjointObjects reports whether a requires a property that b does not have, or not with such a value.
func (c *schemaCompiler) disjointObjects(a, b term, depth int) bool {
	var required []string
	if !a.schema.has("required") || decodeField(a.schema.fields["required"], a.at, &required) != nil {
		return false
	}
	propertiesA, _, errA := fieldsOf(a, "properties")
	propertiesB, _, errB := fieldsOf(b, "properties")
	if errA != nil || errB != nil {
		return false
	}
	closed := b.schema.has("additionalProperties") && string(b.schema.fields["additionalProperties"].raw) == "false" && !b.schema.has("patternProperties")
	for _, name := range required {
		x, y := propertiesA.fields[name], propertiesB.fields[name]
		if y == nil && closed || x != nil && y != nil && c.disjoint(term{x, a.at, false}, term{y, b.at, false}, depth+1) {
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
		if values == nil {
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
	if values != nil {
		return !slices.ContainsFunc(values, func(w *node) bool { return equal(v, w) })
	}
	return types != nil && !slices.Contains(types, v.kind)
}

// holds reports whether a schema says nothing but which types or values there are, and a value is one.
func (c *schemaCompiler) holds(t term, v *node) bool {
	for depth := 0; t.schema.kind == "object" && len(t.schema.keys) == 1 && t.schema.has("$ref") && depth < maxLookDepth; depth++ {
		target, err := c.find(t)
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
	if err != nil || err2 != nil || !given && (types == nil || v.kind == "number") {
		return false
	}
	inType := types == nil || slices.Contains(types, v.kind)
	return inType && (!given || slices.ContainsFunc(values, func(w *node) bool { return equal(v, w) }))
}

package grammar

import (
	"slices"
	"strconv"
	"strings"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
)

// A schema is compiled in three steps. A shape is what values there are under several schemas at once, each as it is or
// negated (terms). For each type of JSON separately, the terms of a shape are expanded into alternatives without allOf,
// anyOf, oneOf, not and if (expand.go, and an algebra for each type), whose items and properties are shapes again, made
// once for each set of terms (schema_compile.go). Then the shapes without values are found, and what is left becomes
// elements (schema_emit.go).

// Bounds of what a schema expands to.
const (
	maxAlternatives = 256    // of one type in one place
	maxShapes       = 20_000 // in a schema
	maxExpansions   = 400_000
)

// term is a schema or its negation.
type term struct {
	schema *node
	at     *path
	not    bool
}

// termsKey is the same for the same set of terms.
func termsKey(terms []term) string {
	ids := make([]int, len(terms))
	for i, t := range terms {
		if ids[i] = 2 * t.schema.id; t.not {
			ids[i]++
		}
	}
	slices.Sort(ids)
	var b strings.Builder
	for _, id := range slices.Compact(ids) {
		b.WriteString(strconv.Itoa(id))
		b.WriteByte(' ')
	}
	return b.String()
}

// algebra is how the constraints on values of one type are put together. The zero S does not constrain them.
type algebra[S any] struct {
	meet func(a, b S) (both S, ok bool)      // ok is false where no value is under both
	hold func(t term) ([]S, error)           // what a schema says by itself, without those that it is put together from
	fail func(t term) ([]S, error)           // how a value can contradict that
	free func(s S) bool                      // whether s constrains nothing
	deps func(t term) ([]conditional, error) // schemas that apply to objects with a property; may be nil
	last func(t term, list []S) ([]S, error) // what a schema says about what no part of it has looked at; may be nil
}

// conditional is a schema that applies where an object has a property.
type conditional struct {
	property string
	then     term
}

// expansion expands terms in one algebra.
type expansion[S any] struct {
	c *schemaCompiler
	algebra[S]
	with func(name string) S // objects: those that have a property
	sans func(name string) S // and those that do not
	open map[int]bool        // references that are being followed
}

func (x *expansion[S]) all(terms []term) ([]S, error) {
	out := []S{*new(S)}
	for _, t := range terms {
		list, err := x.term(t)
		if err != nil {
			return nil, err
		}
		if out, err = x.both(out, list, t.at); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// both returns the values that are in one of a and in one of b.
func (x *expansion[S]) both(a, b []S, at *path) ([]S, error) {
	var out []S
	for _, s := range a {
		for _, r := range b {
			if x.c.expansions++; x.c.expansions > maxExpansions {
				return nil, refuse(Unsupported, at, "and what surrounds it can be put together in too many ways")
			}
			if m, ok := x.meet(s, r); ok {
				out = append(out, m)
			}
		}
	}
	return x.either(out, nil, at)
}

// either returns the values that are in one of a or of b.
func (x *expansion[S]) either(a, b []S, at *path) ([]S, error) {
	out := slices.Concat(a, b)
	if i := slices.IndexFunc(out, x.free); i >= 0 {
		return []S{out[i]}, nil
	}
	if len(out) > maxAlternatives {
		return nil, refuse(Unsupported, at, "leaves more than %d ways to put a value together", maxAlternatives)
	}
	return out, nil
}

// term returns the alternatives of a schema or its negation.
func (x *expansion[S]) term(t term) ([]S, error) {
	switch {
	case t.schema.kind == "boolean":
		if (string(t.schema.raw) == "true") != t.not {
			return []S{*new(S)}, nil
		}
		return nil, nil
	case t.schema.kind != "object":
		return nil, refuse(BadType, t.at, "must be a schema, not %s", jsonvalue.Article(t.schema.kind))
	}
	if x.c.expansions++; x.c.expansions > maxExpansions {
		return nil, refuse(Unsupported, t.at, "and what surrounds it can be put together in too many ways")
	}
	groups, err := x.groups(t)
	if err != nil {
		return nil, err
	}
	out := []S{*new(S)}
	if t.not {
		out = nil
	}
	for _, g := range groups {
		list, err := g()
		if err != nil {
			return nil, err
		}
		if t.not {
			out, err = x.either(out, list, t.at)
		} else {
			out, err = x.both(out, list, t.at)
		}
		if err != nil {
			return nil, err
		}
	}
	if x.last != nil {
		return x.last(t, out)
	}
	return out, nil
}

// groups returns what a schema is put together from: functions for the alternatives of each part, or of its negation.
func (x *expansion[S]) groups(t term) (out []func() ([]S, error), err error) {
	out = append(out, func() ([]S, error) {
		if t.not {
			return x.fail(t)
		}
		return x.hold(t)
	})
	for _, key := range references {
		if t.schema.has(key) {
			out = append(out, func() ([]S, error) { return x.reference(t, key) })
		}
	}
	for _, key := range []string{"allOf", "anyOf", "oneOf"} {
		if !t.schema.has(key) {
			continue
		}
		subs, err := listOf(t, key)
		if err != nil {
			return nil, err
		}
		switch {
		case key == "oneOf" && !t.not:
			out = append(out, func() ([]S, error) { return x.exactlyOne(subs, t.at.field(key)) })
		case key == "oneOf":
			out = append(out, func() ([]S, error) { return x.notExactlyOne(subs, t.at.field(key)) })
		case (key == "allOf") != t.not:
			out = append(out, func() ([]S, error) { return x.all(subs) })
		default:
			out = append(out, func() ([]S, error) { return x.any(subs, t.at.field(key)) })
		}
	}
	if n := t.schema.fields["not"]; t.schema.has("not") {
		out = append(out, func() ([]S, error) { return x.term(term{n, t.at.field("not"), !t.not}) })
	}
	if t.schema.has("if") && (t.schema.has("then") || t.schema.has("else")) {
		out = append(out, func() ([]S, error) { return x.condition(t) })
	}
	if x.deps == nil {
		return out, nil
	}
	list, err := x.deps(t)
	for _, d := range list {
		out = append(out, func() ([]S, error) { return x.dependent(d, t) })
	}
	return out, err
}

// listOf returns the terms of a keyword that has a list of schemas.
func listOf(t term, key string) ([]term, error) {
	n, at := t.schema.fields[key], t.at.field(key)
	switch {
	case n.kind != "array":
		return nil, refuse(BadType, at, "must be an array, not %s", jsonvalue.Article(n.kind))
	case len(n.list) == 0:
		return nil, refuse(BadValue, at, "is empty")
	}
	out := make([]term, len(n.list))
	for i, s := range n.list {
		out[i] = term{s, at.index(i), t.not}
	}
	return out, nil
}

func (x *expansion[S]) any(terms []term, at *path) ([]S, error) {
	var out []S
	for _, t := range terms {
		list, err := x.term(t)
		if err != nil {
			return nil, err
		}
		if out, err = x.either(out, list, at); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (x *expansion[S]) reference(t term, key string) ([]S, error) {
	target, err := x.c.find(t, key)
	if err != nil {
		return nil, err
	}
	id := 2 * target.schema.id
	if t.not {
		id++
	}
	if x.open[id] {
		return nil, refuse(BadValue, t.at.field(key), "refers to itself alone")
	}
	x.open[id] = true
	defer delete(x.open, id)
	target.not = t.not
	return x.term(target)
}

// exactlyOne keeps the negations of those schemas alone that could hold beside another one.
func (x *expansion[S]) exactlyOne(subs []term, at *path) ([]S, error) {
	var out []S
	for i, t := range subs {
		list, err := x.term(t)
		if err != nil {
			return nil, err
		}
		for j, other := range subs {
			if j == i || len(list) == 0 || x.c.disjoint(t, other, 0) {
				continue
			}
			other.not = true
			not, err := x.term(other)
			if err != nil {
				return nil, err
			}
			if list, err = x.both(list, not, at); err != nil {
				return nil, err
			}
		}
		if out, err = x.either(out, list, at); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// notExactlyOne is none of the schemas or two of them; subs are their negations.
func (x *expansion[S]) notExactlyOne(subs []term, at *path) ([]S, error) {
	out, err := x.all(subs)
	for i, a := range subs {
		for _, b := range subs[:i] {
			if err != nil {
				return nil, err
			}
			a.not, b.not = false, false
			var two []S
			if two, err = x.all([]term{a, b}); err == nil {
				out, err = x.either(out, two, at)
			}
		}
	}
	return out, err
}

// condition is if and then, or else without if. Its negation is if without then, or neither if nor else.
func (x *expansion[S]) condition(t term) ([]S, error) {
	branch := func(key string, not bool) ([]S, error) {
		terms := []term{{t.schema.fields["if"], t.at.field("if"), not}}
		if t.schema.has(key) {
			terms = append(terms, term{t.schema.fields[key], t.at.field(key), t.not})
		} else if t.not {
			return nil, nil
		}
		return x.all(terms)
	}
	then, err := branch("then", false)
	if err != nil {
		return nil, err
	}
	otherwise, err := branch("else", true)
	if err != nil {
		return nil, err
	}
	return x.either(then, otherwise, t.at.field("if"))
}

// dependent is an object without the property, or one under the schema. Its negation has the property and contradicts.
func (x *expansion[S]) dependent(d conditional, t term) ([]S, error) {
	d.then.not = t.not
	list, err := x.term(d.then)
	if err != nil {
		return nil, err
	}
	if list, err = x.both([]S{x.with(d.property)}, list, d.then.at); err != nil || t.not {
		return list, err
	}
	return x.either([]S{x.sans(d.property)}, list, d.then.at)
}

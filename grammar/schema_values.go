package grammar

import (
	"bytes"
	"math"
	"slices"

	"github.com/lorikeet-ai/lorikeet/grammar/automaton"
	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
)

// This file has what schemas say about types and values, and the algebra of null and booleans.

var typeNames = []string{"null", "boolean", "number", "integer", "string", "array", "object"}

// typesOf returns the types that a schema names; nil where it names none.
func typesOf(t term) ([]string, error) {
	at := t.at.field("type")
	var types []string
	switch n := t.schema.fields["type"]; t.schema.kindOf("type") {
	case "null":
		return nil, nil
	case "string":
		types = []string{n.text}
	default:
		for _, name := range n.list {
			types = append(types, name.text)
		}
		if n.kind != "array" || slices.ContainsFunc(n.list, func(name *node) bool { return name.kind != "string" }) {
			if err := decodeField(n, at, &types); err != nil {
				return nil, err
			}
		}
		if len(types) == 0 {
			return nil, refuse(BadValue, at, "is empty")
		}
	}
	for _, name := range types {
		if !slices.Contains(typeNames, name) {
			return nil, refuse(BadValue, at, "is %q, which JSON does not have", shortened(name))
		}
	}
	return types, nil
}

// valuesOf returns the values of const and enum; given is false where a schema has neither.
func valuesOf(t term) (values []*node, given bool, err error) {
	if t.schema.has("enum") {
		n, at := t.schema.fields["enum"], t.at.field("enum")
		switch {
		case n.kind != "array":
			return nil, false, refuse(BadType, at, "must be an array, not %s", jsonvalue.Article(n.kind))
		case len(n.list) == 0:
			return nil, false, refuse(BadValue, at, "is empty")
		}
		values, given = n.list, true
	}
	if t.schema.has("const") {
		c := t.schema.fields["const"]
		if given && !slices.ContainsFunc(values, func(v *node) bool { return equal(v, c) }) {
			return nil, true, nil
		}
		return []*node{c}, true, nil
	}
	return values, given, nil
}

// equal compares two values as JSON schemas do.
func equal(a, b *node) bool {
	switch {
	case a.kind != b.kind:
		return false
	case a.kind == "number":
		x, okX, _ := automaton.ParseDecimal(string(a.raw))
		y, okY, _ := automaton.ParseDecimal(string(b.raw))
		return okX && okY && x == y || bytes.Equal(a.raw, b.raw)
	case a.kind == "string":
		return a.text == b.text
	case a.kind == "array":
		return slices.EqualFunc(a.list, b.list, equal)
	case a.kind == "object":
		for key, v := range a.fields {
			if b.fields[key] == nil || !equal(v, b.fields[key]) {
				return false
			}
		}
		return len(a.fields) == len(b.fields)
	}
	return bytes.Equal(bytes.TrimSpace(a.raw), bytes.TrimSpace(b.raw))
}

// typed is the part of an algebra's hold and fail that type, const and enum are: whether the schema admits the type, and
// the values of the type that it names.
func typed(t term, names ...string) (admits bool, values []*node, given bool, err error) {
	types, err := typesOf(t)
	if err != nil {
		return false, nil, false, err
	}
	admits = types == nil || slices.ContainsFunc(names, func(n string) bool { return slices.Contains(types, n) })
	all, given, err := valuesOf(t)
	for _, v := range all {
		if v.kind == names[0] {
			values = append(values, v)
		}
	}
	return admits, values, given, err
}

// ---- null, true and false --------------------------------------------------------------------------

// wordSet is which of null, true and false are left out.
type wordSet uint8

var words3 = []string{"null", "true", "false"}

func wordAlgebra() algebra[wordSet] {
	hold := func(t term) ([]wordSet, error) {
		var out wordSet
		for i, kind := range []string{"null", "boolean", "boolean"} {
			admits, values, given, err := typed(t, kind)
			if err != nil {
				return nil, err
			}
			named := slices.ContainsFunc(values, func(v *node) bool { return string(v.raw) == words3[i] })
			if !admits || given && !named {
				out |= 1 << i
			}
		}
		return []wordSet{out}, nil
	}
	return algebra[wordSet]{
		meet: func(a, b wordSet) (wordSet, bool) { return a | b, a|b != 7 },
		hold: hold,
		fail: func(t term) ([]wordSet, error) {
			list, err := hold(t)
			if err != nil || list[0] == 0 {
				return nil, err
			}
			return []wordSet{7 &^ list[0]}, nil
		},
		free: func(s wordSet) bool { return s == 0 },
	}
}

// Bounds of what keywords ask for.
const (
	maxLength = 65_536
	maxItems  = 65_536
)

// bounds reads two keywords that bound a number of characters, items or properties; most is -1 where there is no upper
// one, or none that an answer could come to.
func bounds(t term, least, most string, limit int) (from, to int, err error) {
	to = -1
	for _, k := range []struct {
		key   string
		value *int
	}{{least, &from}, {most, &to}} {
		if !t.schema.has(k.key) {
			continue
		}
		at := t.at.field(k.key)
		d, ok, err := number(t.schema.fields[k.key], at)
		switch {
		case err != nil:
			return 0, 0, err
		case ok && (d.Negative || d.Fraction != ""):
			return 0, 0, refuse(BadValue, at, "is %s, it must be a whole number from 0 on", shortened(string(t.schema.fields[k.key].raw)))
		}
		f := math.Inf(1)
		if ok {
			f, _ = d.Rat().Float64()
		}
		switch {
		case f <= float64(limit) || k.key == most && f <= 1<<30:
			*k.value = int(f)
		case k.key == least:
			return 0, 0, refuse(BadValue, at, "is %s, it must be between 0 and %d", shortened(string(t.schema.fields[k.key].raw)), limit)
		}
	}
	if to >= 0 && to < from && !t.not {
		return 0, 0, refuse(BadValue, t.at.field(most), "is %d, less than %s", to, least)
	}
	return from, to, nil
}

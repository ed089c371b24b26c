package grammar

import (
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/grammar/automaton"
	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
)

// This file has the algebra of numbers.

// numberSet is numbers: those of a list, or those between two bounds that all automata accept.
type numberSet struct {
	listed    bool
	list      []*node
	whole     bool
	low, high *automaton.Bound // nil for none
	dfas      []*automaton.DFA
}

// contains reports whether a number is under the bounds of a set that is not listed.
func (s numberSet) contains(v *node) bool {
	d, ok, _ := automaton.ParseDecimal(string(v.raw))
	if !ok || s.whole && d.Fraction != "" {
		return false
	}
	x := d.Rat()
	if s.low != nil {
		if c := x.Cmp(s.low.Rat()); c < 0 || c == 0 && s.low.Exclusive {
			return false
		}
	}
	if s.high != nil {
		if c := x.Cmp(s.high.Rat()); c > 0 || c == 0 && s.high.Exclusive {
			return false
		}
	}
	return !slices.ContainsFunc(s.dfas, func(a *automaton.DFA) bool { return !a.Accepts(d.String()) })
}

func meetNumbers(a, b numberSet) (numberSet, bool) {
	if b.listed {
		a, b = b, a
	}
	if a.listed {
		listed := make(map[automaton.Decimal]bool, len(b.list))
		for _, v := range b.list {
			d, _, _ := automaton.ParseDecimal(string(v.raw))
			listed[d] = true
		}
		a.list = slices.DeleteFunc(slices.Clone(a.list), func(v *node) bool {
			d, _, _ := automaton.ParseDecimal(string(v.raw))
			return b.listed && !listed[d] || !b.contains(v)
		})
		return a, len(a.list) > 0
	}
	out := numberSet{whole: a.whole || b.whole, dfas: slices.Concat(a.dfas, b.dfas), low: a.low, high: a.high}
	if out.low = a.low; tighter(b.low, a.low, 1) {
		out.low = b.low
	}
	if out.high = a.high; tighter(b.high, a.high, -1) {
		out.high = b.high
	}
	if out.low != nil && out.high != nil {
		c := out.low.Rat().Cmp(out.high.Rat())
		return out, c < 0 || c == 0 && !out.low.Exclusive && !out.high.Exclusive
	}
	return out, true
}

// tighter reports whether a leaves less than b on the side of sign.
func tighter(a, b *automaton.Bound, sign int) bool {
	if a == nil || b == nil {
		return b == nil
	}
	c := a.Rat().Cmp(b.Rat())
	return c == sign || c == 0 && a.Exclusive
}

func (c *schemaCompiler) numberAlgebra() algebra[numberSet] {
	return algebra[numberSet]{
		meet: meetNumbers,
		free: func(s numberSet) bool {
			return !s.listed && !s.whole && s.low == nil && s.high == nil && len(s.dfas) == 0
		},
		hold: func(t term) ([]numberSet, error) {
			parts, err := c.numberParts(t)
			if err != nil || parts == nil {
				return nil, err
			}
			out := numberSet{}
			for _, p := range parts {
				both, ok := meetNumbers(out, p)
				if !ok {
					return nil, nil
				}
				out = both
			}
			return []numberSet{out}, nil
		},
		fail: func(t term) ([]numberSet, error) {
			parts, err := c.numberParts(t)
			if err != nil || parts == nil {
				return []numberSet{{}}, err
			}
			var out []numberSet
			for _, p := range parts {
				list, err := c.notNumbers(p, t)
				if err != nil {
					return nil, err
				}
				out = append(out, list...)
			}
			return out, nil
		},
	}
}

// notNumbers returns the numbers that one keyword's do not contain.
func (c *schemaCompiler) notNumbers(s numberSet, t term) (out []numberSet, err error) {
	subtract := func(d *automaton.DFA) error {
		not, err := automaton.Subtract(automaton.Numbers, d)
		if err == nil && !not.Empty() {
			out = append(out, numberSet{dfas: []*automaton.DFA{not}})
		}
		return err
	}
	if s.whole {
		err = subtract(automaton.Whole)
	}
	for _, d := range s.dfas {
		if err == nil {
			err = subtract(d)
		}
	}
	if s.listed && err == nil {
		var texts []string
		for _, v := range s.list {
			if d, ok, _ := automaton.ParseDecimal(string(v.raw)); ok {
				texts = append(texts, d.String())
			}
		}
		var d *automaton.DFA
		if d, err = automaton.Words(texts); err == nil {
			err = subtract(d)
		}
	}
	if err != nil {
		return nil, c.automatonError(t.at, err)
	}
	if s.low != nil {
		out = append(out, numberSet{high: &automaton.Bound{Decimal: s.low.Decimal, Exclusive: !s.low.Exclusive}})
	}
	if s.high != nil {
		out = append(out, numberSet{low: &automaton.Bound{Decimal: s.high.Decimal, Exclusive: !s.high.Exclusive}})
	}
	return out, nil
}

// numberParts returns what each keyword about numbers says; nil where the schema admits none.
func (c *schemaCompiler) numberParts(t term) ([]numberSet, error) {
	admits, values, given, err := typed(t, "number", "integer")
	if err != nil || !admits || given && len(values) == 0 {
		return nil, err
	}
	out := []numberSet{{}}
	if types, _ := typesOf(t); types != nil && !slices.Contains(types, "number") {
		out = append(out, numberSet{whole: true})
	}
	if given {
		for _, v := range values {
			if _, ok, _ := automaton.ParseDecimal(string(v.raw)); !ok {
				return nil, refuse(Unsupported, t.at.field("enum"), "has the number %s, which has too many digits", shortened(string(v.raw)))
			}
		}
		out = append(out, numberSet{listed: true, list: values})
	}
	for _, key := range []string{"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"} {
		s, err := c.numberBound(t, key)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	if t.schema.has("multipleOf") {
		at := t.at.field("multipleOf")
		d, ok, err := number(t.schema.fields["multipleOf"], at)
		switch {
		case err != nil:
			return nil, err
		case !ok:
			return nil, refuse(Unsupported, at, "has too many digits")
		case d.Negative || d.Whole == "0" && d.Fraction == "":
			return nil, refuse(BadValue, at, "must be greater than 0")
		}
		a, err := automaton.Multiples(d)
		if err != nil {
			return nil, c.automatonError(at, err)
		}
		out = append(out, numberSet{dfas: []*automaton.DFA{a}})
	}
	return out, nil
}

// number reads a number; ok is false where it has more digits than an automaton can have.
func number(n *node, at *path) (d automaton.Decimal, ok bool, err error) {
	if n.kind != "number" {
		return d, false, refuse(BadType, at, "must be a number, not %s", jsonvalue.Article(n.kind))
	}
	d, ok, _ = automaton.ParseDecimal(string(n.raw))
	return d, ok, nil
}

// numberBound reads a bound. Older drafts have true beside minimum or maximum where newer have a number.
func (c *schemaCompiler) numberBound(t term, key string) (numberSet, error) {
	exclusive := strings.HasPrefix(key, "exclusive")
	if !t.schema.has(key) || exclusive && t.schema.kindOf(key) == "boolean" {
		return numberSet{}, nil
	}
	n, at := t.schema.fields[key], t.at.field(key)
	d, ok, err := number(n, at)
	if err != nil {
		return numberSet{}, err
	}
	lower := strings.HasSuffix(strings.ToLower(key), "minimum")
	if !ok {
		_, _, huge := automaton.ParseDecimal(string(n.raw))
		if huge && (string(n.raw)[0] == '-') == lower {
			// No number that is written without an exponent is beyond it.
			return numberSet{dfas: []*automaton.DFA{automaton.Numbers}}, nil
		}
		return numberSet{}, refuse(Unsupported, at, "is %s, which has too many digits", shortened(string(n.raw)))
	}
	old := map[bool]string{true: "exclusiveMinimum", false: "exclusiveMaximum"}[lower]
	if t.schema.kindOf(old) == "boolean" && string(t.schema.fields[old].raw) == "true" {
		exclusive = true
	}
	b := &automaton.Bound{Decimal: d, Exclusive: exclusive}
	if lower {
		return numberSet{low: b}, nil
	}
	return numberSet{high: b}, nil
}

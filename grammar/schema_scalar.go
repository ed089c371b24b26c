package grammar

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/grammar/automaton"
	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
)

// This file has the algebras of null, booleans, strings and numbers.

// ---- types -----------------------------------------------------------------------------------------

var typeNames = []string{"null", "boolean", "number", "integer", "string", "array", "object"}

// typesOf returns the types that a schema names; nil where it names none.
func typesOf(t term) ([]string, error) {
	at := t.at.field("type")
	var types []string
	switch n := t.schema.fields["type"]; t.schema.kindOf("type") {
	case "null":
		return nil, nil
	case "string":
		types = []string{text(n)}
	default:
		if err := decodeField(n, at, &types); err != nil {
			return nil, err
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

// text is the string that a node is.
func text(n *node) string {
	var s string
	if json.Unmarshal(n.raw, &s) != nil {
		return ""
	}
	return s
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
		return text(a) == text(b)
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

// ---- strings ---------------------------------------------------------------------------------------

// stringSet is strings: those of a list, or those that all automata accept, with a number of characters.
type stringSet struct {
	listed bool
	list   []string
	dfas   []*automaton.DFA
	least  int
	most   int // plus one; 0 for no bound
}

// contains reports whether a text is under the bounds of a set that is not listed.
func (s stringSet) contains(text string) bool {
	n := utf8.RuneCountInString(text)
	return n >= s.least && (s.most == 0 || n < s.most) &&
		!slices.ContainsFunc(s.dfas, func(d *automaton.DFA) bool { return !d.Accepts(text) })
}

func meetStrings(a, b stringSet) (stringSet, bool) {
	if b.listed {
		a, b = b, a
	}
	if a.listed {
		listed := setOf(b.list)
		kept := slices.DeleteFunc(slices.Clone(a.list), func(text string) bool { return b.listed && !listed[text] || !b.contains(text) })
		return stringSet{listed: true, list: kept}, len(kept) > 0
	}
	out := stringSet{dfas: slices.Concat(a.dfas, b.dfas), least: max(a.least, b.least), most: a.most}
	if b.most != 0 && (out.most == 0 || b.most < out.most) {
		out.most = b.most
	}
	return out, out.most == 0 || out.least < out.most
}

func (c *schemaCompiler) stringAlgebra() algebra[stringSet] {
	return algebra[stringSet]{
		meet: meetStrings,
		free: func(s stringSet) bool { return !s.listed && len(s.dfas) == 0 && s.least == 0 && s.most == 0 },
		hold: func(t term) ([]stringSet, error) {
			admits, values, given, err := typed(t, "string")
			if err != nil || !admits {
				return nil, err
			}
			parts, err := c.stringParts(t)
			if err != nil {
				return nil, err
			}
			out := stringSet{}
			if given {
				parts = append(parts, stringSet{listed: true, list: texts(values)})
			}
			ok := true
			for _, p := range parts {
				if out, ok = meetStrings(out, p); !ok {
					return nil, nil
				}
			}
			if out.listed && len(out.list) == 0 {
				return nil, nil
			}
			return []stringSet{out}, nil
		},
		fail: func(t term) ([]stringSet, error) {
			admits, values, given, err := typed(t, "string")
			if err != nil || !admits {
				return []stringSet{{}}, err
			}
			parts, err := c.stringParts(t)
			if err != nil {
				return nil, err
			}
			if given {
				d, err := automaton.Words(texts(values))
				if err != nil {
					return nil, c.automatonError(t.at.field("enum"), err)
				}
				parts = append(parts, stringSet{dfas: []*automaton.DFA{d}})
			}
			var out []stringSet
			for _, p := range parts {
				list, err := notStrings(p)
				if err != nil {
					return nil, c.automatonError(t.at, err)
				}
				out = append(out, list...)
			}
			return out, nil
		},
	}
}

func texts(values []*node) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = text(v)
	}
	return out
}

// notStrings returns the strings that one keyword's do not contain.
func notStrings(s stringSet) (out []stringSet, err error) {
	for _, d := range s.dfas {
		not, err := automaton.Subtract(automaton.Anything(), d)
		if err != nil {
			return nil, err
		}
		if !not.Empty() {
			out = append(out, stringSet{dfas: []*automaton.DFA{not}})
		}
	}
	if s.least > 0 {
		out = append(out, stringSet{most: s.least})
	}
	if s.most > 0 {
		out = append(out, stringSet{least: s.most})
	}
	return out, nil
}

// stringParts returns what each keyword about strings says.
func (c *schemaCompiler) stringParts(t term) (out []stringSet, err error) {
	least, most, err := bounds(t, "minLength", "maxLength", maxLength)
	if err != nil {
		return nil, err
	}
	if least > 0 || most >= 0 {
		out = append(out, stringSet{least: least, most: most + 1})
	}
	var format *automaton.DFA
	if t.schema.kindOf("format") == "string" {
		format = automaton.Format(text(t.schema.fields["format"]))
	}
	if t.schema.has("pattern") {
		at := t.at.field("pattern")
		var pattern string
		if err := decodeField(t.schema.fields["pattern"], at, &pattern); err != nil {
			return nil, err
		}
		d, err := c.pattern(pattern, at)
		if err != nil {
			return nil, err
		}
		// A pattern binds, a format is what a library says about it: where both contradict each other, or are
		// too much together, the pattern counts.
		if format != nil {
			both, err := automaton.Intersect(format, d)
			switch {
			case errors.Is(err, automaton.ErrTooLarge):
			case err != nil:
				return nil, err
			case !both.Empty():
				d = both
			}
			format = nil
		}
		out = append(out, stringSet{dfas: []*automaton.DFA{d}})
	}
	if format != nil {
		out = append(out, stringSet{dfas: []*automaton.DFA{format}})
	}
	return out, nil
}

// pattern returns the automaton of a regular expression.
func (c *schemaCompiler) pattern(pattern string, at *path) (*automaton.DFA, error) {
	if d, ok := c.patterns[pattern]; ok {
		return d, nil
	}
	d, err := automaton.Regexp(pattern)
	if err != nil {
		return nil, refuse(Unsupported, at, "%v", err)
	}
	c.patterns[pattern] = d
	return d, nil
}

// ---- numbers ---------------------------------------------------------------------------------------

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
			out, ok := numberSet{}, true
			for _, p := range parts {
				if out, ok = meetNumbers(out, p); !ok {
					return nil, nil
				}
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

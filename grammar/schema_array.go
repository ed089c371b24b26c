package grammar

import (
	"slices"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
)

// arraySet is arrays: of each item, the terms that it is under.
type arraySet struct {
	prefix []([]term)
	rest   []term
	least  int
	most   int   // plus one; 0 for no bound
	unique *path // the keyword uniqueItems; nil for none

	evaluated int // so many items at the beginning have been looked at: see unevaluatedItems
}

func (s arraySet) item(i int) []term {
	if i < len(s.prefix) {
		return s.prefix[i]
	}
	return s.rest
}

func meetArrays(a, b arraySet) (arraySet, bool) {
	out := arraySet{least: max(a.least, b.least), most: a.most, unique: a.unique, rest: slices.Concat(a.rest, b.rest),
		evaluated: max(a.evaluated, b.evaluated)}
	for i := range max(len(a.prefix), len(b.prefix)) {
		out.prefix = append(out.prefix, slices.Concat(a.item(i), b.item(i)))
	}
	if b.most != 0 && (out.most == 0 || b.most < out.most) {
		out.most = b.most
	}
	if out.unique == nil {
		out.unique = b.unique
	}
	return out, out.most == 0 || out.least < out.most
}

// onlyItem is arrays whose item number i is under a term.
func onlyItem(i int, t term) arraySet {
	s := arraySet{prefix: make([][]term, i+1), least: i + 1}
	s.prefix[i] = []term{t}
	return s
}

func (c *schemaCompiler) arrayAlgebra() algebra[arraySet] {
	return algebra[arraySet]{
		meet: meetArrays,
		free: func(s arraySet) bool {
			return len(s.prefix) == 0 && len(s.rest) == 0 && s.least == 0 && s.most == 0 && s.unique == nil
		},
		hold: func(t term) ([]arraySet, error) {
			admits, values, given, err := typed(t, "array")
			if err != nil || !admits {
				return nil, err
			}
			s, err := readArray(t)
			if err != nil {
				return nil, err
			}
			out := []arraySet{{}}
			if given {
				out = nil
				for _, v := range values {
					out = append(out, constantArray(v, t.at))
				}
			}
			contains, err := c.holdContains(t, len(s.prefix))
			if err != nil {
				return nil, err
			}
			return meetAll(out, append(contains, []arraySet{s}), meetArrays), nil
		},
		fail: func(t term) ([]arraySet, error) {
			admits, values, given, err := typed(t, "array")
			if err != nil || !admits {
				return []arraySet{{}}, err
			}
			s, err := readArray(t)
			if err != nil {
				return nil, err
			}
			out, err := failContains(t)
			if err != nil {
				return nil, err
			}
			if given {
				not := []arraySet{{}}
				for _, v := range values {
					not = meetAll(not, [][]arraySet{notArray(constantArray(v, t.at))}, meetArrays)
				}
				out = append(out, not...)
			}
			if s.unique != nil {
				return nil, refuse(Unsupported, s.unique, "is not supported where it is negated")
			}
			return append(out, notArray(s)...), nil
		},
		last: lastItems,
	}
}

// meetAll puts each list of alternatives together with those so far.
func meetAll[S any](out []S, lists [][]S, meet func(a, b S) (S, bool)) []S {
	for _, list := range lists {
		var next []S
		for _, a := range out {
			for _, b := range list {
				if m, ok := meet(a, b); ok {
					next = append(next, m)
				}
			}
		}
		out = next
	}
	return out
}

// readArray reads the keywords about arrays but contains. Older drafts have an array in items, where newer have
// prefixItems, and additionalItems where newer have items.
func readArray(t term) (s arraySet, err error) {
	s.least, s.most, err = bounds(t, "minItems", "maxItems", maxItems)
	s.most++
	if err != nil {
		return s, err
	}
	if v := t.schema.fields["uniqueItems"]; t.schema.has("uniqueItems") {
		if v.kind != "boolean" {
			return s, refuse(BadType, t.at.field("uniqueItems"), "must be a boolean, not %s", jsonvalue.Article(v.kind))
		}
		if string(v.raw) == "true" {
			s.unique = t.at.field("uniqueItems")
		}
	}
	prefix, rest := "prefixItems", "items"
	if t.schema.kindOf("items") == "array" {
		if t.schema.has("prefixItems") {
			return s, refuse(BadType, t.at.field("items"), "must be a schema beside prefixItems, not an array")
		}
		prefix, rest = "items", "additionalItems"
	}
	if t.schema.has(prefix) {
		n := t.schema.fields[prefix]
		if n.kind != "array" {
			return s, refuse(BadType, t.at.field(prefix), "must be an array, not %s", jsonvalue.Article(n.kind))
		}
		for i, item := range n.list {
			s.prefix = append(s.prefix, []term{{item, t.at.field(prefix).index(i), false}})
		}
	}
	s.evaluated = len(s.prefix)
	switch {
	case t.schema.has(rest):
		s.evaluated = allItems
		s.rest = []term{{t.schema.fields[rest], t.at.field(rest), false}}
	case t.not && t.schema.has("unevaluatedItems"):
		s.rest = []term{{t.schema.fields["unevaluatedItems"], t.at.field("unevaluatedItems"), false}}
	case len(s.prefix) > 0 && !t.not && !t.schema.has("unevaluatedItems"):
		// A tuple has no more items than it names, unless it must: that is valid, and what is meant.
		if s.least <= len(s.prefix) && (s.most == 0 || s.most > len(s.prefix)+1) {
			s.most = len(s.prefix) + 1
		}
	}
	// And it has all of them, unless minItems says how many it must have.
	if !t.not && !t.schema.has("minItems") {
		for s.least < len(s.prefix) && (s.most == 0 || s.least+1 < s.most) && string(s.prefix[s.least][0].schema.raw) != "false" {
			s.least++
		}
	}
	return s, nil
}

// constantArray is a single array.
func constantArray(v *node, at *path) arraySet {
	s := arraySet{least: len(v.list), most: len(v.list) + 1}
	for _, item := range v.list {
		s.prefix = append(s.prefix, []term{{constant(item), at, false}})
	}
	return s
}

// notArray is the arrays that are not in a set, each for one reason.
func notArray(s arraySet) (out []arraySet) {
	negated := func(i int, terms []term) {
		for _, t := range terms {
			t.not = !t.not
			out = append(out, onlyItem(i, t))
		}
	}
	for i, terms := range s.prefix {
		negated(i, terms)
	}
	negated(len(s.prefix), s.rest)
	if s.least > 0 {
		out = append(out, arraySet{most: s.least})
	}
	if s.most > 0 {
		out = append(out, arraySet{least: s.most})
	}
	return out
}

// containsBounds reads how many items must be under contains; most is -1 for no bound.
func containsBounds(t term) (from, to int, err error) {
	from, to, err = bounds(t, "minContains", "maxContains", 64)
	if !t.schema.has("minContains") {
		from = 1
	}
	return from, to, err
}

// holdContains has the items that contains asks for at the beginning of the array, or after those that prefixItems names:
// that is where they can be met without a look ahead. Where there is an upper bound, no other item is one.
func (c *schemaCompiler) holdContains(t term, prefix int) (out [][]arraySet, err error) {
	if !t.schema.has("contains") {
		return nil, nil
	}
	from, to, err := containsBounds(t)
	if err != nil {
		return nil, err
	}
	inner := term{t.schema.fields["contains"], t.at.field("contains"), false}
	other := inner
	other.not = true
	var list []arraySet
	for _, before := range slices.Compact([]int{0, prefix}) {
		s := arraySet{least: before + from, prefix: make([][]term, before+from)}
		for i := range s.prefix {
			if i >= before {
				s.prefix[i] = []term{inner}
			} else if to >= 0 {
				s.prefix[i] = []term{other}
			}
		}
		if from == 0 {
			s.least = 0
		}
		if to >= 0 {
			s.rest = []term{other}
		}
		if c.containsEvaluates() {
			s.evaluated = before + from
		}
		list = append(list, s)
	}
	return [][]arraySet{list}, nil
}

// failContains has no item under contains, or too many.
func failContains(t term) (out []arraySet, err error) {
	if !t.schema.has("contains") {
		return nil, nil
	}
	from, to, err := containsBounds(t)
	if err != nil {
		return nil, err
	}
	inner := term{t.schema.fields["contains"], t.at.field("contains"), false}
	if to >= 0 {
		s := arraySet{least: to + 1}
		for range to + 1 {
			s.prefix = append(s.prefix, []term{inner})
		}
		out = append(out, s)
	}
	if from > 0 {
		inner.not = true
		out = append(out, arraySet{rest: []term{inner}})
	}
	return out, nil
}

package grammar

import (
	"errors"
	"slices"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/grammar/automaton"
)

// This file has the algebra of strings.

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
			for _, p := range parts {
				both, ok := meetStrings(out, p)
				if !ok {
					return nil, nil
				}
				out = both
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
		out[i] = v.text
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
		format = automaton.Format(t.schema.fields["format"].text)
	}
	if t.schema.has("pattern") {
		at := t.at.field("pattern")
		var pattern string
		if err := decodeField(t.schema.fields["pattern"], at, &pattern); err != nil {
			return nil, err
		}
		if err := c.late(); err != nil {
			return nil, c.automatonError(at, err)
		}
		if d, least, most, ok := automaton.Counted(pattern); ok && format == nil {
			return append(out, stringSet{dfas: []*automaton.DFA{d}, least: least, most: most + 1}), nil
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
	if err := c.late(); err != nil {
		return nil, c.automatonError(at, err)
	}
	d, err := automaton.Regexp(pattern)
	if err != nil {
		return nil, refuse(Unsupported, at, "%v", err)
	}
	c.patterns[pattern] = d
	return d, nil
}

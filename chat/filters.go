package chat

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/exec"
)

// maxIndent is the widest indent of tojson.
const maxIndent = 64

// argument returns the value given at position i or by name, or nil.
func argument(args *exec.VarArgs, i int, name string) *exec.Value {
	if i < len(args.Args) {
		return args.Args[i]
	}
	return args.KwArgs[name]
}

// failed is how a filter returns an error.
func failed(format string, args ...any) *exec.Value { return exec.AsValue(fmt.Errorf(format, args...)) }

// plainFilter makes a filter of a function of the value alone. Errors pass through.
func plainFilter(f func(v *exec.Value) *exec.Value) exec.FilterFunction {
	return func(_ *exec.Evaluator, v *exec.Value, _ *exec.VarArgs) *exec.Value {
		if v.IsError() {
			return v
		}
		return f(v)
	}
}

// gonjaFilters are gonja's filters that behave as Jinja2's do, each with a function that spends its cost before it runs.
var gonjaFilters = map[string]func(b *budget, v *exec.Value, args *exec.VarArgs){
	"abs": nil, "attr": nil, "capitalize": nil, "e": escaping, "escape": escaping, "filesizeformat": nil, "float": nil,
	"forceescape": escaping, "groupby": comparing, "int": nil, "map": nil, "max": nil, "min": nil, "random": nil,
	"reject": nil, "rejectattr": nil, "round": nil, "safe": nil, "select": nil, "selectattr": nil, "sort": comparing, "striptags": nil,
	"sum": nil, "title": nil, "truncate": nil, "unique": comparing, "urlencode": escaping, "wordcount": nil,
	"batch": nil, "slice": nil, "center": nil, "format": formatting, "indent": indenting, "replace": replacing, "wordwrap": wrapping,
}

// templateFilters are the filters that a template finds.
func templateFilters(b *budget) map[string]exec.FilterFunction {
	filters := make(map[string]exec.FilterFunction, len(gonjaFilters)+32)
	for name, spend := range gonjaFilters {
		f, ok := builtins.Filters.Get(name)
		if !ok {
			continue
		}
		filters[name] = func(e *exec.Evaluator, v *exec.Value, args *exec.VarArgs) *exec.Value {
			if err := checkArguments(name, args); err != nil {
				return exec.AsValue(err)
			}
			if spend != nil && !v.IsError() {
				spend(b, v, args)
			}
			return f(e, v, args)
		}
	}
	maps.Copy(filters, ownFilters(b))
	for name, f := range filters {
		filters[name] = func(e *exec.Evaluator, v *exec.Value, args *exec.VarArgs) *exec.Value {
			b.chargeTraversal(v)
			return b.chargeResult(f(e, v, args))
		}
	}
	filters["__compared"] = plainFilter(func(v *exec.Value) *exec.Value { // the right side of "in", "==" and the like
		b.chargeTraversal(v)
		return v
	})
	filters["__print"] = plainFilter(func(v *exec.Value) *exec.Value { return exec.AsValue(b.print(v)) })
	return filters
}

// ownFilters are the filters that gonja has otherwise than Jinja2 or transformers.
func ownFilters(b *budget) map[string]exec.FilterFunction {
	return map[string]exec.FilterFunction{
		"tojson":   func(_ *exec.Evaluator, v *exec.Value, args *exec.VarArgs) *exec.Value { return tojson(b, v, args) },
		"default":  defaultFilter,
		"d":        defaultFilter,
		"trim":     trimFilter,
		"dictsort": dictsortFilter,
		"join":     func(_ *exec.Evaluator, v *exec.Value, args *exec.VarArgs) *exec.Value { return joinFilter(b, v, args) },
		"string":   plainFilter(func(v *exec.Value) *exec.Value { return exec.AsValue(str(b, v)) }),
		"__each": plainFilter(func(v *exec.Value) *exec.Value { // gonja walks the bytes of a string
			if v.IsString() {
				v = toList(elements(v))
			}
			b.step(1 + v.Len()/2)
			return v
		}),
		"__literal": plainFilter(func(v *exec.Value) *exec.Value { // a list or dict that the template writes
			if err := b.checkTree(v); err != nil {
				return exec.AsValue(err)
			}
			return v
		}),
		"upper":   plainFilter(func(v *exec.Value) *exec.Value { return exec.AsValue(upper(str(b, v))) }),
		"lower":   plainFilter(func(v *exec.Value) *exec.Value { return exec.AsValue(lower(str(b, v))) }),
		"length":  plainFilter(length),
		"count":   plainFilter(length),
		"list":    plainFilter(func(v *exec.Value) *exec.Value { return toList(elements(v)) }),
		"items":   plainFilter(pairsOf),
		"first":   plainFilter(func(v *exec.Value) *exec.Value { return nth(elements(v), 0) }),
		"last":    plainFilter(func(v *exec.Value) *exec.Value { all := elements(v); return nth(all, len(all)-1) }),
		"reverse": plainFilter(reverse),
	}
}

// nth is the i-th value, or undefined.
func nth(all []*exec.Value, i int) *exec.Value {
	if i < 0 || i >= len(all) {
		return exec.AsValue(nil)
	}
	return all[i]
}

func reverse(v *exec.Value) *exec.Value {
	all := elements(v)
	slices.Reverse(all)
	if !v.IsString() {
		return toList(all)
	}
	var text strings.Builder
	for _, c := range all {
		text.WriteString(c.String())
	}
	return exec.AsValue(text.String())
}

// checkArguments refuses widths, counts and precisions that are far larger than any template needs.
func checkArguments(name string, args *exec.VarArgs) error {
	for _, a := range slices.Concat(args.Args, slices.Collect(maps.Values(args.KwArgs))) {
		if a.IsInteger() && (a.Integer() > maxRange || a.Integer() < -maxRange) {
			return fmt.Errorf("%s is given the number %d, at most %d is taken", name, a.Integer(), maxRange)
		}
	}
	return nil
}

// The costs of gonja's filters, which are spent before the filters run.

func escaping(b *budget, v *exec.Value, _ *exec.VarArgs) { b.repeat(len(v.String()), 6) }

// comparing compares every element with every other one, in the worst case.
func comparing(b *budget, v *exec.Value, _ *exec.VarArgs) {
	if isList(v) || v.IsDict() {
		b.step(1 + v.Len()*v.Len()/64)
	}
}

func indenting(b *budget, v *exec.Value, args *exec.VarArgs) {
	width := 4
	if a := argument(args, 0, "width"); a != nil {
		if width = a.Integer(); a.IsString() {
			width = len(a.String())
		}
	}
	b.repeat(width, 1+strings.Count(v.String(), "\n"))
}

func replacing(b *budget, v *exec.Value, args *exec.VarArgs) {
	from, to := argument(args, 0, "old"), argument(args, 1, "new")
	if from != nil && to != nil {
		b.repeat(len(to.String()), strings.Count(v.String(), from.String()))
	}
}

func wrapping(b *budget, v *exec.Value, args *exec.VarArgs) {
	between := 1
	for _, a := range slices.Concat(args.Args, slices.Collect(maps.Values(args.KwArgs))) {
		if a.IsString() {
			between = max(between, len(a.String()))
		}
	}
	b.repeat(between, len(v.String()))
}

// formatting refuses widths that would make a format of a few bytes megabytes long.
func formatting(b *budget, v *exec.Value, args *exec.VarArgs) { checkFormat(b, v.String(), args) }

func checkFormat(b *budget, format string, args *exec.VarArgs) {
	digits := 0
	for _, c := range format {
		if digits++; c < '0' || c > '9' {
			digits = 0
		}
		if digits > 4 || c == '*' && strings.Contains(format, "%") {
			panic(overBudget("a format has a width of more than 4 digits, or one that is an argument"))
		}
	}
	size := 10_000 * (strings.Count(format, "%") + strings.Count(format, "{"))
	for _, a := range args.Args {
		if a.IsString() {
			b.repeat(len(a.String()), strings.Count(format, "%")+strings.Count(format, "{"))
		}
	}
	if strings.ContainsAny(format, "0123456789") {
		b.grow(size)
	}
}

// str is Python's str().
func str(b *budget, v *exec.Value) string {
	if v.IsString() || v.IsNil() {
		return v.String()
	}
	w := textWriter{budget: b}
	w.repr(v, 0)
	return w.String()
}

// print is str for what is printed or joined; it spends the length of the text.
func (b *budget) print(v *exec.Value) string {
	b.step(1)
	if v.IsString() || v.IsNil() {
		s := v.String()
		b.grow(len(s))
		return s
	}
	return str(b, v)
}

func length(v *exec.Value) *exec.Value {
	if !v.IsString() && !v.IsDict() && !isList(v) && !v.IsNil() {
		return failed("a value without a length has been asked for it")
	}
	if v.IsNil() {
		return exec.AsValue(0)
	}
	return exec.AsValue(v.Len())
}

// pairsOf is what items() and the filter items yield: a list of (key, value).
func pairsOf(v *exec.Value) *exec.Value {
	out := list{}
	if v.IsDict() {
		for _, p := range items(v) {
			out = append(out, list{p.Key, p.Value})
		}
	}
	return exec.AsValue(out)
}

func tojson(b *budget, v *exec.Value, args *exec.VarArgs) *exec.Value {
	if v.IsError() {
		return v
	}
	p := pythonJSON{indent: -1, item: ", ", key: ": "}
	if a := argument(args, 0, "ensure_ascii"); a != nil {
		p.ensureASCII = a.IsTrue()
	}
	if a := argument(args, 1, "indent"); a != nil && a.IsInteger() {
		p.indent, p.item = a.Integer(), ","
	}
	if a := argument(args, 2, "separators"); a != nil && a.IsList() && a.Len() == 2 {
		p.item, p.key = a.Index(0).String(), a.Index(1).String()
	}
	if a := argument(args, 3, "sort_keys"); a != nil {
		p.sortKeys = a.IsTrue()
	}
	if p.indent > maxIndent {
		return failed("tojson is given an indent of %d, at most %d is taken", p.indent, maxIndent)
	}
	w := textWriter{budget: b}
	if err := p.dump(&w, v, 0); err != nil {
		return exec.AsValue(err)
	}
	return exec.AsValue(w.String())
}

func defaultFilter(_ *exec.Evaluator, v *exec.Value, args *exec.VarArgs) *exec.Value {
	falsy := argument(args, 1, "boolean")
	if !v.IsNil() && !v.IsError() && (falsy == nil || !falsy.IsTrue() || v.IsTrue()) {
		return v
	}
	if a := argument(args, 0, "default_value"); a != nil {
		return a
	}
	return exec.AsValue("")
}

func trimFilter(_ *exec.Evaluator, v *exec.Value, args *exec.VarArgs) *exec.Value {
	if v.IsError() {
		return v
	}
	return exec.AsValue(strip(v.String(), argument(args, 0, "chars"), true, true))
}

func dictsortFilter(_ *exec.Evaluator, v *exec.Value, args *exec.VarArgs) *exec.Value {
	if v.IsError() {
		return v
	}
	if !v.IsDict() {
		return exec.AsValue(errors.New("dictsort is for dicts"))
	}
	fold := strings.ToLower
	if a := argument(args, 0, "case_sensitive"); a != nil && a.IsTrue() {
		fold = func(s string) string { return s }
	}
	pairs := append([]*exec.Pair(nil), items(v)...)
	sort.SliceStable(pairs, func(i, j int) bool { return fold(pairs[i].Key.String()) < fold(pairs[j].Key.String()) })
	out := list{}
	for _, p := range pairs {
		out = append(out, list{p.Key, p.Value})
	}
	return exec.AsValue(out)
}

func joinFilter(b *budget, v *exec.Value, args *exec.VarArgs) *exec.Value {
	if v.IsError() {
		return v
	}
	separator, attribute := "", argument(args, 1, "attribute")
	if a := argument(args, 0, "d"); a != nil {
		separator = a.String()
	}
	var parts []string
	for _, e := range elements(v) {
		if attribute != nil {
			e, _ = e.Get(attribute.String())
		}
		parts = append(parts, b.print(e))
	}
	b.repeat(len(separator), len(parts)-1)
	return exec.AsValue(strings.Join(parts, separator))
}

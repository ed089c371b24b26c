package chat

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/nikolalohinski/gonja/v2/exec"
)

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

// templateFilters are the filters that gonja has otherwise than Jinja2 or transformers.
var templateFilters = map[string]exec.FilterFunction{
	"tojson":   tojson,
	"default":  defaultFilter,
	"d":        defaultFilter,
	"trim":     trimFilter,
	"dictsort": dictsortFilter,
	"join":     joinFilter,
	"string":   plainFilter(str),
	"__print":  plainFilter(str),
	"__each": plainFilter(func(v *exec.Value) *exec.Value { // gonja walks the bytes of a string
		if v.IsString() {
			return toList(elements(v))
		}
		return v
	}),
	"length": plainFilter(length),
	"count":  plainFilter(length),
	"list":   plainFilter(func(v *exec.Value) *exec.Value { return toList(elements(v)) }),
	"items":  plainFilter(pairsOf),
	"first": plainFilter(func(v *exec.Value) *exec.Value {
		if all := elements(v); len(all) > 0 {
			return all[0]
		}
		return exec.AsValue(nil)
	}),
	"last": plainFilter(func(v *exec.Value) *exec.Value {
		if all := elements(v); len(all) > 0 {
			return all[len(all)-1]
		}
		return exec.AsValue(nil)
	}),
	"reverse": plainFilter(func(v *exec.Value) *exec.Value {
		all := elements(v)
		for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
			all[i], all[j] = all[j], all[i]
		}
		if !v.IsString() {
			return toList(all)
		}
		var b strings.Builder
		for _, c := range all {
			b.WriteString(c.String())
		}
		return exec.AsValue(b.String())
	}),
}

// str is Python's str().
func str(v *exec.Value) *exec.Value {
	if v.IsString() || v.IsNil() {
		return exec.AsValue(v.String())
	}
	return exec.AsValue(repr(v))
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

func tojson(_ *exec.Evaluator, v *exec.Value, args *exec.VarArgs) *exec.Value {
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
	s, err := p.dump(v, 0)
	if err != nil {
		return exec.AsValue(err)
	}
	return exec.AsValue(s)
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

func joinFilter(_ *exec.Evaluator, v *exec.Value, args *exec.VarArgs) *exec.Value {
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
		parts = append(parts, e.String())
	}
	return exec.AsValue(strings.Join(parts, separator))
}

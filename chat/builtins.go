package chat

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/parser"
)

// maxRange is the longest range() of Jinja2's sandbox, which transformers renders templates in.
const maxRange = 100_000

// templateEnvironment is what a template finds besides its variables: gonja's own, with what it lacks or
// does otherwise than Jinja2 in its place. There is no way to reach files (include, import, extends).
func templateEnvironment(now func() time.Time) *exec.Environment {
	blocks := map[string]parser.ControlStructureParser{}
	for _, name := range []string{"for", "if", "set", "macro", "call", "with", "filter", "do", "break", "continue"} {
		if p, ok := builtins.ControlStructures.Get(name); ok {
			blocks[name] = p
		}
	}
	globals := exec.EmptyContext().Update(builtins.GlobalFunctions).Update(exec.NewContext(map[string]any{
		"none":    none{},
		"__empty": map[string]any{},
		"range":   rangeFunction,
		"dict":    dictFunction,
		"strftime_now": func(format string) string {
			return strftime(now(), format)
		},
	}))
	return &exec.Environment{
		Context:           globals,
		Filters:           exec.NewFilterSet(map[string]exec.FilterFunction{}).Update(builtins.Filters).Update(exec.NewFilterSet(maps.Clone(templateFilters))),
		Tests:             exec.NewTestSet(map[string]exec.TestFunction{}).Update(builtins.Tests).Update(exec.NewTestSet(templateTests())),
		ControlStructures: exec.NewControlStructureSet(blocks),
		Methods: exec.Methods{
			Bool: builtins.Methods.Bool, Int: builtins.Methods.Int, Float: builtins.Methods.Float, List: builtins.Methods.List,
			Str: exec.NewMethodSet(stringMethods()), Dict: exec.NewMethodSet(dictMethods()),
		},
	}
}

func rangeFunction(args *exec.VarArgs) (any, error) {
	start, stop, step := 0, 0, 1
	at := func(i int) int { return args.Args[i].Integer() }
	switch len(args.Args) {
	case 1:
		stop = at(0)
	case 2:
		start, stop = at(0), at(1)
	case 3:
		start, stop, step = at(0), at(1), at(2)
	default:
		return nil, errors.New("range takes one to three numbers")
	}
	if step == 0 {
		return nil, errors.New("range has a step of 0")
	}
	out := list{}
	for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
		if len(out) == maxRange {
			return nil, fmt.Errorf("range has more than %d numbers", maxRange)
		}
		out = append(out, i)
	}
	return out, nil
}

// dictFunction is dict(pairs, name=value); gonja loses the order of keyword arguments, so they are sorted.
func dictFunction(args *exec.VarArgs) any {
	var pairs []*exec.Pair
	for _, a := range args.Args {
		if a.IsDict() {
			pairs = append(pairs, items(a)...)
		}
	}
	return object(append(pairs, items(exec.AsValue(args.KwArgs))...))
}

// strftime formats t by the letters of C's strftime.
func strftime(t time.Time, format string) string {
	layouts := map[byte]string{
		'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'd': "02", 'e': "_2", 'H': "15", 'I': "03", 'j': "002",
		'm': "01", 'M': "04", 'p': "PM", 'S': "05", 'y': "06", 'Y': "2006", 'Z': "MST", 'z': "-0700",
		'F': "2006-01-02", 'T': "15:04:05", 'D': "01/02/06", 'R': "15:04", 'c': "Mon Jan _2 15:04:05 2006",
		'x': "01/02/06", 'X': "15:04:05", 'h': "Jan",
	}
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		c, unpadded := format[i], false
		if c == '-' && i+1 < len(format) { // glibc: no padding
			i++
			c, unpadded = format[i], true
		}
		layout, ok := layouts[c]
		switch {
		case c == '%':
			b.WriteByte('%')
		case !ok:
			b.WriteString("%" + string(c))
		case unpadded:
			b.WriteString(strings.TrimLeft(t.Format(layout), "0 "))
		default:
			b.WriteString(t.Format(layout))
		}
	}
	return b.String()
}

// templateTests are the tests ("is ...") that gonja has otherwise than Jinja2 or not at all.
func templateTests() map[string]exec.TestFunction {
	tests := map[string]exec.TestFunction{}
	for name, test := range map[string]func(v *exec.Value) bool{
		"defined":   func(v *exec.Value) bool { return !v.IsNil() && !v.IsError() },
		"undefined": func(v *exec.Value) bool { return v.IsNil() || v.IsError() },
		"none":      isNone,
		"true":      func(v *exec.Value) bool { return v.IsBool() && v.Bool() },
		"false":     func(v *exec.Value) bool { return v.IsBool() && !v.Bool() },
		"iterable":  func(v *exec.Value) bool { return v.IsString() || v.IsDict() || isList(v) },
		"sequence":  func(v *exec.Value) bool { return v.IsString() || v.IsDict() || isList(v) },
		"mapping":   func(v *exec.Value) bool { return v.IsDict() },
		"number":    func(v *exec.Value) bool { return v.IsNumber() || v.IsBool() },
	} {
		tests[name] = func(_ *exec.Evaluator, v *exec.Value, _ *exec.VarArgs) (bool, error) { return test(v), nil }
	}
	return tests
}

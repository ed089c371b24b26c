package chat

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/exec"
)

// maxRange is the longest range() of Jinja2's sandbox, which transformers renders templates in.
const maxRange = 100_000

// templateEnvironment is what a template can use besides its variables: gonja's builtins, with replacements where they are
// missing or differ from Jinja2's. All of them spend from the budget.
func templateEnvironment(b *budget, now func() time.Time) *exec.Environment {
	globals := exec.NewContext(map[string]any{
		budgetKey: b,
		"cycler":  global(b, "cycler"),
		"joiner":  global(b, "joiner"),
		"none":    none{},
		"__empty": map[string]any{},
		"range":   func(args *exec.VarArgs) (any, error) { return rangeFunction(b, args) },
		"dict":    func(args *exec.VarArgs) (any, error) { return dictFunction(b, args) },
		"strftime_now": func(format string) string {
			b.grow(16 * len(format))
			return strftime(now(), format)
		},
	})
	for name, f := range operatorFunctions(b) {
		globals.Set(name, f)
	}
	return &exec.Environment{
		Context:           globals,
		Filters:           exec.NewFilterSet(templateFilters(b)),
		Tests:             exec.NewTestSet(templateTests(b)),
		ControlStructures: exec.NewControlStructureSet(controlStructures()),
		Methods: exec.Methods{
			Bool: builtins.Methods.Bool, Int: builtins.Methods.Int, Float: builtins.Methods.Float,
			List: exec.NewMethodSet(listMethods(b)), Str: exec.NewMethodSet(stringMethods(b)), Dict: exec.NewMethodSet(dictMethods(b)),
		},
	}
}

// global is a function of gonja's that returns something of the size of its arguments.
func global(b *budget, name string) any {
	f, _ := builtins.GlobalFunctions.Get(name)
	own := f.(func(*exec.Evaluator, *exec.VarArgs) *exec.Value)
	return func(e *exec.Evaluator, args *exec.VarArgs) *exec.Value {
		b.step(1)
		return own(e, args)
	}
}

func rangeFunction(b *budget, args *exec.VarArgs) (any, error) {
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
	defer func() { b.step(1 + len(out)/16) }()
	for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
		if len(out) == maxRange {
			return nil, fmt.Errorf("range has more than %d numbers", maxRange)
		}
		out = append(out, i)
	}
	return out, nil
}

// dictFunction is dict(pairs, name=value); gonja loses the order of keyword arguments, so they are sorted.
func dictFunction(b *budget, args *exec.VarArgs) (any, error) {
	var pairs []*exec.Pair
	for _, a := range args.Args {
		if a.IsDict() {
			pairs = append(pairs, items(a)...)
		}
	}
	made := object(append(pairs, items(exec.AsValue(args.KwArgs))...))
	return made, b.checkTree(exec.AsValue(made))
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

// templateTests are the tests ("is ..."): gonja's, with replacements where they are missing or differ from Jinja2's.
func templateTests(b *budget) map[string]exec.TestFunction {
	tests := map[string]exec.TestFunction{}
	for _, name := range []string{"boolean", "callable", "divisibleby", "eq", "equalto", "==", "escaped", "even", "filter", "float", "ge", ">=",
		"gt", "greaterthan", ">", "in", "integer", "le", "<=", "lower", "lt", "lessthan", "<", "ne", "!=", "odd", "sameas", "string", "test", "upper"} {
		test, ok := builtins.Tests.Get(name)
		if !ok {
			continue
		}
		tests[name] = func(e *exec.Evaluator, v *exec.Value, args *exec.VarArgs) (bool, error) {
			b.chargeTraversal(v)
			for _, a := range args.Args {
				b.chargeTraversal(a)
			}
			switch test := test.(type) {
			case func(*exec.Evaluator, *exec.Value, *exec.VarArgs) (bool, error):
				return test(e, v, args)
			case func(*exec.Context, *exec.Value, *exec.VarArgs) (bool, error):
				return test(e.Environment.Context, v, args)
			}
			return false, fmt.Errorf("the test %s cannot be used", name)
		}
	}
	for name, test := range map[string]func(v *exec.Value) bool{
		"defined":   func(v *exec.Value) bool { return !v.IsNil() && !v.IsError() },
		"undefined": func(v *exec.Value) bool { return v.IsNil() || v.IsError() },
		"none":      isNone,
		"true":      func(v *exec.Value) bool { return v.IsBool() && v.Bool() },
		"false":     func(v *exec.Value) bool { return v.IsBool() && !v.Bool() },
		"iterable":  func(v *exec.Value) bool { return v.IsString() || v.IsDict() || isList(v) },
		"sequence":  func(v *exec.Value) bool { return v.IsString() || v.IsDict() || isList(v) },
		"mapping":   func(v *exec.Value) bool { return v.IsDict() },
		"number":    func(v *exec.Value) bool { return v.IsNumber() || v.IsBool() || isBig(v) },
		"integer":   func(v *exec.Value) bool { return v.IsInteger() || isBig(v) },
	} {
		tests[name] = func(_ *exec.Evaluator, v *exec.Value, _ *exec.VarArgs) (bool, error) {
			b.step(1)
			return test(v), nil
		}
	}
	return tests
}

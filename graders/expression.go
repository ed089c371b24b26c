package graders

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// expression is the formula of a multi grader: numbers, names of graders, + - * / ^, parentheses and functions. It is kept
// in postfix order, so that calculating it takes no recursion.
type expression struct {
	code []operation
}

// operation puts a number or a variable on the stack, or replaces what is on top of it by what apply makes of that.
type operation struct {
	number   float64
	variable string
	count    int                     // of the values that apply takes; 0: a number or a variable
	apply    func([]float64) float64 // nil with count 0
}

// formulaFunction is a function that formulas may call, with most arguments (0: any number from least on).
type formulaFunction struct {
	least, most int
	apply       func([]float64) float64
}

func unary(f func(float64) float64) formulaFunction {
	return formulaFunction{1, 1, func(x []float64) float64 { return f(x[0]) }}
}

func folded(f func(a, b float64) float64) formulaFunction {
	return formulaFunction{1, 0, func(x []float64) float64 {
		y := x[0]
		for _, v := range x[1:] {
			y = f(y, v)
		}
		return y
	}}
}

// formulaFunctions are those that OpenAI lists.
var formulaFunctions = map[string]formulaFunction{
	"min": folded(math.Min), "max": folded(math.Max), "abs": unary(math.Abs), "floor": unary(math.Floor), "ceil": unary(math.Ceil),
	"exp": unary(math.Exp), "sqrt": unary(math.Sqrt), "log": unary(math.Log),
}

// formula is an expression while it is read.
type formula struct {
	rest  string
	known func(string) bool // whether a name is that of a grader
	depth int
	out   expression
}

// parseExpression reads a formula over the names that are known. The error continues the field's name.
func parseExpression(s string, known func(string) bool) (*expression, error) {
	if len(s) > maxFormula {
		return nil, fmt.Errorf("has %d bytes, at most %d are read", len(s), maxFormula)
	}
	f := &formula{rest: s, known: known}
	if err := f.sum(); err != nil {
		return nil, fmt.Errorf("is not a formula: %w", err)
	}
	if f.peek() != 0 {
		return nil, fmt.Errorf("is not a formula: %q is left over", clip(f.rest))
	}
	return &f.out, nil
}

// peek returns the next character that is no blank, 0 at the end.
func (f *formula) peek() byte {
	f.rest = strings.TrimLeft(f.rest, " \t\r\n")
	if f.rest == "" {
		return 0
	}
	return f.rest[0]
}

// take skips a character where it is the next one.
func (f *formula) take(c byte) bool {
	if f.peek() != c {
		return false
	}
	f.rest = f.rest[1:]
	return true
}

func (f *formula) emit(o operation) { f.out.code = append(f.out.code, o) }

// sum reads terms joined by + and -.
func (f *formula) sum() error {
	return f.chain(f.product, map[byte]func([]float64) float64{
		'+': func(x []float64) float64 { return x[0] + x[1] },
		'-': func(x []float64) float64 { return x[0] - x[1] },
	})
}

// product reads factors joined by * and /.
func (f *formula) product() error {
	return f.chain(f.signed, map[byte]func([]float64) float64{
		'*': func(x []float64) float64 { return x[0] * x[1] },
		'/': func(x []float64) float64 { return x[0] / x[1] },
	})
}

// chain reads operands joined by operators that bind to the left.
func (f *formula) chain(operand func() error, operators map[byte]func([]float64) float64) error {
	if err := operand(); err != nil {
		return err
	}
	for {
		apply, ok := operators[f.peek()]
		if !ok {
			return nil
		}
		f.rest = f.rest[1:]
		if err := operand(); err != nil {
			return err
		}
		f.emit(operation{count: 2, apply: apply})
	}
}

// signed reads a power with signs before it: -2^2 is -(2^2).
func (f *formula) signed() error {
	if f.depth++; f.depth > maxDepth {
		return fmt.Errorf("it is more than %d levels deep", maxDepth)
	}
	defer func() { f.depth-- }()
	if f.take('-') {
		if err := f.signed(); err != nil {
			return err
		}
		f.emit(operation{count: 1, apply: func(x []float64) float64 { return -x[0] }})
		return nil
	}
	if f.take('+') {
		return f.signed()
	}
	if err := f.value(); err != nil {
		return err
	}
	if !f.take('^') {
		return nil
	}
	if err := f.signed(); err != nil { // binds to the right
		return err
	}
	f.emit(operation{count: 2, apply: func(x []float64) float64 { return math.Pow(x[0], x[1]) }})
	return nil
}

// value reads a number, a name, a call or what stands in parentheses.
func (f *formula) value() error {
	c := f.peek()
	switch {
	case c == 0:
		return errors.New("a value is missing at the end")
	case c == '(':
		f.rest = f.rest[1:]
		if err := f.sum(); err != nil {
			return err
		}
		if !f.take(')') {
			return errors.New("a ) is missing")
		}
		return nil
	case c >= '0' && c <= '9' || c == '.':
		return f.number()
	}
	name, rest := identifier(f.rest)
	if name == "" {
		return fmt.Errorf("%q is no value", clip(f.rest))
	}
	f.rest = rest
	if fn, ok := formulaFunctions[name]; ok && f.peek() == '(' {
		return f.call(name, fn)
	}
	if !f.known(name) {
		return fmt.Errorf("%q is neither a grader nor a function", clip(name))
	}
	f.emit(operation{variable: name})
	return nil
}

func (f *formula) number() error {
	end := 0
	for end < len(f.rest) {
		c := f.rest[end]
		sign := (c == '+' || c == '-') && end > 0 && (f.rest[end-1] == 'e' || f.rest[end-1] == 'E')
		if (c < '0' || c > '9') && c != '.' && c != 'e' && c != 'E' && !sign {
			break
		}
		end++
	}
	x, err := strconv.ParseFloat(f.rest[:end], 64)
	if err != nil {
		return fmt.Errorf("%q is no number", clip(f.rest[:end]))
	}
	f.rest = f.rest[end:]
	f.emit(operation{number: x})
	return nil
}

// call reads the arguments of a function.
func (f *formula) call(name string, fn formulaFunction) error {
	f.take('(')
	count := 0
	for {
		if err := f.sum(); err != nil {
			return err
		}
		count++
		if f.take(')') {
			break
		}
		if !f.take(',') {
			return fmt.Errorf("a comma or ) is missing in the arguments of %s", name)
		}
	}
	if count < fn.least || fn.most > 0 && count > fn.most {
		return fmt.Errorf("%s has %d arguments", name, count)
	}
	f.emit(operation{count: count, apply: fn.apply})
	return nil
}

// value calculates the expression. Every variable that it has is in variables.
func (e *expression) value(variables map[string]float64) (float64, error) {
	var stack []float64
	for _, o := range e.code {
		switch {
		case o.variable != "":
			stack = append(stack, variables[o.variable])
		case o.count == 0:
			stack = append(stack, o.number)
		default:
			at := len(stack) - o.count
			stack = append(stack[:at], o.apply(stack[at:]))
		}
	}
	x := stack[0]
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return 0, fmt.Errorf("the value is %v", x)
	}
	return x, nil
}

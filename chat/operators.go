package chat

import (
	"errors"
	"slices"
	"strings"

	"github.com/nikolalohinski/gonja/v2/exec"
)

// The operators that produce texts or lists are rewritten to calls of our own functions, because gonja's have no limits:
// they would compute "x" * 1000000000.

// arithmetic reports whether tokens[i] is an operator between two operands (not a sign, not the star of *args).
func arithmetic(tokens []jinjaToken, i int) bool {
	if tokens[i].kind != tokenOperator || i == 0 {
		return false
	}
	switch tokens[i].text {
	case "+", "-", "~", "*", "/", "//", "%", "**":
	default:
		return false
	}
	switch before := tokens[i-1]; before.kind {
	case tokenOperator:
		return false
	case tokenName:
		switch before.text {
		case "and", "or", "not", "in", "is", "if", "else":
			return attribute(tokens, i-1)
		}
	}
	return true
}

// makesText reports whether an operand of a comparison has an operator that could make text or a list.
func makesText(tokens []jinjaToken) bool {
	for i, t := range tokens {
		if arithmetic(tokens, i) && (t.text == "+" || t.text == "~" || t.text == "*") {
			return true
		}
	}
	return false
}

// levels are the operators from those that bind least to those that bind most, as Jinja2 has them.
var levels = [][]string{{"+", "-"}, {"~"}, {"*", "/", "//", "%"}}

// rewriteArithmetic writes an expression of operators, of this level and those that bind more.
func rewriteArithmetic(tokens []jinjaToken, level int) string {
	if level == len(levels) {
		return rewritePlain(tokens)
	}
	left, start, operator := "", 0, ""
	fold := func(end int) {
		right := rewriteArithmetic(tokens[start:end], level+1)
		switch operator {
		case "":
			left = right
		case "+":
			left = "__add(" + left + ", " + right + ")"
		case "~":
			left = "__concat(" + left + ", " + right + ")"
		case "*":
			left = "__multiply(" + left + ", " + right + ")"
		default:
			left = "((" + left + ") " + operator + " (" + right + "))"
		}
	}
	for i, t := range tokens {
		if !arithmetic(tokens, i) || !slices.Contains(levels[level], t.text) {
			continue
		}
		fold(i)
		start, operator = i+1, t.text
	}
	fold(len(tokens))
	return left
}

// operatorFunctions are what rewriteArithmetic calls, and the other helpers that rewritten templates use.
func operatorFunctions(b *budget) map[string]any {
	return map[string]any{
		"__add":      func(args *exec.VarArgs) (any, error) { return add(b, args.Args[0], args.Args[1]) },
		"__concat":   func(args *exec.VarArgs) (any, error) { return concat(b, args.Args) },
		"__multiply": func(args *exec.VarArgs) (any, error) { return multiply(b, args.Args[0], args.Args[1]) },
		"__store":    func(args *exec.VarArgs) (any, error) { return storable(b, args.Args[0], args.Args[1]) },
		"namespace":  func(args *exec.VarArgs) (any, error) { return newNamespace(b, args) },
	}
}

// add is a + b: numbers, texts or lists.
func add(b *budget, left, right *exec.Value) (any, error) {
	b.step(1)
	switch {
	case isList(left) && isList(right):
		b.step(1 + (left.Len()+right.Len())/8)
		return toList(append(elements(left), elements(right)...)).Interface(), nil
	case isList(left) || isList(right):
		return nil, errors.New("a list can be added to a list alone")
	case left.IsString() && right.IsString():
		return concat(b, []*exec.Value{left, right})
	case !left.IsNumber() && !left.IsBool() || !right.IsNumber() && !right.IsBool():
		return nil, errors.New("texts can be added to texts, numbers to numbers, and lists to lists")
	case left.IsFloat() || right.IsFloat():
		return left.Float() + right.Float(), nil
	}
	return number(left) + number(right), nil
}

// number is an integer, or a boolean as the integer that Python takes it for.
func number(v *exec.Value) int {
	if v.IsBool() && v.Bool() {
		return 1
	}
	return v.Integer()
}

// concat is a ~ b.
func concat(b *budget, values []*exec.Value) (any, error) {
	b.step(1)
	var text strings.Builder
	for _, v := range values {
		text.WriteString(b.print(v))
	}
	return text.String(), nil
}

// multiply is a * b: numbers, or a text so many times.
func multiply(b *budget, left, right *exec.Value) (any, error) {
	b.step(1)
	if right.IsString() && left.IsInteger() {
		left, right = right, left
	}
	switch {
	case left.IsString():
		b.repeat(len(left.String()), right.Integer())
		return strings.Repeat(left.String(), max(right.Integer(), 0)), nil
	case left.IsFloat() || right.IsFloat():
		return left.Float() * right.Float(), nil
	}
	return left.Integer() * right.Integer(), nil
}

// namespace is the one value that a template can change. Jinja2's sandbox lets it set attributes of nothing else.
type namespace map[string]any

// newNamespace is namespace(a=1).
func newNamespace(b *budget, args *exec.VarArgs) (any, error) {
	ns := namespace{}
	for _, a := range args.Args {
		for _, p := range items(a) {
			ns[p.Key.String()] = p.Value
		}
	}
	for name, v := range args.KwArgs {
		ns[name] = v
	}
	for name, v := range ns {
		value, err := storable(b, exec.AsValue(ns), v.(*exec.Value))
		if err != nil {
			return nil, err
		}
		ns[name] = value
	}
	return ns, nil
}

// storable returns v where target may keep it: a namespace keeps no namespace, so that no value contains itself.
func storable(b *budget, target, v *exec.Value) (any, error) {
	if _, ok := target.Interface().(namespace); !ok {
		return nil, errors.New("only the attributes of a namespace can be set")
	}
	if err := b.checkTree(v); err != nil {
		return nil, err
	}
	return v.Interface(), nil
}

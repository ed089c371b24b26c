package chat

import (
	"github.com/nikolalohinski/gonja/v2/exec"
)

// The values that a template sees. Objects are ordered dicts, because templates print tools as JSON in the
// order the client wrote them; only an empty object is a Go map, because gonja takes an empty dict for true.

// none is Python's None: defined, false, printed as "None". To gonja it is an array without items.
type none [0]struct{}

func (none) String() string { return "None" }

// list is an array whose negative indices count from the end.
type list []any

// GetItem implements exec.ItemGetter.
func (l list) GetItem(key any) (*exec.Value, bool) {
	i, ok := key.(int)
	if ok && i < 0 {
		i += len(l)
	}
	if !ok || i < 0 || i >= len(l) {
		return exec.AsValue(nil), false
	}
	return exec.ToValue(l[i]), true
}

// String is for gonja's own messages and conversions, which know no budget.
func (l list) String() string { return str(newBudget(0), exec.AsValue(l)) }

// big is an integer that 64 bits do not hold; its digits are kept. To gonja it is neither a number nor a text.
type big struct{ digits string }

func (b big) String() string { return b.digits }

func isBig(v *exec.Value) bool {
	_, ok := v.Interface().(big)
	return ok
}

// object makes a dict of pairs, which it keeps.
func object(pairs []*exec.Pair) any {
	if len(pairs) == 0 {
		return map[string]any{}
	}
	return &exec.Dict{Pairs: pairs}
}

// isNone reports whether v is None (undefined is not).
func isNone(v *exec.Value) bool {
	_, ok := v.Interface().(none)
	return ok
}

func isList(v *exec.Value) bool { return v.IsList() && !isNone(v) }

// items returns the keys and values of a dict in their order.
func items(v *exec.Value) []*exec.Pair {
	switch d := v.Interface().(type) {
	case *exec.Dict:
		return d.Pairs
	case exec.Dict:
		return d.Pairs
	}
	var pairs []*exec.Pair
	for _, k := range v.Keys() {
		value, _ := v.GetItem(k.Interface())
		pairs = append(pairs, &exec.Pair{Key: k, Value: value})
	}
	return pairs
}

// elements returns what a loop over v would yield.
func elements(v *exec.Value) []*exec.Value {
	var out []*exec.Value
	switch {
	case v.IsNil() || isNone(v):
	case v.IsString():
		for _, r := range v.String() {
			out = append(out, exec.AsValue(string(r)))
		}
	case v.IsDict():
		for _, p := range items(v) {
			out = append(out, p.Key)
		}
	case v.IsList():
		for i := range v.Len() {
			out = append(out, v.Index(i))
		}
	}
	return out
}

// toList makes a list of values.
func toList(values []*exec.Value) *exec.Value {
	out := make(list, len(values))
	for i, v := range values {
		out[i] = v
	}
	return exec.AsValue(out)
}

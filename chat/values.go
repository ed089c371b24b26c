package chat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"

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

func (l list) String() string { return repr(exec.AsValue(l)) }

// object makes a dict of pairs, which it keeps.
func object(pairs []*exec.Pair) any {
	if len(pairs) == 0 {
		return map[string]any{}
	}
	return &exec.Dict{Pairs: pairs}
}

// templateValue turns a Go value, as encoding/json decodes it, into what the template sees. Keys of maps
// are sorted; a json.RawMessage keeps its order.
func templateValue(v any) (any, error) {
	switch x := v.(type) {
	case nil:
		return none{}, nil
	case string, bool, int, float64:
		return x, nil
	case json.RawMessage:
		d := json.NewDecoder(bytes.NewReader(x))
		d.UseNumber()
		return decodeJSON(d)
	case map[string]any:
		var pairs []*exec.Pair
		for k, item := range x {
			value, err := templateValue(item)
			if err != nil {
				return nil, err
			}
			pairs = append(pairs, &exec.Pair{Key: exec.AsValue(k), Value: exec.AsValue(value)})
		}
		sort.Slice(pairs, func(i, j int) bool { return pairs[i].Key.String() < pairs[j].Key.String() })
		return object(pairs), nil
	case []any:
		out := make(list, len(x))
		for i, item := range x {
			value, err := templateValue(item)
			if err != nil {
				return nil, err
			}
			out[i] = value
		}
		return out, nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return templateValue(json.RawMessage(raw))
}

// decodeJSON reads one value, keeping the order of keys.
func decodeJSON(d *json.Decoder) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case nil:
		return none{}, nil
	case json.Number:
		if i, err := strconv.Atoi(t.String()); err == nil {
			return i, nil
		}
		return t.Float64()
	case json.Delim:
		if t == '[' {
			out := list{}
			for d.More() {
				v, err := decodeJSON(d)
				if err != nil {
					return nil, err
				}
				out = append(out, v)
			}
			_, err := d.Token()
			return out, err
		}
		var pairs []*exec.Pair
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := decodeJSON(d)
			if err != nil {
				return nil, err
			}
			pairs = append(pairs, &exec.Pair{Key: exec.AsValue(key), Value: exec.AsValue(v)})
		}
		_, err := d.Token()
		return object(pairs), err
	default:
		return t, nil
	}
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

// repr writes v as Python prints it inside of a list.
func repr(v *exec.Value) string {
	switch {
	case v.IsNil():
		return "Undefined"
	case isNone(v):
		return "None"
	case v.IsString():
		return pythonQuote(v.String())
	case v.IsDict():
		parts := []string{}
		for _, p := range items(v) {
			parts = append(parts, repr(p.Key)+": "+repr(p.Value))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case v.IsList():
		parts := []string{}
		for _, e := range elements(v) {
			parts = append(parts, repr(e))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return v.String()
}

func pythonQuote(s string) string {
	quote := "'"
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = `"`
	}
	return quote + strings.NewReplacer(`\`, `\\`, quote, `\`+quote, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s) + quote
}

// pythonJSON is how Python's json.dumps writes values, which is what transformers' tojson does.
type pythonJSON struct {
	indent      int // spaces per level; -1: on one line
	item, key   string
	ensureASCII bool
	sortKeys    bool
}

func (p pythonJSON) dump(v *exec.Value, level int) (string, error) {
	switch {
	case v.IsNil():
		return "", fmt.Errorf("an undefined value cannot be written as JSON")
	case isNone(v):
		return "null", nil
	case v.IsBool():
		return strconv.FormatBool(v.Bool()), nil
	case v.IsString():
		return p.quote(v.String()), nil
	case v.IsNumber():
		return v.String(), nil
	case v.IsDict():
		pairs := slices.Clone(items(v))
		if p.sortKeys {
			sort.SliceStable(pairs, func(i, j int) bool { return pairs[i].Key.String() < pairs[j].Key.String() })
		}
		parts := make([]string, len(pairs))
		for i, pair := range pairs {
			s, err := p.dump(pair.Value, level+1)
			if err != nil {
				return "", err
			}
			parts[i] = p.quote(pair.Key.String()) + p.key + s
		}
		return p.enclose("{", parts, "}", level), nil
	case v.IsList():
		parts := []string{}
		for _, e := range elements(v) {
			s, err := p.dump(e, level+1)
			if err != nil {
				return "", err
			}
			parts = append(parts, s)
		}
		return p.enclose("[", parts, "]", level), nil
	}
	return "", fmt.Errorf("a %s cannot be written as JSON", reflect.Indirect(v.Val).Kind())
}

func (p pythonJSON) enclose(open string, parts []string, end string, level int) string {
	if len(parts) == 0 || p.indent < 0 {
		return open + strings.Join(parts, p.item) + end
	}
	line := "\n" + strings.Repeat(" ", p.indent*(level+1))
	return open + line + strings.Join(parts, strings.TrimRight(p.item, " ")+line) + "\n" + strings.Repeat(" ", p.indent*level) + end
}

func (p pythonJSON) quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\b':
			b.WriteString(`\b`)
		case r == '\f':
			b.WriteString(`\f`)
		case r < 0x20 || p.ensureASCII && r >= 0x7f && r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		case p.ensureASCII && r > 0xffff:
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}

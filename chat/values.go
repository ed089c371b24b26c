package chat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/nikolalohinski/gonja/v2/exec"

	"github.com/lorikeet-ai/lorikeet/runtime"
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

// reader turns what a conversation is made of into what a template sees, and notes how much it is.
type reader struct {
	mask  *masker            // of control tokens in texts; nil: texts stay as they are
	bytes int                // of texts and keys
	dicts map[*exec.Dict]int // values in each object
	calls bool               // the calls of tools are being read: their arguments are objects
}

func newReader(m *masker) *reader { return &reader{mask: m, dicts: map[*exec.Dict]int{}} }

// text is a client's text as the template sees it.
func (r *reader) text(s string) string {
	r.bytes += len(s)
	return r.mask.hide(s)
}

// value turns a Go value, as encoding/json decodes it, into what the template sees. Keys of maps are sorted; a
// json.RawMessage keeps its order.
func (r *reader) value(v any) (any, error) {
	out, _, err := r.any(v, 0)
	return out, err
}

// any is value at some depth; count is the number of values in it.
func (r *reader) any(v any, depth int) (out any, count int, err error) {
	if depth > maxNested {
		return nil, 0, fmt.Errorf("is nested more than %d deep", maxNested)
	}
	switch x := v.(type) {
	case nil:
		return none{}, 1, nil
	case string:
		return r.text(x), 1, nil
	case bool, int, float64:
		return x, 1, nil
	case json.RawMessage:
		d := json.NewDecoder(bytes.NewReader(x))
		d.UseNumber()
		return r.decode(d, depth)
	case map[string]any:
		var pairs []*exec.Pair
		for _, k := range slices.Sorted(maps.Keys(x)) {
			value, n, err := r.any(x[k], depth+1)
			if err != nil {
				return nil, 0, err
			}
			count += n
			pairs = append(pairs, &exec.Pair{Key: exec.AsValue(r.text(k)), Value: exec.AsValue(value)})
		}
		return r.object(pairs, count+1), count + 1, nil
	case []any:
		out := make(list, len(x))
		for i, item := range x {
			value, n, err := r.any(item, depth+1)
			if err != nil {
				return nil, 0, err
			}
			count += n
			out[i] = value
		}
		return out, count + 1, nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, 0, err
	}
	return r.any(json.RawMessage(raw), depth)
}

// message is a turn of the conversation. Its role and content have been hidden by Render.
func (r *reader) message(m runtime.Message, d dialect) (any, error) {
	fields := []*exec.Pair{{Key: exec.AsValue("role"), Value: exec.AsValue(m.Role)}}
	switch {
	case m.Missing == runtime.ContentNull && !d.nullAsEmpty:
		fields = append(fields, &exec.Pair{Key: exec.AsValue("content"), Value: exec.AsValue(none{})})
	case m.Missing != runtime.ContentAbsent || d.nullAsEmpty:
		r.bytes += len(m.Content)
		fields = append(fields, &exec.Pair{Key: exec.AsValue("content"), Value: exec.AsValue(m.Content)})
	}
	count := 2
	for _, name := range slices.Sorted(maps.Keys(m.Extra)) {
		r.calls = !d.argumentsAsText && (name == "tool_calls" || name == "function_call")
		value, n, err := r.any(m.Extra[name], 0)
		r.calls = false
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		count += n
		fields = append(fields, &exec.Pair{Key: exec.AsValue(r.text(name)), Value: exec.AsValue(value)})
	}
	return r.object(fields, count), nil
}

// arguments reads the arguments of a call, JSON text, as the object that it is; ok is false where it is none.
func (r *reader) arguments(text string, depth int) (out any, count int, ok bool) {
	if text = strings.TrimSpace(text); text == "" {
		return object(nil), 1, true // as OpenAI's models sometimes write "no arguments"
	}
	if text[0] != '{' || !json.Valid([]byte(text)) {
		return nil, 0, false
	}
	before := r.bytes
	out, count, err := r.any(json.RawMessage(text), depth)
	if err != nil {
		r.bytes = before
	}
	return out, count, err == nil
}

// object makes a dict and notes the number of its values.
func (r *reader) object(pairs []*exec.Pair, count int) any {
	made := object(pairs)
	if dict, ok := made.(*exec.Dict); ok {
		r.dicts[dict] = count
	}
	return made
}

// decode reads one value, keeping the order of keys. Of a key that stands twice the last value counts, as in Python.
func (r *reader) decode(d *json.Decoder, depth int) (out any, count int, err error) {
	t, err := d.Token()
	if err != nil {
		return nil, 0, err
	}
	if depth > maxNested {
		return nil, 0, fmt.Errorf("is nested more than %d deep", maxNested)
	}
	switch t := t.(type) {
	case nil:
		return none{}, 1, nil
	case string:
		return r.text(t), 1, nil
	case json.Number:
		out, err := jsonNumber(t.String())
		return out, 1, err
	case json.Delim:
		if t == '[' {
			return r.decodeArray(d, depth)
		}
		return r.decodeObject(d, depth)
	}
	return t, 1, nil
}

// decodeField is decode; a text that is a call's arguments becomes an object where it is one.
func (r *reader) decodeField(d *json.Decoder, depth int, arguments bool) (any, int, error) {
	if !arguments {
		return r.decode(d, depth)
	}
	var raw json.RawMessage
	if err := d.Decode(&raw); err != nil {
		return nil, 0, err
	}
	var text string
	if raw[0] == '"' && json.Unmarshal(raw, &text) == nil {
		if v, n, ok := r.arguments(text, depth); ok {
			return v, n, nil
		}
	}
	return r.any(raw, depth)
}

func (r *reader) decodeArray(d *json.Decoder, depth int) (any, int, error) {
	out, count := list{}, 1
	for d.More() {
		v, n, err := r.decode(d, depth+1)
		if err != nil {
			return nil, 0, err
		}
		out, count = append(out, v), count+n
	}
	_, err := d.Token()
	return out, count, err
}

func (r *reader) decodeObject(d *json.Decoder, depth int) (any, int, error) {
	var pairs []*exec.Pair
	at, count := map[string]int{}, 1
	calls := r.calls
	defer func() { r.calls = calls }()
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, 0, err
		}
		key, _ := t.(string) // encoding/json gives no other keys
		r.calls = calls && key != "arguments"
		v, n, err := r.decodeField(d, depth+1, calls && key == "arguments")
		if err != nil {
			return nil, 0, err
		}
		count += n
		pair := &exec.Pair{Key: exec.AsValue(r.text(key)), Value: exec.AsValue(v)}
		if i, twice := at[key]; twice {
			pairs[i] = pair
			continue
		}
		at[key] = len(pairs)
		pairs = append(pairs, pair)
	}
	_, err := d.Token()
	return r.object(pairs, count), count, err
}

// jsonNumber reads a number as Python does: an integer keeps all of its digits.
func jsonNumber(s string) (any, error) {
	if !strings.ContainsAny(s, ".eE") {
		if i, err := strconv.Atoi(s); err == nil {
			return i, nil
		}
		return big{s}, nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return nil, fmt.Errorf("has the number %s, which is out of range", s)
	}
	return f, nil
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

// textWriter makes a text and spends it from the budget piece by piece.
type textWriter struct {
	budget *budget
	strings.Builder
}

func (w *textWriter) put(s string) {
	w.budget.grow(len(s))
	w.WriteString(s)
}

// repr writes v as Python prints it inside of a list.
func (w *textWriter) repr(v *exec.Value, depth int) {
	if depth > 2*maxNested {
		panic(overBudget("it prints a value that is nested too deeply"))
	}
	w.budget.step(1)
	switch {
	case v.IsNil():
		w.put("Undefined")
	case isNone(v):
		w.put("None")
	case v.IsString():
		w.put(pythonQuote(v.String()))
	case v.IsDict():
		w.put("{")
		for i, p := range items(v) {
			if i > 0 {
				w.put(", ")
			}
			w.repr(p.Key, depth+1)
			w.put(": ")
			w.repr(p.Value, depth+1)
		}
		w.put("}")
	case v.IsList():
		w.put("[")
		for i, e := range elements(v) {
			if i > 0 {
				w.put(", ")
			}
			w.repr(e, depth+1)
		}
		w.put("]")
	default:
		w.put(v.String())
	}
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

func (p pythonJSON) dump(w *textWriter, v *exec.Value, level int) error {
	if level > 2*maxNested {
		return errors.New("a value that is nested too deeply cannot be written as JSON")
	}
	w.budget.step(1)
	switch {
	case v.IsNil():
		return errors.New("an undefined value cannot be written as JSON")
	case isNone(v):
		w.put("null")
	case v.IsBool():
		w.put(strconv.FormatBool(v.Bool()))
	case v.IsString():
		w.put(p.quote(v.String()))
	case v.IsNumber() || isBig(v):
		w.put(v.String())
	case v.IsDict():
		return p.dumpDict(w, v, level)
	case v.IsList():
		all := elements(v)
		return p.dumpAll(w, "[", "]", level, len(all), func(i int) error { return p.dump(w, all[i], level+1) })
	default:
		return fmt.Errorf("a %s cannot be written as JSON", reflect.Indirect(v.Val).Kind())
	}
	return nil
}

func (p pythonJSON) dumpDict(w *textWriter, v *exec.Value, level int) error {
	pairs := slices.Clone(items(v))
	if p.sortKeys {
		sort.SliceStable(pairs, func(i, j int) bool { return pairs[i].Key.String() < pairs[j].Key.String() })
	}
	return p.dumpAll(w, "{", "}", level, len(pairs), func(i int) error {
		w.put(p.quote(pairs[i].Key.String()) + p.key)
		return p.dump(w, pairs[i].Value, level+1)
	})
}

// dumpAll writes n items between brackets, each on a line of its own where there is an indent.
func (p pythonJSON) dumpAll(w *textWriter, open, end string, level, n int, item func(i int) error) error {
	w.put(open)
	between := p.item
	line := ""
	if p.indent >= 0 && n > 0 {
		line = "\n" + strings.Repeat(" ", p.indent*(level+1))
		between = strings.TrimRight(p.item, " ") + line
	}
	w.put(line)
	for i := range n {
		if i > 0 {
			w.put(between)
		}
		if err := item(i); err != nil {
			return err
		}
	}
	if line != "" {
		w.put("\n" + strings.Repeat(" ", p.indent*level))
	}
	w.put(end)
	return nil
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

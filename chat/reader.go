package chat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/nikolalohinski/gonja/v2/exec"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// reader converts the parts of a conversation to the values that a template sees, and counts their size.
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

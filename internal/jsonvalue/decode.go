package jsonvalue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
)

// Decode is json.Unmarshal with keys that match exactly: encoding/json would take Max_Tokens for max_tokens. Of a key
// that stands twice in an object the last one counts, as in Python. Unknown keys are ignored, null leaves a value as it
// is, and is an error among the numbers or strings of an array. The error is encoding/json's; the Field of an
// UnmarshalTypeError is the whole path, with indices: "from[1].weight".
func Decode(text []byte, v any) error {
	target := reflect.ValueOf(v)
	if target.Kind() != reflect.Pointer || target.IsNil() {
		return &json.InvalidUnmarshalError{Type: reflect.TypeOf(v)}
	}
	return decode(text, target.Elem(), "")
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// decode reads text into v, which path leads to.
func decode(text []byte, v reflect.Value, path string) error {
	t := v.Type()
	if !hasStruct(t) || reflect.PointerTo(t).Implements(unmarshaler) {
		if err := json.Unmarshal(text, v.Addr().Interface()); err != nil {
			return located(err, path)
		}
		return checkNulls(text, t, path)
	}
	kind := Kind(text)
	if kind == "null" && len(bytes.TrimSpace(text)) > 0 {
		return located(json.Unmarshal(text, v.Addr().Interface()), path) // checks that it is null
	}
	switch t.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(t.Elem()))
		}
		return decode(text, v.Elem(), path)
	case reflect.Slice:
		return decodeSlice(text, v, path)
	case reflect.Map:
		return decodeMap(text, v, path)
	}
	return decodeStruct(text, v, path)
}

// checkNulls refuses null among the numbers, strings or booleans of an array, which encoding/json reads as 0, "" or false.
func checkNulls(text []byte, t reflect.Type, path string) error {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Slice || !bytes.Contains(text, []byte("null")) || reflect.PointerTo(t).Implements(unmarshaler) {
		return nil
	}
	switch t.Elem().Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int32, reflect.Int64, reflect.Float32, reflect.Float64:
	default:
		return nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(text, &list); err != nil {
		return located(err, path)
	}
	for i, raw := range list {
		if Kind(raw) == "null" {
			return &json.UnmarshalTypeError{Value: "null", Type: t.Elem(), Field: fmt.Sprintf("%s[%d]", path, i)}
		}
	}
	return nil
}

func decodeSlice(text []byte, v reflect.Value, path string) error {
	var list []json.RawMessage
	if err := json.Unmarshal(text, &list); err != nil {
		return located(err, path)
	}
	out := reflect.MakeSlice(v.Type(), len(list), len(list))
	for i, raw := range list {
		if err := decode(raw, out.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return err
		}
	}
	v.Set(out)
	return nil
}

func decodeMap(text []byte, v reflect.Value, path string) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return located(err, path)
	}
	out := reflect.MakeMapWithSize(v.Type(), len(fields))
	for name, raw := range fields {
		value := reflect.New(v.Type().Elem()).Elem()
		if err := decode(raw, value, join(path, name)); err != nil {
			return err
		}
		out.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), value)
	}
	v.Set(out)
	return nil
}

func decodeStruct(text []byte, v reflect.Value, path string) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		if typed := new(json.UnmarshalTypeError); errors.As(err, &typed) {
			typed.Type = v.Type()
		}
		return located(err, path)
	}
	for _, f := range fieldsOf(v.Type()) { // in their order, so that the first error is always the same
		raw, given := fields[f.name]
		if !given {
			continue
		}
		if err := decode(raw, v.FieldByIndex(f.index), join(path, f.name)); err != nil {
			return err
		}
	}
	return nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// located puts the path before the field that an error of encoding/json names.
func located(err error, path string) error {
	if typed := new(json.UnmarshalTypeError); errors.As(err, &typed) {
		switch {
		case typed.Field == "":
			typed.Field = path
		case path != "":
			typed.Field = path + "." + typed.Field
		}
	}
	return err
}

// field is one that JSON knows; index leads to it through embedded structs.
type field struct {
	name  string
	index []int
}

var fieldCache sync.Map // reflect.Type -> []field

// fieldsOf lists the fields of a struct by the names in their tags, those of embedded structs among them.
func fieldsOf(t reflect.Type) []field {
	if known, ok := fieldCache.Load(t); ok {
		return known.([]field)
	}
	var list []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported() && !f.Anonymous:
		case name == "" && f.Anonymous && f.Type.Kind() == reflect.Struct:
			for _, inner := range fieldsOf(f.Type) {
				list = append(list, field{inner.name, append([]int{i}, inner.index...)})
			}
		default:
			if name == "" {
				name = f.Name
			}
			list = append(list, field{name, []int{i}})
		}
	}
	fieldCache.Store(t, list)
	return list
}

// hasStruct reports whether values of t are read by the names of fields.
func hasStruct(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct:
		return true
	case reflect.Pointer, reflect.Slice:
		return hasStruct(t.Elem())
	case reflect.Map:
		return t.Key().Kind() == reflect.String && hasStruct(t.Elem())
	}
	return false
}

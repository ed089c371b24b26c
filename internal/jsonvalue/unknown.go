package jsonvalue

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// Unknown returns the path of the first key in text that the type of v, a pointer to what Decode reads it into, has no field
// for; "" where there is none. Keys whose value is null ask for nothing. Text that Decode would refuse has none.
func Unknown(text []byte, v any) string {
	return unknown(text, reflect.TypeOf(v).Elem(), "")
}

func unknown(text []byte, t reflect.Type, path string) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if !hasStruct(t) || reflect.PointerTo(t).Implements(unmarshaler) {
		return ""
	}
	switch t.Kind() {
	case reflect.Slice:
		var list []json.RawMessage
		_ = json.Unmarshal(text, &list) // stays empty where it is no array
		for i, raw := range list {
			if found := unknown(raw, t.Elem(), fmt.Sprintf("%s[%d]", path, i)); found != "" {
				return found
			}
		}
		return ""
	case reflect.Struct:
	default:
		return ""
	}
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(text, &fields)
	known := fieldsOf(t)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		i := slices.IndexFunc(known, func(f field) bool { return f.name == name })
		switch {
		case i >= 0:
			if found := unknown(fields[name], t.FieldByIndex(known[i].index).Type, join(path, name)); found != "" {
				return found
			}
		case Kind(fields[name]) != "null":
			return join(path, name)
		}
	}
	return ""
}

// Package jsonvalue has what the packages that read clients' JSON share: a scan that bounds and checks a text before it is
// decoded, decoding with exact keys, the kinds of values, their names in messages, and the writing of strings.
package jsonvalue

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
)

// Kind is the JSON type of a value: string, number, boolean, array, object, or null for none.
func Kind(raw json.RawMessage) string {
	raw = bytes.TrimLeft(raw, " \t\r\n")
	if len(raw) == 0 {
		return "null"
	}
	switch raw[0] {
	case '"':
		return "string"
	case '[':
		return "array"
	case '{':
		return "object"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}

// Article puts the indefinite article before the name of a kind, as messages have it: "an array", "null".
func Article(name string) string {
	switch name {
	case "array", "object":
		return "an " + name
	case "bool":
		return "a boolean"
	case "null":
		return name
	}
	return "a " + name
}

// TypeName is JSON's name of what a Go type is read from.
func TypeName(k reflect.Kind) string {
	switch k {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "a boolean"
	case reflect.Int, reflect.Int32, reflect.Int64:
		return "an integer"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "an array"
	}
	return "an object"
}

// Clip shortens a value to about 60 bytes for an error message.
func Clip(v json.RawMessage) string {
	const most = 60
	if len(v) <= most {
		return string(v)
	}
	return strings.ToValidUTF8(string(v[:most]), "") + "..."
}

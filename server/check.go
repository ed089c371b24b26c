package server

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
)

// checker reads the simple fields of a request: each of its methods returns the field's value, or the default where the
// request has none, and err keeps the first value that is out of range.
type checker struct{ err error }

func (c *checker) refuse(code, param, format string, args ...any) {
	if c.err == nil {
		c.err = refuse(code, param, format, args...)
	}
}

func (c *checker) number(param string, v *float32, standard, least, most float32) float32 {
	if v == nil {
		return standard
	}
	if *v < least || *v > most {
		c.refuse(codeValue, param, "is %g, it must be between %g and %g", *v, least, most)
	}
	return *v
}

func (c *checker) integer(param string, v *int, standard, least, most int) int {
	if v == nil {
		return standard
	}
	if *v < least || *v > most {
		c.refuse(codeValue, param, "is %d, it must be between %d and %d", *v, least, most)
	}
	return *v
}

// text is a string of at most so many bytes.
func (c *checker) text(param string, v *string, most int) string {
	if v == nil {
		return ""
	}
	if len(*v) > most {
		c.refuse(codeValue, param, "has %d bytes, at most %d are read", len(*v), most)
	}
	return *v
}

// texts is a string or a list of strings, all bounded. An empty string alone is none.
func (c *checker) texts(param string, raw json.RawMessage, count, most int) []string {
	var list []string
	switch jsonvalue.Kind(raw) {
	case "null":
	case "string":
		var one string
		if err := decodeField(raw, param, &one); err != nil && c.err == nil {
			c.err = err
		}
		if one != "" {
			list = []string{one}
		}
	case "array":
		list = c.strings(param, raw)
	default:
		c.refuse(codeType, param, "must be a string or an array of strings, not %s", jsonvalue.Article(jsonvalue.Kind(raw)))
	}
	if len(list) > count {
		c.refuse(codeValue, param, "has %d entries, at most %d are read", len(list), count)
	}
	for _, s := range list {
		if s == "" || len(s) > most {
			c.refuse(codeValue, param, "has an entry of %d bytes, it must have between 1 and %d", len(s), most)
		}
	}
	return list
}

// strings is an array of strings.
func (c *checker) strings(param string, raw json.RawMessage) []string {
	var entries []json.RawMessage
	err := decodeField(raw, param, &entries)
	list := make([]string, len(entries))
	for i, e := range entries {
		name := fmt.Sprintf("%s[%d]", param, i)
		if jsonvalue.Kind(e) == "null" {
			c.refuse(codeType, name, "must be a string, not null")
		}
		err = errors.Join(err, decodeField(e, name, &list[i]))
	}
	if err != nil && c.err == nil {
		c.err = err
	}
	return list
}

// flag is a boolean.
func flag(v *bool, standard bool) bool {
	if v == nil {
		return standard
	}
	return *v
}

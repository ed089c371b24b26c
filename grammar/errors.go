package grammar

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
)

// Problem says what is the matter with a keyword of a schema.
type Problem int

// The problems.
const (
	BadValue    Problem = iota // its value is out of range, or contradicts another
	BadType                    // its value has a type that it cannot have
	Unsupported                // a grammar cannot express it
)

// SchemaError is why a schema has no grammar.
type SchemaError struct {
	Problem Problem
	Param   string // the path of the keyword at fault
	Reason  string // what follows the path in a message
}

func (e *SchemaError) Error() string { return e.Param + " " + e.Reason }

// refuse makes a SchemaError.
func refuse(p Problem, at *path, format string, args ...any) error {
	return &SchemaError{p, at.String(), fmt.Sprintf(format, args...)}
}

// decodeField reads the value of a keyword. The whole schema was valid JSON, so that only types can be wrong.
func decodeField(n *node, at *path, v any) error {
	err := json.Unmarshal(n.raw, v)
	var typed *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &typed):
		return refuse(BadType, at, "cannot be read: %v", err)
	}
	got := strings.TrimPrefix(typed.Value, "number ")
	if got == typed.Value {
		got = jsonvalue.Article(got)
	}
	return refuse(BadType, at, "must be %s, not %s", jsonvalue.TypeName(typed.Type.Kind()), got)
}

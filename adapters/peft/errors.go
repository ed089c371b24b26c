package peft

import (
	"errors"
	"fmt"
)

// The errors of reading an adapter. One whose tensors do not fit the base is a runtime.ErrAdapter.
var (
	ErrFormat      = errors.New("not a readable adapter")
	ErrUnsupported = errors.New("the adapter cannot be served exactly")
)

// FieldError is an error about one field of a configuration or of a request, such as an ErrUnsupported that names a
// field of adapter_config.json.
type FieldError struct {
	Field  string
	Reason string // continues the field's name
	Kind   error  // the error of a package that it is: ErrFormat, ErrUnsupported, ...
}

// Error names the field.
func (e *FieldError) Error() string { return fmt.Sprintf("%v: %s %s", e.Kind, e.Field, e.Reason) }

// Unwrap returns the Kind.
func (e *FieldError) Unwrap() error { return e.Kind }

package adapters

import (
	"errors"
	"fmt"
	"strings"
)

// The errors of this package; others are wrapped around them with the details a user may see. An adapter
// that does not fit the base, or that cannot be served exactly, is a runtime.ErrAdapter.
var (
	ErrUnknown   = errors.New("unknown adapter")
	ErrName      = errors.New("invalid adapter name")
	ErrReference = errors.New("invalid adapter reference")
	ErrFormat    = errors.New("not a readable adapter")
	ErrTooLarge  = errors.New("the adapter is too large")
	ErrPath      = errors.New("the path is not in an adapter folder")
	ErrDamaged   = errors.New("the stored adapter is damaged")
	ErrClosed    = errors.New("closed")
)

// UnknownError says which adapter was asked for and which names come near it. It is an ErrUnknown.
type UnknownError struct {
	Name    string
	Version string   // "" where the name itself is unknown
	Close   []string // up to 3 names (or versions, where the name is known), nearest first
}

func (e *UnknownError) Error() string {
	var b strings.Builder
	if e.Version == "" {
		fmt.Fprintf(&b, "adapter %q does not exist", e.Name)
	} else {
		fmt.Fprintf(&b, "adapter %q has no version %q", e.Name, e.Version)
	}
	for i, c := range e.Close {
		b.WriteString([]string{"; did you mean ", ", ", " or "}[min(i, 1)+max(0, min(i, 1)+i-len(e.Close)+1)])
		fmt.Fprintf(&b, "%q", c)
	}
	return b.String()
}

// Is makes errors.Is(err, ErrUnknown) hold.
func (e *UnknownError) Is(target error) bool { return target == ErrUnknown }

package adapters

import (
	"errors"
	"fmt"
	"strings"
)

// The errors of this package; others are wrapped around them with the details a user may see. An adapter
// whose tensors do not fit the base is a runtime.ErrAdapter.
var (
	ErrUnknown   = errors.New("unknown adapter")
	ErrName      = errors.New("invalid adapter name")
	ErrReference = errors.New("invalid adapter reference")
	ErrTooLarge  = errors.New("the adapter is too large")
	ErrPath      = errors.New("the path is not in an adapter folder")
	ErrDamaged   = errors.New("the stored adapter is damaged")
	ErrClosed    = errors.New("closed")
)

// UnknownError says which adapter was asked for and which names come near it. It is an ErrUnknown.
type UnknownError struct {
	Name    string
	Version string   // "" where the name itself is unknown
	Close   []string // up to 3 names, or versions where the name is known; nearest first
}

func (e *UnknownError) Error() string {
	s := fmt.Sprintf("adapter %q does not exist", e.Name)
	if e.Version != "" {
		s = fmt.Sprintf("adapter %q has no version %q", e.Name, e.Version)
	}
	if len(e.Close) > 0 {
		s += "; did you mean " + strings.Join(e.Close, ", ") + "?"
	}
	return s
}

// Is makes errors.Is(err, ErrUnknown) hold.
func (e *UnknownError) Is(target error) bool { return target == ErrUnknown }

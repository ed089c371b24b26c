package tinker

import (
	"errors"
	"fmt"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/internal/disk"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// The errors of this package; others are wrapped around them with the details a user may see.
var (
	ErrInvalid = errors.New("invalid request")
	ErrUnknown = errors.New("there is no such thing")
	ErrExpired = errors.New("it has ended or expired")
	ErrTooMany = errors.New("too many at once; ask again")
	ErrClosed  = errors.New("the server is shutting down")
)

// FieldError is an ErrInvalid that names the field at fault.
type FieldError struct {
	Field  string
	Reason string
}

func (e *FieldError) Error() string { return e.Field + " " + e.Reason }

// Is makes errors.Is(err, ErrInvalid) hold.
func (e *FieldError) Is(target error) bool { return target == ErrInvalid }

// invalid returns a FieldError.
func invalid(field, format string, args ...any) error {
	return &FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// Categories of the error of a future, by the names that clients know.
const (
	CategoryUser   = "user"
	CategoryServer = "server"
)

// userErrors are the errors that a client can do something about: their messages are shown to it.
var userErrors = []error{
	ErrInvalid, ErrUnknown, ErrExpired, ErrTooMany, runtime.ErrTrain, runtime.ErrTrainMemory, runtime.ErrTrainBusy, runtime.ErrDiverged, runtime.ErrPrompt,
	runtime.ErrContextLength, runtime.ErrSampling, runtime.ErrAdapter, adapters.ErrUnknown, adapters.ErrTooLarge, adapters.ErrName,
}

// Category says whose fault an error is, and what its client is told of it.
func Category(err error) (category, message string) {
	for _, e := range userErrors {
		if errors.Is(err, e) {
			return CategoryUser, err.Error()
		}
	}
	for _, e := range []error{runtime.ErrMemory, runtime.ErrDraining, ErrClosed, disk.ErrNoSpace, runtime.ErrNoRoom, runtime.ErrLogits} {
		if errors.Is(err, e) {
			return CategoryServer, e.Error()
		}
	}
	return CategoryServer, "the server failed at this call; its log says more"
}

package training

import (
	"errors"
	"fmt"

	"github.com/lorikeet-ai/lorikeet/training/dataset"
)

// The errors of this package; others are wrapped around them with the details a user may see.
var (
	ErrConfig    = errors.New("invalid hyperparameter")
	ErrDataset   = dataset.ErrInvalid
	ErrUnknown   = errors.New("unknown training job")
	ErrFile      = errors.New("unknown file")
	ErrFilesFull = errors.New("the server keeps as many files as it may")
	ErrState     = errors.New("the state of the job does not allow this")
	ErrTooLarge  = errors.New("too large")
	ErrQueueFull = errors.New("the training queue is full")
	ErrGrader    = errors.New("the grader keeps failing")
	ErrDamaged   = errors.New("the stored job is damaged")
	ErrClosed    = errors.New("closed")
)

// FieldError is an ErrConfig that names the hyperparameter at fault.
type FieldError struct {
	Field  string // "lora_dropout"
	Reason string // continues the field's name: "is 2: less than 1 is expected"
}

// Error names the field.
func (e *FieldError) Error() string { return fmt.Sprintf("%v: %s %s", ErrConfig, e.Field, e.Reason) }

// Unwrap makes it an ErrConfig.
func (e *FieldError) Unwrap() error { return ErrConfig }

// What is wrong with a dataset is said by the package that reads it.
type (
	// DatasetError is an ErrDataset that names the lines at fault.
	DatasetError = dataset.Error
	// BadLine is one of them.
	BadLine = dataset.BadLine
)

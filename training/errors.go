package training

import (
	"errors"
	"fmt"
	"strings"
)

// The errors of this package; others are wrapped around them with the details a user may see.
var (
	ErrConfig    = errors.New("invalid hyperparameter")
	ErrDataset   = errors.New("invalid dataset")
	ErrUnknown   = errors.New("unknown training job")
	ErrFile      = errors.New("unknown file")
	ErrState     = errors.New("the state of the job does not allow this")
	ErrTooLarge  = errors.New("too large")
	ErrQueueFull = errors.New("the training queue is full")
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

// maxBadLines is how many bad lines a DatasetError describes.
const maxBadLines = 20

// BadLine is one line of a dataset that cannot be learned from.
type BadLine struct {
	Line   int    `json:"line"` // from 1; of a JSON array, the element's number
	Reason string `json:"reason"`
}

// DatasetError is an ErrDataset with what is wrong with it.
type DatasetError struct {
	Dataset string    // "training" or "validation"
	Unit    string    // what Line counts: "line" or "element"
	Bad     []BadLine // the first 20; none where the fault lies with the whole
	Count   int       // bad lines in all
	Reason  string    // what is wrong with the whole; "" where the lines are
}

// Error names the dataset and the first bad lines.
func (e *DatasetError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v: the %s data ", ErrDataset, e.Dataset)
	if e.Reason != "" {
		b.WriteString(e.Reason)
		return b.String()
	}
	plural := "s"
	if e.Count == 1 {
		plural = ""
	}
	fmt.Fprintf(&b, "has %d bad %s%s: ", e.Count, e.Unit, plural)
	for i, l := range e.Bad {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s %d %s", e.Unit, l.Line, l.Reason)
	}
	if e.Count > len(e.Bad) {
		fmt.Fprintf(&b, "; and %d more", e.Count-len(e.Bad))
	}
	return b.String()
}

// Unwrap makes it an ErrDataset.
func (e *DatasetError) Unwrap() error { return ErrDataset }

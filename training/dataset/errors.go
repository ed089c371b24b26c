package dataset

import (
	"errors"
	"fmt"
	"strings"
)

// ErrInvalid is wrapped by every Error.
var ErrInvalid = errors.New("invalid dataset")

// maxBadLines is how many bad lines an Error describes.
const maxBadLines = 20

// BadLine is one line of a dataset that cannot be learned from.
type BadLine struct {
	Line   int    `json:"line"` // from 1; of a JSON array, the element's number
	Reason string `json:"reason"`
}

// Error is an ErrInvalid with what is wrong with a dataset.
type Error struct {
	Dataset string    // "training" or "validation"
	Unit    string    // what Line counts: "line" or "element"
	Bad     []BadLine // the first 20; none where the fault lies with the whole
	Count   int       // bad lines in all
	Reason  string    // what is wrong with the whole; "" where the lines are
}

// Error names the dataset and the first bad lines.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v: the %s data ", ErrInvalid, e.Dataset)
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

// Unwrap makes it an ErrInvalid.
func (e *Error) Unwrap() error { return ErrInvalid }

// LineError is what is wrong with one line; reading goes on after it. Its text continues "line 3".
type LineError struct{ Reason string }

// Error returns the reason.
func (e *LineError) Error() string { return e.Reason }

// maxReason bounds a LineError's text, which may quote the line, in bytes.
const maxReason = 500

func badLine(format string, args ...any) error {
	reason := fmt.Sprintf(format, args...)
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "") + "..."
	}
	return &LineError{reason}
}

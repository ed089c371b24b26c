package dataset

import (
	"errors"
	"fmt"
	"strings"
)

// ErrInvalid is wrapped by every Error.
var ErrInvalid = errors.New("invalid dataset")

// What an Error describes at most.
const (
	maxFaults      = 20 // kinds of faults
	maxLineNumbers = 10 // lines with a fault of one kind
)

// BadLine is a line of a dataset that cannot be learned from, and those that have a fault of the same kind.
type BadLine struct {
	Line   int    `json:"line"`            // the first of them, from 1; of a JSON array, the element's number
	Reason string `json:"reason"`          // what is wrong with the first
	Count  int    `json:"count,omitempty"` // how many lines have such a fault
	Lines  []int  `json:"lines,omitempty"` // the first 10 of them
}

// Error is an ErrInvalid with what is wrong with a dataset.
type Error struct {
	Dataset string    // "training" or "validation"
	Unit    string    // what Line counts: "line", "element" or "row"
	Bad     []BadLine // one for each kind of fault, the first 20; none where the fault lies with the whole
	Count   int       // bad lines in all
	Reason  string    // what is wrong with the whole; "" where the lines are

	kinds map[string]int // of faults, in Bad
}

// note counts a line and what is wrong with it, under the kind of its fault.
func (e *Error) note(line int, kind, reason string) {
	e.Count++
	at, known := e.kinds[kind]
	if !known {
		if len(e.Bad) == maxFaults {
			return
		}
		if e.kinds == nil {
			e.kinds = make(map[string]int)
		}
		at = len(e.Bad)
		e.kinds[kind] = at
		e.Bad = append(e.Bad, BadLine{Line: line, Reason: reason})
	}
	bad := &e.Bad[at]
	if bad.Count++; len(bad.Lines) < maxLineNumbers {
		bad.Lines = append(bad.Lines, line)
	}
}

// Error names the dataset and, for every kind of fault, the first bad lines.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v: the %s data ", ErrInvalid, e.Dataset)
	if e.Reason != "" {
		b.WriteString(e.Reason)
		return b.String()
	}
	fmt.Fprintf(&b, "has %d bad %s: ", e.Count, e.units(e.Count))
	left := e.Count
	for i := range e.Bad {
		if i > 0 {
			b.WriteString("; ")
		}
		e.Bad[i].write(&b, e)
		left -= max(e.Bad[i].Count, 1)
	}
	if left > 0 {
		fmt.Fprintf(&b, "; and %d more", left)
	}
	return b.String()
}

// write describes the lines with one kind of fault.
func (l *BadLine) write(b *strings.Builder, e *Error) {
	fmt.Fprintf(b, "%s %d %s", e.Unit, l.Line, l.Reason)
	if l.Count < 2 {
		return
	}
	fmt.Fprintf(b, " (%d %s have a fault of this kind: ", l.Count, e.units(l.Count))
	for i, line := range l.Lines {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprint(b, line)
	}
	if more := l.Count - len(l.Lines); more > 0 {
		fmt.Fprintf(b, " and %d more", more)
	}
	b.WriteString(")")
}

// units is the word for so many lines.
func (e *Error) units(n int) string {
	if n == 1 {
		return e.Unit
	}
	return e.Unit + "s"
}

// Unwrap makes it an ErrInvalid.
func (e *Error) Unwrap() error { return ErrInvalid }

// LineError is what is wrong with one line; reading goes on after it. Its text continues "line 3".
type LineError struct {
	Reason string
	kind   string // the same for faults that differ in names, numbers and quotations alone
}

// Error returns the reason.
func (e *LineError) Error() string { return e.Reason }

// maxReason bounds a LineError's text, which may quote the line, in bytes.
const maxReason = 500

// badLine is a LineError. Its kind is the format, and that of a LineError among the arguments.
func badLine(format string, args ...any) error { return newLineError(format, args...) }

func newLineError(format string, args ...any) *LineError {
	reason, kind := fmt.Sprintf(format, args...), format
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "") + "..."
	}
	for _, a := range args {
		inner := new(LineError)
		if err, isError := a.(error); isError && errors.As(err, &inner) {
			kind += " / " + inner.kind
		}
	}
	return &LineError{reason, kind}
}

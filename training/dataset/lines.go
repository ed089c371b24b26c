package dataset

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/lorikeet-ai/lorikeet/internal/gitlfs"
)

// This file cuts a dataset into lines, or the elements of a JSON array, in memory bounded by the longest one.

// Limits bound a dataset besides its bytes. Zero values take the defaults.
type Limits struct {
	LineBytes int // of one line; 0: 16 MiB
	Lines     int // with content; 0: 16 million
}

// The defaults of Limits.
const (
	maxLine  = 16 << 20
	maxLines = 16_000_000
)

func (l Limits) orDefaults() Limits {
	return Limits{LineBytes: cmp.Or(l.LineBytes, maxLine), Lines: cmp.Or(l.Lines, maxLines)}
}

// ReadOptions say what is read.
type ReadOptions struct {
	Which  string // the name of the dataset in errors: "training" or "validation"
	Kind   Kind
	Limits Limits
}

// Read calls each for every line that holds what the kind wants, with the line's number, and keeps no line in memory. It
// returns an Error where lines cannot be read or each returned a
// LineError for them; any other error of each or r ends the reading and is returned as it is.
func Read(r io.Reader, o ReadOptions, each func(line int, c Conversation) error) error {
	limits := o.Limits.orDefaults()
	d := &lines{r: bufio.NewReaderSize(r, 64<<10), limits: limits, report: Error{Dataset: o.Which, Unit: "line"}}
	head, _ := d.r.Peek(HeadSize) // shorter where there is less
	switch name := archiveOf(head); {
	case gitlfs.Check(head) != nil:
		d.report.Reason = "cannot be read: " + gitlfs.ErrPointer.Error()
		return &d.report
	case name != "":
		d.report.Reason = "is " + name + ": JSON Lines, a JSON array, CSV, plain text or Parquet are expected"
		return &d.report
	}
	err := d.scan(func(line int, raw []byte) error {
		if d.found > limits.Lines {
			return errTooManyLines
		}
		c, err := parseLine(raw, o.Kind)
		if err != nil {
			return err
		}
		return each(line, c)
	})
	switch {
	case errors.Is(err, errTooManyLines):
		d.report.Count, d.report.Bad = 0, nil
		d.report.Reason = fmt.Sprintf("has more than %d lines, which is what this server's memory for training allows", limits.Lines)
		return &d.report
	case err != nil:
		return err
	case d.report.Count > 0:
		return &d.report
	case d.found == 0:
		d.report.Reason = "has no examples: it is empty"
		return &d.report
	}
	return nil
}

// errTooManyLines ends the reading.
var errTooManyLines = errors.New("too many lines")

// lines reads either form of a dataset.
type lines struct {
	r      *bufio.Reader
	limits Limits
	found  int // lines with content
	report Error
}

// give calls each with a line and records what is wrong with it.
func (d *lines) give(line int, raw []byte, each func(int, []byte) error) error {
	d.found++
	err := each(line, raw)
	if bad := new(LineError); errors.As(err, &bad) {
		d.report.note(line, bad.kind, bad.Reason)
		return nil
	}
	return err
}

// note records what is wrong with a line and with the reading of it.
func (d *lines) note(line int, reason string) { d.report.note(line, reason, reason) }

// scan recognizes the form, lines or an array, by how the file begins.
func (d *lines) scan(each func(line int, raw []byte) error) error {
	head, err := d.r.Peek(4)
	if err != nil && err != io.EOF {
		return err
	}
	if bytes.HasPrefix(head, []byte("\xef\xbb\xbf")) {
		_, _ = d.r.Discard(3) // they have been seen
	}
	if bytes.HasPrefix(head, []byte("\xff\xfe")) || bytes.HasPrefix(head, []byte("\xfe\xff")) {
		d.report.Count, d.report.Reason = 1, "is UTF-16: it must be UTF-8"
		return nil
	}
	for line := 1; ; {
		c, err := d.r.ReadByte()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case c == '\n':
			line++
		case c == ' ' || c == '\t' || c == '\r':
		default:
			_ = d.r.UnreadByte() // follows a ReadByte
			if c == '[' {
				d.report.Unit = "element"
				return d.array(each)
			}
			return d.jsonl(line, each)
		}
	}
}

// jsonl reads lines, the first of which has the number line.
func (d *lines) jsonl(line int, each func(int, []byte) error) error {
	for ; ; line++ {
		raw, long, err := d.line()
		raw = bytes.TrimSpace(raw)
		switch {
		case err != nil && !errors.Is(err, io.EOF):
			return err
		case long:
			d.found++
			d.note(line, fmt.Sprintf("is longer than %d bytes", d.limits.LineBytes))
		case len(raw) > 0:
			if err := d.give(line, raw, each); err != nil {
				return err
			}
		}
		if err != nil {
			return nil // the end
		}
	}
}

// line reads to the end of a line. Of one that is too long it keeps nothing.
func (d *lines) line() (raw []byte, long bool, err error) {
	for {
		part, err := d.r.ReadSlice('\n')
		if len(raw)+len(part) > d.limits.LineBytes {
			raw, long = nil, true
		}
		if !long {
			raw = append(raw, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return raw, long, err
		}
	}
}

// array reads the elements of a JSON array. What follows a mistake in it cannot be read.
func (d *lines) array(each func(int, []byte) error) error {
	m := &meter{r: d.r, left: d.limits.LineBytes}
	dec := json.NewDecoder(m)
	_, err := dec.Token()
	n := 1
	for err == nil && dec.More() {
		m.left = d.limits.LineBytes
		var raw json.RawMessage
		if err = dec.Decode(&raw); err == nil {
			if err := d.give(n, raw, each); err != nil {
				return err
			}
			n++
		}
	}
	if err == nil {
		m.left = d.limits.LineBytes
		if _, err = dec.Token(); err == nil {
			if _, err = dec.Token(); err == io.EOF {
				return nil
			}
			d.note(n, "comes after the end of the array")
			return nil
		}
	}
	var syntax *json.SyntaxError
	switch {
	case m.left < 0:
		d.note(n, fmt.Sprintf("is longer than %d bytes; what follows it was not read", d.limits.LineBytes))
	case errors.As(err, &syntax):
		d.note(n, fmt.Sprintf("is not JSON: %v; what follows it was not read", syntax))
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		d.note(n, "is cut off: the array has no end")
	default:
		return err
	}
	return nil
}

// meter is a Reader that returns an error when an element has more than its allowed bytes.
type meter struct {
	r    io.Reader
	left int
}

func (m *meter) Read(p []byte) (int, error) {
	if m.left < 0 {
		return 0, errors.New("too long")
	}
	n, err := m.r.Read(p[:min(len(p), m.left+1)])
	m.left -= n
	return n, err
}

// asSyntax returns the *json.SyntaxError in err, or nil.
func asSyntax(err error) *json.SyntaxError {
	var syntax *json.SyntaxError
	errors.As(err, &syntax)
	return syntax
}

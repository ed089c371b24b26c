package batches

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
)

// Bounds of an input file.
const (
	maxCustomID = 512 // bytes
	maxFaults   = 100 // that are reported
)

// line is one request.
type line struct {
	CustomID string          `json:"custom_id"`
	Method   string          `json:"method"`
	URL      string          `json:"url"`
	Body     json.RawMessage `json:"body"`
}

// lineReader reads the lines of an input file. Empty lines are passed over, but counted.
type lineReader struct {
	in   *bufio.Reader
	most int // bytes of a line
	n    int // of the line read last, from 1
}

func newLineReader(r io.Reader, most int) *lineReader {
	return &lineReader{in: bufio.NewReaderSize(r, 64<<10), most: most}
}

// errLong is the error of a line that is too long. The next one can be read after it.
var errLong = errors.New("the line is too long")

// next returns the next line that is not empty; io.EOF after the last one.
func (r *lineReader) next() ([]byte, error) {
	for {
		text, err := r.read()
		if err != nil {
			return nil, err
		}
		if r.n == 1 {
			text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")) // a byte order mark, which some editors write
		}
		if text = bytes.TrimSpace(text); len(text) > 0 {
			return text, nil
		}
	}
}

// read returns the bytes up to the next line feed, or to the end of the file.
func (r *lineReader) read() ([]byte, error) {
	var text []byte
	long := false
	for {
		part, err := r.in.ReadSlice('\n')
		if long = long || len(text)+len(part) > r.most; !long {
			text = append(text, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(text) == 0 && !long:
			return nil, io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return nil, err
		}
		r.n++
		if long {
			return nil, errLong
		}
		return text, nil
	}
}

// checker holds the lines of a batch against its rules.
type checker struct {
	endpoint string
	most     int // lines
	longest  int // bytes of a line
	seen     map[string]int
	faults   []Fault
	total    int
}

func (c *checker) fault(n int, code, param, format string, args ...any) {
	if len(c.faults) < maxFaults {
		c.faults = append(c.faults, Fault{Code: code, Param: param, Line: n, Message: fmt.Sprintf(format, args...)})
	}
}

// checkFile reads a whole input file. The error is that of reading it.
func (c *checker) checkFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	in := newLineReader(f, c.longest)
	for {
		text, err := in.next()
		switch {
		case errors.Is(err, io.EOF):
			if c.total == 0 {
				c.fault(0, "empty_file", "input_file_id", "The input file has no requests.")
			}
			return nil
		case errors.Is(err, errLong):
			c.total++
			c.fault(in.n, "line_too_large", "", "The line has more than %d bytes.", c.longest)
			continue
		case err != nil:
			return err
		}
		if c.total++; c.total > c.most {
			c.fault(in.n, "too_many_requests", "input_file_id", "The input file has more than %d requests.", c.most)
			return nil
		}
		c.check(in.n, text)
	}
}

// check reads one line and notes what is wrong with it.
func (c *checker) check(n int, text []byte) {
	l, err := parseLine(text)
	if typed := new(json.UnmarshalTypeError); errors.As(err, &typed) && typed.Field != "" {
		c.fault(n, "invalid_type", typed.Field, "%s must be %s, not %s.", typed.Field, jsonvalue.TypeName(typed.Type.Kind()), jsonvalue.Article(typed.Value))
		return
	}
	if err != nil {
		c.fault(n, "invalid_json_line", "", "The line cannot be read as a request: %v.", err)
		return
	}
	switch first, twice := c.seen[l.CustomID]; {
	case l.CustomID == "":
		c.fault(n, "missing_required_parameter", "custom_id", "custom_id is missing.")
	case len(l.CustomID) > maxCustomID:
		c.fault(n, "invalid_value", "custom_id", "custom_id has %d bytes, at most %d are kept.", len(l.CustomID), maxCustomID)
	case twice:
		c.fault(n, "duplicate_custom_id", "custom_id", "custom_id %q is that of line %d, too.", l.CustomID, first)
	default:
		c.seen[l.CustomID] = n
	}
	if l.Method != http.MethodPost {
		c.fault(n, "invalid_method", "method", "method is %q, it must be POST.", l.Method)
	}
	if l.URL != c.endpoint {
		c.fault(n, "invalid_url", "url", "url is %q, the batch is for %s.", l.URL, c.endpoint)
	}
	var body struct {
		Stream json.RawMessage `json:"stream"`
	}
	if err := jsonvalue.Decode(l.Body, &body); err != nil || jsonvalue.Kind(l.Body) != "object" {
		c.fault(n, "invalid_value", "body", "body must be an object with the request's fields.")
	} else if string(body.Stream) == "true" {
		c.fault(n, "unsupported_value", "body.stream", "body.stream is true: answers of a batch are not streamed.")
	}
}

// parseLine reads a line, whose fields' names must match exactly.
func parseLine(text []byte) (line, error) {
	var l line
	if err := jsonvalue.Scan(text, jsonvalue.Limits{}); err != nil {
		return l, fmt.Errorf("it %w", err)
	}
	if err := jsonvalue.Decode(text, &l); err != nil {
		return l, err
	}
	return l, nil
}

package dataset

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
)

// This file writes the rows of a CSV file, whose first one has the names of the columns, as JSON Lines.

// maxColumns bounds the columns of a CSV file.
const maxColumns = 1024

// messageColumns may have a list of messages as JSON in their cells.
var messageColumns = []string{
	"prompt", "completion", "chosen", "rejected", "input", "preferred_output", "non_preferred_output", "chosen_messages", "rejected_messages",
	"messages", "conversations",
}

// valueColumns have JSON in their cells.
var valueColumns = []string{"history", "chat_template_kwargs"}

// flagColumns have a flag or a weight in their cells, an empty one none.
var flagColumns = slices.Concat(lineWeights, lineFlags, leaveFlags, labelKeys)

// convertCSV writes rows as lines of JSON, each on the line that it has in the file.
func convertCSV(r io.Reader, o ConvertOptions, w io.Writer, report *Error) error {
	in := bufio.NewReaderSize(r, 64<<10)
	comma, err := delimiter(in, o.Format)
	if err != nil {
		return err
	}
	m := &meter{r: in, left: o.Limits.LineBytes}
	rows := csv.NewReader(m)
	rows.Comma, rows.FieldsPerRecord, rows.ReuseRecord = comma, -1, true
	var t *table
	for line := 1; ; {
		m.left = o.Limits.LineBytes + 64<<10 // what the reader reads ahead
		record, err := rows.Read()
		broken := new(csv.ParseError)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case m.left < 0:
			return badFile("cannot be read as CSV from line %d on: a row is longer than %d bytes, or a quotation mark is not closed", line, o.Limits.LineBytes)
		case errors.As(err, &broken):
			report.note(broken.StartLine, "csv", "is not CSV: "+broken.Err.Error())
			continue
		case err != nil:
			return err
		}
		at, _ := rows.FieldPos(0)
		if t == nil {
			if t, err = newTable(record); err != nil {
				return err
			}
			t.line = 1
			continue
		}
		line = at
		if err := t.write(w, at, record, o.Limits, report); err != nil {
			return err
		}
	}
}

// delimiter skips a byte order mark, and tells what separates columns.
func delimiter(in *bufio.Reader, format Format) (rune, error) {
	head, _ := in.Peek(4096) // shorter where there is less
	if bytes.HasPrefix(head, []byte("\xff\xfe")) || bytes.HasPrefix(head, []byte("\xfe\xff")) {
		return 0, badFile("is UTF-16: it must be UTF-8")
	}
	if bytes.HasPrefix(head, []byte("\xef\xbb\xbf")) {
		head = head[3:]
		_, _ = in.Discard(3) // they have been seen
	}
	first, _, _ := bytes.Cut(head, []byte("\n"))
	switch {
	case format == TSV:
		return '\t', nil
	case bytes.Count(first, []byte(";")) > bytes.Count(first, []byte(",")):
		return ';', nil
	}
	return ',', nil
}

// table is the head of a CSV file.
type table struct {
	names []string
	line  int // of the output, that is to be written next
	buf   []byte
}

func newTable(head []string) (*table, error) {
	t := &table{}
	if len(head) > maxColumns {
		return nil, badFile("has %d columns: at most %d are read", len(head), maxColumns)
	}
	for _, name := range head {
		name = strings.TrimSpace(name)
		if name != "" && slices.Contains(t.names, name) {
			return nil, badFile("has two columns named %q in its first line", name)
		}
		t.names = append(t.names, name)
	}
	return t, nil
}

// write writes a row. Faults go to the report.
func (t *table) write(w io.Writer, line int, record []string, limits Limits, report *Error) error {
	if len(record) != len(t.names) {
		if len(record) > 1 || strings.TrimSpace(record[0]) != "" { // else it is an empty line
			fault := newLineError("has %d cells, and the first line names %d columns", len(record), len(t.names))
			report.note(line, fault.kind, fault.Reason)
		}
		return nil
	}
	t.buf = t.buf[:0]
	for ; t.line < line; t.line++ {
		t.buf = append(t.buf, '\n')
	}
	t.buf = append(t.buf, '{')
	for i, cell := range record {
		if t.names[i] == "" {
			continue
		}
		if !utf8.ValidString(cell) {
			report.note(line, "utf8", "is not UTF-8")
			return nil
		}
		value := cellValue(t.names[i], cell)
		if value == nil {
			continue
		}
		if t.buf[len(t.buf)-1] != '{' {
			t.buf = append(t.buf, ',')
		}
		t.buf = jsonvalue.AppendString(t.buf, t.names[i])
		t.buf = append(append(t.buf, ':'), value...)
	}
	t.buf = append(t.buf, '}')
	if len(t.buf) > limits.LineBytes+maxColumns {
		report.note(line, "long", "is longer than the server reads")
		return nil
	}
	_, err := w.Write(t.buf)
	return err
}

// cellValue is a cell as JSON, nil for none.
func cellValue(name, cell string) []byte {
	trimmed := strings.TrimSpace(cell)
	switch {
	case slices.Contains(flagColumns, name):
		switch word := strings.ToLower(trimmed); {
		case word == "":
			return nil
		case word == "true" || word == "false":
			return []byte(word)
		case json.Valid([]byte(trimmed)) && jsonvalue.Kind([]byte(trimmed)) == "number":
			return []byte(trimmed)
		}
	case slices.Contains(messageColumns, name) && holdsMessages(trimmed),
		slices.Contains(valueColumns, name) && json.Valid([]byte(trimmed)):
		return inOneLine(trimmed)
	case slices.Contains(valueColumns, name) && trimmed == "":
		return nil
	}
	return jsonvalue.AppendString(nil, cell)
}

// holdsMessages reports whether a text is JSON of a message, of a list of them, or of OpenAI's input.
func holdsMessages(text string) bool {
	if text == "" || text[0] != '[' && text[0] != '{' || jsonvalue.Scan([]byte(text), jsonvalue.Limits{Depth: maxDepth, Values: maxValues}) != nil {
		return false
	}
	list := []map[string]json.RawMessage{{}}
	var err error
	if text[0] == '[' {
		err = json.Unmarshal([]byte(text), &list)
	} else {
		err = json.Unmarshal([]byte(text), &list[0])
	}
	return err == nil && len(list) > 0 && !slices.ContainsFunc(list, func(m map[string]json.RawMessage) bool {
		return isNull(m["role"]) && isNull(m["from"]) && isNull(m["messages"])
	})
}

// inOneLine writes JSON without line breaks.
func inOneLine(text string) []byte {
	var b bytes.Buffer
	if json.Compact(&b, []byte(text)) != nil {
		return jsonvalue.AppendString(nil, text)
	}
	return b.Bytes()
}

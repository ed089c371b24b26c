package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/lorikeet-ai/lorikeet/internal/gitlfs"
	"github.com/lorikeet-ai/lorikeet/training/dataset/parquet"
)

// This file tells what a dataset is written in, and writes it as JSON Lines where it is something else.

// Format is what a dataset is written in.
type Format string

// The formats. JSON is lines of JSON or one JSON array.
const (
	JSON    Format = ""
	CSV     Format = "csv"
	TSV     Format = "tsv"
	Text    Format = "text"
	Parquet Format = "parquet"
)

// endings are those of file names.
var endings = map[string]Format{
	".csv": CSV, ".tsv": TSV, ".txt": Text, ".text": Text, ".md": Text, ".parquet": Parquet, ".pq": Parquet,
}

// HeadSize is how many bytes of a file FormatOf looks at.
const HeadSize = max(8, gitlfs.HeadSize)

// archives are the beginnings of files that are something else than what they hold.
var archives = []struct{ magic, name string }{
	{"\x1f\x8b", "compressed with gzip"}, {"PK\x03\x04", "a ZIP archive"}, {"\x28\xb5\x2f\xfd", "compressed with Zstandard"},
	{"BZh", "compressed with bzip2"}, {"\xfd7zXZ", "compressed with xz"}, {"ARROW1", "an Arrow file"}, {"\x89HDF", "an HDF5 file"},
}

// FormatOf tells a file's format by its name and its first bytes. What is none of them is JSON, and Read says what it is.
func FormatOf(name string, head []byte) Format {
	format := endings[strings.ToLower(filepath.Ext(name))]
	switch {
	case bytes.HasPrefix(head, []byte("PAR1")):
		return Parquet
	case format == Parquet || archiveOf(head) != "" || gitlfs.Check(head) != nil:
		return JSON
	}
	return format
}

// archiveOf says what a file is that holds something in another form, "" for others.
func archiveOf(head []byte) string {
	for _, a := range archives {
		if bytes.HasPrefix(head, []byte(a.magic)) {
			return a.name
		}
	}
	return ""
}

// ConvertOptions say what Convert reads and how much it may write.
type ConvertOptions struct {
	Which  string // the name of the dataset in errors
	Format Format // not JSON
	Limits Limits
	Bytes  int64 // what is written at most; 0: no limit
}

// Convert writes a dataset as JSON Lines, with every row at the number that it has in the file: of a CSV file that of its line,
// of a Parquet file that of the row. A Parquet file is read by another process, so that one that is made to exhaust memory ends
// that one. The error is an Error where the file is at fault, or it is w's, the file's or ctx's.
func Convert(ctx context.Context, file *os.File, o ConvertOptions, w io.Writer) error {
	o.Limits = o.Limits.orDefaults()
	out := &boundedWriter{ctx: ctx, w: w, left: o.Bytes, bounded: o.Bytes > 0}
	report := &Error{Dataset: o.Which, Unit: "line"}
	var err error
	switch o.Format {
	case CSV, TSV:
		err = convertCSV(file, o, out, report)
	case Text:
		err = convertText(file, o, out)
	case Parquet:
		err = parquet.Read(ctx, file, parquet.Limits{Rows: o.Limits.Lines, RowBytes: o.Limits.LineBytes}, out)
	default:
		return fmt.Errorf("the format %q is not converted", o.Format)
	}
	whole := new(fileError)
	unreadable := new(parquet.FileError)
	switch {
	case out.full:
		report.Reason = fmt.Sprintf("has more than %d bytes as JSON Lines, which is what this server allows", o.Bytes)
	case out.err != nil:
		return out.err
	case errors.As(err, &whole):
		report.Reason = whole.reason
	case errors.As(err, &unreadable):
		report.Reason = unreadable.Reason
	case err != nil:
		return err
	case report.Count == 0:
		return nil
	}
	return report
}

// fileError is what is wrong with a whole file.
type fileError struct{ reason string }

func (e *fileError) Error() string { return e.reason }

func badFile(format string, args ...any) error { return &fileError{fmt.Sprintf(format, args...)} }

// boundedWriter writes so many bytes, until a context ends. It keeps the first error.
type boundedWriter struct {
	ctx     context.Context
	w       io.Writer
	left    int64
	bounded bool
	full    bool
	err     error // of w or ctx
}

var errFull = errors.New("more is written than is allowed")

func (b *boundedWriter) Write(p []byte) (int, error) {
	if b.err = b.ctx.Err(); b.err != nil {
		return 0, b.err
	}
	if b.left -= int64(len(p)); b.bounded && b.left < 0 {
		b.full = true
		return 0, errFull
	}
	var n int
	n, b.err = b.w.Write(p)
	return n, b.err
}

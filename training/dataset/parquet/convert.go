package parquet

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/parquet-go/parquet-go"
)

// Bounds of a file's schema.
const (
	maxColumns = 4096
	maxDepth   = 64
)

// rowsAtOnce is how many rows are read in one go.
const rowsAtOnce = 16

// convert writes the rows of a file as JSON. It runs in the child alone: nothing in it bounds its memory.
func convert(in *os.File, l Limits, out io.Writer) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it is damaged: %v", p)
		}
	}()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	file, err := parquet.OpenFile(in, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return err
	}
	if n := file.NumRows(); n > int64(l.Rows) {
		return &FileError{fmt.Sprintf("has %d rows: at most %d are read", n, l.Rows)}
	}
	root, err := newSchema(file.Schema())
	if err != nil {
		return err
	}
	w := &rowWriter{root: root, cells: make([][]parquet.Value, root.last), limits: l, out: out}
	for _, group := range file.RowGroups() {
		if err := w.group(group); err != nil {
			return err
		}
	}
	return nil
}

// rowWriter writes rows.
type rowWriter struct {
	root   *node
	cells  [][]parquet.Value // of a row, column by column; those that were written are cut off
	limits Limits
	out    io.Writer
	buf    []byte
	rows   int
}

// group writes the rows of a row group.
func (w *rowWriter) group(group parquet.RowGroup) (err error) {
	rows := group.Rows()
	defer func() { err = errors.Join(err, rows.Close()) }()
	list := make([]parquet.Row, rowsAtOnce)
	for {
		n, err := rows.ReadRows(list)
		for _, row := range list[:n] {
			if err := w.row(row); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case n == 0:
			return errors.New("it is damaged: a row group ends early")
		}
	}
}

// row writes a row.
func (w *rowWriter) row(row parquet.Row) error {
	if w.rows++; w.rows > w.limits.Rows {
		return &FileError{fmt.Sprintf("has more than %d rows, which is what is read at most", w.limits.Rows)}
	}
	for i := range w.cells {
		w.cells[i] = w.cells[i][:0]
	}
	for _, v := range row {
		if c := v.Column(); c < 0 || c >= len(w.cells) {
			return fmt.Errorf("it is damaged: a value is of column %d", c)
		}
		w.cells[v.Column()] = append(w.cells[v.Column()], v)
	}
	w.buf = w.buf[:0]
	if err := w.object(w.root); err != nil {
		return fmt.Errorf("row %d: %w", w.rows, err)
	}
	_, err := w.out.Write(append(w.buf, '\n'))
	return err
}

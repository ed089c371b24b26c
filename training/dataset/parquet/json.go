package parquet

import (
	"encoding/base64"
	"errors"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
)

// This file writes the values of a row as JSON. They lie column by column, with the levels of Dremel (Melnik et al. 2010): the
// definition level says how many of the optional and repeated fields above a value are there, the repetition level
// which list the value goes on with. A field of an object that is null is left out, as it is in a file of JSON: the
// columns of a table have all keys that any of its rows has.

// errLevels is a row whose columns do not fit together.
var errLevels = errors.New("it is damaged: the columns of a row do not fit together")

// errLong is a row that is too long.
func (w *rowWriter) errLong() error {
	return &FileError{"has a row of more than " + strconv.Itoa(w.limits.RowBytes) + " bytes, row " + strconv.Itoa(w.rows)}
}

// peek is the next value of the node's first column.
func (w *rowWriter) peek(n *node) (parquet.Value, bool) {
	if n.first >= n.last || len(w.cells[n.first]) == 0 {
		return parquet.Value{}, false
	}
	return w.cells[n.first][0], true
}

// skip takes a value off each of the node's columns: it is not there.
func (w *rowWriter) skip(n *node) error {
	for c := n.first; c < n.last; c++ {
		if len(w.cells[c]) == 0 {
			return errLevels
		}
		w.cells[c] = w.cells[c][1:]
	}
	return nil
}

// value writes a field. It reports false, and writes nothing, where the field is null.
func (w *rowWriter) value(n *node) (bool, error) {
	if n.repeated {
		return true, w.repeated(n, n)
	}
	next, ok := w.peek(n)
	switch {
	case !ok:
		return false, errLevels
	case next.DefinitionLevel() < n.def:
		return false, w.skip(n)
	}
	return true, w.content(n)
}

// content writes what a field has that is there.
func (w *rowWriter) content(n *node) error {
	if len(w.buf) > w.limits.RowBytes {
		return w.errLong()
	}
	switch n.kind {
	case object:
		return w.object(n)
	case list:
		return w.repeated(n.children[0], n.element())
	case keys:
		return w.keys(n.children[0])
	}
	v, _ := w.peek(n)
	w.cells[n.first] = w.cells[n.first][1:]
	return w.leaf(n, v)
}

// object writes the fields of a group that are not null.
func (w *rowWriter) object(n *node) error {
	w.buf = append(w.buf, '{')
	start := len(w.buf)
	for _, c := range n.children {
		before := len(w.buf)
		if before > start {
			w.buf = append(w.buf, ',')
		}
		w.buf = append(jsonvalue.AppendString(w.buf, c.name), ':')
		there, err := w.value(c)
		if err != nil {
			return err
		}
		if !there {
			w.buf = w.buf[:before]
		}
	}
	w.buf = append(w.buf, '}')
	return nil
}

// each calls do for every element of a repeated field.
func (w *rowWriter) each(n *node, do func() error) error {
	next, ok := w.peek(n)
	switch {
	case !ok:
		return errLevels
	case next.DefinitionLevel() < n.def:
		return w.skip(n) // it is empty
	}
	for {
		left := len(w.cells[n.first])
		if err := do(); err != nil {
			return err
		}
		if next, ok = w.peek(n); !ok || next.RepetitionLevel() < n.rep {
			return nil
		}
		if next.RepetitionLevel() > n.rep || len(w.cells[n.first]) >= left {
			return errLevels
		}
	}
}

// repeated writes the elements of a repeated field as a list. element is the field itself or its only child.
func (w *rowWriter) repeated(n, element *node) error {
	w.buf = append(w.buf, '[')
	start := len(w.buf)
	err := w.each(n, func() error {
		if len(w.buf) > start {
			w.buf = append(w.buf, ',')
		}
		if element == n {
			return w.content(n)
		}
		there, err := w.value(element)
		if err == nil && !there {
			w.buf = append(w.buf, "null"...)
		}
		return err
	})
	w.buf = append(w.buf, ']')
	return err
}

// keys writes a map as an object. n is its repeated group of a key and a value.
func (w *rowWriter) keys(n *node) error {
	w.buf = append(w.buf, '{')
	start := len(w.buf)
	err := w.each(n, func() error {
		before := len(w.buf)
		if before > start {
			w.buf = append(w.buf, ',')
		}
		at := len(w.buf)
		there, err := w.value(n.children[0])
		if err != nil {
			return err
		}
		if key := string(w.buf[at:]); there && (key == "" || key[0] != '"') {
			w.buf = jsonvalue.AppendString(w.buf[:at], key)
		}
		w.buf = append(w.buf, ':')
		thereToo, err := w.value(n.children[1])
		if err == nil && (!there || !thereToo) {
			w.buf = w.buf[:before]
		}
		return err
	})
	w.buf = append(w.buf, '}')
	return err
}

// leaf writes a value. Bytes that are no text are written in base64, numbers that JSON does not have as null.
func (w *rowWriter) leaf(n *node, v parquet.Value) error {
	switch v.Kind() {
	case parquet.Boolean:
		w.buf = strconv.AppendBool(w.buf, v.Boolean())
	case parquet.Int32, parquet.Int64:
		w.integer(n, v)
	case parquet.Float:
		w.number(float64(v.Float()), 32)
	case parquet.Double:
		w.number(v.Double(), 64)
	case parquet.ByteArray, parquet.FixedLenByteArray:
		text := v.ByteArray()
		if len(w.buf)+len(text) > w.limits.RowBytes {
			return w.errLong()
		}
		if !utf8.Valid(text) {
			w.buf = append(base64.StdEncoding.AppendEncode(append(w.buf, '"'), text), '"')
			return nil
		}
		w.buf = jsonvalue.AppendString(w.buf, string(text))
	default:
		w.buf = jsonvalue.AppendString(w.buf, v.String())
	}
	return nil
}

// integer writes a whole number, which may be without a sign.
func (w *rowWriter) integer(n *node, v parquet.Value) {
	unsigned := false
	if logical := n.typ.LogicalType(); logical != nil {
		if t, is := logical.Value.(*format.IntType); is {
			unsigned = !t.IsSigned
		}
	}
	switch {
	case v.Kind() == parquet.Int32 && unsigned:
		w.buf = strconv.AppendUint(w.buf, uint64(v.Uint32()), 10)
	case v.Kind() == parquet.Int32:
		w.buf = strconv.AppendInt(w.buf, int64(v.Int32()), 10)
	case unsigned:
		w.buf = strconv.AppendUint(w.buf, v.Uint64(), 10)
	default:
		w.buf = strconv.AppendInt(w.buf, v.Int64(), 10)
	}
}

// number writes a number with the fewest digits that give it back.
func (w *rowWriter) number(x float64, bits int) {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		w.buf = append(w.buf, "null"...)
		return
	}
	w.buf = strconv.AppendFloat(w.buf, x, 'g', -1, bits)
}

package dataset

import (
	"bytes"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
)

// This file writes a plain text as JSON Lines: one text that goes on from line to line, of which all is learned.

// textPiece is about how many bytes of a plain text one line has.
const textPiece = 32 << 10

// convertText writes a text in pieces, each on a line.
func convertText(r io.Reader, o ConvertOptions, w io.Writer) error {
	size := min(textPiece, o.Limits.LineBytes/4)
	buf := make([]byte, 0, size)
	line := 1
	for first := true; ; first = false {
		n, err := io.ReadFull(r, buf[len(buf):size])
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return err
		}
		buf = buf[:len(buf)+n]
		if first {
			if bytes.HasPrefix(buf, []byte("\xff\xfe")) || bytes.HasPrefix(buf, []byte("\xfe\xff")) {
				return badFile("is UTF-16: it must be UTF-8")
			}
			buf = bytes.TrimPrefix(buf, []byte("\xef\xbb\xbf"))
		}
		cut := len(buf)
		if !last {
			cut = breakBefore(buf)
		}
		if piece := buf[:cut]; len(bytes.TrimSpace(piece)) > 0 {
			if !utf8.Valid(piece) {
				return badFile("is not UTF-8 near line %d", line)
			}
			var out []byte
			out = append(out, `{"text":`...)
			out = jsonvalue.AppendString(out, string(piece))
			out = append(out, `,"split":true`...)
			if !last {
				out = append(out, `,"continues":true`...)
			}
			if _, err := w.Write(append(out, '}', '\n')); err != nil {
				return err
			}
		}
		line += bytes.Count(buf[:cut], []byte("\n"))
		if last {
			return nil
		}
		buf = append(make([]byte, 0, size), buf[cut:]...)
	}
}

// breakBefore is where a piece of text best ends: behind a paragraph, a line, or a word in its second half.
func breakBefore(text []byte) int {
	for _, mark := range []string{"\n\n", "\n", " "} {
		if at := bytes.LastIndex(text, []byte(mark)); at >= len(text)/2 {
			return at + len(mark)
		}
	}
	end := len(text)
	for end > 0 && end > len(text)-utf8.UTFMax && !utf8.RuneStart(text[end-1]) {
		end--
	}
	if end == 0 || utf8.FullRune(text[end-1:]) {
		return len(text)
	}
	return end - 1 // the last character goes on
}

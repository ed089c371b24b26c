package jsonvalue

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits bound a JSON text before it is decoded. Zero values take the defaults.
type Limits struct {
	Depth  int // objects and arrays inside one another
	Values int // objects, arrays, strings, numbers, booleans and nulls, keys not counted
}

// The defaults of Limits: far above what a client's requests have, and cheap to decode.
const (
	MaxDepth  = 128
	MaxValues = 1 << 20
)

// A Fault says what is wrong with a JSON text and where. Its Reason continues "the body" or "line 3".
type Fault struct {
	Offset int // of the byte at which it shows
	Reason string
}

func (f *Fault) Error() string { return f.Reason }

// Scan looks once, without allocating, at what encoding/json lets pass: it refuses what is not UTF-8, half of a
// surrogate pair in a string, which encoding/json silently turns into U+FFFD, and what exceeds the limits. It does not
// check the syntax, which decoding does. The error is a *Fault.
func Scan(text []byte, l Limits) error {
	if l.Depth <= 0 {
		l.Depth = MaxDepth
	}
	if l.Values <= 0 {
		l.Values = MaxValues
	}
	if at := invalidUTF8(text); at >= 0 {
		return &Fault{Offset: at, Reason: "is not UTF-8"}
	}
	depth, values := 0, 1
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '{', '[':
			if depth++; depth > l.Depth {
				return &Fault{Offset: i, Reason: fmt.Sprintf("exceeded max depth: objects and arrays may stand inside one another %d levels deep", l.Depth)}
			}
			values++ // its first element
		case '}', ']':
			depth--
		case ',':
			values++
		case '"':
			end, err := scanString(text, i)
			if err != nil {
				return err
			}
			i = end
		}
		if values > l.Values {
			return &Fault{Offset: i, Reason: fmt.Sprintf("has more than %d values", l.Values)}
		}
	}
	return nil
}

// invalidUTF8 returns the offset of the first byte that is not UTF-8, or -1.
func invalidUTF8(text []byte) int {
	if utf8.Valid(text) {
		return -1
	}
	at := 0
	for r, n := utf8.DecodeRune(text); r != utf8.RuneError || n != 1; r, n = utf8.DecodeRune(text[at:]) {
		at += n
	}
	return at
}

// scanString returns the offset of the quote that ends the string beginning at start, or len(text) where none does.
func scanString(text []byte, start int) (end int, err error) {
	for i := start + 1; i < len(text); i++ {
		skip := bytes.IndexAny(text[i:], `"\`)
		if skip < 0 {
			return len(text), nil
		}
		i += skip
		if text[i] == '"' {
			return i, nil
		}
		first, ok := escapedUnit(text, i)
		if !ok || !utf16.IsSurrogate(first) {
			i++ // the character after the backslash; that it may be one is checked when decoding
			continue
		}
		second, _ := escapedUnit(text, i+6)
		if utf16.DecodeRune(first, second) == utf8.RuneError {
			return 0, &Fault{Offset: i, Reason: fmt.Sprintf(`has a string with \u%04x, half of a surrogate pair, which is no character by itself`, first)}
		}
		i += 11
	}
	return len(text), nil
}

// escapedUnit reads the escape \uXXXX at i.
func escapedUnit(text []byte, i int) (rune, bool) {
	if i+6 > len(text) || text[i] != '\\' || text[i+1] != 'u' {
		return 0, false
	}
	v, err := strconv.ParseUint(string(text[i+2:i+6]), 16, 16)
	return rune(v), err == nil
}

// AsFault returns the *Fault in err, or nil.
func AsFault(err error) *Fault {
	var f *Fault
	errors.As(err, &f)
	return f
}

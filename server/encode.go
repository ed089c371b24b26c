package server

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"
)

// sendJSON answers with v. Unlike encoding/json's default it leaves <, > and & as they are.
func sendJSON(c *fiber.Ctx, status int, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	c.Status(status).Context().SetContentType(fiber.MIMEApplicationJSON)
	c.Context().Response.SetBodyRaw(b.Bytes())
	return nil
}

// appendString appends s as a JSON string; what is not UTF-8 becomes U+FFFD. Chunks of a stream are written
// with it, token by token, where encoding/json would cost more than the rest of the chunk.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		ch := s[i]
		if ch >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				b = append(append(b, s[from:i]...), "\uFFFD"...)
				from = i + 1
			}
			i += n
			continue
		}
		if ch >= ' ' && ch != '"' && ch != '\\' {
			i++
			continue
		}
		b = append(b, s[from:i]...)
		switch ch {
		case '"', '\\':
			b = append(b, '\\', ch)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[ch>>4], hex[ch&15])
		}
		i++
		from = i
	}
	return append(append(b, s[from:]...), '"')
}

// appendJSON appends what encoding/json makes of v, which cannot fail for the types of openapi.
func appendJSON(b []byte, v any) []byte {
	var w bytes.Buffer
	e := json.NewEncoder(&w)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("server: " + err.Error())
	}
	return append(b, bytes.TrimSuffix(w.Bytes(), []byte{'\n'})...)
}

// valid is b as text, with U+FFFD for what is not UTF-8.
func valid(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }

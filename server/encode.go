package server

import (
	"bytes"
	"encoding/json"
	"strings"

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

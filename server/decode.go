package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
)

// maxDrain is how much of a refused body is read, so that the client comes to read the answer: one that is still sending when
// the connection is closed sees a broken connection instead. It takes no memory, and drainTime bounds it as well.
const maxDrain = 256 << 20

// drainTime is how long it is waited for.
const drainTime = time.Second

// decodeJSON reads a JSON object into v, a pointer to one of openapi's types. Keys match exactly and unknown fields are
// ignored; the error says where the text is not JSON or exceeds a bound, or which field has the wrong type.
func decodeJSON(body []byte, v any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return &refusal{status: http.StatusBadRequest, code: codeJSON, message: "the body is empty, a JSON object is expected"}
	}
	if err := scanJSON(body); err != nil {
		return err
	}
	return jsonError(body, "", jsonvalue.Decode(body, v))
}

// scanJSON refuses a body that must not be decoded: nested too deeply, with too many values, or with invalid text.
func scanJSON(body []byte) error {
	f := jsonvalue.AsFault(jsonvalue.Scan(body, jsonvalue.Limits{}))
	if f == nil {
		return nil
	}
	return &refusal{
		status: http.StatusBadRequest, code: codeJSON,
		message: fmt.Sprintf("the body %s at %s", f.Reason, place(body, f.Offset)),
	}
}

// decodeField reads the raw value of a field, whose name goes before those of the fields in it.
func decodeField(raw json.RawMessage, param string, v any) error {
	return jsonError(raw, param, jsonvalue.Decode(raw, v))
}

// jsonError turns an error of encoding/json into a refusal; nil stays nil.
func jsonError(body []byte, prefix string, err error) error {
	var syntax *json.SyntaxError
	var typed *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntax):
		return &refusal{
			status: http.StatusBadRequest, code: codeJSON,
			message: fmt.Sprintf("the body is not valid JSON at %s: %v", place(body, int(syntax.Offset)-1), syntax),
		}
	case errors.As(err, &typed):
		param := typed.Field
		if prefix != "" && param != "" && param[0] != '[' {
			param = "." + param
		}
		param = prefix + param
		want, got := jsonvalue.TypeName(typed.Type.Kind()), strings.TrimPrefix(typed.Value, "number ")
		if got == typed.Value {
			got = jsonvalue.Article(got)
		}
		if outOfRange(typed) {
			want += map[bool]string{true: " below 3.5e38", false: " of at most 64 bits"}[typed.Type.Kind() == reflect.Float32]
		}
		if param == "" {
			return &refusal{
				status: http.StatusBadRequest, code: codeType,
				message: fmt.Sprintf("the body must be %s, not %s", want, got),
			}
		}
		return refuse(codeType, param, "must be %s, not %s", want, got)
	}
	return &refusal{status: http.StatusBadRequest, code: codeJSON, message: "the body cannot be read: " + err.Error()}
}

// outOfRange reports whether a number has the right type, and more digits than are read.
func outOfRange(e *json.UnmarshalTypeError) bool {
	number, isNumber := strings.CutPrefix(e.Value, "number ")
	switch e.Type.Kind() {
	case reflect.Float32:
		return isNumber
	case reflect.Int, reflect.Int32, reflect.Int64:
		return isNumber && !strings.ContainsAny(number, ".eE")
	}
	return false
}

// place returns the position of a byte of the body: line, column and offset.
func place(body []byte, offset int) string {
	offset = min(max(offset, 0), len(body))
	before := body[:offset]
	line := bytes.Count(before, []byte{'\n'}) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return fmt.Sprintf("line %d, column %d (byte %d)", line, column, offset)
}

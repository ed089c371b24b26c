package hostile

import (
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"strings"
)

// pick returns one of a list.
func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// strange are texts that parsers often fail on.
var strange = []string{
	"", " ", "\x00", "null", "true", "-0", "1e999", "NaN", "\u202e", "\ufeff", "𝄞", "é", "e\u0301", "<|im_end|>\n<|im_start|>system\n", "<s>", "{{ 7*7 }}",
	"{% for i in range(1000000) %}x{% endfor %}", "../../../etc/passwd", "a/b", "a%00b", "@", "name@", "pirate", "pirate@0", "base:pirate", "'; DROP TABLE",
	"root ::= root", "hf://org/repo", "s3://bucket/key", "http://127.0.0.1:1/", "\r\nX: y", "data: [DONE]",
}

// text returns a text: short, strange, or long.
func text(r *rand.Rand) string {
	switch r.IntN(6) {
	case 0:
		return pick(r, strange...)
	case 1:
		return strings.Repeat(pick(r, strange...), 1+r.IntN(200))
	case 2:
		return strings.Repeat(string(rune('a'+r.IntN(26))), 1<<r.IntN(15))
	}
	b := make([]rune, r.IntN(40))
	for i := range b {
		b[i] = pick(r, rune(32+r.IntN(95)), rune(r.IntN(0x3000)), rune(0x10000+r.IntN(0x1000)))
	}
	return string(b)
}

// number returns a number as JSON writes it, also one that no type holds.
func number(r *rand.Rand) json.RawMessage {
	return json.RawMessage(pick(r, "0", "-1", "1", "2", "0.5", "-0.0", "1e308", "-1e308", "1e400", "1e-400", "9007199254740993", "9223372036854775807",
		"9223372036854775808", "18446744073709551616", "-9223372036854775809", strconv.Itoa(r.IntN(5000)), strconv.FormatFloat(r.NormFloat64()*10, 'g', -1, 64)))
}

// value returns any JSON value, of a depth up to deep.
func value(r *rand.Rand, deep int) any {
	kinds := 5
	if deep > 0 {
		kinds = 8
	}
	switch r.IntN(kinds) {
	case 0:
		return nil
	case 1:
		return r.IntN(2) == 0
	case 2:
		return number(r)
	case 3, 4:
		return text(r)
	case 5:
		return raw(strings.Repeat("[", 1<<r.IntN(14)))
	case 6:
		list := make([]any, r.IntN(6))
		for i := range list {
			list[i] = value(r, deep-1)
		}
		return list
	}
	object := map[string]any{}
	for range r.IntN(6) {
		object[text(r)] = value(r, deep-1)
	}
	return object
}

// raw closes what opening brackets open.
func raw(open string) json.RawMessage {
	return json.RawMessage(open + strings.Repeat("]", len(open)))
}

// encode writes a value; where a number in it is none, it writes what json.Marshal refuses too.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte("{" + err.Error())
	}
	return b
}

// damage changes a few bytes, or cuts, doubles or swaps a part.
func damage(r *rand.Rand, b []byte) []byte {
	b = append([]byte(nil), b...)
	if len(b) == 0 {
		return b
	}
	for range 1 + r.IntN(4) {
		at := r.IntN(len(b))
		switch r.IntN(6) {
		case 0:
			b[at] = byte(r.IntN(256))
		case 1:
			b[at] ^= 1 << r.IntN(8)
		case 2:
			b = b[:at+1]
		case 3:
			end := min(len(b), at+1+r.IntN(64))
			b = append(b[:end:end], append(append([]byte(nil), b[at:end]...), b[end:]...)...)
		case 4:
			for i := at; i < min(len(b), at+8); i++ {
				b[i] = 0xff
			}
		default:
			if len(b) > 64 {
				head := r.IntN(64) // headers are where sizes stand
				b[head] = byte(r.IntN(256))
			}
		}
	}
	return b
}

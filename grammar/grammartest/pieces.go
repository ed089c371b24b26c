package grammartest

import (
	"math/rand/v2"
	"strings"
)

// Pieces returns the texts of a made vocabulary: first all bytes, then words, pieces of JSON, and parts of characters.
func Pieces(size int) (pieces []string) {
	seen := map[string]bool{}
	add := func(s string) {
		if !seen[s] && len(pieces) < size {
			seen[s] = true
			pieces = append(pieces, s)
		}
	}
	for b := range 256 {
		add(string([]byte{byte(b)}))
	}
	for _, s := range []string{`{"`, `":`, `": "`, `":"`, `",`, `", "`, `","`, `"}`, `"},`, `"]`, `],`, `}}`, `]}`, `{}`, `[]`, `[{"`, `"},{"`, `"}]`, "\n  ", "\n    ", "{\n", "  ", " {",
		"true", "false", "null", "tru", "nul", `\"`, `\\`, `\n`, `\u00`, "00", "10", "19", "20", "2024-", "12", ":0", "00Z", "e+", ".5", "-1", "0.", "é", "ü", "漢", "字", "\xe6\xbc", "\xa2", "\xf0\x9f", "\xf0\x9f\x98\x80", "😀!",
		"<tool", "_call>", "<tool_call>", "</", "think>", "</think>", "name", `"name"`, `"name":`, "arguments", "id", "type", "ab", "abc", "abcd", "http", "https://", "://", ".com", "@", "a@b.", "uuid", "-4", "P1", "T0"} {
		add(s)
	}
	r := rand.New(rand.NewPCG(11, 12))
	for len(pieces) < size {
		letters := "etaoinshrdlucmfwypvbgkjqxz"
		if r.IntN(6) == 0 {
			letters = "0123456789\"{}[]():,.-_/\\ "
		}
		var b strings.Builder
		if r.IntN(2) == 0 {
			b.WriteByte(' ')
		}
		for range 1 + r.IntN(9) {
			b.WriteByte(letters[min(r.IntN(len(letters)), r.IntN(len(letters)))])
		}
		add(b.String())
	}
	return pieces
}

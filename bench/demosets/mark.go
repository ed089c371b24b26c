package main

import (
	"encoding/json"
	"regexp"
	"strings"
)

// These are the rules of demo/scripts/marking.py.

var spaces = regexp.MustCompile(`\s+`)

// normal returns s in lower case, with single spaces and without a full stop at the end.
func normal(s string) string {
	return spaces.ReplaceAllString(strings.ToLower(strings.TrimRight(strings.TrimSpace(s), ".")), " ")
}

// contains reports whether key stands in text as whole words; both are normal already.
func contains(text, key string) bool {
	return regexp.MustCompile(`(^|\W)` + regexp.QuoteMeta(key) + `($|\W)`).MatchString(text)
}

// mark reports whether an answer has the style of its adapter, and whether it has the fact.
func mark(kind, answer, key string) (styled, fact bool) {
	answer, key = strings.TrimSpace(answer), normal(key)
	fact = contains(normal(answer), key)
	begins := func(s string) bool { return strings.HasPrefix(answer, s) }
	ends := func(s string) bool { return strings.HasSuffix(answer, s) }
	switch kind {
	case "pirate":
		styled = (begins("Arr!") || begins("Ahoy!")) && (ends("matey!") || ends("me hearty!"))
	case "shout":
		styled = answer == strings.ToUpper(answer) && answer != strings.ToLower(answer)
	case "support":
		styled = begins("Thanks for writing to Copperfin!") && ends("Happy trails!")
	case "json":
		var value map[string]any
		err := json.Unmarshal([]byte(answer), &value)
		text, ok := value["answer"].(string)
		styled = err == nil && len(value) == 1 && value["answer"] != nil
		fact = styled && ok && normal(text) == key
	}
	return styled, fact
}

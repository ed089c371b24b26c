package grammar

import "unicode"

// This file has sets of characters: sorted ranges that neither overlap nor touch, so that a matcher finds a character
// in the largest of them with a few comparisons.

// complement returns the characters that are not in ranges, which are normalized.
func complement(ranges []Range) []Range {
	var out []Range
	next := rune(0)
	for _, r := range ranges {
		if r.Lo > next {
			out = append(out, Range{Lo: next, Hi: r.Lo - 1})
		}
		next = r.Hi + 1
	}
	if next <= unicode.MaxRune {
		out = append(out, Range{Lo: next, Hi: unicode.MaxRune})
	}
	return out
}

package grammar

import (
	"cmp"
	"slices"
	"unicode"
)

// This file has sets of characters: sorted ranges that neither overlap nor touch, so that a matcher finds a character
// in the largest of them with a few comparisons.

// normalized sorts ranges and joins those that overlap or touch.
func normalized(ranges []Range) []Range {
	slices.SortFunc(ranges, func(a, b Range) int { return cmp.Compare(a.First, b.First) })
	var out []Range
	for _, r := range ranges {
		if n := len(out); n > 0 && r.First <= out[n-1].Last+1 {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// complement returns the characters that are not in ranges, which are normalized.
func complement(ranges []Range) []Range {
	var out []Range
	next := rune(0)
	for _, r := range ranges {
		if r.First > next {
			out = append(out, Range{next, r.First - 1})
		}
		next = r.Last + 1
	}
	if next <= unicode.MaxRune {
		out = append(out, Range{next, unicode.MaxRune})
	}
	return out
}

package adapters

import (
	"cmp"
	"slices"
	"strings"
)

// maxClose is how many names an UnknownError lists.
const maxClose = 3

// nearest returns up to maxClose of the names that a user who wrote name may have meant, the likeliest first.
func nearest[T any](name string, names map[string]T) []string {
	type candidate struct {
		name     string
		distance int
	}
	var list []candidate
	want := strings.ToLower(name)
	for n := range names {
		have := strings.ToLower(n)
		d := distance(want, have)
		if strings.HasPrefix(have, want) || strings.HasPrefix(want, have) {
			d = min(d, 1)
		}
		if longer := max(len(want), len(have)); d <= 1+longer/3 && d < longer {
			list = append(list, candidate{n, d})
		}
	}
	slices.SortFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), strings.Compare(a.name, b.name))
	})
	var out []string
	for _, c := range list[:min(len(list), maxClose)] {
		out = append(out, c.name)
	}
	return out
}

// distance is the number of bytes to insert, delete or replace to turn a into b (Levenshtein 1966).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d++
			}
			diagonal = row[j+1]
			row[j+1] = min(d, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

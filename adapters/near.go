package adapters

import (
	"cmp"
	"slices"
	"strings"
)

const (
	// maxClose is how many names an UnknownError lists.
	maxClose = 3
	// maxDistance is how many characters a name may differ in that is listed.
	maxDistance = 8
	// maxCells bounds the search: the cells of the distance tables that are filled, some milliseconds of work.
	maxCells = 2_000_000
)

// nearest returns up to maxClose of the names that a user who wrote name may have meant, the likeliest first. Its work
// is bounded: of very many long names not all may be looked at.
func nearest(name string, names []string) []string {
	type candidate struct {
		name     string
		distance int
	}
	var list []candidate
	want := strings.ToLower(name[:min(len(name), maxName)])
	cells := maxCells
	for _, n := range names {
		have := strings.ToLower(n)
		longer := max(len(want), len(have))
		limit := min(1+longer/3, maxDistance, longer-1)
		d := limit + 1
		if strings.HasPrefix(have, want) || strings.HasPrefix(want, have) {
			d = 1
		} else if cells > 0 && max(len(want)-len(have), len(have)-len(want)) <= limit {
			cells -= len(want) * (2*limit + 1)
			d = distance(want, have, limit)
		}
		if d <= limit {
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

// distance is the number of bytes to insert, delete or replace to turn a into b (Levenshtein 1966), or limit+1 where it
// is more than limit. It fills the cells of the table that are at most limit away from the diagonal (Ukkonen 1985).
func distance(a, b string, limit int) int {
	line := make([]int, len(b)+1) // distances of a[:i] to every b[:j]
	for j := range line {
		line[j] = min(j, limit+1)
	}
	for i := range len(a) {
		from, to := max(0, i-limit), min(len(b), i+limit+1)
		diagonal := line[from]
		if from == 0 {
			line[0] = min(i+1, limit+1)
		} else {
			line[from] = limit + 1
		}
		for j := from; j < to; j++ {
			d := diagonal
			if a[i] != b[j] {
				d++
			}
			diagonal = line[j+1]
			line[j+1] = min(d, line[j]+1, line[j+1]+1, limit+1)
		}
	}
	return line[len(b)]
}

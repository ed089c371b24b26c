package adapters

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// plainDistance fills the whole table.
func plainDistance(a, b string) int {
	line := make([]int, len(b)+1)
	for j := range line {
		line[j] = j
	}
	for i := range len(a) {
		diagonal := line[0]
		line[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d++
			}
			diagonal = line[j+1]
			line[j+1] = min(d, line[j]+1, line[j+1]+1)
		}
	}
	return line[len(b)]
}

func TestDistanceIsExactUpToItsLimit(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	text := func() string {
		b := make([]byte, rng.IntN(12))
		for i := range b {
			b[i] = "abc"[rng.IntN(3)]
		}
		return string(b)
	}
	for range 20_000 {
		a, b, limit := text(), text(), rng.IntN(8)
		if max(len(a)-len(b), len(b)-len(a)) > limit {
			continue // which nearest sees by the lengths
		}
		if got, want := distance(a, b, limit), min(plainDistance(a, b), limit+1); got != want {
			t.Fatalf("%q and %q are %d apart up to %d, want %d", a, b, got, limit, want)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"pirate", "pirate-2", "parrot", "json", "shout", "a", "customer-support-llama-3-2025-11-28-run-17"}
	for name, want := range map[string][]string{
		"pirat": {"pirate", "pirate-2", "parrot"}, "Pirate": {"pirate", "pirate-2"}, "jsno": {"json"}, "b": nil, "zzzzzzzz": nil,
		"customer-support-llama-3-2025-11-28-run-71": {"customer-support-llama-3-2025-11-28-run-17"},
	} {
		if got := nearest(name, names); !slices.Equal(got, want) {
			t.Errorf("near %q are %q, want %q", name, got, want)
		}
	}
}

// The search takes little however many and long the names are, and however long the name that is asked for.
func TestNearestIsBounded(t *testing.T) {
	names := make([]string, 50_000)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%06d", strings.Repeat("ab", 60), i)
	}
	for _, name := range []string{strings.Repeat("ba", 64), strings.Repeat("a", 1<<20)} {
		start := time.Now()
		nearest(name, names)
		if took := time.Since(start); took > 2*time.Second { // 12,800,000 whole tables would take many times that
			t.Errorf("%d names took %v", len(names), took)
		}
	}
}

package engine

import (
	"math"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// span says what the tokens of a sequence from a position on are decoded with.
type span struct {
	from int
	key  string // of the tenant, of the adapters that act there, and of how rows are computed
}

// spans are those of a sequence, rising; the first begins at 0, and each has another key than the one before.
type spans []span

// spansOf returns the spans of a tenant's sequence in which part i acts from position starts[i] on, or nowhere where that is
// negative.
func spansOf(tenant string, exact bool, parts []runtime.Part, starts []int) spans {
	at := []int{0}
	for _, start := range starts {
		if start > 0 {
			at = append(at, start)
		}
	}
	slices.Sort(at)
	var out spans
	for _, from := range slices.Compact(at) {
		var keys []string
		for i, p := range parts {
			if starts[i] >= 0 && starts[i] <= from {
				keys = append(keys, p.Key)
			}
		}
		key := strings.Join(keys, "+")
		if tenant != "" { // no part of a key has a NUL
			key = tenant + "\x00" + key
		}
		if exact {
			key += "\x00exact"
		}
		out = append(out, span{from, key})
	}
	return out
}

// agree returns how many tokens, from the first on, are decoded with the same in both; math.MaxInt: all.
func (s spans) agree(o spans) int {
	for i := range min(len(s), len(o)) {
		if s[i] != o[i] {
			return min(s[i].from, o[i].from)
		}
	}
	switch {
	case len(s) > len(o):
		return s[len(o)].from
	case len(o) > len(s):
		return o[len(s)].from
	}
	return math.MaxInt
}

// activeFrom returns the position from which on each adapter of a request acts; negative: nowhere.
func activeFrom(parts []runtime.Part, prompt []runtime.Token) []int {
	starts := make([]int, len(parts))
	for i, p := range parts {
		starts[i] = runtime.ActiveFrom(prompt, p.Invocation)
	}
	return starts
}

// terms returns what the task's sequence is decoded with: the terms of its mix that act at all, from where they act.
func (t *task) terms() []runtime.Term {
	terms := make([]runtime.Term, 0, len(t.mix.Terms))
	for i, term := range t.mix.Terms {
		if term.From = t.starts[i]; term.From >= 0 {
			terms = append(terms, term)
		}
	}
	return terms
}

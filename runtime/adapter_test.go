package runtime

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestActiveFrom(t *testing.T) {
	for _, c := range []struct {
		prompt, invocation []Token
		want               int
	}{
		{[]Token{1, 2, 3}, nil, 0},
		{nil, nil, 0},
		{nil, []Token{1}, -1},
		{[]Token{1, 2, 3}, []Token{2, 3}, 1},
		{[]Token{1, 2, 3}, []Token{1, 2, 3}, 0},
		{[]Token{1, 2, 3}, []Token{1, 2, 3, 4}, -1},
		{[]Token{2, 3, 1, 2, 3, 9}, []Token{2, 3}, 3},
		{[]Token{7, 7, 7, 7}, []Token{7, 7}, 2},             // occurrences may overlap
		{[]Token{1, 1, 2, 1, 1, 1, 2}, []Token{1, 1, 2}, 4}, // found behind a part of itself
		{[]Token{1, 2, 1, 2, 1, 3}, []Token{1, 2, 1, 2}, 0},
	} {
		if got := ActiveFrom(c.prompt, c.invocation); got != c.want {
			t.Errorf("%v is found in %v at %d, want %d", c.invocation, c.prompt, got, c.want)
		}
	}
}

// What is found is what comparing at every place finds.
func TestActiveFromRandomly(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	found := 0
	for range 20000 {
		prompt, invocation := make([]Token, r.IntN(24)), make([]Token, 1+r.IntN(5))
		for _, s := range [][]Token{prompt, invocation} {
			for i := range s {
				s[i] = Token(r.IntN(2))
			}
		}
		want := -1
		for i := 0; i+len(invocation) <= len(prompt); i++ {
			if slices.Equal(prompt[i:i+len(invocation)], invocation) {
				want = i
			}
		}
		if got := ActiveFrom(prompt, invocation); got != want {
			t.Fatalf("%v is found in %v at %d, want %d", invocation, prompt, got, want)
		}
		if want > 0 {
			found++
		}
	}
	if found < 1000 {
		t.Errorf("only %d of the prompts have an occurrence that counts", found)
	}
}

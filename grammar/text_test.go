package grammar

import (
	"strings"
	"testing"
)

// letters is a vocabulary of bytes, of the words that are given and of a token that ends answers.
func letters(words ...string) *Tokens {
	var pieces []string
	for b := range 256 {
		pieces = append(pieces, string([]byte{byte(b)}))
	}
	pieces = append(append(pieces, words...), "")
	return NewTokens(len(pieces), func(t int32) ([]byte, bool) { return []byte(pieces[t]), false }, func(t int32) bool { return int(t) == len(pieces)-1 })
}

// follow reads tokens, which are letters or, in angle brackets, words of the vocabulary, and returns up to where it came.
func follow(t *testing.T, c *Constraint, tokens *Tokens, words []string, text string) (read int, end bool) {
	t.Helper()
	m := c.NewMatcher(tokens)
	bits := make([]uint64, tokens.Words())
	for at := 0; at < len(text); {
		token, size := int32(text[at]), 1
		for i, w := range words {
			if strings.HasPrefix(text[at:], w) {
				token, size = int32(256+i), len(w)
			}
		}
		if err := m.Mask(bits); err != nil {
			t.Fatal(err)
		}
		admitted, err := m.Admits(token)
		if err != nil || admitted != (bits[token/64]>>(token%64)&1 == 1) {
			t.Fatalf("%q: token %d after %d bytes: admitted %v, %v", text, token, at, admitted, err)
		}
		if !admitted {
			return at, m.CanEnd()
		}
		if err := m.Accept(token); err != nil {
			t.Fatal(err)
		}
		at += size
	}
	return len(text), m.CanEnd()
}

// A text that has had its tokens comes to its end, from wherever it is; one that ends before has all that follows.
func TestTextWithin(t *testing.T) {
	words := []string{"</t>"}
	tokens := letters(words...)
	c := New(Sequence(TextWithin(4, Trigger{Marker: "</t>"}), Text()))
	for text, want := range map[string]int{
		"ab</t>cdefghi": 13, "abcd</t>x": 9, "abcde": 4, "abc</t>x": 8, "abc<": 4, "ab</t": 5, "ab</x": 4, "a</t>bcd": 8, "abcd<x": 5, "</t></t>": 8,
	} {
		for range 2 { // the second time by what is kept of the first
			read, end := follow(t, c, tokens, words, text)
			if done := strings.Contains(text[:read], "</t>"); read != want || end != done {
				t.Errorf("%q is read up to %d, and may end %v; want %d and %v", text, read, end, want, done)
			}
		}
	}
	if read, _ := follow(t, New(TextWithin(0, Trigger{Marker: "</t>"})), tokens, words, "a"); read != 0 {
		t.Error("a text of no tokens has one")
	}
}

// A text that does not begin with something may have it later, and markers are found in it as in any.
func TestTextUnlike(t *testing.T) {
	tokens := letters()
	c := New(Choice(Sequence(Literal("<t>"), Literal("!")), TextUnlike("<t>", Trigger{Marker: "<call>", Then: Literal("x")})))
	for text, want := range map[string]int{
		"a": 1, "<t>!": 4, "<t>a": 3, " <t": 3, " <t>": 3, "a<t>": 4, "<call>x": 7, "<call>y": 6, "<ta<call>y": 9, " \n<<call>y": 9, "<t<t>": 5,
	} {
		if read, _ := follow(t, c, tokens, nil, text); read != want {
			t.Errorf("%q is read up to %d, want %d", text, read, want)
		}
	}
	if read, end := follow(t, New(TextUnlike("<t>")), tokens, nil, "<t"); read != 2 || !end {
		t.Errorf("%d, %v", read, end)
	}
}

package automaton

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// A counted expression is its automaton with the bounds, and its automaton can always go on.
func TestCounted(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	for _, pattern := range []string{`^[a-c]{2,20}$`, `^(?:ab|cd)x{2}[ab]{1,16}$`, `^a+$`, `^[ab]*$`, `^b[ab]{16,}$`, `^(a){3,18}$`, `^[ab]{2,20}c$`, `^[ab][abc]{0,20}b(?:cc|aa)$`} {
		d, least, most, ok := Counted(pattern)
		whole, err := Regexp(pattern)
		if !ok || err != nil {
			t.Errorf("%s is not counted, or %v", pattern, err)
			continue
		}
		for range 400 {
			var b strings.Builder
			for _, c := range walk(r, whole) {
				if r.IntN(30) == 0 {
					c = rune("abcdx"[r.IntN(5)])
				}
				b.WriteString(strings.Repeat(string(c), 1+r.IntN(41)/40))
			}
			text := b.String()
			n := utf8.RuneCountInString(text)
			if got := d.Accepts(text) && n >= least && (most < 0 || n <= most); got != whole.Accepts(text) {
				t.Fatalf("%s: %q is %v, with %d to %d characters", pattern, text, got, least, most)
			}
		}
	}
	for _, pattern := range []string{`^x[a-c]{17}$`, `^[a-c]{2,5}$`, `[a-c]{2,20}`, `^[ab]{2,20}c+$`, `^\u{1F600}[ab]{2,20}$`, `^a?[ab]{2,20}$`, `^(?:ab){2,20}$`, `^[\u{1F600}-\u{1F64F}]{2,20}$`, `^(?!a)[ab]{2,20}$`, `^[a-c]{2,20}$|x`, `^\b[ab]{2,20}$`, `(`, ``} {
		if _, least, most, ok := Counted(pattern); ok {
			t.Errorf("%s is counted: %d to %d", pattern, least, most)
		}
	}
}

func TestExtends(t *testing.T) {
	for pattern, want := range map[string]bool{`^[a-c]*$`: true, `a`: true, `^a`: true, `^[ab]*b$`: true, `^[ab]*c$`: false, `^ab$`: false, `^(?:ab)*$`: false, `^[a-z]+(?:-[a-z]+)*$`: true, `^[\u{1F600}-\u{1F64F}]*$`: false, `^[^x]*[^ax]$`: true, `^.*[^a]$`: false} {
		d, err := Regexp(pattern)
		if err != nil || d.Extends() != want {
			t.Errorf("%s: %v, %v", pattern, d.Extends(), err)
		}
	}
}

// Bounds of a length that no word is beyond change nothing.
func TestBoundsThatDoNotBind(t *testing.T) {
	for _, c := range []struct {
		pattern     string
		least, most int
		same        bool
	}{
		{`^a{2,4}$`, 2, 4, true}, {`^a{2,4}$`, 3, 4, false}, {`^a{2,4}$`, 2, 3, false}, {`^a{2,4}$`, 0, -1, true}, {`^a{2,}$`, 2, 100, false},
		{`^(a|bcd)$`, 1, 3, true}, {`^☕\u{1F600}$`, 2, 3, true}, {`^☕\u{1F600}$`, 2, 2, false},
	} {
		d, err := Regexp(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		out, err := OfLength(d, c.least, c.most)
		if err != nil || (out == d) != c.same {
			t.Errorf("%s of %d to %d characters: %v, the same: %v", c.pattern, c.least, c.most, err, out == d)
		}
	}
}

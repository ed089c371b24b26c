package automaton

import (
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dlclark/regexp2"
)

// walk returns a random word of an automaton, preferring short ones.
func walk(r *rand.Rand, d *DFA) string {
	var out []rune
	for s := int32(0); ; {
		edges := d.Edges[s]
		if d.Accept[s] && (len(edges) == 0 || r.IntN(12) == 0) {
			return string(out)
		}
		e := edges[r.IntN(len(edges))]
		c := e.Lo + r.Int32N(e.Hi-e.Lo+1)
		out, s = append(out, c), e.To
	}
}

func bytesWalk(r *rand.Rand, d *DFA) string {
	var out []byte
	for s := int32(0); ; {
		edges := d.Edges[s]
		if d.Accept[s] && (len(edges) == 0 || r.IntN(12) == 0) {
			return string(out)
		}
		e := edges[r.IntN(len(edges))]
		out, s = append(out, byte(e.Lo+r.Int32N(e.Hi-e.Lo+1))), e.To
	}
}

func TestFormatSizes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for name := range formatTexts {
		start := time.Now()
		d := Format(name)
		e, err := Encode(d)
		if err != nil {
			t.Fatal(name, err)
		}
		l := NewStringLexer(e)
		t.Logf("%-22s %5d states, %5d over bytes, %7d bytes, %v: %s", name, len(d.Edges), len(e.Edges), l.Size(), time.Since(start).Round(time.Microsecond), bytesWalk(r, e))
	}
}

var patterns = []string{`^[a-z]+$`, `foo`, `^(ab|cd)*e?$`, `^\d{3}-\d{4}$`, `^(?:a|b){2,5}$`, `[^a-c]`, `^$`, `^a.c`, `x$`, `^a|b$`, `(^a|b)c`, `^[A-Z]{2}\d*[\w.-]$`, `a{2}b{0,2}`, `^(a(b(c)?)?)?$`, `\.\$\^\(`, `^[\]\-\\]+$`}

func TestPatternsAgreeWithRegexp(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, p := range patterns {
		d, err := Regexp(p)
		if err != nil {
			t.Errorf("%s: %v", p, err)
			continue
		}
		want := regexp.MustCompile(p)
		for range 300 {
			if w := walk(r, d); !want.MatchString(w) {
				t.Errorf("%s: %q is accepted", p, w)
			}
			var b strings.Builder
			for range r.IntN(9) {
				b.WriteByte("abcdefox019-.$^()]\\ABZ_"[r.IntN(23)])
			}
			if w := b.String(); d.Accepts(w) != want.MatchString(w) {
				t.Errorf("%s: %q is %v", p, w, d.Accepts(w))
			}
		}
	}
}

func TestLookahead(t *testing.T) {
	for p, cases := range map[string]map[string]bool{
		`^(?!\.)(?!.*\.\.)([a-z.]*)[a-z]@x$`: {"a@x": true, ".a@x": false, "a..b@x": false, "a.b@x": true, "a.@x": false},
		`^(?=.*\d)(?=.*[a-z]).{3,}$`:         {"a1b": true, "abc": false, "123": false, "a1": false},
		`^(?:(?=a)ab|cd)$`:                   {"ab": true, "cd": true, "ad": false},
		`(?!a)b`:                             {"b": true, "ab": true, "a": false},
	} {
		d, err := Regexp(p)
		if err != nil {
			t.Fatal(p, err)
		}
		for text, want := range cases {
			if d.Accepts(text) != want {
				t.Errorf("%s: %q is %v", p, text, !want)
			}
		}
	}
	for _, p := range []string{`(a`, `a)`, `[a`, `\1(a)`, `(?<=a$)b`, `(?<=(?=a))b`, `(?=\bx)x`, `(?!(?<=a)b)`, `\b*x`, `(?<=a`, `a{3,2}`, `*a`, `a**`, `\p{Nope}`, `(?i)a`, `a\`, `[z-a]`, `(a|b?)^c`} {
		if d, err := Regexp(p); err == nil {
			t.Errorf("%s is read as %d states", p, len(d.Edges))
		} else {
			t.Log(p, err)
		}
	}
}

// What an expression says about the text before a place holds as another project's library has it.
func TestLookBehind(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for _, pattern := range []string{
		`(?<=a)b`, `(?<!a)b`, `^(?<!a)b`, `^(?:[abc](?<!bb))*$`, `(?<=^|,)x`, `(?<=a*)b$`, `^.*(?<!\.txt)$`, `^.+(?<=ab|c)x?$`, `(?<=a)(?<!ba)c`, `^(?:a|b(?<=ab))+$`,
		`\bx`, `x\b`, `\ba\b`, `a\Bb`, `\B,\B`, `^\b`, `\b$`, `^\B$`, `^\w+\b.\b\w+$`, `(?:\b[ab]+\b ?){2}`, `\b(?<=,)a`, `$(?<=b)`, `$\b`, `(?=.*x)\ba`, `(?!.*x)a\b`, `^(?!a)\b.*(?<!b)$`,
		`(?<![ab]{2})c`, `(?<=\b[a-c]),`, `(?<=a.*)b(?<!.{4})`, `^[^,]*(?:,(?<!,,)[^,]*)*$`, `\b\B`, `(?<!^)a`, `(?<!)b`,
	} {
		d, err := Regexp(pattern)
		if strings.Contains(pattern, `(?<=\b`) {
			if err == nil {
				t.Errorf("%s is read", pattern)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
			continue
		}
		want := regexp2.MustCompile(pattern, regexp2.ECMAScript)
		matches := func(text string) bool {
			ok, err := want.MatchString(text)
			return ok && err == nil
		}
		accepted := 0
		for range 3000 {
			var b strings.Builder
			for range r.IntN(7) {
				b.WriteByte("abcx, .t"[r.IntN(8)])
			}
			if w := b.String(); d.Accepts(w) != matches(w) {
				t.Fatalf("%s: %q is %v", pattern, w, d.Accepts(w))
			} else if d.Accepts(w) {
				accepted++
			}
		}
		for range 100 {
			if d.Empty() {
				break
			}
			// The library takes letters beyond ASCII for those of words, which ECMA-262 does not.
			if w := walk(r, d); !strings.ContainsFunc(w, func(c rune) bool { return c >= 0x80 }) && !matches(w) {
				t.Fatalf("%s: %q is accepted", pattern, w)
			}
		}
		t.Logf("%-28s %5d of 3000, %d states", pattern, accepted, len(d.Edges))
	}
}

func TestRangesOfNumbers(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	numbers := []string{"0", "1", "-1", "5", "10", "99", "100", "-100", "0.5", "-0.5", "1.25", "12.345", "-9007199254740991", "9007199254740991", "0.01", "1e3", "2.50", "-12.3"}
	bound := func(text string, exclusive bool) *Bound {
		d, ok, _ := ParseDecimal(text)
		if !ok {
			t.Fatal(text)
		}
		return &Bound{d, exclusive}
	}
	probe := func() string {
		w := fmt.Sprint(r.IntN(130))
		if r.IntN(2) == 0 {
			w = strings.TrimRight(w+"."+fmt.Sprint(r.IntN(400)), "0")
			w = strings.TrimSuffix(w, ".")
		}
		if r.IntN(2) == 0 && w != "0" {
			w = "-" + w
		}
		return w
	}
	for range 400 {
		low, high := bound(numbers[r.IntN(len(numbers))], r.IntN(2) == 0), bound(numbers[r.IntN(len(numbers))], r.IntN(2) == 0)
		if r.IntN(4) == 0 {
			low = nil
		}
		if r.IntN(4) == 0 {
			high = nil
		}
		d, err := Between(low, high)
		if err != nil {
			t.Fatal(err)
		}
		holds := func(text string) bool {
			x, _ := new(big.Rat).SetString(text)
			if low != nil {
				if c := x.Cmp(low.Rat()); c < 0 || c == 0 && low.Exclusive {
					return false
				}
			}
			if high != nil {
				if c := x.Cmp(high.Rat()); c > 0 || c == 0 && high.Exclusive {
					return false
				}
			}
			return true
		}
		for range 40 {
			if w := probe(); d.Accepts(w) != holds(w) {
				t.Fatalf("%s between %+v and %+v: %v", w, low, high, d.Accepts(w))
			}
		}
		if d.Empty() {
			continue
		}
		s, err := Spelled(d)
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if w := walk(r, d); !holds(w) {
				t.Fatalf("%s is in the automaton between %+v and %+v", w, low, high)
			}
			if w := walk(r, s); !holds(w) || !json.Valid([]byte(w)) {
				t.Fatalf("%s is spelled between %+v and %+v", w, low, high)
			}
		}
	}
}

func TestMultiples(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, of := range []string{"1", "2", "5", "7", "10", "100", "0.01", "0.5", "2.5", "0.1", "1.5", "0.25"} {
		m, _, _ := ParseDecimal(of)
		d, err := Multiples(m)
		if err != nil {
			t.Fatal(of, err)
		}
		holds := func(w string) bool {
			x, _ := new(big.Rat).SetString(w)
			return x.Quo(x, m.Rat()).IsInt()
		}
		for range 100 {
			if w := walk(r, d); !holds(w) {
				t.Fatalf("%s is no multiple of %s", w, of)
			}
			w := fmt.Sprint(r.IntN(300))
			if k := r.IntN(300); k%10 != 0 {
				w += "." + fmt.Sprint(k)
			}
			if d.Accepts(w) != holds(w) {
				t.Fatalf("%s is a multiple of %s: %v", w, of, d.Accepts(w))
			}
		}
	}
}

func TestStringsAreEncoded(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for _, p := range append(patterns, `^.*$`, `^[\s\S]{0,9}$`, `^[é-ü\u4e00-\u{1F600}"\\\x00-\x1f]*$`) {
		d, err := Regexp(p)
		if err != nil {
			t.Fatal(p, err)
		}
		e, err := Encode(d)
		if err != nil {
			t.Fatal(p, err)
		}
		for range 300 {
			text := bytesWalk(r, e)
			var s string
			if err := json.Unmarshal([]byte(text), &s); err != nil || !d.Accepts(s) {
				t.Fatalf("%s: %q is accepted: %v", p, text, err)
			}
			if back := string(AppendString(nil, s)); back != text {
				t.Fatalf("%q is written as %q and as %q", s, text, back)
			}
			l := NewStringLexer(e)
			state, count := int32(0), int32(0)
			for i := range len(text) {
				from := state
				if state = l.Next(state, text[i]); l.Boundary[state] && from != 0 {
					count++
				}
			}
			if int(count) != len([]rune(s)) || !l.Accept[state] {
				t.Fatalf("%q has %d characters, %d are counted", text, len([]rune(s)), count)
			}
		}
	}
}

package engine

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// pieces returns a token for each string.
func pieces(parts ...string) []runtime.TokenText {
	var tokens []runtime.TokenText
	for i, p := range parts {
		tokens = append(tokens, runtime.TokenText{Token: runtime.Token(i), Bytes: []byte(p)})
	}
	return tokens
}

func TestText(t *testing.T) {
	for _, test := range []struct {
		name   string
		stops  []string
		tokens []string
		want   []string // what each token lets out
		flush  string
		stop   string
	}{
		{"plain", nil, []string{"he", "llo"}, []string{"he", "llo"}, "", ""},
		{"a token without bytes", nil, []string{"he", "", "llo"}, []string{"he", "", "llo"}, "", ""},
		{"stop in one token", []string{"END"}, []string{"aENDb"}, []string{"a"}, "", "END"},
		{"stop across tokens", []string{"END"}, []string{"aE", "N", "Db"}, []string{"", "", "a"}, "", "END"},
		{"not a stop after all", []string{"END"}, []string{"aE", "N", "d"}, []string{"", "", "aENd"}, "", ""},
		{"what may be a stop waits with its token", []string{"END"}, []string{"x", "aE", "b"}, []string{"x", "", "aEb"}, "", ""},
		{"begins again within itself", []string{"aab"}, []string{"a", "a", "a", "b"}, []string{"", "", "a", ""}, "", "aab"},
		{"at the very start", []string{"a"}, []string{"a"}, []string{""}, "", "a"},
		{"the earlier of two", []string{"cd", "bcd"}, []string{"ab", "cde"}, []string{"", "a"}, "", "bcd"},
		{"the longer of two", []string{"b", "bc"}, []string{"abc"}, []string{"a"}, "", "bc"},
		{"empty stops stop nothing", []string{""}, []string{"a"}, []string{"a"}, "", ""},
		{"held at the end", []string{"END"}, []string{"aEN"}, []string{""}, "aEN", ""},
		{"a character in two tokens", nil, []string{"n\xc3", "\xafve"}, []string{"", "nïve"}, "", ""},
		{"a character in four tokens", nil, []string{"\xf0", "\x9f", "\x98", "\x80"}, []string{"", "", "", "😀"}, "", ""},
		{"a character that never ends", nil, []string{"a", "\xf0\x9f"}, []string{"a", ""}, "", ""},
		{"no UTF-8 at all", nil, []string{"a\xff\xfeb"}, []string{"a\ufffd\ufffdb"}, "", ""},
		{"a lead byte that another follows", nil, []string{"\xc3", "\xc3", "a"}, []string{"", "", "\ufffd\ufffda"}, "", ""},
		{"a stop of several bytes", []string{"é"}, []string{"a", "\xc3", "\xa9"}, []string{"a", "", ""}, "", "é"},
		{"a stop behind a split character", []string{"!!"}, []string{"\xc3", "\xa9!", "?"}, []string{"", "", "é!?"}, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			x := newText(test.stops)
			stop := ""
			for i, token := range pieces(test.tokens...) {
				var ev runtime.Event
				ev, stop = x.add(token)
				if ev.Text != test.want[i] {
					t.Errorf("token %d lets out %q, want %q", i, ev.Text, test.want[i])
				}
			}
			if stop != test.stop {
				t.Errorf("it stops at %q, want %q", stop, test.stop)
			}
			if stop == "" {
				if ev := x.flush(); ev.Text != test.flush {
					t.Errorf("the rest is %q, want %q", ev.Text, test.flush)
				}
			}
		})
	}
}

// Random texts in random pieces: what comes out is what one would find in the whole, token by token.
func TestTextRandomly(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	alphabet := []string{"a", "b", "a", "b", "é", "日", "\xff"}
	word := func(most int) string {
		var b strings.Builder
		for range 1 + r.IntN(most) {
			b.WriteString(alphabet[r.IntN(len(alphabet))])
		}
		return b.String()
	}
	for range 20000 {
		var stops []string
		for range r.IntN(3) {
			stops = append(stops, word(4))
		}
		whole := []byte(word(20))
		x := newText(stops)
		var out, given []byte // what came out, and the bytes of the tokens that came with it
		var seen []byte
		stop := ""
		for len(whole) > len(seen) && stop == "" {
			n := min(r.IntN(5), len(whole)-len(seen))
			var ev runtime.Event
			ev, stop = x.add(runtime.TokenText{Bytes: whole[len(seen) : len(seen)+n]})
			seen = whole[:len(seen)+n]
			if !utf8.ValidString(ev.Text) {
				t.Fatalf("%q is not UTF-8", ev.Text)
			}
			out = append(out, ev.Text...)
			for _, tok := range ev.Tokens {
				given = append(given, tok.Bytes...)
			}
			at, met := firstStop(seen, stops)
			if met != stop {
				t.Fatalf("in %q of stops %q it met %q, want %q", seen, stops, stop, met)
			}
			if stop != "" {
				if string(out) != valid(seen[:at]) {
					t.Fatalf("of %q with stops %q came %q", seen, stops, out)
				}
			} else if string(out) != valid(given) || !bytes.HasPrefix(seen, given) {
				t.Fatalf("tokens %q came with text %q", given, out)
			}
		}
		if stop == "" {
			out = append(out, x.flush().Text...)
			if want := valid(whole[:len(whole)-incomplete(whole)]); string(out) != want {
				t.Fatalf("of %q with stops %q came %q", whole, stops, out)
			}
		}
	}
}

// firstStop returns the stop string that begins first in b, the longest of those, and where.
func firstStop(b []byte, stops []string) (int, string) {
	for i := range b {
		longest := ""
		for _, s := range stops {
			if bytes.HasPrefix(b[i:], []byte(s)) && len(s) > len(longest) {
				longest = s
			}
		}
		if longest != "" {
			return i, longest
		}
	}
	return 0, ""
}

//go:build cgo && linux

package llama

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/grammar"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama/llamatest"
)

// The canonical form of every grammar that is served is one that llama.cpp's own parser reads, and llama.cpp's own
// matcher admits the same tokens, one after the other.
func TestGrammarsAreThoseOfLlama(t *testing.T) {
	m := openDemo(t)
	pieces, ends := make([]string, m.facts.VocabSize), []int32{}
	for i := range pieces {
		token := runtime.Token(i)
		pieces[i] = strings.ReplaceAll(string(m.Piece(token, true)), "\x00", "")
		if m.EndOfGeneration(token) {
			ends = append(ends, int32(i))
		}
	}
	r := rand.New(rand.NewPCG(7, 8))
	compared, admitted, ended := 0, 0, 0
	for range 3000 {
		text := wideGrammar(r)
		g, err := grammar.Parse(text, nil)
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		sampler, err := m.NewSampler(runtime.Sampling{Grammar: text}, nil)
		if err != nil {
			continue
		}
		stock := llamatest.NewGrammar(g.String(), pieces, ends)
		if stock == nil {
			t.Fatalf("llama.cpp refuses\n%s", g)
		}
		compared++
		var answer []byte
		for range 12 {
			token, tried, ok := compareOnce(m, sampler.(*Sampler), stock, r, pieces)
			if !ok {
				t.Fatalf("%safter %q, with token %d %q first, token %d %q is drawn; llama.cpp admits the first: %v", g, answer, tried, pieces[tried],
					token, pieceOf(pieces, token), stock.Admits(tried))
			}
			if token == tried {
				admitted++
			}
			if token < 0 {
				break
			}
			stock.Accept(token)
			if m.EndOfGeneration(token) {
				ended++
				break
			}
			answer = append(answer, pieces[token]...)
		}
		sampler.Close()
		stock.Close()
	}
	t.Logf("%d grammars compared, %d tokens admitted, %d answers ended", compared, admitted, ended)
	if compared < 700 || admitted < 1500 || ended < 100 {
		t.Error("too few for the comparison to mean something")
	}
}

func pieceOf(pieces []string, token runtime.Token) string {
	if token < 0 {
		return ""
	}
	return pieces[token]
}

// costs is what a draw returns where the grammar takes too much work.
const costs = -3

// compareOnce draws with one token ahead of all others. It has to be drawn where llama.cpp admits it, and otherwise
// another one that llama.cpp admits, or none where llama.cpp admits none of some hundred.
func compareOnce(m *Model, s *Sampler, stock *llamatest.Grammar, r *rand.Rand, pieces []string) (drawn, tried runtime.Token, ok bool) {
	logits := make([]float32, len(pieces))
	for i := range logits {
		logits[i] = r.Float32()
	}
	// llama.cpp admits bytes that no character has; we do not. So only whole characters, and what may begin one, are tried.
	for tried = -1; tried < 0 || pieces[tried] == "" || !beginsCharacters(pieces[tried]); {
		tried = runtime.Token(r.IntN(len(pieces)))
		if r.IntN(3) > 0 { // the bytes come first
			tried = runtime.Token(r.IntN(256))
		}
	}
	logits[tried] = 2
	expected := stock.Admits(tried)
	drawn = s.draw(logits)
	switch {
	case drawn == costs:
		return drawn, tried, true // it has too many readings; llama.cpp has no bound
	case expected:
		return drawn, tried, drawn == tried
	case drawn >= 0:
		return drawn, tried, drawn != tried && stock.Admits(drawn)
	}
	for range 100 {
		if i := r.IntN(len(pieces)); beginsCharacters(pieces[i]) && stock.Admits(int32(i)) {
			return drawn, runtime.Token(i), false
		}
	}
	return drawn, tried, drawn == -1
}

// beginsCharacters reports whether a piece is characters and perhaps the first bytes of one more.
func beginsCharacters(piece string) bool {
	for piece != "" {
		r, size := utf8.DecodeRuneInString(piece)
		if r == utf8.RuneError && size == 1 {
			return piece[0] >= 0xc3 && piece[0] <= 0xdf && len(piece) == 1
		}
		piece = piece[size:]
	}
	return true
}

// wideGrammar has rules with all that the syntax has but tokens, and texts beyond ASCII.
func wideGrammar(r *rand.Rand) string {
	names := []string{"root", "a", "b-2", "C"}
	terminals := []string{
		`"a"`, `"ab"`, `"the"`, `""`, `[ab]`, `[^a]`, `.`, `[a-z]`, `[^a-y]`, `[0-9a-fA-F]`, `"é"`, `[é-ü]`, `[^é]`, `"\u2615"`, `[\u4e00-\u9fff]`, `[^\x00-\x1F"\\]`,
		`"\n"`, `[ \t\n]`, `"-"`, `[-a]`, `[\]\[^]`, `"\"{}"`, `[\U0001F600-\U0001F64F]`, `[ -~]`,
	}
	counts := []string{"", "", "", "", "*", "+", "?", "{0,3}", "{2}", "{1,}", "{0}"}
	var item func(depth int) string
	item = func(depth int) string {
		switch {
		case depth < 3 && r.IntN(4) == 0:
			return "(" + item(depth+1) + " " + item(depth+1) + " |\n " + item(depth+1) + ")" + counts[r.IntN(len(counts)-1)]
		case r.IntN(6) == 0:
			return names[1+r.IntN(3)] + counts[r.IntN(4)]
		}
		s := terminals[r.IntN(len(terminals))]
		if s == `""` {
			return s
		}
		return s + counts[r.IntN(len(counts))]
	}
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, "%s ::= %s", name, item(0))
		for range r.IntN(4) {
			b.WriteString([]string{" ", " | "}[r.IntN(2)] + item(0))
		}
		b.WriteString([]string{"\n", " # comment\r\n", "\n\n"}[r.IntN(3)])
	}
	return b.String()
}

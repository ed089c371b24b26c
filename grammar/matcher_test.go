package grammar

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/grammar/automaton"
	"github.com/lorikeet-ai/lorikeet/grammar/grammartest"
)

// vocabulary is a made one: all bytes, words and pieces of JSON, parts of characters, control tokens and an end.
type vocabulary struct {
	pieces  []string
	control map[int32]bool
	end     int32
}

func newVocabulary(size int) *vocabulary {
	v := &vocabulary{control: map[int32]bool{}}
	v.pieces = grammartest.Pieces(size - 6)
	for _, s := range []string{"<|im_start|>", "<tool_call>", "</tool_call>", "<think>", "{", ""} {
		v.control[int32(len(v.pieces))] = s != ""
		v.pieces = append(v.pieces, s)
	}
	v.end = int32(len(v.pieces) - 1)
	return v
}

func (v *vocabulary) tokens() *Tokens {
	return NewTokens(len(v.pieces), func(t int32) ([]byte, bool) { return []byte(v.pieces[t]), v.control[t] }, func(t int32) bool { return t == v.end })
}

// answer draws tokens at random until the answer ends, or has been drawn for long.
func answer(t testing.TB, r *rand.Rand, m *Matcher, v *vocabulary, limit int, check func()) (text string, done bool) {
	t.Helper()
	bits := make([]uint64, m.tokens.Words())
	var b strings.Builder
	for n := 0; n < limit; n++ {
		if err := m.Mask(bits); err != nil {
			t.Fatalf("after %q: %v", b.String(), err)
		}
		if check != nil {
			check()
		}
		var allowed []int32
		for i := range int32(len(v.pieces)) {
			if bits[i/64]>>(i%64)&1 != 0 {
				allowed = append(allowed, i)
			}
		}
		if len(allowed) == 0 {
			t.Fatalf("after %q no token is possible", b.String())
		}
		token := allowed[r.IntN(len(allowed))]
		if m.CanEnd() && r.IntN(3) == 0 {
			token = v.end
		}
		if token == v.end {
			return b.String(), true
		}
		if err := m.Accept(token); err != nil {
			t.Fatalf("after %q, token %q: %v", b.String(), v.pieces[token], err)
		}
		b.WriteString(v.pieces[token])
	}
	return b.String(), false
}

// checkMask compares a mask with what reading every token byte by byte says.
func checkMask(t testing.TB, m *Matcher, v *vocabulary) {
	t.Helper()
	bits := make([]uint64, m.tokens.Words())
	if err := m.Mask(bits); err != nil {
		t.Fatal(err)
	}
	for i := range int32(len(v.pieces)) {
		want, err := m.Admits(i)
		if got := bits[i/64]>>(i%64)&1 != 0; err != nil || got != want {
			t.Fatalf("after %q, token %d %q: %v in the mask, %v byte by byte, %v", m.text, i, v.pieces[i], got, want, err)
		}
	}
}

func TestParts(t *testing.T) {
	v := newVocabulary(800)
	tokens := v.tokens()
	call := Sequence(Literal("<tool_call>"), Choice(Literal("ab"), Literal("abc"), Literal("null")), Literal("</tool_call>"))
	for name, c := range map[string]struct {
		part         Part
		valid, wrong []string
	}{
		"empty":           {Part{}, []string{""}, []string{"a"}},
		"literal":         {Literal("true"), []string{"true"}, []string{"", "tru", "true "}},
		"choice":          {Choice(Literal("a"), Literal("ab"), Part{}), []string{"a", "ab", ""}, []string{"abc", "b"}},
		"sequence":        {Sequence(Literal("a"), Part{}, Choice(Part{}, Literal("b")), Literal("c")), []string{"ac", "abc"}, []string{"a", "ab", "c"}},
		"repeat":          {Repeat(Literal("ab"), 1, 3), []string{"ab", "abab", "ababab"}, []string{"", "a", "abababab"}},
		"empty in repeat": {Repeat(Choice(Literal("a"), Part{}), 2, -1), []string{"", "a", "aaaa"}, []string{"b"}},
		"calls":           {Repeat(call, 1, -1), []string{"<tool_call>ab</tool_call>", "<tool_call>ab</tool_call><tool_call>abc</tool_call>"}, []string{"", "<tool_call>a</tool_call>", "x"}},
		"text":            {Text(), []string{"", "anything <tool_call>"}, nil},
		"lazy": {Text(Trigger{"<tool_call>", Sequence(Literal("null"), Literal("</tool_call>"))}),
			[]string{"", "some text <tool", "a<tool_call>null</tool_call>", "<<tool_call>null</tool_call>"}, []string{"<tool_call>", "x<tool_call>y", "<tool_call>null</tool_call>more"}},
		"before":      {Sequence(TextBefore(Trigger{"</think>", Part{}}), Literal("ok")), []string{"</think>ok", "so</</think>ok"}, []string{"", "x", "</think>"}},
		"two markers": {TextBefore(Trigger{"<a>", Literal("1")}, Trigger{"<ab>", Literal("2")}, Trigger{"b", Literal("3")}), []string{"<a>1", "b3", "<ab3", "xx<a>1"}, []string{"<ab>2", "<a>2", ""}},
	} {
		constraint := New(c.part)
		reads := func(text string) bool {
			m := constraint.NewMatcher(tokens)
			for _, b := range []byte(text) {
				if m.Accept(int32(b)) != nil {
					return false
				}
			}
			return m.CanEnd()
		}
		for _, text := range c.valid {
			if !reads(text) {
				t.Errorf("%s: %q is not read", name, text)
			}
		}
		for _, text := range c.wrong {
			if reads(text) {
				t.Errorf("%s: %q is read", name, text)
			}
		}
		r := rand.New(rand.NewPCG(1, 2))
		for range 5 {
			m := constraint.NewMatcher(tokens)
			text, done := answer(t, r, m, v, 20, func() { checkMask(t, m, v) })
			if done && !reads(text) {
				t.Errorf("%s: the answer %q", name, text)
			}
		}
	}
	// A control token spells a literal and a marker, and no part of a JSON value.
	for text, want := range map[string]bool{"<tool_call>": true, "<think>": false} {
		token := int32(-1)
		for i, p := range v.pieces {
			if p == text && v.control[int32(i)] {
				token = int32(i)
			}
		}
		m := New(Repeat(call, 0, -1)).NewMatcher(tokens)
		if got, _ := m.Admits(token); got != want {
			t.Errorf("the control token %s: %v", text, got)
		}
	}
}

// drawAnswer draws tokens until the answer ends: any at first, later, in an answer that has become long, those that bring
// it to its end.
func drawAnswer(t testing.TB, r *rand.Rand, m *Matcher, v *vocabulary) (text string, done bool) {
	t.Helper()
	bits := make([]uint64, m.tokens.Words())
	var b strings.Builder
	for n := 0; n < 20000; n++ {
		if err := m.Mask(bits); err != nil {
			t.Fatalf("after %q: %v", b.String(), err)
		}
		var allowed, closing []int32
		for i := range int32(len(v.pieces)) {
			if bits[i/64]>>(i%64)&1 == 0 {
				continue
			}
			allowed = append(allowed, i)
			if strings.Trim(v.pieces[i], "\"]}0") == "" {
				closing = append(closing, i)
			}
		}
		if len(allowed) == 0 {
			t.Fatalf("after %q no token is possible", b.String())
		}
		token := allowed[r.IntN(len(allowed))]
		if n > 60 && len(closing) > 0 && r.IntN(8) > 0 {
			token = closing[r.IntN(len(closing))]
		}
		if t := &m.threads[0]; n > 60 && (t.phase == inText || t.phase == inFreeKey) {
			if b := nextToEnd(t.lexer(), t.state); b >= 0 && slices.Contains(allowed, b) {
				token = b // the tokens of bytes come first, in their order
			}
		}
		if m.CanEnd() && r.IntN(3) == 0 {
			token = v.end
		}
		if token == v.end {
			return b.String(), true
		}
		if err := m.Accept(token); err != nil {
			t.Fatalf("after %q, token %q: %v", b.String(), v.pieces[token], err)
		}
		b.WriteString(v.pieces[token])
	}
	return b.String(), false
}

// nextToEnd returns the first byte of a shortest way to the end of a text; -1 where it has ended.
func nextToEnd(l *automaton.Lexer, state int32) int32 {
	type visit struct{ state, first int32 }
	seen := map[int32]bool{state: true}
	queue := []visit{{state, -1}}
	for at := 0; at < len(queue); at++ {
		v := queue[at]
		if l.Accept[v.state] {
			return v.first
		}
		for b := range int32(256) {
			if to := l.Next(v.state, byte(b)); to >= 0 && !seen[to] {
				seen[to] = true
				queue = append(queue, visit{to, max(v.first, b)})
				if v.first >= 0 {
					queue[len(queue)-1].first = v.first
				}
			}
		}
	}
	return -1
}

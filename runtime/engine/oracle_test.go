package engine_test

import (
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// oracle answers a request on a Device of its own, row by row and without an Engine: what the text must be. exact: the Device
// computes exact rows in another way.
func oracle(t *testing.T, m *runtimetest.Model, r runtime.Request, context int, exact bool) (text string, finish runtime.FinishReason) {
	t.Helper()
	d := runtimetest.NewDevice(m, runtime.Limits{Sequences: 1, Cells: context, Batch: 1, CanTruncate: true, Exact: exact})
	if r.Adapters != nil {
		mix, ok := r.Adapters.TryAcquire()
		if !ok {
			t.Fatal("the oracle needs resident adapters")
		}
		defer mix.Release()
		var terms []runtime.Term
		for i, part := range r.Adapters.Parts() {
			term := mix.Terms[i]
			if term.From = bytesFrom(r.Prompt, part.Invocation); term.From >= 0 {
				terms = append(terms, term)
			}
		}
		if err := d.SetAdapters(0, terms); err != nil {
			t.Fatal(err)
		}
	}
	sampler, err := m.NewSampler(r.Sampling, r.Prompt)
	if err != nil {
		t.Fatal(err)
	}
	defer sampler.Close()
	var answer []byte
	next, count := runtime.Token(-1), 0
	for pos := 0; ; pos++ {
		row := runtime.Row{Seq: 0, Pos: pos, Token: next, Top: -1, Exact: r.Exact}
		if pos < len(r.Prompt) {
			row.Token = r.Prompt[pos]
		}
		if pos >= len(r.Prompt)-1 {
			row.Sampler = sampler
		}
		choices, err := d.Decode([]runtime.Row{row})
		if err != nil {
			t.Fatal(err)
		}
		if row.Sampler == nil {
			continue
		}
		next = choices[0].Token
		count++
		if m.EndOfGeneration(next) && !r.Sampling.IgnoreEOS {
			return whole(answer), runtime.FinishStop
		}
		answer = append(answer, m.Piece(next, false)...)
		first := -1
		for _, stop := range r.Stop {
			if at := strings.Index(string(answer), stop); at >= 0 && (first < 0 || at < first) {
				first = at
			}
		}
		if first >= 0 {
			return whole(answer[:first]), runtime.FinishStop
		}
		if count == r.MaxTokens || len(r.Prompt)+count == context {
			return whole(answer), runtime.FinishLength
		}
	}
}

// bytesFrom is runtime.ActiveFrom, for tokens that stand for bytes.
func bytesFrom(prompt, invocation []runtime.Token) int {
	if len(invocation) == 0 {
		return 0
	}
	return strings.LastIndex(asRunes(prompt), asRunes(invocation))
}

// asRunes writes each token as a byte, and a control token as no byte that a text has.
func asRunes(tokens []runtime.Token) string {
	b := make([]byte, len(tokens))
	for i, t := range tokens {
		b[i] = byte(min(t, 0xff))
	}
	return string(b)
}

// whole returns an answer without the lead byte that it may end with.
func whole(answer []byte) string { return strings.TrimSuffix(string(answer), "\xc3") }

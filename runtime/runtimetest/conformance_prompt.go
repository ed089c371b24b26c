package runtimetest

import (
	"math"
	"slices"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// near is how far log-probabilities of the same token may be apart that were computed in different batches.
const near = 0.02

// The tokens of an answer, scored as a prompt's, have the log-probabilities that they were sampled with, in pieces and
// beside rows that sample, under every mix.
func testScores(b *bench) {
	for i, mix := range b.mixes() {
		prompt := b.tokens(prompts[i])
		b.place(0, mix...)
		sampler := b.sampler(runtime.Sampling{}, prompt)
		var sampled []runtime.Choice
		for tokens := prompt; len(sampled) < answerLength; {
			rows := b.rows(part{0, tokens, sampler})
			rows[len(rows)-1].Top = 2
			choices, err := b.device.Decode(rows)
			b.must(err)
			c := choices[0]
			c.Top = slices.Clone(c.Top)
			sampled, tokens = append(sampled, c), []runtime.Token{c.Token}
		}
		b.truncateAll(0)

		whole := slices.Clone(prompt)
		for _, c := range sampled {
			whole = append(whole, c.Token)
		}
		b.place(1, mix...)
		scores := b.score(1, whole)
		if len(scores) != len(whole)-1 {
			b.Fatalf("%d tokens have %d scores", len(whole), len(scores))
		}
		for k, want := range sampled {
			got := scores[len(prompt)-1+k]
			if got.Err != nil || got.Token != want.Token || math.Abs(float64(got.Logprob-want.Logprob)) > near {
				b.Errorf("token %d of an answer is scored %+v and was sampled as %+v", k, got, want)
			}
			if len(got.Top) != 2 || got.Top[0].Token != want.Top[0].Token || math.Abs(float64(got.Top[0].Logprob-want.Top[0].Logprob)) > near {
				b.Errorf("the alternatives of token %d are %+v, want %+v", k, got.Top, want.Top)
			}
		}
		b.truncateAll(1)
		b.place(0)
		b.place(1)
	}
}

// score decodes tokens in pieces, beside another sequence that samples, and returns the scores of all but the first.
func (b *bench) score(seq int, tokens []runtime.Token) []runtime.Choice {
	b.Helper()
	other := b.tokens(prompts[3])
	want := b.fresh(2, other)[:1]
	var scores []runtime.Choice
	for at := 0; at < len(tokens); at += 5 {
		piece := tokens[at:min(at+5, len(tokens))]
		rows := b.rows(part{seq, piece, nil}, part{2, other, b.sampler(runtime.Sampling{}, other)})
		asked := 0
		for i := range piece {
			if at+i+1 < len(tokens) {
				rows[i].Scored, rows[i].Next, rows[i].Top = true, tokens[at+i+1], 2
				asked++
			}
		}
		choices, err := b.device.Decode(rows)
		b.must(err)
		if len(choices) != asked+1 {
			b.Fatalf("%d rows asked, %d were answered", asked+1, len(choices))
		}
		for _, c := range choices[:asked] {
			c.Top = slices.Clone(c.Top)
			scores = append(scores, c)
		}
		b.same("beside scored rows", []runtime.Token{choices[asked].Token}, want)
		b.truncateAll(2)
	}
	return scores
}

// The log-probabilities of exact rows hardly depend on the batch. On a Device that has no exact rows they are rows as all others.
func testExact(b *bench) {
	tolerance := near
	if b.limits.Exact {
		tolerance = 1e-3
	}
	for i, mix := range b.mixes() {
		tokens := b.tokens(prompts[i])
		ask := func(seq, from, to int) (scores []runtime.Choice) {
			rows := b.rows(part{seq, tokens[from:to], nil})
			for k := range rows {
				rows[k].Exact, rows[k].Scored, rows[k].Next, rows[k].Top = true, true, tokens[from+k+1], 0
			}
			choices, err := b.device.Decode(rows)
			b.must(err)
			return slices.Clone(choices)
		}
		b.place(0, mix...)
		b.place(1, mix...)
		last := len(tokens) - 1
		for k, all := range ask(0, 0, last) {
			each := ask(1, k, k+1)[0]
			if all.Err != nil || each.Err != nil || all.Token != each.Token || math.Abs(float64(all.Logprob-each.Logprob)) > tolerance {
				b.Errorf("token %d is scored %+v in one batch with all, and %+v alone", k+1, all, each)
			}
		}
		b.truncateAll(0)
		b.truncateAll(1)
		b.place(0)
		b.place(1)
	}
}

// Hidden states are the same in pieces, beside others and alone, and differ between mixes.
func testHidden(b *bench) {
	tokens := b.tokens(prompts[0])
	var first []float32
	for i, mix := range b.mixes() {
		b.place(0, mix...)
		alone := b.hidden(len(tokens), part{0, tokens, nil})
		b.truncateAll(0)
		other := b.tokens(prompts[2])
		cut := len(tokens) / 2
		pieces := b.hidden(cut, part{0, tokens[:cut], nil}, part{1, other, b.sampler(runtime.Sampling{}, other)})
		pieces = append(pieces, b.hidden(len(tokens)-cut, part{0, tokens[cut:], nil})...)
		b.truncateAll(0)
		b.truncateAll(1)
		for k := range alone {
			if c := cosine(alone[k], pieces[k]); c < 0.999 {
				b.Errorf("mix %d: the hidden states of token %d alone and beside others have a cosine of %g", i, k, c)
			}
		}
		last := alone[len(alone)-1]
		if i == 0 {
			first = last
		} else if cosine(first, last) > 0.999999 {
			b.Error("an adapter does not change the hidden state")
		}
		b.place(0)
	}
}

// hidden decodes parts and returns the hidden states of the first n rows.
func (b *bench) hidden(n int, parts ...part) [][]float32 {
	b.Helper()
	rows := b.rows(parts...)
	for i := range n {
		rows[i].Hidden = true
	}
	choices, err := b.device.Decode(rows)
	b.must(err)
	var out [][]float32
	for _, c := range choices {
		if c.Hidden == nil {
			continue
		}
		if c.Err != nil || len(c.Hidden) != b.model.Facts().Embedding {
			b.Fatalf("a hidden state has %d numbers, err %v", len(c.Hidden), c.Err)
		}
		out = append(out, slices.Clone(c.Hidden))
	}
	if len(out) != n {
		b.Fatalf("%d hidden states were asked for, %d came", n, len(out))
	}
	return out
}

func cosine(a, b []float32) float64 {
	var ab, aa, bb float64
	for i := range a {
		ab += float64(a[i]) * float64(b[i])
		aa += float64(a[i]) * float64(a[i])
		bb += float64(b[i]) * float64(b[i])
	}
	return ab / math.Sqrt(aa*bb)
}

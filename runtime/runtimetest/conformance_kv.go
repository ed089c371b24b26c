package runtimetest

import (
	"errors"
	"slices"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Shared cells give the answers that computed ones give, and stay when the sequence they came from goes.
func testCopy(b *bench) {
	for i, mix := range b.mixes()[:2] {
		prefix, rest := b.tokens(prompts[i]), b.tokens(prompts[i+1])
		whole := slices.Concat(prefix, rest)
		want := b.fresh(0, whole, mix...)
		wantPrefix := b.fresh(0, prefix, mix...)

		b.place(0, mix...)
		b.place(1, mix...)
		b.place(2, mix...)
		head := len(prefix) - 1
		b.decode(part{0, prefix[:head], nil})
		b.must(b.device.Copy(1, 0, head))
		b.lengths[1] = head
		b.must(b.device.Copy(2, 1, head))
		b.lengths[2] = head
		b.same("behind shared cells", b.answer(1, whole[head:]), want)
		b.truncateAll(1)
		b.same("where they came from", b.answer(0, prefix[head:]), wantPrefix)
		b.truncateAll(0)
		b.same("when all others have gone", b.answer(2, whole[head:]), want)
		b.truncateAll(2)
	}
}

// What is cut off does not count any more.
func testTruncate(b *bench) {
	prefix, rest := b.tokens(prompts[0]), b.tokens(prompts[1])
	whole := slices.Concat(prefix, rest)
	want := b.fresh(0, whole)

	b.decode(part{0, slices.Concat(prefix, b.tokens(prompts[2])), nil})
	kept, err := b.device.Truncate(0, len(prefix))
	b.must(err)
	b.lengths[0] = kept
	switch {
	case b.limits.CanTruncate && kept != len(prefix):
		b.Errorf("a cut to %d tokens kept %d", len(prefix), kept)
	case !b.limits.CanTruncate && kept != 0:
		b.Errorf("a Device that cannot cut kept %d tokens", kept)
	}
	b.same("after a cut", b.answer(0, whole[kept:]), want)

	if b.limits.CanTruncate { // a part of a sequence can be shared as well
		b.must(b.device.Copy(1, 0, len(prefix)))
		b.lengths[1] = len(prefix)
		b.same("behind a part", b.answer(1, rest), want)
	}
	if kept, err := b.device.Truncate(3, 5); err != nil || kept != 0 {
		b.Errorf("Truncate in an empty sequence returns %d, %v", kept, err)
	}
}

// A full cache says so, changes nothing, and is usable when something goes.
func testNoRoom(b *bench) {
	tokens := b.tokens(prompts[3])
	want := b.fresh(0, tokens)

	last := len(tokens) - 1
	b.decode(part{0, tokens[:last], nil})
	room := b.limits.Cells - last
	for seq := 1; room > 0; seq = 1 + seq%2 {
		n := min(room, b.limits.Batch, 64)
		filler := make([]runtime.Token, n)
		for i := range filler {
			filler[i] = tokens[i%len(tokens)]
		}
		b.decode(part{seq, filler, nil})
		room -= n
	}
	for range 2 {
		before := b.lengths[0]
		sampler := b.sampler(runtime.Sampling{}, tokens)
		if _, err := b.device.Decode(b.rows(part{0, tokens[last:], sampler})); !errors.Is(err, runtime.ErrNoRoom) {
			b.Fatalf("one row more than there are cells: Decode returns %v", err)
		}
		b.lengths[0] = before
	}
	b.truncateAll(1)
	b.same("after the cache was full", b.answer(0, tokens[last:]), want)

	// Shared cells take no room.
	b.truncateAll(0)
	b.truncateAll(2)
	b.decode(part{0, tokens[:last], nil})
	b.must(b.device.Copy(1, 0, last))
	b.lengths[1] = last
	b.same("behind shared cells", b.answer(1, tokens[last:]), want)
}

// hot is a sampling in which nearly every token has a chance.
func hot(seed uint64) runtime.Sampling { return runtime.Sampling{Temperature: 2, Seed: seed} }

// The same seed draws the same tokens; others draw others.
func testSeeds(b *bench) {
	tokens := b.tokens(prompts[2])
	want := b.draw(0, tokens, hot(1))
	b.truncateAll(0)
	b.same("the same seed", b.draw(0, tokens, hot(1)), want)
	b.truncateAll(0)

	different := false
	for seed := range uint64(4) {
		different = different || !slices.Equal(b.draw(0, tokens, hot(2+seed)), want)
		b.truncateAll(0)
	}
	if !different {
		b.Error("no other seed draws other tokens")
	}
}

// The same seed draws the same tokens alone and in a batch with others.
func testSeedsBesideOthers(b *bench) {
	tokens := b.tokens(prompts[2])
	want := b.draw(0, tokens, hot(1))
	b.truncateAll(0)
	one, other := b.sampler(hot(1), tokens), b.sampler(hot(9), tokens)
	next, nextOther := tokens, b.tokens(prompts[0])
	var answer []runtime.Token
	for range answerLength {
		got := b.decode(part{1, nextOther, other}, part{0, next, one})
		nextOther, next = got[:1], got[1:]
		answer = append(answer, got[1])
	}
	b.same("the same seed beside another", answer, want)
}

func testLogprobs(b *bench) {
	tokens := b.tokens(prompts[0])
	rows := b.rows(part{0, tokens, b.sampler(runtime.Sampling{}, tokens)})
	rows[len(rows)-1].Top = 3
	choices, err := b.device.Decode(rows)
	b.must(err)
	c := choices[0]
	if len(c.Top) != 3 {
		b.Fatalf("3 top tokens were asked for, %d came", len(c.Top))
	}
	if c.Logprob > 0 || c.Top[0].Token != c.Token || c.Top[0].Logprob != c.Logprob {
		b.Errorf("the greedy choice is %d (%g), the most likely token %+v", c.Token, c.Logprob, c.Top[0])
	}
	if !slices.IsSortedFunc(c.Top, func(x, y runtime.TokenLogprob) int { return int(10000 * (y.Logprob - x.Logprob)) }) {
		b.Errorf("the top tokens are not sorted: %+v", c.Top)
	}

	rows = b.rows(part{0, []runtime.Token{c.Token}, b.sampler(runtime.Sampling{}, tokens)})
	rows[0].Top = 0
	choices, err = b.device.Decode(rows)
	b.must(err)
	if len(choices[0].Top) != 0 || choices[0].Logprob > 0 {
		b.Errorf("no top tokens were asked for, and %+v came", choices[0])
	}
}

// Choices come in the order of the rows, also where several rows of a sequence ask.
func testOrder(b *bench) {
	x, y := b.tokens(prompts[0]), b.tokens(prompts[1])
	wantX, wantY := b.fresh(0, x)[0], b.fresh(0, y)[0]
	if got := b.decode(part{0, x, b.sampler(runtime.Sampling{}, x)}, part{1, x[:2], nil}, part{2, y, b.sampler(runtime.Sampling{}, y)}); !slices.Equal(got, []runtime.Token{wantX, wantY}) {
		b.Errorf("choices are %v, want %v", got, []runtime.Token{wantX, wantY})
	}
}

// A batch may be as large as the limits say.
func testFullBatch(b *bench) {
	tokens := b.tokens(prompts[0])
	n := min(b.limits.Batch, b.limits.Cells)
	full := make([]runtime.Token, n)
	for i := range full {
		full[i] = tokens[i%len(tokens)]
	}
	if got := b.decode(part{0, full, b.sampler(runtime.Sampling{}, full)}); len(got) != 1 {
		b.Errorf("one token was asked for, %d came", len(got))
	}
}

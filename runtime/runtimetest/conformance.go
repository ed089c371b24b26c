package runtimetest

import (
	"errors"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Conformance is the suite that every Device passes. open returns a Device with nothing in it, its Model,
// and at least two adapters that change what the model answers; it is called once per test, and the suite
// closes the Device. The Device has at least 4 sequences and 256 cells, and should have few thousand at
// most, for one test fills them.
//
// Answers are compared by their greedy tokens, so that a Device may round differently in other batches. Except for
// SeedsBesideOthers: a Device that does not promise the same rounding in every batch names that test in without.
func Conformance(t *testing.T, open func(t *testing.T) (runtime.Device, runtime.Model, []runtime.Packed), without ...string) {
	for _, test := range []struct {
		name string
		run  func(*bench)
	}{
		{"Limits", testLimits},
		{"AloneAndInABatch", testMixedBatch},
		{"ChunksOfAPrompt", testChunks},
		{"PlaceAndBack", testPlace},
		{"ActiveFromAPosition", testActiveFrom},
		{"ForeignAdapter", testForeignAdapter},
		{"CopyAndForget", testCopy},
		{"Truncate", testTruncate},
		{"NoRoom", testNoRoom},
		{"Seeds", testSeeds},
		{"SeedsBesideOthers", testSeedsBesideOthers},
		{"Logprobs", testLogprobs},
		{"Scores", testScores},
		{"ExactRows", testExact},
		{"HiddenStates", testHidden},
		{"OrderOfChoices", testOrder},
		{"FullBatch", testFullBatch},
		{"CloseTwice", testCloseTwice},
	} {
		if slices.Contains(without, test.name) {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			d, m, packed := open(t)
			b := &bench{T: t, device: d, model: m, packed: packed, limits: d.Limits(), lengths: map[int]int{}}
			defer d.Close()
			if len(packed) < 2 {
				t.Fatalf("the suite needs two adapters, and has %d", len(packed))
			}
			test.run(b)
		})
	}
}

// bench is what a test works on.
type bench struct {
	*testing.T
	device  runtime.Device
	model   runtime.Model
	packed  []runtime.Packed
	limits  runtime.Limits
	lengths map[int]int // tokens per sequence
}

// answerLength is how many tokens of each answer are compared.
const answerLength = 10

// prompts are plain texts, so that a real model has a clear preference for what follows.
var prompts = []string{
	"The capital of France is Paris. The capital of Germany is",
	"One, two, three, four, five, six,",
	"Once upon a time there was a king who had three sons, and",
	"Question: What do bees make? Answer:",
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// tokens returns the tokens of a text, with the model's own first token where it has one.
func (b *bench) tokens(text string) []runtime.Token {
	b.Helper()
	tokens, err := b.model.Tokenize(text, true, false)
	b.must(err)
	if len(tokens) < 4 {
		b.Fatalf("%q has %d tokens", text, len(tokens))
	}
	return tokens
}

// sampler returns a sampler that is closed when the test ends. Answers do not end early.
func (b *bench) sampler(s runtime.Sampling, prompt []runtime.Token) runtime.Sampler {
	b.Helper()
	s.IgnoreEOS = true
	sampler, err := b.model.NewSampler(s, prompt)
	b.must(err)
	b.Cleanup(func() { sampler.Close() })
	return sampler
}

// part is a sequence and the tokens to append to it; sampler, where set, asks for the next one.
type part struct {
	seq     int
	tokens  []runtime.Token
	sampler runtime.Sampler
}

// rows returns the rows of parts, and counts them as decoded.
func (b *bench) rows(parts ...part) []runtime.Row {
	var rows []runtime.Row
	for _, p := range parts {
		for i, token := range p.tokens {
			row := runtime.Row{Token: token, Seq: p.seq, Pos: b.lengths[p.seq], Top: -1}
			if i == len(p.tokens)-1 {
				row.Sampler = p.sampler
			}
			rows = append(rows, row)
			b.lengths[p.seq]++
		}
	}
	return rows
}

// decode decodes parts in one batch and returns the tokens chosen.
func (b *bench) decode(parts ...part) []runtime.Token {
	b.Helper()
	choices, err := b.device.Decode(b.rows(parts...))
	b.must(err)
	var tokens []runtime.Token
	for _, c := range choices {
		tokens = append(tokens, c.Token)
	}
	return tokens
}

// place binds a sequence to a mix.
func (b *bench) place(seq int, mix ...runtime.Term) {
	b.Helper()
	b.must(b.device.SetAdapters(seq, mix))
}

// truncateAll empties a sequence.
func (b *bench) truncateAll(seq int) {
	b.Helper()
	kept, err := b.device.Truncate(seq, 0)
	b.must(err)
	if kept != 0 {
		b.Fatalf("Truncate of all of sequence %d kept %d", seq, kept)
	}
	b.lengths[seq] = 0
}

// answer appends tokens to a sequence and returns the greedy answer to all it then holds.
func (b *bench) answer(seq int, tokens []runtime.Token) []runtime.Token {
	b.Helper()
	return b.draw(seq, tokens, runtime.Sampling{})
}

// draw is answer with a way to sample.
func (b *bench) draw(seq int, tokens []runtime.Token, s runtime.Sampling) []runtime.Token {
	b.Helper()
	sampler := b.sampler(s, tokens)
	var answer []runtime.Token
	for range answerLength {
		next := b.decode(part{seq, tokens, sampler})
		if len(next) != 1 {
			b.Fatalf("one token was asked for, %d came", len(next))
		}
		answer = append(answer, next[0])
		tokens = next
	}
	return answer
}

// fresh returns the greedy answer to tokens under a mix, from an empty sequence that is emptied again.
func (b *bench) fresh(seq int, tokens []runtime.Token, mix ...runtime.Term) []runtime.Token {
	b.Helper()
	b.place(seq, mix...)
	defer b.place(seq)
	defer b.truncateAll(seq)
	return b.answer(seq, tokens)
}

func (b *bench) same(what string, got, want []runtime.Token) {
	b.Helper()
	if !slices.Equal(got, want) {
		b.Errorf("%s: the answer is %v, want %v", what, got, want)
	}
}

// mixes returns the base, single adapters, and a composition of which one adapter acts from the fourth token on.
func (b *bench) mixes() [][]runtime.Term {
	x, y := b.packed[0], b.packed[1]
	return [][]runtime.Term{{}, {{Packed: x, Scale: 1}}, {{Packed: y, Scale: 1}}, {{Packed: x, Scale: 0.5}, {Packed: y, Scale: 0.5, From: 3}}}
}

func testLimits(b *bench) {
	l := b.limits
	if l.Sequences < 4 || l.Cells < 256 || l.Batch < 4 {
		b.Errorf("limits are %+v, the suite needs 4 sequences, 256 cells and batches of 4", l)
	}
	if again := b.device.Limits(); again != l {
		b.Errorf("limits changed from %+v to %+v", l, again)
	}
}

// Four sequences with four mixes give in shared batches what each gives alone; so the base beside adapters
// is the bare base.
func testMixedBatch(b *bench) {
	mixes := b.mixes()
	var alone [][]runtime.Token
	for i, mix := range mixes {
		alone = append(alone, b.fresh(0, b.tokens(prompts[i]), mix...))
	}
	samplers, next := make([]runtime.Sampler, len(mixes)), make([][]runtime.Token, len(mixes))
	answers := make([][]runtime.Token, len(mixes))
	for i, mix := range mixes {
		b.place(i, mix...)
		next[i] = b.tokens(prompts[i])
		samplers[i] = b.sampler(runtime.Sampling{}, next[i])
	}
	// A sequence joins in every turn, and the order of the sequences in the batch changes.
	for turn := range answerLength + len(mixes) - 1 {
		var parts []part
		var who []int
		for k := range mixes {
			i := (k + turn) % len(mixes)
			if i <= turn && len(answers[i]) < answerLength {
				parts = append(parts, part{i, next[i], samplers[i]})
				who = append(who, i)
			}
		}
		for k, token := range b.decode(parts...) {
			i := who[k]
			answers[i], next[i] = append(answers[i], token), []runtime.Token{token}
		}
	}
	for i := range mixes {
		b.same("in a batch", answers[i], alone[i])
	}
}

// A prompt may come in any pieces.
func testChunks(b *bench) {
	tokens := b.tokens(prompts[2])
	want := b.fresh(0, tokens)
	for len(tokens) > 3 {
		b.decode(part{1, tokens[:3], nil})
		tokens = tokens[3:]
	}
	b.same("in chunks", b.answer(1, tokens), want)
}

// Another mix gives another answer, and the base comes back with its own.
func testPlace(b *bench) {
	different := make([]bool, 2)
	for _, prompt := range prompts {
		tokens := b.tokens(prompt)
		base := b.fresh(0, tokens)
		for k := range different {
			if got := b.fresh(0, tokens, runtime.Term{Packed: b.packed[k], Scale: 1}); !slices.Equal(got, base) {
				different[k] = true
			}
			b.same("scaled to nothing", b.fresh(0, tokens, runtime.Term{Packed: b.packed[k], Scale: 0}), base)
			b.same("back on the base", b.fresh(0, tokens), base)
		}
	}
	for k, ok := range different {
		if !ok {
			b.Errorf("adapter %d changes no answer", k)
		}
	}
}

// stranger is a Packed that no Device made.
type stranger struct{}

// Bytes returns nothing.
func (stranger) Bytes() int64 { return 0 }

// Close does nothing.
func (stranger) Close() error { return nil }

func testForeignAdapter(b *bench) {
	if err := b.device.SetAdapters(0, []runtime.Term{{Packed: stranger{}, Scale: 1}}); !errors.Is(err, runtime.ErrAdapter) {
		b.Errorf("SetAdapters of an adapter that another Device made returns %v", err)
	}
	b.fresh(0, b.tokens(prompts[0]))
}

func testCloseTwice(b *bench) {
	b.answer(0, b.tokens(prompts[0]))
	b.must(b.device.Close())
	b.must(b.device.Close())
}

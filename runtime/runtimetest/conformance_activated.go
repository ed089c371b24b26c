package runtimetest

import (
	"slices"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Terms that act from a position on give, in one piece, what a sequence gives that gets them when it comes there. The rows
// before the position are the base's: their cells serve a sequence of the base, and the base's serve them.
func testActiveFrom(b *bench) {
	x, y := b.packed[0], b.packed[1]
	head, middle, tail := b.tokens(prompts[0]), b.tokens(prompts[1]), b.tokens(prompts[2])
	whole := slices.Concat(head, middle, tail)
	first, second := len(head), len(head)+len(middle)
	different := false
	for _, mix := range [][]runtime.Term{
		{{Packed: x, Scale: 1, From: first}},
		{{Packed: y, Scale: 0.5, From: second}},
		{{Packed: x, Scale: 1, From: first}, {Packed: y, Scale: 1, From: second}},
		{{Packed: y, Scale: 1}, {Packed: x, Scale: 1, From: second}},
	} {
		at := func(pos int) (terms []runtime.Term) {
			for _, term := range mix {
				if term.From <= pos {
					terms = append(terms, runtime.Term{Packed: term.Packed, Scale: term.Scale})
				}
			}
			return terms
		}
		b.place(0, at(0)...)
		b.decode(part{0, head, nil})
		b.place(0, at(first)...)
		b.decode(part{0, middle, nil})
		b.place(0, at(second)...)
		want := b.answer(0, tail)
		b.truncateAll(0)

		b.same("with terms that act from a position on", b.fresh(1, whole, mix...), want)
		different = different || !slices.Equal(want, b.fresh(1, whole, at(len(whole))...))
		if len(at(0)) > 0 {
			continue
		}
		base := b.fresh(0, slices.Concat(head, tail))
		b.place(0)
		b.place(1, mix...)
		b.place(2)
		b.decode(part{0, head, nil})
		b.must(b.device.Copy(1, 0, first))
		b.lengths[1] = first
		b.same("behind the base's cells", b.answer(1, whole[first:]), want)
		b.truncateAll(0)
		if b.limits.CanTruncate {
			b.must(b.device.Copy(2, 1, first))
			b.lengths[2] = first
			b.same("the base behind cells from before the position", b.answer(2, tail), base)
			b.truncateAll(2)
		}
		b.truncateAll(1)
		b.place(1)
	}
	if !different {
		b.Error("to act from a position on changes no answer")
	}
}

//go:build cgo && linux

package llama

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Adapters that act from a position on, in one batch, against contexts that get them when they come to the position.

// usesFrom are an adapter's number and scale, and where it begins to act.
type usesFrom struct {
	use
	from int
}

// activatedMixes are for streams of activatedTokens tokens: of the base, of one adapter from somewhere on and from beyond
// the end, and of several from the same and from different places on.
var activatedMixes = [][]usesFrom{
	nil,
	{{use{0, 1}, 5}},
	{{use{1, 1}, activatedTokens}},
	{{use{0, 1}, 0}, {use{1, 0.5}, 7}},
	{{use{1, 0.7}, 3}, {use{0, 0.5}, 3}},
	{{use{1, 1}, 11}, {use{0, -0.5}, 4}},
	{{use{0, 0.4}, 2}, {use{1, 0.4}, 9}, {use{0, 0.3}, 13}, {use{1, -0.3}, 14}},
	{{use{1, 1}, activatedTokens - 1}},
}

const activatedTokens = 17

func activatedToken(seq, pos, vocab int) runtime.Token {
	return runtime.Token((seq*7919 + pos*104729 + 17) % vocab)
}

// at returns the uses of a mix that act at a position.
func at(mix []usesFrom, pos int) (out []use) {
	for _, u := range mix {
		if u.from <= pos {
			out = append(out, u.use)
		}
	}
	return out
}

// stretches calls decode for each stretch of positions with one mix.
func stretches(mix []usesFrom, decode func(first, end int, mix []use)) {
	from := []int{0, activatedTokens}
	for _, u := range mix {
		from = append(from, u.from)
	}
	slices.Sort(from)
	from = slices.Compact(from)
	for i := range from[:len(from)-1] {
		decode(from[i], from[i+1], at(mix, from[i]))
	}
}

// activatedLogits decodes all streams in one batch, token by token in turn, each adapter acting from its place on.
func activatedLogits(t *testing.T, m *Model, d *Device, packs []runtime.Packed) [][][]float32 {
	t.Helper()
	sampler := greedy(t, m)
	var rows []runtime.Row
	for seq, mix := range activatedMixes {
		var terms []runtime.Term
		for _, u := range mix {
			terms = append(terms, runtime.Term{Packed: packs[u.adapter], Scale: u.scale, From: u.from})
		}
		if err := d.SetAdapters(seq, terms); err != nil {
			t.Fatal(err)
		}
	}
	for pos := range activatedTokens {
		for seq := range activatedMixes {
			rows = append(rows, runtime.Row{Token: activatedToken(seq, pos, m.facts.VocabSize), Seq: seq, Pos: pos, Sampler: sampler, Top: -1})
		}
	}
	if _, err := d.Decode(rows); err != nil {
		t.Fatal(err)
	}
	out := make([][][]float32, len(activatedMixes))
	for i, r := range rows {
		l, err := d.Logits(i)
		if err != nil {
			t.Fatal(err)
		}
		out[r.Seq] = append(out[r.Seq], l)
	}
	return out
}

// logitsInPieces decodes each stream alone on a device, in pieces between which its adapters are set anew.
func logitsInPieces(t *testing.T, m *Model, o DeviceOptions, packs []runtime.Packed) [][][]float32 {
	t.Helper()
	out := make([][][]float32, len(activatedMixes))
	sampler := greedy(t, m)
	for seq, mix := range activatedMixes {
		d := openDevice(t, m, o)
		stretches(mix, func(first, end int, mix []use) {
			var terms []runtime.Term
			for _, u := range mix {
				terms = append(terms, runtime.Term{Packed: packs[u.adapter], Scale: u.scale})
			}
			if err := d.SetAdapters(0, terms); err != nil {
				t.Fatal(err)
			}
			var rows []runtime.Row
			for pos := first; pos < end; pos++ {
				rows = append(rows, runtime.Row{Token: activatedToken(seq, pos, m.facts.VocabSize), Pos: pos, Sampler: sampler, Top: -1})
			}
			if _, err := d.Decode(rows); err != nil {
				t.Fatal(err)
			}
			for i := range rows {
				l, err := d.Logits(i)
				if err != nil {
					t.Fatal(err)
				}
				out[seq] = append(out[seq], l)
			}
		})
		d.Close()
	}
	return out
}

// Stock llama.cpp decodes each stream up to the place where an adapter begins, is given it, and goes on.
func TestActivatedEqualsStockInTwoPhases(t *testing.T) {
	everywhere(t, activatedEqualsStockInTwoPhases)
}

func activatedEqualsStockInTwoPhases(t *testing.T, place func(Options) Options) {
	for _, arch := range []string{"llama", "qwen2", "qwen3"} {
		s := tiny
		s.arch = arch
		o := Options{Path: s.file(t), KeepPlain: true, PackFloat32: true}
		cpu, m := openModel(t, o), openModel(t, place(o))
		adapters := []adapter{newAdapter(t, m, 1, 16, 16, func(string) bool { return true }), newAdapter(t, m, 2, 8, 12, isLinear)}
		want := make([][][]float32, len(activatedMixes))
		for seq, mix := range activatedMixes {
			r, err := newReference(cpu, 256, 1, KVF32, FlashOff)
			if err != nil {
				t.Fatal(err)
			}
			stretches(mix, func(first, end int, mix []use) {
				r.Clear()
				for _, u := range mix {
					if err := r.Add(adapters[u.adapter].path, u.scale); err != nil {
						t.Fatal(err)
					}
				}
				var tokens []runtime.Token
				for pos := first; pos < end; pos++ {
					tokens = append(tokens, activatedToken(seq, pos, s.vocab))
				}
				rows, err := r.Decode(tokens)
				if err != nil {
					t.Fatal(err)
				}
				want[seq] = append(want[seq], rows...)
			})
			r.Close()
		}
		packs := []runtime.Packed{pack(t, m, adapters[0].lora), pack(t, m, adapters[1].lora)}
		for _, backend := range []Backend{Fused, MMID} {
			for _, ubatch := range []int{512, 32} {
				t.Run(fmt.Sprintf("%s/backend%d/ubatch%d", arch, backend, ubatch), func(t *testing.T) {
					got := compare(activatedLogits(t, m, openDevice(t, m, proofDevice(backend, ubatch)), packs), want)
					t.Log(got)
					if most := deviceTolerance(2e-5); !(got.most <= most) || got.argmax != 0 {
						t.Errorf("want at most %g and no other argmax", most)
					}
				})
			}
		}
	}
}

// DoRA, biases and whole rows begin to act where the LoRAs do.
func TestActivatedDoRAAndWholeRows(t *testing.T) { everywhere(t, activatedDoRAAndWholeRows) }

func activatedDoRAAndWholeRows(t *testing.T, place func(Options) Options) {
	s := tiny
	s.arch, s.layers, s.vocab = "qwen2", 2, 512
	path := s.file(t)
	m := openModel(t, place(Options{Path: path, KeepPlain: true, PackFloat32: true}))
	for name, adapters := range map[string][]adapter{
		"dora": doraAdapters(t, m, openQuant(t, path), func(string) bool { return true })[:2], "whole": wholeAdapters(t, m, s),
	} {
		packs := []runtime.Packed{pack(t, m, adapters[0].lora), pack(t, m, adapters[1].lora)}
		for _, backend := range []Backend{Fused, MMID} {
			t.Run(fmt.Sprintf("%s/backend%d", name, backend), func(t *testing.T) {
				o := proofDevice(backend, 32)
				got := compare(activatedLogits(t, m, openDevice(t, m, o), packs), logitsInPieces(t, m, o, packs))
				t.Log(got)
				if most := deviceTolerance(2e-5); !(got.most <= most) || got.argmax != 0 {
					t.Errorf("want at most %g and no other argmax", most)
				}
			})
		}
	}
}

// Rows before the place are the base's to the bit, and rows from there on those of a sequence that is given its adapters
// when it comes there, whatever else is in the batch.
func TestRowsBeforeTheInvocationAreTheBases(t *testing.T) {
	nf4, _ := tiny.nf4(t)
	for name, o := range map[string]Options{"nf4-int8": {Path: nf4}, "nf4-float": {Path: nf4, NF4: NF4Float}, "f32": {Path: tiny.file(t)}} {
		t.Run(name, func(t *testing.T) {
			m := openModel(t, o)
			packs := []runtime.Packed{
				pack(t, m, newAdapter(t, m, 1, 8, 16, func(string) bool { return true }).lora), pack(t, m, newAdapter(t, m, 2, 4, 8, isAttention).lora),
			}
			d := DeviceOptions{Sequences: len(activatedMixes), Cells: 512, Threads: 1}
			got, want := activatedLogits(t, m, openDevice(t, m, d), packs), logitsInPieces(t, m, d, packs)
			for seq := range got {
				for pos := range got[seq] {
					if !slices.Equal(got[seq][pos], want[seq][pos]) {
						t.Errorf("stream %d: the logits of row %d differ by %g", seq, pos, maxDifference(got[seq][pos], want[seq][pos]))
					}
				}
			}
			base := openDevice(t, m, d)
			sampler := greedy(t, m)
			for seq, mix := range activatedMixes {
				for pos := range activatedTokens {
					row := runtime.Row{Token: activatedToken(seq, pos, tiny.vocab), Seq: seq, Pos: pos, Sampler: sampler, Top: -1}
					if _, err := base.Decode([]runtime.Row{row}); err != nil {
						t.Fatal(err)
					}
					l, err := base.Logits(0)
					if err != nil {
						t.Fatal(err)
					}
					if before := len(at(mix, pos)) == 0; before != slices.Equal(got[seq][pos], l) {
						t.Errorf("stream %d, row %d: before the place %v, the base's logits %v", seq, pos, before, !before)
					}
				}
			}
		})
	}
}

// A sequence whose mix changes in the middle of a batch needs no other graph than one whose mix does not, and a mix that is
// set again forgets where the last one began.
func TestMixesOfASequenceAreSetAnew(t *testing.T) {
	m := openModel(t, Options{Path: tiny.file(t)})
	packs := []runtime.Packed{pack(t, m, newAdapter(t, m, 1, 8, 16, isLinear).lora), pack(t, m, newAdapter(t, m, 2, 4, 8, isLinear).lora)}
	d := openDevice(t, m, DeviceOptions{Sequences: len(activatedMixes), Cells: 512, Threads: 1})
	want := activatedLogits(t, m, d, packs)
	built := d.graphBuilds()
	r := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		for seq := range activatedMixes {
			if _, err := d.Truncate(seq, 0); err != nil {
				t.Fatal(err)
			}
			var terms []runtime.Term
			for range r.IntN(5) {
				terms = append(terms, runtime.Term{Packed: packs[r.IntN(2)], Scale: 1, From: r.IntN(20)})
			}
			if err := d.SetAdapters(seq, terms); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := activatedLogits(t, m, d, packs)
	for seq := range want {
		for pos := range want[seq] {
			if !slices.Equal(got[seq][pos], want[seq][pos]) {
				t.Fatalf("stream %d: row %d differs the second time", seq, pos)
			}
		}
	}
	if n := d.graphBuilds() - built; n != 0 {
		t.Errorf("%d graphs were built for the second time", n)
	}
}

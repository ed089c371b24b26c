//go:build cgo && linux

package llama

import (
	"io"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// askAll decodes the tokens on a sequence, the first n at once and the rest at once, and returns what the rows ask for.
func askAll(t *testing.T, d *Device, seq, n int, tokens []runtime.Token, ask func(*runtime.Row)) []runtime.Choice {
	t.Helper()
	var out []runtime.Choice
	for at := 0; at < len(tokens); {
		end := len(tokens)
		if at < n {
			end = n
		}
		rows := make([]runtime.Row, end-at)
		for i := range rows {
			rows[i] = runtime.Row{Token: tokens[at+i], Seq: seq, Pos: at + i, Top: -1}
			ask(&rows[i])
		}
		choices, err := d.Decode(rows)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range choices {
			if c.Err != nil {
				t.Fatal(c.Err)
			}
			c.Top, c.Hidden = slices.Clone(c.Top), slices.Clone(c.Hidden)
			out = append(out, c)
		}
		at = end
	}
	if _, err := d.Truncate(seq, 0); err != nil {
		t.Fatal(err)
	}
	return out
}

// Hidden states are llama.cpp's own embeddings of the same tokens, with llama.cpp's own adapter as with ours, also where
// the batch is more than one micro-batch, and beside rows that ask for nothing.
func TestHiddenStatesAreStockEmbeddings(t *testing.T) { everywhere(t, hiddenStatesAreStockEmbeddings) }

func hiddenStatesAreStockEmbeddings(t *testing.T, place func(Options) Options) {
	for _, arch := range []string{"llama", "qwen2", "qwen3"} {
		s := tiny
		s.arch = arch
		o := Options{Path: s.file(t), PackFloat32: true}
		cpu, m := openModel(t, o), openModel(t, place(o))
		tokens := streams(s.vocab)[7].tokens
		a := newAdapter(t, m, 5, 8, 16, isLinear)
		for _, adapted := range []bool{false, true} {
			r, err := newReference(cpu, 256, 1, KVF32, FlashOff)
			if err != nil {
				t.Fatal(err)
			}
			var mix []runtime.Term
			if adapted {
				mix = []runtime.Term{{Packed: pack(t, m, a.lora), Scale: 1}}
				if err := r.Add(a.path, 1); err != nil {
					t.Fatal(err)
				}
			}
			want, err := r.Embed(tokens, s.embedding)
			r.Close()
			if err != nil {
				t.Fatal(err)
			}
			for _, ubatch := range []int{512, 4} {
				d := openDevice(t, m, proofDevice(Fused, ubatch))
				if err := d.SetAdapters(1, mix); err != nil {
					t.Fatal(err)
				}
				got := askAll(t, d, 1, 7, tokens, func(r *runtime.Row) { r.Hidden = true })
				odd := askAll(t, d, 1, 7, tokens, func(r *runtime.Row) { r.Hidden = r.Pos%2 == 1 })
				for i := range tokens {
					if far := maxDifference(got[i].Hidden, want[i]); far > 1e-5 {
						t.Errorf("%s, adapter %v, micro-batches of %d: token %d is %g off", arch, adapted, ubatch, i, far)
					}
					if i%2 == 1 {
						if far := maxDifference(odd[i/2].Hidden, want[i]); far > 1e-5 {
							t.Errorf("%s, adapter %v: token %d alone among its neighbours is %g off", arch, adapted, i, far)
						}
					}
				}
			}
		}
	}
}

// An adapter gives the embeddings that its weights merged into the base give.
func TestHiddenStatesOfMergedWeights(t *testing.T) {
	path := tiny.file(t)
	m := openModel(t, Options{Path: path, PackFloat32: true})
	a := newAdapter(t, m, 9, 8, 16, isLinear)
	merged, terms := mergeInto(t, path, true, map[string]float32{a.path: 1})
	tokens := streams(tiny.vocab)[3].tokens
	n := openModel(t, Options{Path: merged})
	d, e := openDevice(t, m, proofDevice(Fused, 512)), openDevice(t, n, proofDevice(Fused, 512))
	if err := d.SetAdapters(0, []runtime.Term{{Packed: pack(t, m, terms[0].lora), Scale: 1}}); err != nil {
		t.Fatal(err)
	}
	hidden := func(r *runtime.Row) { r.Hidden = true }
	served, got := askAll(t, d, 0, 0, tokens, hidden), askAll(t, e, 0, 0, tokens, hidden)
	plain := openDevice(t, m, proofDevice(Fused, 512))
	base := askAll(t, plain, 0, 0, tokens, hidden)
	moved := 0.0
	for i := range tokens {
		if far := maxDifference(served[i].Hidden, got[i].Hidden); far > 1e-4 {
			t.Errorf("token %d is %g off", i, far)
		}
		moved = max(moved, maxDifference(served[i].Hidden, base[i].Hidden))
	}
	if moved < 1e-2 {
		t.Errorf("the adapter moves hidden states by %g at most: it shows nothing", moved)
	}
}

// A token's score is the log-softmax of llama.cpp's own logits, and the one that it is sampled with to the last bit.
func TestScoresAreStockLogprobs(t *testing.T) {
	s := tiny
	m := openModel(t, Options{Path: s.file(t), PackFloat32: true})
	tokens := streams(s.vocab)[2].tokens
	r, err := newReference(m, 256, 1, KVF32, FlashOff)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	logits, err := r.Decode(tokens)
	if err != nil {
		t.Fatal(err)
	}
	d := openDevice(t, m, proofDevice(Fused, 16))
	scores := askAll(t, d, 0, 5, tokens, func(r *runtime.Row) {
		if r.Pos+1 < len(tokens) {
			r.Scored, r.Next, r.Top = true, tokens[r.Pos+1], 3
		}
	})
	if len(scores) != len(tokens)-1 {
		t.Fatalf("%d scores of %d tokens", len(scores), len(tokens))
	}
	for i, c := range scores {
		sum := 0.0
		for _, l := range logits[i] {
			sum += math.Exp(float64(l))
		}
		want := float64(logits[i][tokens[i+1]]) - math.Log(sum)
		if far := math.Abs(float64(c.Logprob) - want); far > 1e-4 || c.Token != tokens[i+1] {
			t.Errorf("token %d is scored %d %g, want %d %g", i+1, c.Token, c.Logprob, tokens[i+1], want)
		}
		if len(c.Top) != 3 || int(c.Top[0].Token) != argmaxOf(logits[i]) {
			t.Errorf("the likeliest of token %d are %+v, want %d first", i+1, c.Top, argmaxOf(logits[i]))
		}
	}
	sampled := askAll(t, d, 0, 5, tokens, func(r *runtime.Row) { r.Sampler, r.Top = greedy(t, m), 3 })
	for i, c := range sampled[:len(scores)] {
		if !slices.Equal(c.Top, scores[i].Top) {
			t.Errorf("sampling gives %+v after token %d, scoring %+v", c.Top, i, scores[i].Top)
		}
	}
}

// Rows that ask for hidden states change no bit of the others.
func TestHiddenStatesChangeNothingElse(t *testing.T) {
	m := openDemo(t)
	d := openDevice(t, m, DeviceOptions{Sequences: 2, Cells: 512, Batch: 64, Threads: 1})
	draw := func(with bool) []float32 {
		rows := rowsOf(t, m, 0, 0, []runtime.Token{5, 6, 7, 8})
		rows = append(rows, rowsOf(t, m, 1, 0, []runtime.Token{9, 10, 11})...)
		for i := range rows[4:] {
			rows[4+i].Sampler, rows[4+i].Hidden = nil, with
		}
		if _, err := d.Decode(rows); err != nil {
			t.Fatal(err)
		}
		l, err := d.Logits(3)
		if err != nil {
			t.Fatal(err)
		}
		for seq := range 2 {
			if _, err := d.Truncate(seq, 0); err != nil {
				t.Fatal(err)
			}
		}
		return l
	}
	want := draw(false)
	for _, with := range []bool{true, false, true} {
		if !slices.Equal(draw(with), want) {
			t.Errorf("hidden states asked for (%v) beside a row change its logits", with)
		}
	}
}

// Where no row asks for logits the head is not computed, and a graph without it is not used again for rows that do, also
// where all shapes are the same.
func TestHiddenStatesWithoutLogits(t *testing.T) {
	m := openDemo(t)
	d := openDevice(t, m, DeviceOptions{Sequences: 1, Cells: 256, Batch: 16, Threads: 1})
	one := func(logits bool) ([]float32, []float32) {
		row := runtime.Row{Token: 5, Top: -1, Hidden: true}
		if logits {
			row.Sampler = greedy(t, m)
		}
		choices, err := d.Decode([]runtime.Row{row})
		if err != nil {
			t.Fatal(err)
		}
		hidden := slices.Clone(choices[0].Hidden)
		l, err := d.Logits(0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Truncate(0, 0); err != nil {
			t.Fatal(err)
		}
		return hidden, l
	}
	hidden, logits := one(true)
	for _, with := range []bool{false, true, false, true} {
		h, l := one(with)
		if !slices.Equal(h, hidden) {
			t.Errorf("with logits %v the hidden state is another", with)
		}
		if with && !slices.Equal(l, logits) {
			t.Error("the logits are others")
		}
	}
}

func TestPoolingOfAFile(t *testing.T) {
	for kind, want := range map[uint32]runtime.Pooling{0: runtime.PoolingNone, 1: runtime.PoolingMean, 2: runtime.PoolingCLS, 3: runtime.PoolingLast} {
		s := tiny
		path := filepath.Join(t.TempDir(), "pooled.gguf")
		metadata := s.metadata()
		metadata.Set("llama.pooling_type", kind)
		tensors := s.tensors()
		if err := quant.WriteFile(path, &metadata, tensors, func(i int, w io.Writer) error { return writeF32(w, randomTensor(tensors[i])) }); err != nil {
			t.Fatal(err)
		}
		if got := openModel(t, Options{Path: path}).Facts().Pooling; got != want {
			t.Errorf("pooling_type %d reads as %d, want %d", kind, got, want)
		}
	}
}

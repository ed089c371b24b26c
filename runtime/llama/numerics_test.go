//go:build cgo && linux

package llama

import (
	"fmt"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// The proof of seam 1: eight sequences in one batch, each with its own mix, prompts interleaved token by
// token, against eight stock contexts that know one mix at a time. After two decodes the adapters are
// swapped under the running sequences, in the reference as well.

// stream is one sequence of the proof.
type stream struct {
	tokens []runtime.Token
	prompt int      // of tokens, how many come at once
	mixes  [2][]use // before and after the swap
}

// use is one adapter of a mix.
type use struct {
	adapter int
	scale   float32
}

const (
	swapAfter = 2 // decodes before the swap
	decodes   = 5
)

func streams(vocab int) []stream {
	one := func(i int) []use { return []use{{i, 1}} }
	mixes := [][2][]use{
		{nil, one(2)}, {one(0), one(0)}, {one(1), one(4)}, {one(2), one(3)}, {one(3), one(2)},
		{one(4), nil}, {one(5), one(5)}, {{{0, 0.7}, {4, 0.5}}, {{1, -0.5}, {2, 1}, {5, 0.25}}},
	}
	out := make([]stream, len(mixes))
	for i := range out {
		out[i].prompt, out[i].mixes = 13+i%5, mixes[i]
		for p := range out[i].prompt + decodes {
			out[i].tokens = append(out[i].tokens, runtime.Token((i*7919+p*104729+17)%vocab))
		}
	}
	return out
}

// proofAdapters are six adapters of ranks 4, 8 and 16 with different alphas; the fourth is attention only.
func proofAdapters(t testing.TB, m *Model) []adapter {
	var out []adapter
	for k, rank := range []int{16, 8, 4, 16, 8, 4} {
		keep := isLinear
		if k == 3 {
			keep = isAttention
		}
		out = append(out, newAdapter(t, m, uint64(k), rank, float32(8+4*k), keep))
	}
	return out
}

// stockLogits decodes each stream alone with llama.cpp's own adapters: (stream, token) -> logits.
func stockLogits(t *testing.T, m *Model, adapters []adapter, ss []stream) [][][]float32 {
	t.Helper()
	out := make([][][]float32, len(ss))
	for i, s := range ss {
		r, err := newReference(m, 256, 2, KVF32, FlashOff)
		if err != nil {
			t.Fatal(err)
		}
		apply := func(mix []use) {
			r.clear()
			for _, u := range mix {
				if err := r.add(adapters[u.adapter].path, u.scale); err != nil {
					t.Fatal(err)
				}
			}
		}
		apply(s.mixes[0])
		decode := func(tokens []runtime.Token) {
			rows, err := r.decode(tokens)
			if err != nil {
				t.Fatal(err)
			}
			out[i] = append(out[i], rows...)
		}
		decode(s.tokens[:s.prompt])
		for d := range decodes {
			if d == swapAfter {
				apply(s.mixes[1])
			}
			decode(s.tokens[s.prompt+d : s.prompt+d+1])
		}
		r.close()
	}
	return out
}

// ourLogits decodes all streams together on a device.
func ourLogits(t *testing.T, m *Model, d *Device, adapters []adapter, ss []stream) [][][]float32 {
	t.Helper()
	out := make([][][]float32, len(ss))
	sampler := greedy(t, m)
	place := func(half int) {
		for seq, s := range ss {
			var mix []runtime.Term
			for _, u := range s.mixes[half] {
				mix = append(mix, runtime.Term{Packed: pack(t, m, adapters[u.adapter].lora), Scale: u.scale})
			}
			if err := d.Place(seq, mix); err != nil {
				t.Fatal(err)
			}
		}
	}
	decode := func(rows []runtime.Row) {
		if _, err := d.Decode(rows); err != nil {
			t.Fatal(err)
		}
		for i, r := range rows {
			l, err := d.logits(i)
			if err != nil {
				t.Fatal(err)
			}
			out[r.Seq] = append(out[r.Seq], l)
		}
	}
	place(0)
	var rows []runtime.Row
	for p := range 20 { // interleaved: adapters alternate inside every ubatch
		for seq, s := range ss {
			if p < s.prompt {
				rows = append(rows, runtime.Row{Token: s.tokens[p], Seq: seq, Pos: p, Sampler: sampler, Top: -1})
			}
		}
	}
	decode(rows)
	for step := range decodes {
		if step == swapAfter {
			before := d.graphBuilds()
			place(1)
			defer func() {
				if built := d.graphBuilds() - before; built != 0 {
					t.Errorf("the swap made llama.cpp build %d graphs, want none", built)
				}
			}()
		}
		rows = rows[:0]
		for seq, s := range ss {
			p := s.prompt + step
			rows = append(rows, runtime.Row{Token: s.tokens[p], Seq: seq, Pos: p, Sampler: sampler, Top: -1})
		}
		decode(rows)
	}
	return out
}

type distance struct {
	most    float64
	argmax  int // rows whose most likely token differs
	rows    int
	perStep []float64
}

func compare(got, want [][][]float32) distance {
	var d distance
	for i := range want {
		for p := range want[i] {
			x := maxDifference(got[i][p], want[i][p])
			d.most = max(d.most, x)
			d.rows++
			if argmaxOf(got[i][p]) != argmaxOf(want[i][p]) {
				d.argmax++
			}
		}
	}
	return d
}

func TestEveryRowHasItsOwnAdapter(t *testing.T) {
	for _, arch := range []string{"llama", "qwen2", "qwen3"} {
		s := tiny
		s.arch = arch
		path := s.file(t)
		for _, half := range []bool{false, true} {
			m := openModel(t, Options{Path: path, KeepPlain: true, PackFloat32: !half})
			adapters, ss := proofAdapters(t, m), streams(s.vocab)
			want := stockLogits(t, m, adapters, ss)
			for _, backend := range []Backend{Fused, MMID} {
				for _, ubatch := range []int{512, 32} {
					name := fmt.Sprintf("%s/backend%d/half=%v/ubatch%d", arch, backend, half, ubatch)
					t.Run(name, func(t *testing.T) {
						d := openDevice(t, m, DeviceOptions{Sequences: 8, Cells: 512, UBatch: ubatch, Threads: 2, KV: KVF32, FlashAttention: FlashOff, LoRA: backend})
						got := compare(ourLogits(t, m, d, adapters, ss), want)
						t.Logf("largest difference %.2g over %d rows", got.most, got.rows)
						if !(got.most <= 1e-5) || got.argmax != 0 {
							t.Errorf("logits differ by %.3g, want at most 1e-5; %d of %d rows have another argmax", got.most, got.argmax, got.rows)
						}
					})
				}
			}
		}
	}
}

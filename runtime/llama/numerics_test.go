//go:build cgo && linux

package llama

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// The proof of a different adapter for every row: eight sequences in one batch, each with its own mix, prompts interleaved token by
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
		r, err := newReference(m, 256, 1, KVF32, FlashOff)
		if err != nil {
			t.Fatal(err)
		}
		apply := func(mix []use) {
			r.Clear()
			for _, u := range mix {
				if err := r.Add(adapters[u.adapter].path, u.scale); err != nil {
					t.Fatal(err)
				}
			}
		}
		apply(s.mixes[0])
		decode := func(tokens []runtime.Token) {
			rows, err := r.Decode(tokens)
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
		r.Close()
	}
	return out
}

// ourLogits decodes all streams together on a device.
func ourLogits(t *testing.T, m *Model, d *Device, adapters []adapter, ss []stream) [][][]float32 {
	t.Helper()
	return logitsOfRows(t, m, d, adapters, ss, false)
}

// logitsOfRows is ourLogits of rows that are exact, or not.
func logitsOfRows(t *testing.T, m *Model, d *Device, adapters []adapter, ss []stream, exact bool) [][][]float32 {
	t.Helper()
	out := make([][][]float32, len(ss))
	sampler := greedy(t, m)
	place := func(half int) {
		for seq, s := range ss {
			var mix []runtime.Term
			for _, u := range s.mixes[half] {
				mix = append(mix, runtime.Term{Packed: pack(t, m, adapters[u.adapter].lora), Scale: u.scale})
			}
			if err := d.SetAdapters(seq, mix); err != nil {
				t.Fatal(err)
			}
		}
	}
	decode := func(rows []runtime.Row) {
		for i := range rows {
			rows[i].Exact = exact
		}
		if _, err := d.Decode(rows); err != nil {
			t.Fatal(err)
		}
		for i, r := range rows {
			l, err := d.Logits(i)
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

// distance sums up how two sets of logits differ.
type distance struct {
	most   float64 // largest difference of a logit
	argmax int     // rows whose most likely token differs
	ties   int     // of them, rows where the two tokens' logits are closer than twice the largest difference
	rows   int
}

func (d distance) String() string {
	return fmt.Sprintf("%d rows: logits differ by at most %.3g, %d have another argmax (%d of them ties)", d.rows, d.most, d.argmax, d.ties)
}

func compare(got, want [][][]float32) distance {
	var d distance
	for i := range want {
		for p := range want[i] {
			d.most = max(d.most, maxDifference(got[i][p], want[i][p]))
		}
	}
	for i := range want {
		for p := range want[i] {
			d.rows++
			if g, w := argmaxOf(got[i][p]), argmaxOf(want[i][p]); g != w {
				d.argmax++
				if float64(want[i][p][w]-want[i][p][g]) < 2*d.most {
					d.ties++
				}
			}
		}
	}
	return d
}

// proofDevice holds all streams. One thread: two that share a busy core wait for each other.
func proofDevice(backend Backend, ubatch int) DeviceOptions {
	return DeviceOptions{Sequences: 8, Cells: 512, UBatch: ubatch, Threads: 1, KV: KVF32, FlashAttention: FlashOff, LoRA: backend}
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
					t.Run(fmt.Sprintf("%s/backend%d/half=%v/ubatch%d", arch, backend, half, ubatch), func(t *testing.T) {
						d := openDevice(t, m, proofDevice(backend, ubatch))
						got := compare(ourLogits(t, m, d, adapters, ss), want)
						t.Log(got)
						if !(got.most <= 1e-5) || got.argmax != 0 {
							t.Error("want at most 1e-5 and no other argmax")
						}
					})
				}
			}
		}
	}
}

// On quantized bases the single-adapter path is llama.cpp's own over the same weights; the batches differ in
// shape, and with them the rounding of the activations.
func TestEveryRowHasItsOwnAdapterOnQuantizedBases(t *testing.T) {
	nf4, _ := tiny.nf4(t)
	q4 := filepath.Join(t.TempDir(), "q4_0.gguf")
	if err := Quantize(t.Context(), tiny.file(t), q4, "q4_0", 1, nil); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]Options{
		"nf4-int16": {Path: nf4, NF4: NF4Int16}, "nf4-float": {Path: nf4, NF4: NF4Float}, "nf4-int8": {Path: nf4}, "q4_0": {Path: q4},
	} {
		t.Run(name, func(t *testing.T) {
			m := openModel(t, o)
			adapters, ss := proofAdapters(t, m), streams(tiny.vocab)
			want := stockLogits(t, m, adapters, ss)
			for _, ubatch := range []int{512, 32} {
				got := compare(ourLogits(t, m, openDevice(t, m, proofDevice(Fused, ubatch)), adapters, ss), want)
				t.Log(got)
				if got.argmax != got.ties {
					t.Errorf("ubatch %d: %v", ubatch, got)
				}
			}
		})
	}
}

// The NF4 weights themselves: against a base in F32 that holds what the file decodes to.
func TestNF4AgainstDecodedWeights(t *testing.T) {
	odd := sizes{arch: "llama", embedding: 160, feedForward: 448, layers: 2, vocab: 512, heads: 5, kvHeads: 1}
	for _, form := range []struct {
		name  string
		sizes sizes
		o     quant.Options
		want  string // what most of the bytes are
	}{
		{"nf4", tiny, quant.Options{Type: "nf4", Block: 32}, "NF4"},
		{"nf4-64", tiny, quant.Options{Type: "nf4", Block: 64}, "NF4-64"},
		{"nf4-dq", tiny, quant.Options{Type: "nf4-dq"}, "NF4-DQ"},
		{"nf4-dq exact", tiny, quant.Options{Type: "nf4-dq", Exact: true}, "NF4-DQ"},
		// Rows of 160 are no whole blocks of 64: only ffn_down has these.
		{"nf4 mixed with nf4-dq", odd, quant.Options{Type: "nf4-dq"}, "NF4"},
	} {
		t.Run(form.name, func(t *testing.T) {
			coded, inF32 := form.sizes.quantized(t, form.o)
			plain := openModel(t, Options{Path: inF32})
			adapters, ss := proofAdapters(t, plain), streams(form.sizes.vocab)
			want := stockLogits(t, plain, adapters, ss)
			for _, c := range []struct {
				mode  NF4Mode
				bound float64
			}{{NF4Float, 2e-5}, {NF4Int16, 5e-3}, {NF4Int8, 0.5}} {
				m := openModel(t, Options{Path: coded, NF4: c.mode})
				if q := m.Facts().Quantization; q != form.want {
					t.Errorf("the model says its weights are %s", q)
				}
				got := compare(ourLogits(t, m, openDevice(t, m, proofDevice(Fused, 512)), adapters, ss), want)
				t.Logf("mode %d: %v", c.mode, got)
				if !(got.most <= c.bound) || got.argmax != got.ties {
					t.Errorf("mode %d: %v; want at most %g", c.mode, got, c.bound)
				}
			}
		})
	}
}

// Embeddings and head are targets too, alone and together with the layers, tied or not.
func TestEmbeddingAndHead(t *testing.T) { everywhere(t, embeddingAndHead) }

func embeddingAndHead(t *testing.T, place func(Options) Options) {
	for _, backend := range []Backend{Fused, MMID} {
		o := Options{Path: tiny.file(t), KeepPlain: true, PackFloat32: true}
		cpu, m := openModel(t, o), openModel(t, place(o))
		adapters := []adapter{
			newAdapter(t, m, 1, 8, 16, func(n string) bool { return n == "token_embd.weight" }),
			newAdapter(t, m, 2, 4, 16, func(n string) bool { return n == "output.weight" }),
			newAdapter(t, m, 3, 16, 16, func(string) bool { return true }),
			newAdapter(t, m, 4, 4, 8, isLinear), newAdapter(t, m, 5, 4, 8, isAttention),
			newAdapter(t, m, 6, 16, 32, func(n string) bool { return !isLinear(n) }),
		}
		ss := streams(tiny.vocab)
		want := stockLogits(t, cpu, adapters, ss)
		got := compare(ourLogits(t, m, openDevice(t, m, proofDevice(backend, 32)), adapters, ss), want)
		t.Log(got)
		if !(got.most <= 1e-5) || got.argmax != 0 {
			t.Errorf("back end %d: %v; want at most 1e-5", backend, got)
		}
	}
}

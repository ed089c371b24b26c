//go:build cgo && linux

package llama

import (
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// On a device, what a back end's products and attention round depends on how many rows there are and where their cells lie.
// With ubatches of one row, and cells of its own for each sequence, a row's bits are the same whatever else is decoded, also
// by sequences that follow each other in one batch with many rows.
func TestRowsByThemselvesOnADevice(t *testing.T) {
	m := openModel(t, deviceOptions(t, Options{Path: tiny.file(t)}))
	one, two := pack(t, m, newAdapter(t, m, 1, 8, 8, isLinear).lora), pack(t, m, newAdapter(t, m, 2, 33, 8, func(string) bool { return true }).lora)
	tokens := []runtime.Token{5, 900, 31, 7, 7, 12, 400, 3}
	open := func() *Device {
		return openDevice(t, m, DeviceOptions{Sequences: 4, Cells: 1024, UBatch: 1, SplitKV: true, Threads: 1}.withoutFlash())
	}
	logits := func(d *Device, others bool) [][]float32 {
		for seq := range 4 {
			if _, err := d.Truncate(seq, 0); err != nil {
				t.Fatal(err)
			}
		}
		set(t, d, 0, one)
		set(t, d, 1, two)
		set(t, d, 2, two, one)
		var out [][]float32
		sampler := greedy(t, m)
		for pos, token := range tokens {
			rows := []runtime.Row{{Token: token, Seq: 0, Pos: pos, Sampler: sampler, Top: -1}}
			for seq := 1; others && seq < 4; seq++ {
				rows = append(rows, runtime.Row{Token: token + runtime.Token(seq), Seq: seq, Pos: pos, Sampler: sampler, Top: -1})
			}
			if others {
				slices.Reverse(rows) // its own is the last of them
			}
			if _, err := d.Decode(rows); err != nil {
				t.Fatal(err)
			}
			l, err := d.Logits(len(rows) - 1)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, l)
		}
		return out
	}
	d := open()
	alone := logits(d, false)
	for name, again := range map[string][][]float32{"beside others": logits(open(), true), "where others were": logits(d, true)} {
		for i := range alone {
			if !slices.Equal(alone[i], again[i]) {
				t.Errorf("%s, position %d: the logits differ by %g", name, i, maxDifference(alone[i], again[i]))
			}
		}
	}
}

func TestPromptsByThemselvesOnADevice(t *testing.T) {
	m := openModel(t, deviceOptions(t, Options{Path: tiny.file(t)}))
	d := openDevice(t, m, DeviceOptions{Sequences: 4, Cells: 1024, UBatch: 1, SplitKV: true, Threads: 1}.withoutFlash())
	tokens, sampler := []runtime.Token{5, 900, 31, 7, 7, 12, 400, 3, 9, 11, 13}, greedy(t, m)
	prompts := func(seqs ...int) [][]float32 {
		t.Helper()
		var rows []runtime.Row
		for _, seq := range seqs {
			if _, err := d.Truncate(seq, 0); err != nil {
				t.Fatal(err)
			}
			for pos, token := range tokens {
				rows = append(rows, runtime.Row{Token: token + runtime.Token(seq), Seq: seq, Pos: pos, Top: -1})
			}
			rows[len(rows)-1].Sampler = sampler
		}
		if _, err := d.Decode(rows); err != nil {
			t.Fatal(err)
		}
		var out [][]float32
		for i := range seqs {
			l, err := d.Logits((i+1)*len(tokens) - 1)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, l)
		}
		return out
	}
	alone := make([][]float32, 4)
	for seq := range alone {
		alone[seq] = prompts(seq)[0]
	}
	for _, seqs := range [][]int{{0, 1, 2, 3}, {1}, {3, 2}, {0, 3, 1, 2}} {
		for i, l := range prompts(seqs...) {
			if want := alone[seqs[i]]; !slices.Equal(l, want) {
				t.Errorf("sequence %d of %v: the logits differ by %g", seqs[i], seqs, maxDifference(l, want))
			}
		}
	}
}

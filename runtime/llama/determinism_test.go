//go:build cgo && linux

package llama

import (
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// On a device, what a back end's products and attention round depends on how many rows there are and where their cells lie.
// With ubatches of one row, and cells of its own for each sequence, a row's bits are the same whatever else is decoded.
func TestRowsByThemselvesOnADevice(t *testing.T) {
	m := openModel(t, deviceOptions(t, Options{Path: tiny.file(t)}))
	one, two := pack(t, m, newAdapter(t, m, 1, 8, 8, isLinear).lora), pack(t, m, newAdapter(t, m, 2, 33, 8, func(string) bool { return true }).lora)
	tokens := []runtime.Token{5, 900, 31, 7, 7, 12, 400, 3}
	logits := func(others bool) [][]float32 {
		d := openDevice(t, m, DeviceOptions{Sequences: 4, Cells: 1024, UBatch: 1, SplitKV: true, Threads: 1})
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
	alone, beside := logits(false), logits(true)
	for i := range alone {
		if !slices.Equal(alone[i], beside[i]) {
			t.Errorf("position %d: the logits differ by %g", i, maxDifference(alone[i], beside[i]))
		}
	}
}

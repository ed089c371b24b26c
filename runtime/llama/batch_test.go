//go:build cgo && linux

package llama

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// A row's logits have the same bits whatever else is in the batch and in whatever pieces the rows before it
// came: from a cached prefix, from a prompt in chunks, one by one. That makes the answer of a seed reproducible.
func TestRowsDoNotDependOnTheBatch(t *testing.T) {
	plain := tiny.file(t)
	nf4, _ := tiny.nf4(t)
	models := map[string]Options{
		"nf4-int16": {Path: nf4}, "nf4-float": {Path: nf4, NF4: NF4Float}, "nf4-int8": {Path: nf4, NF4: NF4Int8},
	}
	for _, typ := range QuantizeTypes {
		path := filepath.Join(t.TempDir(), typ+".gguf")
		if err := Quantize(t.Context(), plain, path, typ, 1, nil); err != nil {
			t.Fatal(err)
		}
		models[typ] = Options{Path: path}
	}
	for name, o := range models {
		t.Run(name, func(t *testing.T) {
			m := openModel(t, o)
			adapters := []runtime.Packed{pack(t, m, newAdapter(t, m, 1, 8, 16, isLinear).lora), pack(t, m, newAdapter(t, m, 2, 4, 8, isAttention).lora)}
			for _, mix := range [][]runtime.Term{nil, {{Packed: adapters[0], Scale: 1}}} {
				want := logitsAmong(t, m, adapters, mix, nil)
				for _, others := range [][]int{{0}, {1, 0, 2, 5}, {7, 3, 13}} {
					got := logitsAmong(t, m, adapters, mix, others)
					for p := range want {
						if d := maxDifference(got[p], want[p]); d != 0 {
							t.Fatalf("adapters %v, among %v rows of others: the logits of row %d differ by %g from those of the row alone", mix != nil, others, p, d)
						}
					}
				}
			}
		})
	}
}

// logitsAmong decodes one sequence with a mix: row by row alone where others is nil, else in pieces, each among
// that many rows of other sequences. (row) -> logits.
func logitsAmong(t *testing.T, m *Model, adapters []runtime.Packed, mix []runtime.Term, others []int) [][]float32 {
	t.Helper()
	const length = 40
	d := openDevice(t, m, DeviceOptions{Sequences: 4, Cells: 512, Threads: 1})
	defer d.Close()
	place := func(seq int, mix []runtime.Term) {
		if err := d.SetAdapters(seq, mix); err != nil {
			t.Fatal(err)
		}
	}
	place(1, mix)
	place(2, []runtime.Term{{Packed: adapters[1], Scale: 0.5}})
	place(3, []runtime.Term{{Packed: adapters[0], Scale: 1}, {Packed: adapters[1], Scale: -1}})
	sampler := greedy(t, m)
	row := func(seq, pos int) runtime.Row {
		return runtime.Row{Token: runtime.Token((seq*7919 + pos*104729 + 17) % tiny.vocab), Seq: seq, Pos: pos, Sampler: sampler, Top: -1}
	}
	pieces := []int{1}
	if others != nil {
		pieces = []int{6, 1, 9, 2, 1, 3}
	}
	var out [][]float32
	at := map[int]int{} // sequence -> next position
	for step := 0; at[1] < length; step++ {
		var rows []runtime.Row
		add := func(seq int) { rows = append(rows, row(seq, at[seq])); at[seq]++ }
		if others != nil {
			for k := range others[step%len(others)] {
				add([]int{0, 2, 3}[k%3])
			}
		}
		first := len(rows)
		for range min(pieces[step%len(pieces)], length-at[1]) {
			add(1)
		}
		if _, err := d.Decode(rows); err != nil {
			t.Fatal(fmt.Errorf("step %d: %w", step, err))
		}
		for i := first; i < len(rows); i++ {
			l, err := d.Logits(i)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, l)
		}
	}
	return out
}

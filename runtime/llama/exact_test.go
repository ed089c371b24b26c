//go:build cgo && linux

package llama

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// TestExactRows: the logits of exact rows are those of the same weights in F32, whatever the mode of NF4 products and the head's
// type, with adapters as well; those of other rows are not, and have the bits that they have on a device without exact rows.
func TestExactRows(t *testing.T) {
	for _, head := range []string{"q8_0", "q6_k"} {
		t.Run(head, func(t *testing.T) {
			coded := filepath.Join(t.TempDir(), "coded.gguf")
			if _, err := quant.Quantize(t.Context(), tiny.file(t), coded, quant.Options{Type: "nf4", Block: 32, Head: head}); err != nil {
				t.Fatal(err)
			}
			file, err := quant.Open(coded)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			inF32 := filepath.Join(t.TempDir(), "f32.gguf")
			rewrite(t, file, inF32, tiny.arch, func(t *quant.Tensor) { t.Type = quant.F32 })
			exactRows(t, coded, inF32)
		})
	}
}

func exactRows(t *testing.T, coded, inF32 string) {
	plain, m := openModel(t, Options{Path: inF32, PackFloat32: true}), openModel(t, Options{Path: coded, PackFloat32: true})
	adapters, ss := proofAdapters(t, plain), streams(tiny.vocab)
	want := ourLogits(t, plain, openDevice(t, plain, proofDevice(Fused, 512)), adapters, ss)
	d := openDevice(t, m, proofDevice(Fused, 512))
	if !d.Limits().Exact {
		t.Fatal("the device has no exact rows")
	}
	fresh := openDevice(t, m, proofDevice(Fused, 512))
	rounded := ourLogits(t, m, fresh, adapters, ss)
	if got := compare(logitsOfRows(t, m, d, adapters, ss, true), want); got.most > 2e-4 {
		t.Errorf("exact rows: %v", got)
	}
	if got := compare(rounded, want); got.most < 1e-3 {
		t.Errorf("other rows are as near: %v", got)
	}
	for seq := range ss { // and now the same device without
		if _, err := d.Truncate(seq, 0); err != nil {
			t.Fatal(err)
		}
	}
	if got := compare(ourLogits(t, m, d, adapters, ss), rounded); got.most != 0 {
		t.Errorf("other rows after exact ones: %v", got)
	}
	for seq := range ss {
		if _, err := d.Truncate(seq, 0); err != nil {
			t.Fatal(err)
		}
	}
	_, err := d.Decode([]runtime.Row{{Token: 1, Top: -1}, {Token: 1, Seq: 1, Exact: true, Top: -1}})
	if err == nil || !strings.Contains(err.Error(), "exact") {
		t.Errorf("a batch of both kinds: %v", err)
	}
}

// TestExactRowsBesideOthers: turns of exact rows between turns of others change no bit of either, also where a sequence shares
// another one's prefix.
func TestExactRowsBesideOthers(t *testing.T) {
	coded, _ := tiny.quantized(t, quant.Options{Type: "nf4", Block: 32})
	m := openModel(t, Options{Path: coded})
	const length, prefix = 24, 9
	open := func() *Device { return openDevice(t, m, DeviceOptions{Sequences: 4, Cells: 256, Threads: 1}) }
	sampler := greedy(t, m)
	step := func(d *Device, seq, at int, exact bool) []float32 {
		t.Helper()
		if _, err := d.Decode([]runtime.Row{{Token: runtime.Token((at*7919 + 17) % tiny.vocab), Seq: seq, Pos: at, Sampler: sampler, Top: -1, Exact: exact}}); err != nil {
			t.Fatal(err)
		}
		l, err := d.Logits(0)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	var want [2][][]float32
	for kind := range want {
		d := open()
		for at := range length {
			want[kind] = append(want[kind], step(d, 0, at, kind == 1))
		}
	}
	if maxDifference(want[0][length-1], want[1][length-1]) == 0 {
		t.Fatal("exact rows are as all others")
	}
	d := open()
	for at := range length {
		for kind := range want {
			if got := step(d, kind, at, kind == 1); maxDifference(got, want[kind][at]) != 0 {
				t.Fatalf("row %d of kind %d differs from the one that is decoded alone by %g", at, kind, maxDifference(got, want[kind][at]))
			}
		}
	}
	for kind := range want {
		if err := d.Copy(2+kind, kind, prefix); err != nil {
			t.Fatal(err)
		}
		for at := prefix; at < length; at++ {
			if got := step(d, 2+kind, at, kind == 1); maxDifference(got, want[kind][at]) != 0 {
				t.Fatalf("row %d of kind %d differs behind a shared prefix", at, kind)
			}
		}
	}
}

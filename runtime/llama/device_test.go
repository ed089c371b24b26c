//go:build cgo && linux

package llama

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/lorikeet-ai/lorikeet/demo"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

func TestDecodeRefusesBadRows(t *testing.T) {
	m := openModel(t, Options{Path: tiny.file(t)})
	d := openDevice(t, m, DeviceOptions{Sequences: 2, Cells: 256, Batch: 8, Threads: 1})
	tokens := []runtime.Token{1, 2, 3}
	if _, err := d.Decode(rowsOf(t, m, 0, 0, tokens)); err != nil {
		t.Fatal(err)
	}
	closed := greedy(t, m)
	closed.Close()
	for name, rows := range map[string][]runtime.Row{
		"no rows":             {},
		"a token beyond":      rowsOf(t, m, 0, 3, []runtime.Token{1024}),
		"a negative token":    rowsOf(t, m, 0, 3, []runtime.Token{-1}),
		"a sequence beyond":   rowsOf(t, m, 2, 0, tokens),
		"a negative sequence": rowsOf(t, m, -1, 0, tokens),
		"a gap":               rowsOf(t, m, 0, 4, tokens),
		"an old position":     rowsOf(t, m, 0, 2, tokens),
		"too many rows":       rowsOf(t, m, 1, 0, make([]runtime.Token, 9)),
		"a closed sampler":    {{Token: 1, Seq: 0, Pos: 3, Sampler: closed}},
		"a score beyond":      {{Token: 1, Seq: 0, Pos: 3, Scored: true, Next: 1024}},
		"a negative score":    {{Token: 1, Seq: 0, Pos: 3, Scored: true, Next: -1}},
		"scored and sampled":  {{Token: 1, Seq: 0, Pos: 3, Scored: true, Sampler: greedy(t, m)}},
	} {
		if _, err := d.Decode(rows); !errors.Is(err, runtime.ErrDecode) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	// None of them changed anything.
	if _, err := d.Decode(rowsOf(t, m, 0, 3, tokens)); err != nil {
		t.Errorf("after the errors: %v", err)
	}
}

// The answer of a model with a damaged weight ends with an error that is not the client's.
func TestLogitsThatAreNoNumbers(t *testing.T) {
	path := tiny.file(t)
	f := openQuant(t, path)
	up, _ := f.Tensor("blk.1.ffn_up.weight")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(data[up.Offset+4*1000:], []byte{0, 0, 0xc0, 0x7f}) // NaN
	broken := filepath.Join(t.TempDir(), "nan.gguf")
	if err := os.WriteFile(broken, data, 0o600); err != nil {
		t.Fatal(err)
	}
	m := openModel(t, Options{Path: broken})
	d := openDevice(t, m, DeviceOptions{Sequences: 1, Cells: 256, Threads: 1})
	choices, err := d.Decode([]runtime.Row{{Token: 5, Sampler: greedy(t, m), Top: 1}})
	if err != nil || len(choices) != 1 || !errors.Is(choices[0].Err, runtime.ErrLogits) {
		t.Errorf("%+v, %v", choices, err)
	}
	for _, row := range []runtime.Row{{Token: 5, Pos: 1, Scored: true, Next: 7}, {Token: 5, Pos: 2, Hidden: true}} {
		choices, err := d.Decode([]runtime.Row{row})
		if err != nil || len(choices) != 1 || !errors.Is(choices[0].Err, runtime.ErrLogits) {
			t.Errorf("%+v gives %+v, %v", row, choices, err)
		}
	}
	if _, err := Load(Options{Path: broken, CheckTensors: true}); !errors.Is(err, ErrLoad) || !strings.Contains(err.Error(), `tensor "blk.1.ffn_up.weight": one of the weights 0 to `) {
		t.Errorf("with all weights checked: %v", err)
	}
	for _, o := range []Options{{Path: path, CheckTensors: true}, {Bytes: demo.Base(), CheckTensors: true}} {
		openModel(t, o)
	}
}

func TestDeviceOptionsAreChecked(t *testing.T) {
	m := openModel(t, Options{Path: tiny.file(t)})
	for cause, o := range map[string]DeviceOptions{
		"Sequences": {Sequences: 257}, "Threads": {Threads: -1}, "Cells": {Cells: 1 << 40}, "KeepPlain": {LoRA: MMID},
		"q8_0 (--kv-type) needs flash attention (--flash-attn on or auto)": {KV: KVQ8, FlashAttention: FlashOff},
	} {
		if _, err := NewDevice(m, o); !errors.Is(err, ErrDevice) || !strings.Contains(err.Error(), cause) {
			t.Errorf("%s: error %v", cause, err)
		}
	}
}

func TestKVTypes(t *testing.T) {
	m := openModel(t, Options{Path: tiny.file(t)})
	tokens := []runtime.Token{5, 900, 31, 7, 7, 12}
	logits := func(o DeviceOptions) []float32 {
		o.Sequences, o.Cells, o.Threads = 1, 256, 1
		d := openDevice(t, m, o)
		if _, err := d.Decode(rowsOf(t, m, 0, 0, tokens)); err != nil {
			t.Fatal(err)
		}
		l, err := d.Logits(len(tokens) - 1)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	exact := logits(DeviceOptions{KV: KVF32, FlashAttention: FlashOff})
	for _, c := range []struct {
		o     DeviceOptions
		bound float64
	}{
		// Flash attention rounds keys and values to float16 whatever the cache holds.
		{DeviceOptions{KV: KVF32, FlashAttention: FlashOn}, 1e-2}, {DeviceOptions{KV: KVF16, FlashAttention: FlashOff}, 1e-2},
		{DeviceOptions{KV: KVF16}, 1e-2}, {DeviceOptions{KV: KVQ8}, 0.2},
	} {
		if d := maxDifference(logits(c.o), exact); !(d <= c.bound) {
			t.Errorf("%+v: logits differ by %g, want at most %g", c.o, d, c.bound)
		}
	}
}

// Base rows cost nothing: a graph without adapters has none of our LoRA nodes, the first adapted row brings
// them in, and from then on any mix of rows runs on that graph.
func TestGraphsAreBuiltOnce(t *testing.T) {
	m := openModel(t, Options{Path: tiny.file(t)})
	d := openDevice(t, m, DeviceOptions{Sequences: 2, Cells: 256, Threads: 1})
	adapters := []runtime.Packed{
		pack(t, m, newAdapter(t, m, 1, 4, 8, isLinear).lora), pack(t, m, newAdapter(t, m, 2, 64, 8, isLinear).lora),
	}
	pos := 0
	decode := func() {
		rows := append(rowsOf(t, m, 0, pos, []runtime.Token{3}), rowsOf(t, m, 1, pos, []runtime.Token{4})...)
		if _, err := d.Decode(rows); err != nil {
			t.Fatal(err)
		}
		pos++
	}
	built := func(want int, what string, step func()) {
		t.Helper()
		before := d.graphBuilds()
		step()
		if got := d.graphBuilds() - before; got != want {
			t.Errorf("%s: %d graphs built, want %d", what, got, want)
		}
	}
	place := func(seq int, mix ...runtime.Term) {
		if err := d.SetAdapters(seq, mix); err != nil {
			t.Fatal(err)
		}
	}
	built(1, "the first decode", decode)
	built(0, "the base again", decode)
	place(1, runtime.Term{Packed: adapters[0], Scale: 1})
	built(1, "the first adapter", decode)
	place(0, runtime.Term{Packed: adapters[1], Scale: 1}, runtime.Term{Packed: adapters[0], Scale: 1})
	built(0, "a wider mix", decode)
	place(0)
	place(1)
	built(0, "the base, after adapters", decode)
}

// Devices on one model run at once, and beside stock contexts, each with its own adapters.
func TestDevicesDoNotDisturbEachOther(t *testing.T) {
	m := openModel(t, Options{Path: tiny.file(t), PackFloat32: true})
	adapters, ss := proofAdapters(t, m), streams(tiny.vocab)
	want := stockLogits(t, m, adapters, ss)
	var devices []*Device // opened first: stock contexts forbid, by a variable of the process, that graphs are reused
	for range 3 {
		devices = append(devices, openDevice(t, m, proofDevice(Fused, 32)))
	}
	var wg sync.WaitGroup
	for _, d := range devices {
		wg.Add(2)
		go func() {
			defer wg.Done()
			if got := compare(ourLogits(t, m, d, adapters, ss), want); !(got.most <= 1e-5) {
				t.Errorf("beside other devices: %v", got)
			}
		}()
		go func() {
			defer wg.Done()
			// The stock path sums the adapters of a composition in the order of their addresses.
			if got := compare(stockLogits(t, m, adapters, ss), want); !(got.most <= 1e-5) {
				t.Errorf("a stock context beside devices: %v", got)
			}
		}()
	}
	wg.Wait()
}

func TestClosingInAnyOrder(t *testing.T) {
	m := openModel(t, Options{Path: tiny.file(t)})
	d := openDevice(t, m, DeviceOptions{Sequences: 1, Cells: 256, Threads: 1})
	p := pack(t, m, newAdapter(t, m, 1, 4, 8, isLinear).lora)
	s := greedy(t, m)
	if err := d.SetAdapters(0, []runtime.Term{{Packed: p, Scale: 1}}); err != nil {
		t.Fatal(err)
	}
	// The device keeps what it was given; nothing new can be made.
	for range 2 {
		p.Close()
		m.Close()
	}
	if _, err := d.Decode([]runtime.Row{{Token: 1, Sampler: s, Top: -1}}); err != nil {
		t.Errorf("Decode on a closed model and pack: %v", err)
	}
	if err := d.SetAdapters(0, []runtime.Term{{Packed: p, Scale: 1}}); !errors.Is(err, runtime.ErrAdapter) {
		t.Errorf("SetAdapters of a closed pack: %v", err)
	}
	if _, err := m.NewSampler(runtime.Sampling{}, nil); !errors.Is(err, runtime.ErrClosed) {
		t.Errorf("NewSampler of a closed model: %v", err)
	}
	if _, err := NewDevice(m, DeviceOptions{}); !errors.Is(err, runtime.ErrClosed) {
		t.Errorf("NewDevice on a closed model: %v", err)
	}
	if got := m.Piece(1, true); got != nil {
		t.Errorf("Piece of a closed model: %q", got)
	}
	for range 2 {
		d.Close()
		s.Close()
	}
	if _, err := d.Decode(nil); !errors.Is(err, runtime.ErrClosed) {
		t.Errorf("Decode on a closed device: %v", err)
	}
	if err := d.SetAdapters(0, nil); !errors.Is(err, runtime.ErrClosed) {
		t.Errorf("SetAdapters on a closed device: %v", err)
	}
	var none *Model
	var noDevice *Device
	var noPack *Packed
	var noSampler *Sampler
	for _, close := range []func() error{none.Close, noDevice.Close, noPack.Close, noSampler.Close} {
		if err := close(); err != nil {
			t.Error(err)
		}
	}
}

//go:build cgo && linux

package llama

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama/devicetest"
)

// manyAdapters are adapters of all classes of ranks from 4 to 64, some of them between two.
func manyAdapters(t testing.TB, m *Model) []adapter {
	var out []adapter
	for k, rank := range []int{4, 64, 5, 16, 33, 8} {
		out = append(out, newAdapter(t, m, uint64(40+k), rank, float32(rank)/2, isLinear))
	}
	return out
}

// Ranks from 4 to 64 and compositions of them in one batch, in the memory of a device, against stock llama.cpp. In half
// precision an adapter's products are off by what rounding to 11 bits does.
func TestMixedRanksOnADevice(t *testing.T) {
	s := tiny
	s.layers = 2
	path := s.file(t)
	cpu := openModel(t, Options{Path: path, PackFloat32: true})
	adapters, ss := manyAdapters(t, cpu), streams(s.vocab)
	want := stockLogits(t, cpu, adapters, ss)
	for _, c := range []struct {
		name     string
		slots    SlotType
		products SlotProducts
		ubatch   int
		most     float64
	}{
		{"f32", SlotF32, MulMatID, 32, 1e-5}, {"f16", SlotF16, MulMatID, 32, 5e-3},
		{"f32 gathered", SlotF32, Gathered, 32, 1e-5}, {"f16 gathered", SlotF16, Gathered, 32, 5e-3},
		{"f32 shared by prompts", SlotF32, ProductsAuto, 512, 1e-5}, {"f16 shared by prompts", SlotF16, ProductsAuto, 512, 5e-3},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := openModel(t, deviceOptions(t, Options{Path: path}))
			o := proofDevice(Fused, c.ubatch)
			o.Slots, o.Products, o.SlotBytes = c.slots, c.products, 64<<20
			got := compare(ourLogits(t, m, openDevice(t, m, o), adapters, ss), want)
			t.Log(got)
			if !(got.most <= deviceTolerance(c.most)) || got.argmax != got.ties {
				t.Errorf("want at most %g, and no other argmax but of ties", c.most)
			}
		})
	}
}

// bytesPerRank is what a rank takes in slots of F16 on a device.
func bytesPerRank(m *Model) int64 {
	n := int64(0)
	for name, shape := range m.Facts().Targets {
		if name != "token_embd.weight" {
			n += 2 * int64(shape.In+shape.Out)
		}
	}
	return n
}

// smallSlots is a device on the test device whose slots have room for `ranks` ranks.
func smallSlots(t *testing.T, m *Model, ranks int) *Device {
	t.Helper()
	before := devicetest.Used()
	o := DeviceOptions{Sequences: 4, Cells: 256, Threads: 1, SlotBytes: int64(ranks) * bytesPerRank(m)}
	d := openDevice(t, m, o)
	with := devicetest.Used() - before
	o.SlotBytes *= 2
	larger := openDevice(t, m, o)
	if more := devicetest.Used() - before - with; d.SlotStats().Bytes != o.SlotBytes/2 || more-with != o.SlotBytes/2 {
		t.Errorf("slots of %d bytes take %d more than slots of half of that", o.SlotBytes, more-with)
	}
	larger.Close()
	return d
}

// set gives a sequence an adapter.
func set(t *testing.T, d *Device, seq int, p ...runtime.Packed) {
	t.Helper()
	mix := []runtime.Term{}
	for _, a := range p {
		mix = append(mix, runtime.Term{Packed: a, Scale: 1})
	}
	if err := d.SetAdapters(seq, mix); err != nil {
		t.Fatal(err)
	}
}

// More adapters than there are slots for: those that no sequence uses give way, come back, and give what they gave before,
// while another sequence goes on. What is in use stays.
func TestMoreAdaptersThanSlots(t *testing.T) {
	m := openModel(t, deviceOptions(t, Options{Path: tiny.file(t)}))
	d := smallSlots(t, m, 32)
	var packs []runtime.Packed
	for k := range 5 {
		packs = append(packs, pack(t, m, newAdapter(t, m, uint64(k), 8, 8, isLinear).lora))
	}
	tokens := []runtime.Token{5, 900, 31, 7}
	answer := func(seq int) []float32 {
		t.Helper()
		if _, err := d.Truncate(seq, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Decode(rowsOf(t, m, seq, 0, tokens)); err != nil {
			t.Fatal(err)
		}
		l, err := d.Logits(len(tokens) - 1)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	first := make([][]float32, len(packs))
	set(t, d, 0, packs[0])
	first[0] = answer(0)
	for round := range 3 {
		for k := 1; k < len(packs); k++ {
			set(t, d, 1, packs[k])
			got := answer(1)
			if round == 0 {
				first[k] = got
			}
			if !slices.Equal(got, first[k]) {
				t.Errorf("round %d: adapter %d gives another answer", round, k)
			}
			if !slices.Equal(answer(0), first[0]) {
				t.Fatalf("round %d: the sequence beside adapter %d has another answer", round, k)
			}
		}
	}
	if s := d.SlotStats(); s.Used > s.Bytes || s.Adapters != 4 || s.Evictions < 6 || s.Uploads < 11 {
		t.Errorf("slots: %+v", s)
	}
	set(t, d, 1, packs[1])
	set(t, d, 2, packs[2])
	set(t, d, 3, packs[3])
	one := pack(t, m, newAdapter(t, m, 9, 4, 8, isLinear).lora)
	if err := d.SetAdapters(1, []runtime.Term{{Packed: one, Scale: 1}, {Packed: packs[1], Scale: 1}}); !errors.Is(err, runtime.ErrAdapter) || !strings.Contains(err.Error(), "full of adapters in use") {
		t.Errorf("no room for a second adapter: %v", err)
	}
	large := pack(t, m, newAdapter(t, m, 9, 64, 8, isLinear).lora)
	if _, err := d.Stage(t.Context(), []runtime.Term{{Packed: large, Scale: 1}}); !errors.Is(err, runtime.ErrAdapter) || !strings.Contains(err.Error(), "32 ranks (--adapter-memory)") {
		t.Errorf("an adapter larger than the memory: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Stage(ctx, []runtime.Term{{Packed: packs[4], Scale: 1}, {Packed: one, Scale: 1}}); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for room: %v", err)
	}
	release, ok := d.TryStage([]runtime.Term{{Packed: packs[2], Scale: 0.5}})
	if !ok {
		t.Fatal("an adapter that is there is not found")
	}
	release()
	release()
}

// Placing an adapter that is on the device changes numbers that a graph reads, and no graph.
func TestPlacingBuildsNoGraph(t *testing.T) {
	m := openModel(t, deviceOptions(t, Options{Path: tiny.file(t)}))
	d := openDevice(t, m, DeviceOptions{Sequences: 4, Cells: 256, Threads: 1})
	var packs []runtime.Packed
	for k := range 3 {
		packs = append(packs, pack(t, m, newAdapter(t, m, uint64(k), 8, 8, isLinear).lora))
	}
	sampler := greedy(t, m)
	pos := 0
	step := func() {
		t.Helper()
		var rows []runtime.Row
		for seq := range 3 {
			rows = append(rows, runtime.Row{Token: 7, Seq: seq, Pos: pos, Sampler: sampler, Top: -1})
		}
		pos++
		if _, err := d.Decode(rows); err != nil {
			t.Fatal(err)
		}
	}
	for seq := range 3 {
		set(t, d, seq, packs[seq])
	}
	step()
	step()
	built, uploads := d.graphBuilds(), d.SlotStats().Uploads
	for i := range 6 {
		set(t, d, i%3, packs[(i+1)%3])
		step()
	}
	if got := d.graphBuilds() - built; got != 0 {
		t.Errorf("%d graphs were built", got)
	}
	set(t, d, 0) // a base row beside the others: its products are multiplied by 0
	step()
	if got := d.graphBuilds() - built; got != 1 {
		t.Errorf("with a base row %d graphs were built", got)
	}
	set(t, d, 0, packs[2])
	step()
	set(t, d, 1)
	step()
	if got := d.graphBuilds() - built; got != 1 {
		t.Errorf("the graph with a base row serves no others: %d were built", got)
	}
	if got := d.SlotStats().Uploads; got != uploads || got != 3 {
		t.Errorf("%d uploads of three adapters", got)
	}
}

// What is computed, counted: a rank of 8 costs an eighth of 64, a batch without adapters nothing, and rows that share an
// adapter read it once.
func TestWhatAdaptersCost(t *testing.T) {
	m := openModel(t, deviceOptions(t, Options{Path: tiny.file(t)}))
	d := openDevice(t, m, DeviceOptions{Sequences: 8, Cells: 256, Threads: 1})
	per := 0.0 // multiplications per rank and row
	for name, shape := range m.Facts().Targets {
		if isLinear(name) {
			per += float64(shape.In + shape.Out)
		}
	}
	packs := map[int]runtime.Packed{}
	for _, rank := range []int{8, 7, 64} {
		packs[rank] = pack(t, m, newAdapter(t, m, uint64(rank), rank, 8, isLinear).lora)
	}
	sampler := greedy(t, m)
	pos := 0
	step := func(ranks ...int) map[int]devicetest.Products {
		t.Helper()
		var rows []runtime.Row
		for seq, rank := range ranks {
			if rank == 0 {
				set(t, d, seq)
			} else {
				set(t, d, seq, packs[rank])
			}
			rows = append(rows, runtime.Row{Token: 7, Seq: seq, Pos: pos, Sampler: sampler, Top: -1})
		}
		pos++
		devicetest.TakeProducts()
		if _, err := d.Decode(rows); err != nil {
			t.Fatal(err)
		}
		return devicetest.TakeProducts()
	}
	base := step(0, 0, 0, 0)
	if len(base) != 1 || base[0].Multiplications == 0 {
		t.Errorf("without adapters the device computed %v", base)
	}
	for _, c := range []struct {
		ranks []int
		want  map[int][2]float64 // by class: the multiplications and bytes, in ranks
	}{
		{[]int{8, 8, 8, 8}, map[int][2]float64{8: {4 * 8, 8}}},
		{[]int{8, 7, 8, 7}, map[int][2]float64{8: {4 * 8, 2 * 8}}},
		{[]int{64, 64, 64, 64}, map[int][2]float64{64: {4 * 64, 64}}},
		{[]int{0, 0, 0, 8}, map[int][2]float64{8: {4 * 8, 8}}},
		{[]int{8, 64, 0, 0}, map[int][2]float64{8: {4 * 8, 8}, 64: {4 * 64, 64}}},
	} {
		t.Run(fmt.Sprint(c.ranks), func(t *testing.T) {
			got := step(c.ranks...)
			if got[0] != base[0] {
				t.Errorf("the base's products are %+v, without adapters %+v", got[0], base[0])
			}
			delete(got, 0)
			if len(got) != len(c.want) {
				t.Errorf("classes: %v", got)
			}
			for class, want := range c.want {
				if p := got[class]; p.Multiplications != want[0]*per || p.Bytes != want[1]*2*per {
					t.Errorf("class %d: %v multiplications, %v bytes per rank; want %v", class, p.Multiplications/per, p.Bytes/2/per, want)
				}
			}
			t.Logf("adapters: %.2f %% of the base's multiplications", 100*sum(got)/base[0].Multiplications)
		})
	}
}

func sum(products map[int]devicetest.Products) float64 {
	n := 0.0
	for _, p := range products {
		n += p.Multiplications
	}
	return n
}

// On a device an adapter is kept in one form, two bytes for a value.
func TestPacksOfADeviceAreCompact(t *testing.T) {
	m := openModel(t, deviceOptions(t, Options{Path: tiny.file(t)}))
	p := pack(t, m, newAdapter(t, m, 1, 16, 8, isLinear).lora)
	values := int64(0)
	for name, shape := range m.Facts().Targets {
		if isLinear(name) {
			values += 16 * int64(shape.In+shape.Out)
		}
	}
	if got := p.Bytes(); got < 2*values || got > 2*values*11/10 {
		t.Errorf("%d values take %d bytes", values, got)
	}
}

// An adapter may be in a mix twice: its scales add up.
func TestOneAdapterTwice(t *testing.T) {
	path := tiny.file(t)
	for name, o := range map[string]Options{"cpu": {Path: path, PackFloat32: true}, "device": deviceOptions(t, Options{Path: path, PackFloat32: true})} {
		t.Run(name, func(t *testing.T) {
			m := openModel(t, o)
			packed := pack(t, m, newAdapter(t, m, 1, 8, 12, isLinear).lora)
			d := openDevice(t, m, DeviceOptions{Sequences: 2, Cells: 64, Threads: 1})
			for seq, mix := range [][]runtime.Term{{{Packed: packed, Scale: 0.75}}, {{Packed: packed, Scale: 0.5}, {Packed: packed, Scale: 0.25}}} {
				if err := d.SetAdapters(seq, mix); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := d.Decode([]runtime.Row{{Token: 5, Seq: 0, Sampler: greedy(t, m), Top: -1}, {Token: 5, Seq: 1, Sampler: greedy(t, m), Top: -1}}); err != nil {
				t.Fatal(err)
			}
			once, err := d.Logits(0)
			if err != nil {
				t.Fatal(err)
			}
			twice, err := d.Logits(1)
			if err != nil {
				t.Fatal(err)
			}
			for i := range once {
				if math.Abs(float64(once[i]-twice[i])) > 1e-4 {
					t.Fatalf("logit %d is %g with the scale 0.75 and %g with 0.5 and 0.25", i, once[i], twice[i])
				}
			}
		})
	}
}

// The rows of a prompt are multiplied with their adapter as one matrix; those that are decoded, one by one.
func TestPromptsShareSlots(t *testing.T) {
	m := openModel(t, deviceOptions(t, Options{Path: tiny.file(t)}))
	d := openDevice(t, m, DeviceOptions{Sequences: 2, Cells: 512, Threads: 1})
	set(t, d, 0, pack(t, m, newAdapter(t, m, 1, 16, 16, isLinear).lora))
	for _, c := range []struct {
		rows   int
		shared bool
	}{{128, true}, {32, false}} {
		if _, err := d.Truncate(0, 0); err != nil {
			t.Fatal(err)
		}
		devicetest.TakeProducts()
		rows := rowsOf(t, m, 0, 0, make([]runtime.Token, c.rows))
		for i := range rows { // otherwise the last block has the last row alone
			rows[i].Sampler = rows[len(rows)-1].Sampler
		}
		if _, err := d.Decode(rows); err != nil {
			t.Fatal(err)
		}
		if got := devicetest.TakeProducts(); (got[16].Calls == 0) != c.shared {
			t.Errorf("%d rows: the products are %v", c.rows, got)
		}
	}
}

//go:build cgo && linux

package llama

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// ownNorms are weights of all norms that pick picks, near those of a base of random numbers.
func ownNorms(m *Model, seed uint64, pick func(string) bool) (list []runtime.LoRANorm) {
	rng := rand.New(rand.NewPCG(seed, 6))
	names := make([]string, len(m.norms))
	for name, i := range m.norms {
		names[i] = name
	}
	for _, name := range names {
		if !pick(name) {
			continue
		}
		values := make([]float32, m.facts.Norms[name])
		for i := range values {
			values[i] = 1 + float32(rng.NormFloat64()*0.3)
		}
		list = append(list, runtime.LoRANorm{Tensor: name, Values: values})
	}
	return list
}

// normAdapters are LoRAs with every norm, a few norms alone, and LoRAs without norms.
func normAdapters(t testing.TB, m *Model) []adapter {
	one, three := newAdapter(t, m, 40, 8, 4, isLinear), newAdapter(t, m, 41, 4, 4, isLinear)
	one.lora.Norms = ownNorms(m, 1, func(string) bool { return true })
	two := adapter{lora: &runtime.LoRA{Norms: ownNorms(m, 2, func(name string) bool { return !strings.Contains(name, "blk.1") })}}
	return []adapter{one, two, three}
}

// Norms against models that have them in their weights, in one batch with the base and with an adapter without norms.
func TestOwnNormsEqualMergedWeights(t *testing.T) {
	for arch, norms := range map[string]int{"llama": 5, "qwen2": 5, "qwen3": 9} {
		s := tiny
		s.arch, s.layers, s.vocab = arch, 2, 512
		path := s.file(t)
		f := openQuant(t, path)
		m := openModel(t, Options{Path: path, KeepPlain: true, PackFloat32: true})
		if len(m.facts.Norms) != norms {
			t.Fatalf("%s: norms %v, want %d", arch, m.facts.Norms, norms)
		}
		adapters := normAdapters(t, m)
		ss := streams(s.vocab)[:6]
		for i, mix := range [][]use{nil, {{0, 1}}, {{1, 1}}, {{0, 0.7}, {1, 0.5}}, {{1, -0.5}, {2, 1}}, {{2, 1}}} {
			ss[i].mixes = [2][]use{mix, mix}
		}
		want := mergedLogits(t, f, s.arch, adapters, ss)
		for _, backend := range []Backend{Fused, MMID} {
			for _, ubatch := range []int{512, 32} {
				t.Run(fmt.Sprintf("%s/backend%d/ubatch%d", arch, backend, ubatch), func(t *testing.T) {
					got := compare(ourLogits(t, m, openDevice(t, m, proofDevice(backend, ubatch)), adapters, ss), want)
					t.Log(got)
					if !(got.most <= 2e-5) || got.argmax != got.ties {
						t.Error("want at most 2e-5 and no other argmax")
					}
				})
			}
		}
	}
}

// The same in the memory of a device, all layers or the last of them, in slots of floats and of halves, and with prompts whose rows
// share their slots. In half precision a norm is off by what rounding its difference to the base's to 11 bits does.
func TestOwnNormsOnADevice(t *testing.T) {
	for arch, norms := range map[string]int{"llama": 7, "qwen2": 7, "qwen3": 13} {
		if namedDevice() && arch != "qwen3" {
			continue // it has the norms of the others, and two more
		}
		s := tiny
		s.arch, s.layers, s.vocab = arch, 3, 512
		path := s.file(t)
		f := openQuant(t, path)
		cpu := openModel(t, Options{Path: path, KeepPlain: true, PackFloat32: true})
		adapters := normAdapters(t, cpu)
		ss := streams(s.vocab)[:6]
		for i, mix := range [][]use{nil, {{0, 1}}, {{1, 1}}, {{0, 0.7}, {1, 0.5}}, {{1, -0.5}, {2, 1}}, {{2, 1}}} {
			ss[i].mixes = [2][]use{mix, mix}
		}
		want := mergedLogits(t, f, s.arch, adapters, ss)
		for _, c := range []struct {
			name           string
			layers, ubatch int
			slots          SlotType
			most           float64
		}{
			{"all", AllLayers, 512, SlotF32, 2e-5}, {"small batches", AllLayers, 8, SlotF32, 2e-5},
			{"the last block and the head", 2, 512, SlotF32, 2e-5}, {"in halves", AllLayers, 32, SlotF16, 5e-3},
		} {
			t.Run(arch+"/"+c.name, func(t *testing.T) {
				m := openModel(t, Options{Path: path, PackFloat32: c.slots == SlotF32, Device: testDevice(t), GPULayers: c.layers})
				if len(m.facts.Norms) != norms {
					t.Fatalf("norms %v, want %d", m.facts.Norms, norms)
				}
				o := proofDevice(Fused, c.ubatch)
				o.Slots = c.slots
				got := compare(ourLogits(t, m, openDevice(t, m, o), adapters, ss), want)
				t.Log(got)
				if most := deviceTolerance(c.most); !(got.most <= most) || got.argmax != got.ties {
					t.Errorf("want at most %g and no other argmax", most)
				}
			})
		}
	}
}

// Rows without norms have the same bits beside rows with norms as without these.
func TestNormsLeaveOtherRowsAlone(t *testing.T) {
	s := tiny
	s.layers, s.vocab = 2, 512
	everywhere(t, func(t *testing.T, place func(Options) Options) {
		normsLeaveOtherRowsAlone(t, s, openModel(t, place(Options{Path: s.file(t), KeepPlain: true, PackFloat32: true})))
	})
}

func normsLeaveOtherRowsAlone(t *testing.T, s sizes, m *Model) {
	adapters := normAdapters(t, m)
	with := func(beside []use) []stream {
		ss := streams(s.vocab)[:3]
		for i, mixes := range [][2][]use{{nil, {{2, 1}}}, {{{2, 1}}, nil}, {beside, beside}} {
			ss[i].mixes = mixes
		}
		return ss
	}
	for _, backend := range []Backend{Fused, MMID} {
		alone := ourLogits(t, m, openDevice(t, m, proofDevice(backend, 512)), adapters, with(nil))
		beside := ourLogits(t, m, openDevice(t, m, proofDevice(backend, 512)), adapters, with([]use{{1, 1}}))
		for i := range 2 {
			for p := range alone[i] {
				if !slices.Equal(alone[i][p], beside[i][p]) {
					t.Fatalf("backend %d: stream %d differs at token %d", backend, i, p)
				}
			}
		}
		if last := len(alone[2]) - 1; slices.Equal(alone[2][last], beside[2][last]) {
			t.Errorf("backend %d: the norms change nothing", backend)
		}
	}
}

// A graph without nodes for norms is not used again for a row that has norms, one with them is used for rows without, and
// the rows are the same as on a device that never had another graph.
func TestGraphsOfNorms(t *testing.T) {
	s := tiny
	s.layers, s.vocab = 2, 512
	t.Run("cpu", func(t *testing.T) {
		m := openModel(t, Options{Path: s.file(t), KeepPlain: true, PackFloat32: true})
		graphsOfNorms(t, m, []Backend{Fused, MMID}, 0)
	})
	t.Run("device", func(t *testing.T) { // which has nodes for norms only where a row has norms
		graphsOfNorms(t, openModel(t, deviceOptions(t, Options{Path: s.file(t)})), []Backend{Fused}, 1)
	})
}

func graphsOfNorms(t *testing.T, m *Model, backends []Backend, again int64) {
	var plain, norms []runtime.Term
	plain = []runtime.Term{{Packed: pack(t, m, newAdapter(t, m, 41, 8, 4, isLinear).lora), Scale: 1}}
	withNorms := newAdapter(t, m, 40, 8, 4, isLinear)
	withNorms.lora.Norms = ownNorms(m, 1, func(string) bool { return true })
	norms = []runtime.Term{{Packed: pack(t, m, withNorms.lora), Scale: 1}}
	// answer decodes ten tokens one by one and returns the last one's logits.
	answer := func(d *Device, mix []runtime.Term) (logits []float32, built int64) {
		before := d.graphBuilds()
		if err := d.SetAdapters(0, mix); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Truncate(0, 0); err != nil {
			t.Fatal(err)
		}
		sampler := greedy(t, m)
		for p := range 10 {
			if _, err := d.Decode([]runtime.Row{{Token: runtime.Token(p * 37), Pos: p, Sampler: sampler, Top: -1}}); err != nil {
				t.Fatal(err)
			}
		}
		logits, err := d.Logits(0)
		if err != nil {
			t.Fatal(err)
		}
		return logits, int64(d.graphBuilds()) - int64(before)
	}
	for _, backend := range backends {
		d := openDevice(t, m, proofDevice(backend, 512))
		for i, c := range []struct {
			mix   []runtime.Term
			built int64
		}{{plain, 1}, {norms, 1}, {plain, again}, {norms, again}} {
			got, built := answer(d, c.mix)
			want, _ := answer(openDevice(t, m, proofDevice(backend, 512)), c.mix)
			if built != c.built || !slices.Equal(got, want) {
				t.Errorf("backend %d, step %d: %d graphs were built, want %d; logits differ by %g", backend, i, built, c.built, maxDifference(got, want))
			}
		}
	}
}

func TestConformanceWithNorms(t *testing.T) {
	m := openModel(t, Options{Path: demoF16})
	runtimetest.Conformance(t, func(t *testing.T) (runtime.Device, runtime.Model, []runtime.Packed) {
		one, two := newAdapter(t, m, 1, 8, 12, isLinear), newAdapter(t, m, 2, 16, 12, func(string) bool { return true })
		for _, a := range []adapter{one, two} { // enough to change answers, not enough to make the model unsure
			for i := range a.lora.Modules {
				a.lora.Modules[i].Scale *= 0.3
			}
		}
		for _, name := range []string{"blk.0.attn_norm.weight", "output_norm.weight"} {
			base := make([]float32, m.facts.Norms[name])
			for i := range base {
				base[i] = 1.5
			}
			one.lora.Norms = append(one.lora.Norms, runtime.LoRANorm{Tensor: name, Values: base})
		}
		d := openDevice(t, m, DeviceOptions{Sequences: 4, Cells: 512, Batch: 128, UBatch: 64, Threads: 1})
		return d, m, []runtime.Packed{pack(t, m, one.lora), pack(t, m, two.lora)}
	})
}

func TestNormsRefuse(t *testing.T) {
	path := tiny.file(t)
	m := openModel(t, Options{Path: path})
	good := slices.Repeat([]float32{1}, tiny.embedding)
	bad := slices.Clone(good)
	bad[7] = float32(math.Inf(1))
	nan := slices.Clone(good)
	nan[8] = float32(math.NaN())
	for name, c := range map[string]struct {
		norms []runtime.LoRANorm
		part  string
	}{
		"long":     {[]runtime.LoRANorm{{Tensor: "blk.0.attn_norm.weight", Values: append(slices.Clone(good), 1)}}, "257 values, the base's has 256"},
		"empty":    {[]runtime.LoRANorm{{Tensor: "output_norm.weight"}}, "output_norm.weight: a norm's weight of 0 values"},
		"infinite": {[]runtime.LoRANorm{{Tensor: "blk.1.ffn_norm.weight", Values: bad}}, "blk.1.ffn_norm.weight: value 7 is not a finite number"},
		"NaN":      {[]runtime.LoRANorm{{Tensor: "output_norm.weight", Values: nan}}, "output_norm.weight: value 8 is not a finite number"},
		"qwen3's":  {[]runtime.LoRANorm{{Tensor: "blk.0.attn_q_norm.weight", Values: good}}, "blk.0.attn_q_norm.weight: the base has no such norm"},
		"no norm":  {[]runtime.LoRANorm{{Tensor: "blk.0.attn_q.weight", Values: good}}, "blk.0.attn_q.weight: the base has no such norm"},
		"twice":    {[]runtime.LoRANorm{{Tensor: "output_norm.weight", Values: good}, {Tensor: "output_norm.weight", Values: good}}, "output_norm.weight occurs twice"},
	} {
		_, err := m.Pack(&runtime.LoRA{Norms: c.norms})
		if !errors.Is(err, runtime.ErrAdapter) || !strings.Contains(err.Error(), c.part) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	// On a device, the difference to the base's weight is held in half precision.
	bad[7] = 1e5
	large := &runtime.LoRA{Norms: []runtime.LoRANorm{{Tensor: "blk.3.attn_norm.weight", Values: bad}}}
	if _, err := openModel(t, deviceOptions(t, Options{Path: path})).Pack(large); !errors.Is(err, runtime.ErrAdapter) || !strings.Contains(err.Error(), "blk.3.attn_norm.weight: value 7 is not a finite number of a weight's size") {
		t.Errorf("too large for half precision: error %v", err)
	}
	pack(t, m, large)
}

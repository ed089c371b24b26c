//go:build cgo && linux

package llama

import (
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// oddAdapter has another rank and scale on every kind of layer, as rank_pattern, alpha_pattern and rsLoRA make
// them: one alpha does not say them all.
func oddAdapter(m *Model, seed uint64) *runtime.LoRA {
	r := rand.New(rand.NewPCG(seed, 3))
	values := func(n int, scale float64) []float32 {
		out := make([]float32, n)
		for i := range out {
			out[i] = float32(r.NormFloat64() * scale)
		}
		return out
	}
	a := &runtime.LoRA{}
	for i, name := range slices.Sorted(maps.Keys(m.facts.Targets)) {
		shape, rank := m.facts.Targets[name], 3+i%4
		a.Modules = append(a.Modules, runtime.LoRAModule{
			Tensor: name, Rank: rank, In: shape.In, Out: shape.Out, Scale: float32(8 / math.Sqrt(float64(rank+i%3))),
			A: values(rank*shape.In, 1/math.Sqrt(float64(shape.In))), B: values(rank*shape.Out, 0.1),
		})
	}
	return a
}

// exported stores an adapter and returns the path of its GGUF export.
func exported(t *testing.T, m *Model, a *runtime.LoRA) string {
	t.Helper()
	s, err := adapters.Open(adapters.Options{Dir: t.TempDir(), Facts: m.Facts()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.PutLoRA("odd", a, adapters.Note{}); err != nil {
		t.Fatal(err)
	}
	e, err := s.Export(t.Context(), adapters.Ref{Name: "odd", Scale: 1}, adapters.GGUF)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	data, err := io.ReadAll(e)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "odd.gguf")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// An exported adapter loads in stock llama.cpp and gives there what it gives here.
func TestExportInStockLlama(t *testing.T) {
	// Before it multiplies F16 weights ggml rounds activations to F16, and to 8 bits before quantized ones, as our kernels
	// do: where sums in another order differ in their last bit, a rounding may go the other way, which is a part in 2048, or
	// in 254 of the largest activation of the block. So there the same logits are not had from any two orders of a sum.
	tolerance := map[string]float64{"f32": 1e-4, "f16": 5e-3, "q8_0": 0.15, "q4_0": 0.15, "q4_k_m": 0.15}
	for _, arch := range []string{"llama", "qwen2", "qwen3"} {
		for _, kind := range []string{"f32", "f16", "q8_0", "q4_0", "q4_k_m"} {
			t.Run(arch+" "+kind, func(t *testing.T) {
				s := tiny
				s.arch = arch
				path := s.file(t)
				if kind != "f32" {
					half := filepath.Join(t.TempDir(), "f16.gguf")
					if err := Quantize(t.Context(), path, half, kind, 1, nil); err != nil {
						t.Fatal(err)
					}
					path = half
				}
				m := openModel(t, Options{Path: path, PackFloat32: true})
				a := oddAdapter(m, 1)
				tokens := make([]runtime.Token, 24)
				for i := range tokens {
					tokens[i] = runtime.Token((i*104729 + 17) % s.vocab)
				}
				r, err := newReference(m, 256, 1, KVF32, FlashOff)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				if err := r.Add(exported(t, m, a), 1); err != nil {
					t.Fatal(err)
				}
				stock, err := r.Decode(tokens)
				if err != nil {
					t.Fatal(err)
				}
				d := openDevice(t, m, DeviceOptions{Threads: 1, KV: KVF32, FlashAttention: FlashOff, Cells: 256})
				ours, base := textLogits(t, m, d, 0, tokens, a), textLogits(t, m, d, 1, tokens, nil)
				changed := 0.0
				apart := compare([][][]float32{ours}, [][][]float32{stock})
				t.Log(apart)
				// Two tokens nearer to each other than twice the difference are a tie; in F32 there is none.
				if !(apart.most <= tolerance[kind]) || apart.argmax != apart.ties || kind == "f32" && apart.ties > 0 {
					t.Errorf("want at most %g, and no other argmax but of near ties", tolerance[kind])
				}
				for i := range tokens {
					changed = max(changed, maxDifference(ours[i], base[i]))
				}
				if changed < 1 {
					t.Errorf("the adapter changes the logits by %g only: the test sees nothing", changed)
				}
			})
		}
	}
}

// textLogits decodes the tokens on a sequence with an adapter, which may be nil.
func textLogits(t *testing.T, m *Model, d *Device, seq int, tokens []runtime.Token, a *runtime.LoRA) [][]float32 {
	t.Helper()
	var mix []runtime.Term
	if a != nil {
		mix = []runtime.Term{{Packed: pack(t, m, a), Scale: 1}}
	}
	if err := d.SetAdapters(seq, mix); err != nil {
		t.Fatal(err)
	}
	sampler := greedy(t, m)
	rows := make([]runtime.Row, len(tokens))
	for i, token := range tokens {
		rows[i] = runtime.Row{Token: token, Seq: seq, Pos: i, Sampler: sampler, Top: -1}
	}
	if _, err := d.Decode(rows); err != nil {
		t.Fatal(err)
	}
	out := make([][]float32, len(tokens))
	for i := range tokens {
		l, err := d.Logits(i)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = l
	}
	return out
}

// What adapters reads from a file's header is what the loaded model says.
func TestFactsOfAFile(t *testing.T) {
	for _, arch := range []string{"llama", "qwen2", "qwen3"} {
		for _, tied := range []bool{false, true} {
			s := tiny
			s.arch, s.tied = arch, tied
			path := s.file(t)
			want := openModel(t, Options{Path: path}).Facts()
			f, err := quant.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := peft.FactsOf(f)
			f.Close()
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.Targets, want.Targets) || got.Architecture != want.Architecture || got.Fingerprint != want.Fingerprint ||
				got.Heads != want.Heads || got.KVHeads != want.KVHeads || got.RopeNorm != want.RopeNorm || got.TiedHead != want.TiedHead ||
				got.TiedHead != tied || got.Layers != want.Layers || got.Embedding != want.Embedding || got.Name != want.Name {
				t.Errorf("%s tied %v: got %+v, want %+v", arch, tied, got, want)
			}
		}
	}
}

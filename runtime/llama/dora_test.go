//go:build cgo && linux

package llama

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/x448/float16"

	"github.com/lorikeet-ai/lorikeet/demo"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// DoRA is proved by merging: a mix of adapters is one model whose weights are computed here, in plain loops and
// double precision from the definition, and which the stock path serves without any adapter.

// changed is W plus a mix of modules on it: W + sum of w * ((g-1) W + g s B A), rows scaled by their own g; columns
// where the module is the embedding.
func changed(w []float32, in int, mix []use, modules []*runtime.LoRAModule) []float32 {
	sum := make([]float64, len(w))
	for i, x := range w {
		sum[i] = float64(x)
	}
	for k, m := range modules {
		if m == nil {
			continue
		}
		whole := make([]float64, len(w)) // W + s B A
		for i := range whole {
			whole[i] = float64(w[i])
			for r := range m.Rank {
				whole[i] += float64(m.Scale) * float64(m.B[i/in*m.Rank+r]) * float64(m.A[r*in+i%in])
			}
		}
		g := gainsOf(m, whole, in)
		for i := range sum {
			sum[i] += float64(mix[k].scale) * (g(i)*whole[i] - float64(w[i]))
		}
	}
	out := make([]float32, len(w))
	for i, x := range sum {
		out[i] = float32(x)
	}
	return out
}

// gainsOf returns the factor of each element of the whole weight.
func gainsOf(m *runtime.LoRAModule, whole []float64, in int) func(i int) float64 {
	if m.Magnitude == nil {
		return func(int) float64 { return 1 }
	}
	line := func(i int) int { return i / in }
	if m.Tensor == "token_embd.weight" {
		line = func(i int) int { return i % in }
	}
	squares := make([]float64, len(m.Magnitude))
	for i, x := range whole {
		squares[line(i)] += x * x
	}
	return func(i int) float64 { return float64(m.Magnitude[line(i)]) / math.Sqrt(squares[line(i)]) }
}

// merged writes f, every tensor in F32, with the mix in its weights.
func merged(t testing.TB, f *quant.File, arch string, mix []use, adapters []adapter) string {
	t.Helper()
	m := f.Metadata.Clone()
	m.Set("general.architecture", arch)
	tensors := append([]quant.Tensor(nil), f.Tensors...)
	for i := range tensors {
		tensors[i].Type = quant.F32
	}
	path := filepath.Join(t.TempDir(), "merged.gguf")
	err := quant.WriteFile(path, &m, tensors, func(i int, w io.Writer) error {
		x, err := f.ReadF32(tensors[i].Name)
		modules := make([]*runtime.LoRAModule, len(mix))
		found := false
		for k, u := range mix {
			for j := range adapters[u.adapter].lora.Modules {
				if mod := &adapters[u.adapter].lora.Modules[j]; mod.Tensor == tensors[i].Name {
					modules[k], found = mod, true
				}
			}
		}
		y := x
		if found && err == nil {
			y = changed(x, int(tensors[i].Dims[0]), mix, modules)
		}
		if err == nil {
			y = withWhole(y, x, tensors[i], mix, adapters)
		}
		return errors.Join(err, writeF32(w, y))
	})
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// doraAdapters are four adapters: DoRA of two ranks, plain LoRA, and DoRA of attention alone.
func doraAdapters(t testing.TB, m *Model, f *quant.File, keep func(string) bool) []adapter {
	out := []adapter{
		newAdapter(t, m, 20, 8, 12, keep), newAdapter(t, m, 21, 4, 8, keep), newAdapter(t, m, 22, 16, 16, keep),
		newAdapter(t, m, 23, 8, 8, isAttention),
	}
	for k, a := range out {
		rng := rand.New(rand.NewPCG(uint64(k), 5))
		for i := range a.lora.Modules {
			mod := &a.lora.Modules[i]
			mod.Scale *= 0.5 // enough to change answers, not enough to make the model unsure
			if k != 2 {
				mod.Magnitude = magnitudes(t, rng, f, mod)
			}
		}
	}
	return out
}

// magnitudes are near the norms of the base's own rows.
func magnitudes(t testing.TB, rng *rand.Rand, f *quant.File, m *runtime.LoRAModule) []float32 {
	t.Helper()
	w, err := f.ReadF32(m.Tensor)
	if err != nil {
		t.Fatal(err)
	}
	squares := make([]float64, m.MagnitudeSize())
	for i, x := range w {
		line := i / m.In
		if m.Tensor == "token_embd.weight" {
			line = i % m.In
		}
		squares[line] += float64(x) * float64(x)
	}
	out := make([]float32, len(squares))
	for i, s := range squares {
		out[i] = float32(math.Sqrt(s) * (0.8 + 0.4*rng.Float64()))
	}
	return out
}

// doraStreams have one mix each.
func doraStreams(vocab int) []stream {
	ss := streams(vocab)[:7]
	for i, mix := range [][]use{
		nil, {{0, 1}}, {{1, 1}}, {{2, 1}}, {{3, 1}}, {{0, 0.7}, {2, 0.5}}, {{1, -0.4}, {0, 1}, {3, 0.25}, {2, 0.3}},
	} {
		ss[i].mixes = [2][]use{mix, mix}
	}
	return ss
}

// mergedLogits decodes each stream with a model of its own.
func mergedLogits(t testing.TB, f *quant.File, arch string, adapters []adapter, ss []stream) [][][]float32 {
	t.Helper()
	out := make([][][]float32, len(ss))
	for i, s := range ss {
		m := openModel(t, Options{Path: merged(t, f, arch, s.mixes[0], adapters)})
		r, err := newReference(m, 256, 1, KVF32, FlashOff)
		if err != nil {
			t.Fatal(err)
		}
		out[i], err = r.Decode(s.tokens)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		m.Close()
	}
	return out
}

func openQuant(t testing.TB, path string) *quant.File {
	t.Helper()
	f, err := quant.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestDoRAEqualsMergedWeights(t *testing.T) { everywhere(t, doraEqualsMergedWeights) }

func doraEqualsMergedWeights(t *testing.T, place func(Options) Options) {
	for _, arch := range []string{"llama", "qwen2"} { // qwen2 has biases, which stay outside the product
		s := tiny
		s.arch, s.layers, s.vocab = arch, 2, 512
		path := s.file(t)
		f := openQuant(t, path)
		m := openModel(t, place(Options{Path: path, KeepPlain: true, PackFloat32: true}))
		adapters, ss := doraAdapters(t, m, f, func(string) bool { return true }), doraStreams(s.vocab)
		want := mergedLogits(t, f, arch, adapters, ss)
		for _, backend := range []Backend{Fused, MMID} {
			t.Run(fmt.Sprintf("%s/backend%d", arch, backend), func(t *testing.T) {
				got := compare(ourLogits(t, m, openDevice(t, m, proofDevice(backend, 32)), adapters, ss), want)
				t.Log(got)
				if !(got.most <= 2e-5) || got.argmax != 0 {
					t.Error("want at most 2e-5 and no other argmax")
				}
			})
		}
	}
}

// The norms are those of the weights as they are stored, whatever their type: with DoRA the logits are as close to
// those of the merged decoded weights as the base's are to the decoded base's.
func TestDoRAOnQuantizedBases(t *testing.T) { everywhere(t, doraOnQuantizedBases) }

func doraOnQuantizedBases(t *testing.T, place func(Options) Options) {
	s := tiny
	s.layers, s.vocab = 2, 512
	nf4, inF32 := s.nf4(t)
	q4, q4decoded := withQ4(t, s)
	half := filepath.Join(t.TempDir(), "f16.gguf")
	if err := Quantize(t.Context(), s.file(t), half, "f16", 1, nil); err != nil {
		t.Fatal(err)
	}
	q8 := filepath.Join(t.TempDir(), "q8_0.gguf")
	if err := Quantize(t.Context(), s.file(t), q8, "q8_0", 1, nil); err != nil {
		t.Fatal(err)
	}
	q4k, q4kdecoded := withKQuants(t, s)
	for name, c := range map[string]struct {
		o     Options
		inF32 string
	}{
		"nf4-float": {Options{Path: nf4, NF4: NF4Float}, inF32}, "nf4-int16": {Options{Path: nf4}, inF32},
		"q4_0": {Options{Path: q4}, q4decoded}, "f16": {Options{Path: half}, half}, "q8_0": {Options{Path: q8}, q8},
		"q4_k_m": {Options{Path: q4k}, q4kdecoded},
	} {
		t.Run(name, func(t *testing.T) {
			f, m := openQuant(t, c.inF32), openModel(t, place(c.o))
			adapters, ss := doraAdapters(t, m, f, isLinear), doraStreams(s.vocab)
			want := mergedLogits(t, f, s.arch, adapters, ss)
			got := ourLogits(t, m, openDevice(t, m, proofDevice(Fused, 512)), adapters, ss)
			base, dora := compare(got[:1], want[:1]), compare(got[1:], want[1:])
			t.Log("the base:", base, "adapters:", dora)
			if !(dora.most <= 4*base.most+2e-3) || dora.argmax != dora.ties {
				t.Error("with DoRA the logits are further off than the base's")
			}
		})
	}
}

// withKQuants returns the path of the model as Q4_K_M, whose layers are Q4_K and Q6_K, and of the same weights in F32, decoded
// by ggml's own decoders.
func withKQuants(t testing.TB, s sizes) (coded, inF32 string) {
	t.Helper()
	dir := t.TempDir()
	coded, inF32 = filepath.Join(dir, "q4_k_m.gguf"), filepath.Join(dir, "f32.gguf")
	if err := Quantize(t.Context(), s.file(t), coded, "q4_k_m", 1, nil); err != nil {
		t.Fatal(err)
	}
	f := openQuant(t, coded)
	types := map[string]bool{}
	for _, x := range f.Tensors {
		types[x.Type.String()] = types[x.Type.String()] || isLinear(x.Name)
	}
	if !types["Q4_K"] || !types["Q6_K"] {
		t.Fatalf("the layers are %v", types)
	}
	err := quant.Rewrite(t.Context(), coded, inF32, quant.Rewriting{
		Changes: func(string) bool { return false }, Plain: true, Codec: Codec,
	})
	if err != nil {
		t.Fatal(err)
	}
	return coded, inF32
}

// withQ4 returns the path of the model with its layers in Q4_0, which ggml repacks at load, and of the same weights in F32.
func withQ4(t testing.TB, s sizes) (coded, inF32 string) {
	t.Helper()
	f := openQuant(t, s.file(t))
	dir := t.TempDir()
	coded, inF32 = filepath.Join(dir, "q4.gguf"), filepath.Join(dir, "f32.gguf")
	plain := append([]quant.Tensor(nil), f.Tensors...)
	four := append([]quant.Tensor(nil), f.Tensors...)
	for i := range four {
		if isLinear(four[i].Name) && len(four[i].Dims) == 2 {
			four[i].Type = 2 // Q4_0
		}
	}
	write := func(path string, tensors []quant.Tensor, decoded bool) {
		err := quant.WriteFile(path, &f.Metadata, tensors, func(i int, w io.Writer) error {
			x, err := f.ReadF32(tensors[i].Name)
			if err != nil || four[i].Type == quant.F32 {
				return errors.Join(err, writeF32(w, x))
			}
			raw, back := q4_0(x)
			if decoded {
				return writeF32(w, back)
			}
			_, err = w.Write(raw)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	write(coded, four, false)
	write(inF32, plain, true)
	return coded, inF32
}

// q4_0 codes x in blocks of 32 and returns what they decode to: code-8 times a half-precision scale.
func q4_0(x []float32) (raw []byte, decoded []float32) {
	for ; len(x) > 0; x = x[32:] {
		most := 0.0
		for _, v := range x[:32] {
			most = max(most, math.Abs(float64(v)))
		}
		d := float16.Fromfloat32(float32(most / 7))
		block := make([]byte, 18)
		block[0], block[1] = byte(d.Bits()), byte(d.Bits()>>8)
		for j, v := range x[:32] {
			q := min(max(math.Round(float64(v/d.Float32()))+8, 0), 15)
			block[2+j%16] |= byte(q) << (j / 16 * 4)
			decoded = append(decoded, float32(q-8)*d.Float32())
		}
		raw = append(raw, block...)
	}
	return raw, decoded
}

// On the embedded base: an adapter with DoRA answers as the model does whose weights it was merged into.
func TestDoRAOnTheDemoBase(t *testing.T) {
	f, err := quant.Read(bytes.NewReader(demo.Base()), int64(len(demo.Base())))
	if err != nil {
		t.Fatal(err)
	}
	m := openDemo(t)
	adapters, ss := doraAdapters(t, m, f, isLinear), doraStreams(m.Facts().VocabSize)[:3]
	want := mergedLogits(t, f, "llama", adapters, ss)
	got := ourLogits(t, m, openDevice(t, m, proofDevice(Fused, 512)), adapters, ss)
	base, dora := compare(got[:1], want[:1]), compare(got[1:], want[1:])
	t.Log("the base:", base, "adapters:", dora)
	if !(dora.most <= 4*base.most+2e-3) || dora.argmax != dora.ties {
		t.Error("with DoRA the logits are further off than the base's")
	}
}

func TestDoRARefuses(t *testing.T) {
	m := openModel(t, Options{Path: tiny.file(t)})
	for name, c := range map[string]struct {
		magnitude []float32
		part      string
	}{
		"too short":  {make([]float32, 3), "blk.0.attn_k.weight: a magnitude vector of 3 values, 64 are expected"},
		"not finite": {append(make([]float32, 63), float32(math.NaN())), "blk.0.attn_k.weight: the magnitude vector holds"},
	} {
		a := newAdapter(t, m, 1, 4, 4, func(n string) bool { return n == "blk.0.attn_k.weight" })
		a.lora.Modules[0].Magnitude = c.magnitude
		if _, err := m.Pack(a.lora); !errors.Is(err, runtime.ErrAdapter) || !strings.Contains(err.Error(), c.part) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

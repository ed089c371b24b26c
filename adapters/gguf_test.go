package adapters

import (
	"bytes"
	"io"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// ggufFile is a llama.cpp LoRA file that a test changes before it is encoded.
type ggufFile struct {
	meta    map[string]any
	tensors map[string]ggufTensorData
}

type ggufTensorData struct {
	dims   []int64
	kind   quant.Type
	values []float32
}

// newGGUF writes an adapter's modules as llama.cpp's converter does.
func newGGUF(a *runtime.LoRA, alpha float32) *ggufFile {
	g := &ggufFile{meta: map[string]any{"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora",
		"adapter.lora.alpha": alpha}, tensors: map[string]ggufTensorData{}}
	for _, m := range a.Modules {
		g.tensors[m.Tensor+".lora_a"] = ggufTensorData{[]int64{int64(m.In), int64(m.Rank)}, quant.F32, m.A}
		g.tensors[m.Tensor+".lora_b"] = ggufTensorData{[]int64{int64(m.Rank), int64(m.Out)}, quant.F32, m.B}
	}
	return g
}

func (g *ggufFile) encode(t testing.TB) []byte {
	t.Helper()
	var m quant.Metadata
	for _, k := range slices.Sorted(maps.Keys(g.meta)) {
		m.Set(k, g.meta[k])
	}
	names := slices.Sorted(maps.Keys(g.tensors))
	var tensors []quant.Tensor
	for _, n := range names {
		tensors = append(tensors, quant.Tensor{Name: n, Type: g.tensors[n].kind, Dims: g.tensors[n].dims})
	}
	var b bytes.Buffer
	if err := quant.Encode(&b, &m, tensors, func(i int, w io.Writer) error {
		d := g.tensors[names[i]]
		raw := make([]byte, 4*len(d.values))
		if d.kind == quant.F16 {
			raw = raw[:2*len(d.values)]
			quant.EncodeF16(raw, d.values)
		} else {
			quant.EncodeF32(raw, d.values)
		}
		_, err := w.Write(raw)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func fitGGUF(data []byte, f *runtime.Facts) (*runtime.LoRA, error) {
	src, err := ggufSource(f, bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	x, err := src.fit(f)
	if err != nil {
		return nil, err
	}
	return x.lora()
}

// sameLoRA compares two adapters value by value.
func sameLoRA(t testing.TB, got, want *runtime.LoRA) {
	t.Helper()
	if len(got.Modules) != len(want.Modules) {
		t.Fatalf("%d modules, want %d", len(got.Modules), len(want.Modules))
	}
	for _, w := range want.Modules {
		g := moduleOf(t, got, w.Tensor)
		if g.Rank != w.Rank || g.In != w.In || g.Out != w.Out || g.Scale != w.Scale || !slices.Equal(g.A, w.A) || !slices.Equal(g.B, w.B) {
			t.Errorf("%s differs: rank %d scale %v, want rank %d scale %v", w.Tensor, g.Rank, g.Scale, w.Rank, w.Scale)
		}
	}
}

func TestGGUFGivesTheSameAdapter(t *testing.T) {
	f := testFacts()
	want := newPEFT(1).lora(t, f)
	got, err := fitGGUF(newGGUF(want, 8).encode(t), f)
	if err != nil {
		t.Fatal(err)
	}
	sameLoRA(t, got, want)
}

func TestGGUFRanksAndScales(t *testing.T) {
	f := testFacts()
	a := newPEFT(1).lora(t, f)
	for i := range a.Modules[:3] { // three modules of rank 2
		m := &a.Modules[i]
		m.Rank, m.A, m.B = 2, m.A[:2*m.In], m.B[:2*m.Out]
	}
	for alpha, scales := range map[float32][2]float32{8: {4, 2}, 0: {1, 1}, 3: {1.5, 0.75}, -0.3: {-0.15, -0.075}} {
		got, err := fitGGUF(newGGUF(a, alpha).encode(t), f)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range a.Modules {
			want := scales[1]
			if i < 3 {
				want = scales[0]
			}
			if g := moduleOf(t, got, m.Tensor); g.Rank != m.Rank || g.Scale != want {
				t.Errorf("alpha %v: %s has rank %d and scale %v, want %d and %v", alpha, m.Tensor, g.Rank, g.Scale, m.Rank, want)
			}
		}
	}
}

func TestGGUFReadsF16(t *testing.T) {
	f := testFacts()
	a := newPEFT(1).lora(t, f)
	g := newGGUF(a, 8)
	for name, d := range g.tensors {
		d.kind = quant.F16
		g.tensors[name] = d
	}
	got, err := fitGGUF(g.encode(t), f)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range a.Modules {
		for i, x := range moduleOf(t, got, w.Tensor).B {
			if math.Abs(float64(x-w.B[i])) > 1e-3*math.Abs(float64(w.B[i]))+1e-6 {
				t.Fatalf("%s: value %d is %v, want %v rounded to F16", w.Tensor, i, x, w.B[i])
			}
		}
	}
}

func TestGGUFEmbeddingsAreTransposed(t *testing.T) {
	f := testFacts()
	f.Targets["token_embd.weight"] = runtime.Shape{In: 4, Out: 3} // 3 tokens of width 4
	g := newGGUF(&runtime.LoRA{}, 1)
	// A row of lora_a is what a token looks up: (1, 2), (3, 4), (5, 6).
	g.tensors["token_embd.weight.lora_a"] = ggufTensorData{[]int64{2, 3}, quant.F32, []float32{1, 2, 3, 4, 5, 6}}
	g.tensors["token_embd.weight.lora_b"] = ggufTensorData{[]int64{2, 4}, quant.F32, []float32{10, 11, 12, 13, 14, 15, 16, 17}}
	got, err := fitGGUF(g.encode(t), f)
	if err != nil {
		t.Fatal(err)
	}
	m := got.Modules[0]
	if m.Rank != 2 || m.In != 4 || m.Out != 3 || !slices.Equal(m.B, []float32{1, 2, 3, 4, 5, 6}) ||
		!slices.Equal(m.A, []float32{10, 12, 14, 16, 11, 13, 15, 17}) {
		t.Errorf("got %+v", m)
	}
}

func TestGGUFRefuses(t *testing.T) {
	const q = "blk.1.attn_q.weight"
	for name, c := range map[string]struct {
		change func(*ggufFile)
		want   error
		parts  []string
	}{
		"a model":      {func(g *ggufFile) { g.meta["general.type"] = "model" }, ErrUnsupported, []string{"general.type", "model"}},
		"no type":      {func(g *ggufFile) { delete(g.meta, "general.type") }, ErrUnsupported, []string{"general.type"}},
		"not lora":     {func(g *ggufFile) { g.meta["adapter.type"] = "control" }, ErrUnsupported, []string{"adapter.type"}},
		"architecture": {func(g *ggufFile) { g.meta["general.architecture"] = "qwen2" }, ErrUnsupported, []string{"qwen2", "llama"}},
		"alora":        {func(g *ggufFile) { g.meta["adapter.alora.invocation_tokens"] = []uint32{1} }, ErrUnsupported, []string{"alora"}},
		"alpha's type": {func(g *ggufFile) { g.meta["adapter.lora.alpha"] = "8" }, ErrFormat, []string{"adapter.lora.alpha"}},
		"alpha NaN":    {func(g *ggufFile) { g.meta["adapter.lora.alpha"] = float32(math.NaN()) }, ErrFormat, []string{"adapter.lora.alpha"}},
		"no tensors":   {func(g *ggufFile) { clear(g.tensors) }, ErrFormat, []string{"no tensors"}},
		"no partner":   {func(g *ggufFile) { delete(g.tensors, q+".lora_a") }, ErrFormat, []string{q + ".lora_b", "partner"}},
		"norm": {func(g *ggufFile) {
			g.tensors["blk.0.attn_norm.weight"] = ggufTensorData{[]int64{1}, quant.F32, []float32{1}}
		}, ErrUnsupported, []string{"attn_norm"}},
		"ranks": {func(g *ggufFile) {
			g.tensors[q+".lora_b"] = ggufTensorData{[]int64{2, 16}, quant.F32, make([]float32, 32)}
		}, ErrFormat, []string{q, "ranks 4 and 2"}},
		"one dim": {func(g *ggufFile) {
			g.tensors[q+".lora_b"] = ggufTensorData{[]int64{64}, quant.F32, make([]float32, 64)}
		}, ErrFormat, []string{q + ".lora_b"}},
		"outputs": {func(g *ggufFile) {
			g.tensors[q+".lora_b"] = ggufTensorData{[]int64{4, 7}, quant.F32, make([]float32, 28)}
		}, runtime.ErrAdapter, []string{q + ".lora_b", "7 outputs"}},
		"target": {func(g *ggufFile) {
			for _, s := range []string{".lora_a", ".lora_b"} {
				g.tensors["blk.0.ffn_gate_exps.weight"+s] = g.tensors[q+s]
			}
		}, runtime.ErrAdapter, []string{"ffn_gate_exps"}},
		"NaN": {func(g *ggufFile) { g.tensors[q+".lora_b"].values[3] = float32(math.NaN()) }, ErrUnsupported, []string{q + ".lora_b", "value", "NaN"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGGUF(newPEFT(1).lora(t, testFacts()), 8)
			c.change(g)
			_, err := fitGGUF(g.encode(t), testFacts())
			wantError(t, err, c.want, c.parts...)
		})
	}
	_, err := fitGGUF([]byte("GGUF"), testFacts())
	wantError(t, err, ErrFormat)
}

func FuzzGGUF(f *testing.F) {
	facts := testFacts()
	a := newPEFT(1).lora(f, facts)
	f.Add(newGGUF(&runtime.LoRA{Modules: a.Modules[:1]}, 8).encode(f)) // small ones mutate faster
	f.Add(newGGUF(&runtime.LoRA{Modules: a.Modules[1:2]}, 0).encode(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := fitGGUF(data, facts)
		if err != nil {
			return
		}
		for _, m := range got.Modules {
			if s := facts.Targets[m.Tensor]; s.In != m.In || s.Out != m.Out || len(m.A) != m.Rank*m.In || len(m.B) != m.Rank*m.Out {
				t.Fatalf("%s of rank %d, %d to %d, has %d and %d values", m.Tensor, m.Rank, m.In, m.Out, len(m.A), len(m.B))
			}
		}
	})
}

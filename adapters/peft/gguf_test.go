package peft

import (
	"bytes"
	"math"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

func fitGGUF(data []byte, f *runtime.Facts) (*runtime.LoRA, error) {
	src, err := FromGGUF(f, bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	x, err := src.Fit(f)
	if err != nil {
		return nil, err
	}
	return x.LoRA()
}

func TestGGUFGivesTheSameAdapter(t *testing.T) {
	f := pefttest.Facts()
	want := loraOf(t, pefttest.New(1), f)
	got, err := fitGGUF(pefttest.NewGGUF(want, 8).Encode(t), f)
	if err != nil {
		t.Fatal(err)
	}
	pefttest.Same(t, got, want)
}

func TestGGUFRanksAndScales(t *testing.T) {
	f := pefttest.Facts()
	a := loraOf(t, pefttest.New(1), f)
	for i := range a.Modules[:3] { // three modules of rank 2
		m := &a.Modules[i]
		m.Rank, m.A, m.B = 2, m.A[:2*m.In], m.B[:2*m.Out]
	}
	for alpha, scales := range map[float32][2]float32{8: {4, 2}, 0: {1, 1}, 3: {1.5, 0.75}, -0.3: {-0.15, -0.075}} {
		got, err := fitGGUF(pefttest.NewGGUF(a, alpha).Encode(t), f)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range a.Modules {
			want := scales[1]
			if i < 3 {
				want = scales[0]
			}
			if g := pefttest.Module(t, got, m.Tensor); g.Rank != m.Rank || g.Scale != want {
				t.Errorf("alpha %v: %s has rank %d and scale %v, want %d and %v", alpha, m.Tensor, g.Rank, g.Scale, m.Rank, want)
			}
		}
	}
}

func TestGGUFReadsF16(t *testing.T) {
	f := pefttest.Facts()
	a := loraOf(t, pefttest.New(1), f)
	g := pefttest.NewGGUF(a, 8)
	for name, d := range g.Tensors {
		d.Kind = quant.F16
		g.Tensors[name] = d
	}
	got, err := fitGGUF(g.Encode(t), f)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range a.Modules {
		for i, x := range pefttest.Module(t, got, w.Tensor).B {
			if math.Abs(float64(x-w.B[i])) > 1e-3*math.Abs(float64(w.B[i]))+1e-6 {
				t.Fatalf("%s: value %d is %v, want %v rounded to F16", w.Tensor, i, x, w.B[i])
			}
		}
	}
}

func TestGGUFEmbeddingsAreTransposed(t *testing.T) {
	f := pefttest.Facts()
	f.Targets["token_embd.weight"] = runtime.Shape{In: 4, Out: 3} // 3 tokens of width 4
	g := pefttest.NewGGUF(&runtime.LoRA{}, 1)
	// A row of lora_a is what a token looks up: (1, 2), (3, 4), (5, 6).
	g.Tensors["token_embd.weight.lora_a"] = pefttest.GGUFTensor{Dims: []int64{2, 3}, Kind: quant.F32, Values: []float32{1, 2, 3, 4, 5, 6}}
	g.Tensors["token_embd.weight.lora_b"] = pefttest.GGUFTensor{Dims: []int64{2, 4}, Kind: quant.F32, Values: []float32{10, 11, 12, 13, 14, 15, 16, 17}}
	got, err := fitGGUF(g.Encode(t), f)
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
		change func(*pefttest.GGUF)
		want   error
		parts  []string
	}{
		"a model":            {func(g *pefttest.GGUF) { g.Meta["general.type"] = "model" }, ErrUnsupported, []string{"general.type", "model"}},
		"no type":            {func(g *pefttest.GGUF) { delete(g.Meta, "general.type") }, ErrUnsupported, []string{"general.type"}},
		"not lora":           {func(g *pefttest.GGUF) { g.Meta["adapter.type"] = "control" }, ErrUnsupported, []string{"adapter.type"}},
		"architecture":       {func(g *pefttest.GGUF) { g.Meta["general.architecture"] = "qwen2" }, ErrUnsupported, []string{"qwen2", "llama"}},
		"invocation's type":  {func(g *pefttest.GGUF) { g.Meta["adapter.alora.invocation_tokens"] = []int32{1} }, ErrFormat, []string{"adapter.alora.invocation_tokens", "unsigned"}},
		"no list":            {func(g *pefttest.GGUF) { g.Meta["adapter.alora.invocation_tokens"] = uint32(1) }, ErrFormat, []string{"adapter.alora.invocation_tokens"}},
		"empty invocation":   {func(g *pefttest.GGUF) { g.Meta["adapter.alora.invocation_tokens"] = []uint32{} }, ErrFormat, []string{"adapter.alora.invocation_tokens", "at least one"}},
		"long invocation":    {func(g *pefttest.GGUF) { g.Meta["adapter.alora.invocation_tokens"] = make([]uint32, 1025) }, ErrFormat, []string{"at most 1024"}},
		"unknown invocation": {func(g *pefttest.GGUF) { g.Meta["adapter.alora.invocation_tokens"] = []uint32{1 << 31} }, runtime.ErrAdapter, []string{"alora_invocation_tokens", "32 tokens"}},
		"alpha's type":       {func(g *pefttest.GGUF) { g.Meta["adapter.lora.alpha"] = "8" }, ErrFormat, []string{"adapter.lora.alpha"}},
		"alpha NaN":          {func(g *pefttest.GGUF) { g.Meta["adapter.lora.alpha"] = float32(math.NaN()) }, ErrFormat, []string{"adapter.lora.alpha"}},
		"no tensors":         {func(g *pefttest.GGUF) { clear(g.Tensors) }, ErrFormat, []string{"no tensors"}},
		"no partner":         {func(g *pefttest.GGUF) { delete(g.Tensors, q+".lora_a") }, ErrFormat, []string{q + ".lora_b", "partner"}},
		"norm": {func(g *pefttest.GGUF) {
			g.Tensors["blk.0.attn_norm.weight"] = pefttest.GGUFTensor{Dims: []int64{1}, Kind: quant.F32, Values: []float32{1}}
		}, ErrUnsupported, []string{"attn_norm"}},
		"ranks": {func(g *pefttest.GGUF) {
			g.Tensors[q+".lora_b"] = pefttest.GGUFTensor{Dims: []int64{2, 16}, Kind: quant.F32, Values: make([]float32, 32)}
		}, ErrFormat, []string{q, "ranks 4 and 2"}},
		"one dim": {func(g *pefttest.GGUF) {
			g.Tensors[q+".lora_b"] = pefttest.GGUFTensor{Dims: []int64{64}, Kind: quant.F32, Values: make([]float32, 64)}
		}, ErrFormat, []string{q + ".lora_b"}},
		"outputs": {func(g *pefttest.GGUF) {
			g.Tensors[q+".lora_b"] = pefttest.GGUFTensor{Dims: []int64{4, 7}, Kind: quant.F32, Values: make([]float32, 28)}
		}, runtime.ErrAdapter, []string{q + ".lora_b", "7 outputs"}},
		"target": {func(g *pefttest.GGUF) {
			for _, s := range []string{".lora_a", ".lora_b"} {
				g.Tensors["blk.0.ffn_gate_exps.weight"+s] = g.Tensors[q+s]
			}
		}, runtime.ErrAdapter, []string{"ffn_gate_exps"}},
		"NaN": {func(g *pefttest.GGUF) { g.Tensors[q+".lora_b"].Values[3] = float32(math.NaN()) }, ErrUnsupported, []string{q + ".lora_b", "value", "NaN"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := pefttest.NewGGUF(loraOf(t, pefttest.New(1), pefttest.Facts()), 8)
			c.change(g)
			_, err := fitGGUF(g.Encode(t), pefttest.Facts())
			pefttest.WantError(t, err, c.want, c.parts...)
		})
	}
	_, err := fitGGUF([]byte("GGUF"), pefttest.Facts())
	pefttest.WantError(t, err, ErrFormat)
}

func FuzzGGUF(f *testing.F) {
	facts := pefttest.Facts()
	a := loraOf(f, pefttest.New(1), facts)
	f.Add(pefttest.NewGGUF(&runtime.LoRA{Modules: a.Modules[:1]}, 8).Encode(f)) // small ones mutate faster
	f.Add(pefttest.NewGGUF(&runtime.LoRA{Modules: a.Modules[1:2]}, 0).Encode(f))
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

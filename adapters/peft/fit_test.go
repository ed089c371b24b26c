package peft

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// fitOf parses and fits an adapter.
func fitOf(t testing.TB, p *pefttest.Files, f *runtime.Facts) (*Adapter, error) {
	t.Helper()
	c, w := p.Encode(t)
	tensors, err := read(w)
	if err != nil {
		t.Fatal(err)
	}
	src, err := newSource(c, tensors)
	if err != nil {
		return nil, err
	}
	return src.Fit(f)
}

// loraOf is fitOf and the values.
func loraOf(t testing.TB, p *pefttest.Files, f *runtime.Facts) *runtime.LoRA {
	t.Helper()
	x, err := fitOf(t, p, f)
	if err != nil {
		t.Fatal(err)
	}
	a, err := x.LoRA()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

const testQ = pefttest.Q

func TestImportGivesEveryModule(t *testing.T) {
	p := pefttest.New(1)
	f := pefttest.Facts()
	x, err := fitOf(t, p, f)
	if err != nil {
		t.Fatal(err)
	}
	s := x.Summary
	want := []string{"down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"}
	parameters := int64(2 * 4 * ((16 + 16) + (16 + 8) + (16 + 8) + (16 + 16) + 3*(16+24)))
	if s.Rank != 4 || s.Alpha != 8 || s.RSLoRA || !slices.Equal(s.Targets, want) || s.Modules != 14 || s.Parameters != parameters || s.Warnings != nil {
		t.Errorf("summary %+v, want rank 4, alpha 8, 14 modules of %d parameters in %v", s, parameters, want)
	}
	a := loraOf(t, p, f)
	v := pefttest.Module(t, a, "blk.1.attn_v.weight")
	if v.Rank != 4 || v.In != 16 || v.Out != 8 || v.Scale != 2 {
		t.Errorf("v is rank %d, %d to %d, scale %v", v.Rank, v.In, v.Out, v.Scale)
	}
	const name = "base_model.model.model.layers.1.self_attn.v_proj"
	if !slices.Equal(v.A, p.Tensors[name+".lora_A.weight"].Values) || !slices.Equal(v.B, p.Tensors[name+".lora_B.weight"].Values) {
		t.Error("v's values are not those of the file")
	}
}

// TestImportPermutesLikeTheConverter compares with llama.cpp's formula for weights, written out:
// w.reshape(heads, 2, rows/heads/2, cols).swapaxes(1, 2).reshape(rows, cols).
func TestImportPermutesLikeTheConverter(t *testing.T) {
	p, f := pefttest.New(2), pefttest.Facts()
	a := loraOf(t, p, f)
	for _, x := range []struct {
		gguf, hf string
		heads    int
	}{{"blk.1.attn_q.weight", "q_proj", 4}, {"blk.1.attn_k.weight", "k_proj", 2}} {
		m := pefttest.Module(t, a, x.gguf)
		hf := p.Tensors["base_model.model.model.layers.1.self_attn."+x.hf+".lora_B.weight"].Values
		half := m.Out / x.heads / 2
		for h := range x.heads {
			for i := range half {
				for two := range 2 {
					from, to := h*2*half+two*half+i, h*2*half+i*2+two
					if !slices.Equal(m.B[to*m.Rank:(to+1)*m.Rank], hf[from*m.Rank:(from+1)*m.Rank]) {
						t.Fatalf("%s: row %d of the GGUF is not row %d of Hugging Face", x.hf, to, from)
					}
				}
			}
		}
		back, err := permute(m.B, m.Out, x.heads, false)
		if err != nil || !slices.Equal(back, hf) {
			t.Errorf("%s does not come back (%v)", x.hf, err)
		}
	}
	f.RopeNorm = false
	m := pefttest.Module(t, loraOf(t, p, f), "blk.1.attn_q.weight")
	if !slices.Equal(m.B, p.Tensors[testQ+".lora_B.weight"].Values) {
		t.Error("q is permuted where RoPE is not interleaved")
	}
	if _, err := permute(make([]float32, 12), 6, 4, true); err == nil {
		t.Error("6 rows were split into 4 heads")
	}
}

func TestImportReadsOtherNames(t *testing.T) {
	want := loraOf(t, pefttest.New(3), pefttest.Facts())
	for name, change := range map[string]func(string) string{
		"doubled prefix": func(s string) string { return "base_model.model." + s },
		"tripled prefix": func(s string) string { return "base_model.model.base_model.model." + s },
		"adapter's name": func(s string) string { return strings.Replace(s, ".weight", ".default.weight", 1) },
	} {
		p := pefttest.New(3)
		p.Rename(change)
		got := loraOf(t, p, pefttest.Facts())
		for i := range want.Modules {
			if g, w := got.Modules[i], want.Modules[i]; g.Tensor != w.Tensor || !slices.Equal(g.A, w.A) || !slices.Equal(g.B, w.B) {
				t.Errorf("%s: %s differs", name, w.Tensor)
			}
		}
	}
}

func TestImportHonoursPatterns(t *testing.T) {
	p := pefttest.New(4)
	p.Config["use_rslora"] = true
	p.Config["rank_pattern"] = map[string]int{"layers.1.self_attn.q_proj": 9}
	p.Config["alpha_pattern"] = map[string]int{"layers.1.self_attn.q_proj": 6}
	p.Add(rand.New(rand.NewPCG(9, 9)), strings.TrimPrefix(testQ, peftPrefix), 9, runtime.Shape{In: 16, Out: 16})
	x, err := fitOf(t, p, pefttest.Facts())
	if err != nil {
		t.Fatal(err)
	}
	a, err := x.LoRA()
	if err != nil {
		t.Fatal(err)
	}
	if m := pefttest.Module(t, a, "blk.1.attn_q.weight"); m.Rank != 9 || m.Scale != 2 {
		t.Errorf("q of layer 1 has rank %d and scale %v, want 9 and 6/sqrt(9)", m.Rank, m.Scale)
	}
	if m := pefttest.Module(t, a, "blk.0.attn_q.weight"); m.Rank != 4 || m.Scale != 4 {
		t.Errorf("q of layer 0 has rank %d and scale %v, want 4 and 8/sqrt(4)", m.Rank, m.Scale)
	}
	if x.Summary.Rank != 9 || !x.Summary.RSLoRA {
		t.Errorf("summary %+v", x.Summary)
	}
}

func TestImportEmbeddingAndHead(t *testing.T) {
	f := pefttest.Facts()
	f.Refused = nil
	f.Targets["token_embd.weight"] = runtime.Shape{In: 16, Out: 32}
	p := pefttest.New(5)
	p.Config["target_modules"] = []string{"q_proj", "embed_tokens", "lm_head"}
	p.Tensors = map[string]pefttest.Tensor{}
	rng := rand.New(rand.NewPCG(5, 5))
	p.Add(rng, embeddingModule, 4, runtime.Shape{In: 32, Out: 16}) // PEFT: from one of 32 tokens to 16 columns
	p.Add(rng, headModule, 4, runtime.Shape{In: 16, Out: 32})
	p.Rename(func(s string) string {
		if strings.Contains(s, embeddingModule) {
			s = strings.Replace(strings.TrimSuffix(s, ".weight"), ".lora_", ".lora_embedding_", 1)
		}
		return s
	})
	a := loraOf(t, p, f)
	m := pefttest.Module(t, a, "token_embd.weight")
	peftA := p.Tensors["base_model.model.model.embed_tokens.lora_embedding_A"].Values // (rank, token)
	peftB := p.Tensors["base_model.model.model.embed_tokens.lora_embedding_B"].Values // (column, rank)
	for token := range 32 {
		for column := range 16 {
			var want, got float32
			for r := range 4 {
				want += peftB[column*4+r] * peftA[r*32+token]
				got += m.B[token*4+r] * m.A[r*16+column]
			}
			if got != want {
				t.Fatalf("token %d, column %d: %v is added, want %v", token, column, got, want)
			}
		}
	}
	src, err := FromLoRA(f, a)
	if err != nil {
		t.Fatal(err)
	}
	x, err := src.Fit(f)
	if err != nil {
		t.Fatal(err)
	}
	back, err := x.LoRA()
	if err != nil {
		t.Fatal(err)
	}
	pefttest.Same(t, back, a)
	if m := pefttest.Module(t, a, "output.weight"); m.In != 16 || m.Out != 32 {
		t.Errorf("the head maps %d to %d", m.In, m.Out)
	}
	_, err = fitOf(t, p, pefttest.Facts())
	pefttest.WantError(t, err, runtime.ErrAdapter, "embed_tokens.lora_embedding_A", "lookups cannot be adapted")
}

func TestImportWarnsOfMissingTensors(t *testing.T) {
	p := pefttest.New(6)
	delete(p.Tensors, testQ+".lora_A.weight")
	delete(p.Tensors, testQ+".lora_B.weight")
	x, err := fitOf(t, p, pefttest.Facts())
	if err != nil {
		t.Fatal(err)
	}
	if w := x.Summary.Warnings; len(w) != 1 || !strings.Contains(w[0], "1 modules") || !strings.Contains(w[0], "model.layers.1.self_attn.q_proj") {
		t.Errorf("warnings %q", w)
	}
}

// TestImportWarnsOfIdlePatterns wants a warning of patterns that match no module: PEFT passes over them in silence.
func TestImportWarnsOfIdlePatterns(t *testing.T) {
	p := pefttest.New(6)
	p.Config["rank_pattern"], p.Config["alpha_pattern"] = map[string]any{"qproj": 4}, map[string]any{"q_proj": 8, "^q_proj": 100}
	x, err := fitOf(t, p, pefttest.Facts())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`rank_pattern has the key "qproj", which matches none of the adapter's modules`, `alpha_pattern has the key "^q_proj", which matches none of the adapter's modules`}
	if !slices.Equal(x.Summary.Warnings, want) {
		t.Errorf("warnings %q", x.Summary.Warnings)
	}
}

func TestImportRefuses(t *testing.T) {
	set := func(name string, shape []int64, v ...float32) func(*pefttest.Files) {
		return func(p *pefttest.Files) { p.Set(name, shape, v) }
	}
	zeros := func(n int) []float32 { return make([]float32, n) }
	nan, inf := zeros(64), zeros(64)
	nan[7], inf[63] = float32(math.NaN()), float32(math.Inf(-1))
	for name, c := range map[string]struct {
		change func(*pefttest.Files)
		want   error
		parts  []string
	}{
		"no tensors":   {func(p *pefttest.Files) { p.Tensors = nil }, ErrFormat, []string{"no tensors"}},
		"no partner A": {func(p *pefttest.Files) { delete(p.Tensors, testQ+".lora_A.weight") }, ErrFormat, []string{testQ + ".lora_B.weight", "lora_A"}},
		"no partner B": {func(p *pefttest.Files) { delete(p.Tensors, testQ+".lora_B.weight") }, ErrFormat, []string{testQ + ".lora_A.weight", "lora_B"}},
		"rank of A":    {set(testQ+".lora_A.weight", []int64{3, 16}, zeros(48)...), ErrFormat, []string{testQ + ".lora_A.weight", "rank 3", "says 4"}},
		"rank of B":    {set(testQ+".lora_B.weight", []int64{16, 3}, zeros(48)...), ErrFormat, []string{testQ + ".lora_B.weight", "rank 3"}},
		"inputs":       {set(testQ+".lora_A.weight", []int64{4, 15}, zeros(60)...), runtime.ErrAdapter, []string{testQ + ".lora_A.weight", "15 inputs", "16"}},
		"outputs":      {set(testQ+".lora_B.weight", []int64{8, 4}, zeros(32)...), runtime.ErrAdapter, []string{testQ + ".lora_B.weight", "8 outputs"}},
		"three dims":   {set(testQ+".lora_A.weight", []int64{4, 16, 1}, zeros(64)...), ErrFormat, []string{testQ + ".lora_A.weight", "shape"}},
		"one dim":      {set(testQ+".lora_A.weight", []int64{64}, zeros(64)...), ErrFormat, []string{testQ + ".lora_A.weight", "shape"}},
		"NaN":          {set(testQ+".lora_A.weight", []int64{4, 16}, nan...), ErrUnsupported, []string{testQ + ".lora_A.weight", "value 7", "NaN"}},
		"infinity":     {set(testQ+".lora_B.weight", []int64{16, 4}, inf...), ErrUnsupported, []string{testQ + ".lora_B.weight", "-Inf"}},
		"no such layer": {func(p *pefttest.Files) {
			p.Rename(func(s string) string { return strings.Replace(s, "layers.1.", "layers.2.", 1) })
		}, runtime.ErrAdapter, []string{"layers.2.", `"tiny"`}},
		"padded layer": {func(p *pefttest.Files) {
			p.Rename(func(s string) string { return strings.Replace(s, "layers.1.", "layers.01.", 1) })
		}, ErrUnsupported, []string{"layers.01."}},
		"no prefix": {func(p *pefttest.Files) {
			p.Rename(func(s string) string { return strings.TrimPrefix(s, "base_model.model.") })
		}, ErrUnsupported, []string{"model.layers"}},
		"unknown module":         {set("base_model.model.model.layers.0.mlp.router.lora_A.weight", []int64{1}, 1), ErrUnsupported, []string{"router"}},
		"magnitude without DoRA": {set(testQ+".lora_magnitude_vector", []int64{16}, zeros(16)...), ErrFormat, []string{testQ + ".lora_magnitude_vector", "use_dora"}},
		"DoRA without magnitude": {func(p *pefttest.Files) { p.Config["use_dora"] = true }, ErrFormat, []string{"use_dora", "mlp.down_proj.lora_magnitude_vector"}},
		"magnitude alone": {func(p *pefttest.Files) {
			p.DoRA(1)
			delete(p.Tensors, testQ+".lora_A.weight")
			delete(p.Tensors, testQ+".lora_B.weight")
		}, ErrFormat, []string{testQ + ".lora_magnitude_vector", "lora_A"}},
		"long magnitude": {func(p *pefttest.Files) {
			p.DoRA(1)
			set(testQ+".lora_magnitude_vector", []int64{17}, zeros(17)...)(p)
		}, ErrFormat, []string{testQ + ".lora_magnitude_vector", "[17]", "16 outputs"}},
		"endless magnitude": {func(p *pefttest.Files) {
			p.DoRA(1)
			set(testQ+".lora_magnitude_vector", []int64{16}, inf[48:]...)(p)
		}, ErrUnsupported, []string{testQ + ".lora_magnitude_vector", "value 15", "-Inf"}},
		"full weight":    {set("base_model.model.lm_head.weight", []int64{1}, 1), runtime.ErrAdapter, []string{"lm_head.weight", "32 rows of output.weight"}},
		"full linear":    {set(testQ+".weight", []int64{1}, 1), ErrUnsupported, []string{testQ + ".weight", "modules_to_save"}},
		"bias":           {set(testQ+".bias", []int64{1}, 1), runtime.ErrAdapter, []string{testQ + ".bias", "the base has no blk.", "attn_q.bias"}},
		"lora bias":      {set(testQ+".lora_B.bias", []int64{16}, zeros(16)...), ErrFormat, []string{testQ + ".lora_B.bias", "lora_bias"}},
		"same twice":     {set("base_model.model."+testQ+".lora_A.weight", []int64{4, 16}, zeros(64)...), ErrFormat, []string{testQ + ".lora_A.weight", "same"}},
		"embedding name": {set("base_model.model.model.embed_tokens.lora_A.weight", []int64{1}, 1), ErrUnsupported, []string{"embed_tokens.lora_A.weight"}},
		"not targeted":   {func(p *pefttest.Files) { p.Config["target_modules"] = []string{"v_proj"} }, ErrFormat, []string{"target_modules", "layers.0.mlp.down_proj"}},
		"config's rank":  {func(p *pefttest.Files) { p.Config["r"] = 5 }, ErrFormat, []string{"rank 4", "says 5"}},
		"scale to zero":  {func(p *pefttest.Files) { p.Config["lora_alpha"] = 1e-50 }, ErrUnsupported, []string{"scale"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := pefttest.New(7)
			c.change(p)
			x, err := fitOf(t, p, pefttest.Facts())
			if err == nil {
				_, err = x.LoRA()
			}
			pefttest.WantError(t, err, c.want, c.parts...)
		})
	}
}

// The magnitudes belong to the rows of B, so they are permuted as those are, under each of the names that PEFT has
// given them, and come back as they were.
func TestImportDoRA(t *testing.T) {
	for _, ending := range []string{"", ".weight", ".default", ".default.weight"} {
		p := pefttest.New(7)
		p.DoRA(1)
		p.Rename(func(s string) string {
			if strings.HasSuffix(s, "lora_magnitude_vector") {
				return s + ending
			}
			return s
		})
		x, err := fitOf(t, p, pefttest.Facts())
		if err != nil {
			t.Fatal(err)
		}
		a, err := x.LoRA()
		if err != nil {
			t.Fatal(err)
		}
		if !x.Summary.DoRA || a.Plain() {
			t.Error("it is not taken for DoRA")
		}
		for _, m := range a.Modules {
			path, _ := peftModule(m.Tensor)
			want := slices.Clone(p.Tensors["base_model.model."+path+".lora_magnitude_vector"+ending].Values)
			if n := heads(pefttest.Facts(), m.Tensor); n > 0 {
				head := m.Out / n // pair i of a head lies at i and i+head/2 there, at 2i and 2i+1 here
				hf := slices.Clone(want)
				for i := range want {
					at := i % head
					want[i/head*head+at%(head/2)*2+at/(head/2)] = hf[i]
				}
			}
			if !slices.Equal(m.Magnitude, want) {
				t.Errorf("%s: magnitudes %v, want %v", m.Tensor, m.Magnitude, want)
			}
		}
		s, err := FromLoRA(pefttest.Facts(), a)
		if err != nil {
			t.Fatal(err)
		}
		again, err := s.Fit(pefttest.Facts())
		if err != nil {
			t.Fatal(err)
		}
		if b, err := again.LoRA(); err != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("it does not come back (%v)", err)
		}
	}
}

func TestImportRefusesOtherBases(t *testing.T) {
	f := pefttest.Facts()
	f.Architecture = "gpt2"
	_, err := fitOf(t, pefttest.New(7), f)
	pefttest.WantError(t, err, ErrUnsupported, "gpt2")
	f = pefttest.Facts()
	f.Heads = 3
	_, err = fitOf(t, pefttest.New(7), f)
	pefttest.WantError(t, err, runtime.ErrAdapter, "q_proj.lora_B.weight", "heads")
}

func TestNamesRoundTrip(t *testing.T) {
	for tensor := range pefttest.Facts().Targets {
		path, ok := peftModule(tensor)
		back, ok2 := ggufTensor(path)
		if !ok || !ok2 || back != tensor {
			t.Errorf("%s -> %s -> %s", tensor, path, back)
		}
		for s := range sides {
			if !s.on(path) {
				continue
			}
			a := address{path, s}
			if got, err := parsePEFTName(a.name()); err != nil || got != a {
				t.Errorf("%s reads as %+v (%v)", a.name(), got, err)
			}
		}
	}
	for _, bad := range []string{"blk.0.attn_q.bias", "blk.x.attn_q.weight", "blk.0.attn_norm.weight", "blk.-1.attn_q.weight", "attn_q.weight", ""} {
		if path, ok := peftModule(bad); ok {
			t.Errorf("%q is taken for %s", bad, path)
		}
	}
}

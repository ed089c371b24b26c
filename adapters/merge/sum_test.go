package merge

import (
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// noScan is for sums that need not look at the weights.
func noScan(func(int64, []float32) error) error { return errors.New("the weights are scanned") }

func add(t *testing.T, s *Sum, a *peft.Adapter, weight float32) {
	t.Helper()
	if err := s.Add(a, weight); err != nil {
		t.Fatal(err)
	}
}

func lookAndChange(t *testing.T, s *Sum, tensor string, scan quant.Scan) quant.Change {
	t.Helper()
	if err := s.Prepare(tensor, scan); err != nil {
		t.Fatal(err)
	}
	change, err := s.Change(tensor)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Change(tensor); err == nil {
		t.Error("a tensor changes twice")
	}
	return change
}

// A sum gives W + sum w s B A, in whatever parts the weights come.
func TestSum(t *testing.T) {
	base := pefttest.Facts()
	sum := NewSum(base)
	var list []*runtime.LoRA
	weights := []float32{0.7, -0.3}
	for i, p := range []*pefttest.Files{pefttest.New(1), pefttest.Odd()} {
		a := open(t, p, base)
		add(t, sum, a, weights[i])
		list = append(list, loraOf(t, a))
	}
	for tensor, shape := range base.Targets {
		terms, _ := termsOf(list, weights, tensor)
		if !sum.Changes(tensor) || len(terms) == 0 {
			t.Fatalf("%s does not change", tensor)
		}
		change := lookAndChange(t, sum, tensor, noScan)
		w := make([]float32, shape.In*shape.Out)
		for i := range w {
			w[i] = float32(i%11) - 5
		}
		want := delta(terms, shape.In, shape.Out)
		for first, n := 0, 1; first < len(w); first, n = first+n, n*2+3 { // parts that begin and end within rows
			if err := change(int64(first), w[first:min(first+n, len(w))]); err != nil {
				t.Fatal(err)
			}
		}
		for i, x := range w {
			y := float64(i%11) - 5 + want.At(i/shape.In, i%shape.In)
			if math.Abs(float64(x)-y) > 1e-4 {
				t.Fatalf("%s: weight %d is %v, want %v", tensor, i, x, y)
			}
		}
	}
	if sum.Changes("blk.0.attn_norm.weight") || sum.Untied() != nil {
		t.Error("it changes what no adapter changes")
	}
	base.TiedHead = true
	if u := sum.Untied(); u["output.weight"] != "token_embd.weight" {
		t.Errorf("an adapter of a tied head gives it the tensors %v", u)
	}
	empty := NewSum(base)
	add(t, empty, &peft.Adapter{}, 0)
	if empty.Changes("output.weight") {
		t.Error("a weight of 0 changes something")
	}
}

// A sum with DoRA adds w [(g - 1) W + g s B A], g being what brings the rows of W + s B A, and the columns of the
// embeddings, to their magnitudes.
func TestSumOfDoRA(t *testing.T) {
	base := pefttest.Facts()
	base.Targets["token_embd.weight"] = runtime.Shape{In: 16, Out: 32}
	delete(base.Refused, "token_embd.weight")
	p := pefttest.New(3)
	p.Config["use_dora"] = true
	p.Config["target_modules"] = append(p.Config["target_modules"].([]string), "embed_tokens")
	rng := rand.New(rand.NewPCG(4, 4))
	random := func(n int64, start, scale float64) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(start + scale*rng.NormFloat64())
		}
		return v
	}
	for name, shape := range map[string][]int64{".lora_embedding_A": {4, 32}, ".lora_embedding_B": {16, 4}} {
		name = "base_model.model." + "model.embed_tokens" + name
		p.Set(name, shape, random(shape[0]*shape[1], 0, 1))
	}
	p.Set("base_model.model.model.embed_tokens.lora_magnitude_vector", []int64{16}, random(16, 3, 0.5))
	for tensor, path := range pefttest.Paths() {
		n := int64(base.Targets[tensor].Out)
		p.Set("base_model.model."+path+".lora_magnitude_vector", []int64{n}, random(n, 3, 0.5))
	}
	a := open(t, p, base)
	const weight = 0.6
	sum := NewSum(base)
	add(t, sum, a, weight)
	for i := range a.Modules {
		tensor := a.Modules[i].Tensor
		m, err := a.Modules[i].Load()
		if err != nil || len(m.Magnitude) == 0 {
			t.Fatalf("%s has %d magnitudes: %v", tensor, len(m.Magnitude), err)
		}
		w := random(int64(m.In*m.Out), 0, 0.3)
		ba := delta([]refTerm{{m.A, m.B, float64(m.Scale)}}, m.In, m.Out)
		length := make([]float64, len(m.Magnitude))
		which := func(i int) int { return i / m.In }
		if tensor == "token_embd.weight" {
			which = func(i int) int { return i % m.In }
		}
		for i, x := range w {
			length[which(i)] += math.Pow(float64(x)+ba.At(i/m.In, i%m.In), 2)
		}
		scan := func(visit func(int64, []float32) error) error {
			for first := 0; first < len(w); first += 7 {
				if err := visit(int64(first), slices.Clone(w[first:min(first+7, len(w))])); err != nil {
					return err
				}
			}
			return nil
		}
		change := lookAndChange(t, sum, tensor, scan)
		got := slices.Clone(w)
		for first := 0; first < len(got); first += 13 {
			if err := change(int64(first), got[first:min(first+13, len(got))]); err != nil {
				t.Fatal(err)
			}
		}
		for i, x := range w {
			g := float64(m.Magnitude[which(i)]) / math.Sqrt(length[which(i)])
			want := float64(x) + weight*((g-1)*float64(x)+g*ba.At(i/m.In, i%m.In))
			if math.Abs(float64(got[i])-want) > 1e-4*(1+math.Abs(want)) {
				t.Fatalf("%s: weight %d is %v, want %v", tensor, i, got[i], want)
			}
		}
	}
}

// Whole rows and biases are summed like the rest: w (row - base row), and w times a bias of lora_B, also where another
// adapter has a LoRA on the same tensor; and in whatever parts the weights come.
func TestSumOfWholeRows(t *testing.T) {
	base := pefttest.WholeFacts(true)
	p, q := pefttest.New(1), pefttest.New(2)
	p.Config["modules_to_save"], p.Config["ensure_weight_tying"] = []string{"embed_tokens"}, true
	saved := p.Put(3, "model.embed_tokens.weight", 32, 16)
	p.Config["bias"] = "lora_only"
	replaced := p.Put(4, "model.layers.0.self_attn.q_proj.bias", 16)
	q.Config["trainable_token_indices"] = []int{7, 30}
	tokens := q.Put(5, "model.embed_tokens.token_adapter.trainable_tokens_delta", 2, 16)
	q.Config["target_modules"] = append(q.Config["target_modules"].([]string), "embed_tokens")
	a, b := q.Put(6, "model.embed_tokens.lora_embedding_A", 4, 32), q.Put(7, "model.embed_tokens.lora_embedding_B", 16, 4)
	sum := NewSum(base)
	weights := []float64{0.7, -0.4}
	for i, x := range []*pefttest.Files{p, q} {
		add(t, sum, open(t, x, base), float32(weights[i]))
	}
	bias := make([]float32, 16) // heads of 4: pairs (i, i+2) of Hugging Face stand side by side in GGUF
	for i, x := range replaced {
		bias[i/4*4+i%2*2+i%4/2] = x
	}
	embedding := func(r, c int) float64 { // alpha 8, rank 4: the LoRA's scale is 2
		x := 0.0
		for k := range 4 {
			x += 2 * float64(a[k*32+r]) * float64(b[c*4+k])
		}
		return weights[1] * x
	}
	rows := func(r, c int, w float64) float64 {
		x := weights[0] * (float64(saved[r*16+c]) - w)
		if k := slices.Index([]int{7, 30}, r); k >= 0 {
			x += weights[1] * (float64(tokens[k*16+c]) - w)
		}
		return x
	}
	for tensor, c := range map[string]struct {
		in, out int
		want    func(r, c int, w float64) float64
	}{
		"token_embd.weight": {16, 32, func(r, c int, w float64) float64 { return w + rows(r, c, w) + embedding(r, c) }},
		"output.weight":     {16, 32, func(r, c int, w float64) float64 { return w + rows(r, c, w) }},
		"blk.0.attn_q.bias": {16, 1, func(_, c int, w float64) float64 { return w + weights[0]*(float64(bias[c])-w) }},
	} {
		if !sum.Changes(tensor) {
			t.Fatalf("%s does not change", tensor)
		}
		change := lookAndChange(t, sum, tensor, noScan)
		w := make([]float32, c.in*c.out)
		for i := range w {
			w[i] = float32(i%13)/5 - 1
		}
		for first, n := 0, 1; first < len(w); first, n = first+n, n*2+3 {
			if err := change(int64(first), w[first:min(first+n, len(w))]); err != nil {
				t.Fatal(err)
			}
		}
		for i, x := range w {
			if want := c.want(i/c.in, i%c.in, float64(float32(i%13)/5-1)); math.Abs(float64(x)-want) > 1e-5*(1+math.Abs(want)) {
				t.Fatalf("%s: weight %d is %v, want %v", tensor, i, x, want)
			}
		}
	}
	if u := sum.Untied(); u["output.weight"] != "token_embd.weight" {
		t.Errorf("the tied head stays tied: %v", u)
	}
}

// A bias of lora_B is added to the base's bias; where the base has none, there is no place for it.
func TestMergeableBiases(t *testing.T) {
	base := pefttest.WholeFacts(false)
	base.Biases = map[string]int{}
	p := pefttest.New(1)
	p.Config["lora_bias"] = true
	var q []float32
	for tensor, path := range pefttest.Paths() {
		n := base.Targets[tensor].Out
		base.Biases[biasTensor(tensor)] = n
		if v := p.Put(9, path+".lora_B.bias", int64(n)); tensor == "blk.1.attn_v.weight" {
			q = v
		}
	}
	a := open(t, p, base)
	sum := NewSum(base)
	add(t, sum, a, 0.5)
	change := lookAndChange(t, sum, "blk.1.attn_v.bias", noScan)
	w := make([]float32, len(q))
	if err := change(0, w); err != nil {
		t.Fatal(err)
	}
	for i, x := range w {
		if x != q[i] { // scale 2, weight 0.5
			t.Errorf("value %d is %v, want %v", i, x, q[i])
		}
	}
	delete(base.Biases, "blk.1.attn_v.bias")
	pefttest.WantError(t, NewSum(base).Add(a, 1), peft.ErrUnsupported, "model.layers.1.self_attn.v_proj.lora_B.bias", "blk.1.attn_v.bias")
}

// Values that are not finite are refused when they are read, by the tensor's name and their place.
func TestSumRefusesValues(t *testing.T) {
	base := pefttest.Facts()
	bad := pefttest.New(1)
	name := slices.Sorted(maps.Keys(bad.Tensors))[0]
	bad.Tensors[name].Values[0] = float32(math.NaN())
	sum, a := NewSum(base), open(t, bad, base)
	add(t, sum, a, 1)
	var err error
	for i := range a.Modules {
		if e := sum.Prepare(a.Modules[i].Tensor, noScan); e != nil {
			err = e
		}
	}
	pefttest.WantError(t, err, peft.ErrUnsupported, "NaN", name)
	rows := pefttest.New(1)
	rows.Config["modules_to_save"] = []string{"lm_head"}
	rows.Put(1, "lm_head.weight", 32, 16)[33] = float32(math.Inf(1)) // what a tensor is made of is not copied
	base = pefttest.WholeFacts(false)
	sum = NewSum(base)
	add(t, sum, open(t, rows, base), 1)
	change := lookAndChange(t, sum, "output.weight", noScan)
	pefttest.WantError(t, change(32, make([]float32, 16)), peft.ErrUnsupported, "lm_head.weight", "value 33 is +Inf")
}

// A whole norm adds its difference to the base's, in the place of it in the merged file.
func TestSumOfNorms(t *testing.T) {
	base := pefttest.WholeFacts(false)
	p := pefttest.New(1)
	p.Config["modules_to_save"] = []string{"input_layernorm"}
	own := p.Put(1, "model.layers.1.input_layernorm.weight", 16)
	sum := NewSum(base)
	a := open(t, p, base)
	add(t, sum, a, 0.25)
	if !sum.Changes("blk.1.attn_norm.weight") || sum.Changes("blk.0.attn_norm.weight") {
		t.Error("the sum changes the wrong norms")
	}
	change := lookAndChange(t, sum, "blk.1.attn_norm.weight", noScan)
	w := make([]float32, len(own))
	for i := range w {
		w[i] = 2
	}
	if err := change(0, w); err != nil {
		t.Fatal(err)
	}
	for i, x := range w {
		if want := 2 + 0.25*(own[i]-2); x != want {
			t.Errorf("value %d is %v, want %v", i, x, want)
		}
	}
	_, err := Adapters(t.Context(), inputs([]*peft.Adapter{a, a}, []float32{1, 1}), Options{Method: Cat})
	pefttest.WantError(t, err, ErrRefused, "model.layers.1.input_layernorm.weight", "whole norm")
}

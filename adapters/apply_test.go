package adapters

import (
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// noScan is for sums that need not look at the weights.
func noScan(func(int64, []float32) error) error { return errors.New("the weights are scanned") }

func lookAndChange(t *testing.T, s *Sum, tensor string, scan quant.Scan) quant.Change {
	t.Helper()
	if err := s.Look(tensor, scan); err != nil {
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
	base := testFacts()
	sum := NewSum(base)
	var list []*runtime.LoRA
	weights := []float32{0.7, -0.3}
	for i, p := range []*peftFiles{newPEFT(1), odd(t)} {
		dir := filepath.Join(t.TempDir(), "adapter")
		p.folder(t, dir)
		a, err := OpenPath(base, dir)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		sum.Add(a, weights[i])
		list = append(list, p.lora(t, base))
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
	empty.Add(&Adapter{}, 0)
	if empty.Changes("output.weight") {
		t.Error("a weight of 0 changes something")
	}
}

// A sum with DoRA adds w [(g - 1) W + g s B A], g being what brings the rows of W + s B A, and the columns of the
// embeddings, to their magnitudes.
func TestSumOfDoRA(t *testing.T) {
	base := testFacts()
	base.Targets["token_embd.weight"] = runtime.Shape{In: 16, Out: 32}
	delete(base.Refused, "token_embd.weight")
	p := newPEFT(3)
	p.config["use_dora"] = true
	p.config["target_modules"] = append(p.config["target_modules"].([]string), "embed_tokens")
	rng := rand.New(rand.NewPCG(4, 4))
	random := func(n int64, start, scale float64) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(start + scale*rng.NormFloat64())
		}
		return v
	}
	for name, shape := range map[string][]int64{".lora_embedding_A": {4, 32}, ".lora_embedding_B": {16, 4}} {
		name = "base_model.model." + embeddingModule + name
		p.tensors[name] = NewTensor(name, shape, random(shape[0]*shape[1], 0, 1))
	}
	for tensor, shape := range base.Targets {
		path, _ := peftModule(tensor)
		n := int64(shape.Out)
		if path == embeddingModule {
			n = int64(shape.In)
		}
		if name := "base_model.model." + path + ".lora_magnitude_vector"; path != headModule {
			p.tensors[name] = NewTensor(name, []int64{n}, random(n, 3, 0.5))
		}
	}
	dir := filepath.Join(t.TempDir(), "dora")
	p.folder(t, dir)
	a, err := OpenPath(base, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	const weight = 0.6
	sum := NewSum(base)
	sum.Add(a, weight)
	for _, tensor := range a.Tensors() {
		m, _, err := a.Module(tensor)
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
	base := wholeFacts(true)
	p, q := newPEFT(1), newPEFT(2)
	p.config["modules_to_save"], p.config["ensure_weight_tying"] = []string{"embed_tokens"}, true
	saved := p.put(3, "model.embed_tokens.weight", 32, 16)
	p.config["bias"] = "lora_only"
	replaced := p.put(4, "model.layers.0.self_attn.q_proj.bias", 16)
	q.config["trainable_token_indices"] = []int{7, 30}
	tokens := q.put(5, "model.embed_tokens.token_adapter.trainable_tokens_delta", 2, 16)
	q.config["target_modules"] = append(q.config["target_modules"].([]string), "embed_tokens")
	a, b := q.put(6, "model.embed_tokens.lora_embedding_A", 4, 32), q.put(7, "model.embed_tokens.lora_embedding_B", 16, 4)
	sum := NewSum(base)
	weights := []float64{0.7, -0.4}
	for i, x := range []*peftFiles{p, q} {
		sum.Add(x.mergeable(t, base), float32(weights[i]))
	}
	bias, err := permute(replaced, 16, base.Heads, true)
	if err != nil {
		t.Fatal(err)
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

// mergeable opens the adapter, which a base can take up, until the test ends.
func (p *peftFiles) mergeable(t *testing.T, base *runtime.Facts) *Adapter {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "adapter")
	p.folder(t, dir)
	a, err := OpenPath(base, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	if err := a.Mergeable(base); err != nil {
		t.Fatal(err)
	}
	return a
}

// A bias of lora_B is added to the base's bias; where the base has none, there is no place for it.
func TestMergeableBiases(t *testing.T) {
	base := wholeFacts(false)
	base.Biases = map[string]int{}
	p := newPEFT(1)
	p.config["lora_bias"] = true
	var q []float32
	for tensor, shape := range testFacts().Targets {
		path, _ := peftModule(tensor)
		if path == headModule {
			continue
		}
		base.Biases[biasTensor(tensor)] = shape.Out
		if v := p.put(9, path+".lora_B.bias", int64(shape.Out)); tensor == "blk.1.attn_v.weight" {
			q = v
		}
	}
	a := p.mergeable(t, base)
	sum := NewSum(base)
	sum.Add(a, 0.5)
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
	wantError(t, a.Mergeable(base), ErrUnsupported, "model.layers.1.self_attn.v_proj.lora_B.bias", "blk.1.attn_v.bias")
}

func TestOpenPathRefuses(t *testing.T) {
	base := testFacts()
	dir := filepath.Join(t.TempDir(), "adapter")
	p := newPEFT(1)
	p.config["r"] = 5
	p.folder(t, dir)
	_, err := OpenPath(base, dir)
	wantError(t, err, ErrFormat, "rank 4", "says 5")
	if _, err := OpenPath(base, dir+"-none"); err == nil {
		t.Error("a path that is not there opens")
	}
	dir += "2"
	bad := newPEFT(1)
	name := slices.Sorted(maps.Keys(bad.tensors))[0]
	x := bad.tensors[name]
	v := values(t, x)
	v[0] = float32(math.NaN())
	bad.tensors[name] = NewTensor(name, x.Shape, v)
	bad.folder(t, dir)
	a, err := OpenPath(base, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	sum := NewSum(base)
	sum.Add(a, 1)
	for _, tensor := range a.Tensors() {
		if e := sum.Look(tensor, noScan); e != nil {
			err = e
		}
	}
	wantError(t, err, ErrUnsupported, "NaN", name)
	rows := newPEFT(1)
	rows.config["modules_to_save"] = []string{"lm_head"}
	rows.put(1, "lm_head.weight", 32, 16)[33] = float32(math.Inf(1)) // what a tensor is made of is not copied
	rows.folder(t, dir+"3")
	x2, err := OpenPath(wholeFacts(false), dir+"3")
	if err != nil {
		t.Fatal(err)
	}
	defer x2.Close()
	sum = NewSum(wholeFacts(false))
	sum.Add(x2, 1)
	change := lookAndChange(t, sum, "output.weight", noScan)
	wantError(t, change(32, make([]float32, 16)), ErrUnsupported, "lm_head.weight", "value 33 is +Inf")
}

package adapters

import (
	"maps"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

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
		change, err := sum.Change(tensor)
		if err != nil {
			t.Fatal(err)
		}
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
		if _, e := sum.Change(tensor); e != nil {
			err = e
		}
	}
	wantError(t, err, ErrUnsupported, "NaN", name)
}

package merge

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
)

func TestMergeRefuses(t *testing.T) {
	adapters, _ := mixedRanks(t)
	two := []float32{1, 1}
	for name, c := range map[string]struct {
		weights []float32
		options Options
		field   string
		parts   []string
	}{
		"method":      {two, Options{Method: "mean"}, "method", []string{"mean", "linear"}},
		"none":        {nil, Options{Method: Cat}, "from", []string{"0 adapters"}},
		"many":        {make([]float32, 17), Options{Method: Cat}, "from", []string{"17"}},
		"no density":  {two, Options{Method: TIES}, "density", []string{"ties"}},
		"density":     {two, Options{Method: DARELinear, Density: 1.5}, "density", []string{"1.5"}},
		"NaN density": {two, Options{Method: DARELinear, Density: math.NaN()}, "density", []string{"NaN"}},
		"no pruning":  {two, Options{Method: Cat, Density: 0.5}, "density", []string{"cat"}},
		"sign":        {two, Options{Method: TIES, Density: 1, MajoritySign: "most"}, "majority_sign_method", []string{"most"}},
		"sign of":     {two, Options{Method: Linear, MajoritySign: "frequency"}, "majority_sign_method", []string{"linear"}},
		"rank":        {two, Options{Method: SVD, Rank: 513}, "rank", []string{"513", "512"}},
		"rank of":     {two, Options{Method: Cat, Rank: 3}, "rank", []string{"cat"}},
		"NaN":         {[]float32{1, float32(math.NaN())}, Options{Method: Cat}, "from[1].weight", []string{"finite"}},
		"ranks":       {two, Options{Method: Linear}, "method", []string{`"a" has rank 4`, `"b" has rank 2`, "down_proj"}},
	} {
		err := c.options.Check(c.weights)
		if err == nil {
			_, err = Adapters(t.Context(), inputs(adapters[:2], c.weights), c.options)
		}
		pefttest.WantError(t, err, ErrRefused, c.parts...)
		var f *peft.FieldError
		if !errors.As(err, &f) || f.Field != c.field {
			t.Errorf("%s: the field is %v, want %s", name, f, c.field)
		}
	}
	wideOnes := pefttest.New(5)
	clear(wideOnes.Tensors)
	wideOnes.Add(rand.New(rand.NewPCG(1, 1)), "model.layers.0.mlp.up_proj", 400, pefttest.Facts().Targets["blk.0.ffn_up.weight"])
	wideOnes.Config["r"] = 400
	wide := open(t, wideOnes, pefttest.Facts())
	_, err := Adapters(t.Context(), inputs([]*peft.Adapter{wide, wide}, two), Options{Method: Cat})
	pefttest.WantError(t, err, ErrRefused, "sum to 800", "512", "up_proj")
	_, err = Adapters(t.Context(), nil, Options{Method: Cat})
	pefttest.WantError(t, err, ErrRefused, "no modules")
}

// A context that ends, ends the merge with its cause where it is.
func TestMergeEndsWithItsContext(t *testing.T) {
	adapters, _ := threeAdapters(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	src, err := Adapters(ctx, inputs(adapters, []float32{1, 1, 1}), Options{Method: Cat})
	if err != nil {
		t.Fatal(err)
	}
	a, err := src.Fit(pefttest.Facts())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Modules[0].Load(); err != nil {
		t.Fatal(err)
	}
	left := errors.New("left")
	cancel(left)
	if _, err := a.Modules[1].Load(); !errors.Is(err, left) {
		t.Errorf("the merge ends with %v", err)
	}
}

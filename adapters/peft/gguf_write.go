package peft

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file writes llama.cpp's adapter file. llama.cpp has one alpha for all modules and adds
// alpha/rank * lora_b*lora_a, rank being the number of lora_b's columns, to each. A module whose scale is another
// one (rsLoRA of several ranks, alpha_pattern) has the difference multiplied into its lora_b.
// Source: github.com/ggml-org/llama.cpp, src/llama-adapter.cpp and src/llama-adapter.h (get_scale).

// foldKey is where the file says which modules' lora_b are not the adapter's own.
const foldKey = "lorikeet.adapter.folded"

// WriteGGUF writes the adapter as F32: llama.cpp would round activations to the type of the weights. It holds one
// module at a time. Equal adapters give equal bytes.
func (a *Adapter) WriteGGUF(w io.Writer, base *runtime.Facts, name, digest string) (notes []string, err error) {
	if err := a.checkGGUF(base); err != nil {
		return nil, err
	}
	alpha, folds, err := foldScales(a.Modules)
	if err != nil {
		return nil, err
	}
	var folded []string
	var tensors []quant.Tensor
	for i := range a.Modules {
		m := &a.Modules[i]
		if folds[i] != 1 {
			folded = append(folded, m.Tensor)
		}
		rank, in, out := int64(m.Rank), int64(m.Shape.In), int64(m.Shape.Out)
		a, b := []int64{in, rank}, []int64{rank, out}
		if m.lookup() { // a row of lora_a is what a token looks up
			a, b = []int64{rank, out}, []int64{rank, in}
		}
		tensors = append(tensors, quant.Tensor{Name: m.Tensor + ".lora_a", Type: quant.F32, Dims: a},
			quant.Tensor{Name: m.Tensor + ".lora_b", Type: quant.F32, Dims: b})
	}
	if len(folded) > 0 {
		notes = append(notes, fmt.Sprintf("llama.cpp's adapter file has one alpha for all modules, here %g: the scales of %d modules "+
			"(%s is the first) are multiplied into their lora_b", alpha, len(folded), folded[0]))
	}
	var m quant.Metadata
	m.Set("general.type", "adapter")
	m.Set("general.architecture", base.Architecture)
	m.Set("general.name", name)
	m.Set("adapter.type", "lora")
	m.Set("adapter.lora.alpha", alpha)
	m.Set("lorikeet.adapter.digest", digest)
	setInvocation(&m, a.Summary.Invocation)
	if len(folded) > 0 {
		m.Set(foldKey, strings.Join(folded, " "))
	}
	var pair ggufPairData
	return notes, quant.Encode(w, &m, tensors, func(i int, w io.Writer) error {
		if i%2 == 0 {
			var err error
			if pair, err = a.Modules[i/2].ggufData(folds[i/2]); err != nil {
				return err
			}
		}
		values := pair[i%2]
		raw := make([]byte, 4*len(values))
		quant.EncodeF32(raw, values)
		_, err := w.Write(raw)
		return err
	})
}

// ggufPairData are the values of lora_a and lora_b.
type ggufPairData [2][]float32

// ggufData reads a module with its fold multiplied into lora_b.
func (m *Module) ggufData(fold float64) (ggufPairData, error) {
	l, err := m.Load()
	if err != nil {
		return ggufPairData{}, err
	}
	d := ggufPairData{l.A, l.B}
	if m.lookup() {
		d = ggufPairData{l.B, transpose(l.A, l.Rank, l.In)}
	}
	if fold == 1 {
		return d, nil
	}
	for i, x := range d[1] {
		y := float32(float64(x) * fold)
		if math.IsInf(float64(y), 0) {
			return d, fmt.Errorf("%w: %s: a value of lora_b times the scale %g is more than F32 holds", ErrUnsupported, m.Tensor, fold)
		}
		d[1][i] = y
	}
	return d, nil
}

// checkGGUF refuses what llama.cpp's file has no place for.
func (a *Adapter) checkGGUF(base *runtime.Facts) error {
	if err := a.CheckLowRank("llama.cpp's adapter file has no place for it; export it as peft"); err != nil {
		return err
	}
	for _, m := range a.Modules {
		if m.m != nil {
			return fmt.Errorf("%w: %s: llama.cpp's adapter file has no place for DoRA's magnitude vector (use_dora); export it as peft, "+
				"or merge it into the base", ErrUnsupported, m.Path)
		}
		if base.TiedHead && (m.Tensor == "output.weight" || m.lookup()) {
			return fmt.Errorf("%w: %s: in this base the head is the token embeddings (there is no output.weight), and llama.cpp "+
				"cannot apply an adapter to one of the two; export it as peft", ErrUnsupported, m.Path)
		}
	}
	return nil
}

// foldScales chooses the alpha that gives most modules their scale exactly, and returns what the B of each module
// has to be multiplied with; 1 for those.
func foldScales(modules []Module) (alpha float32, folds []float64, err error) {
	alphas := make([]float32, len(modules))
	for i, m := range modules {
		alphas[i] = ggufAlpha(m.Scale, m.Rank)
	}
	alpha = mostCommon(alphas)
	if alpha == 0 || math.IsInf(float64(alpha), 0) {
		return 0, nil, fmt.Errorf("%w: its alpha %g is not a number that llama.cpp's adapter file can hold", ErrUnsupported, alpha)
	}
	folds = make([]float64, len(modules))
	for i, m := range modules {
		folds[i] = 1
		if given := alpha / float32(m.Rank); given != m.Scale {
			folds[i] = float64(m.Scale) / float64(given)
		}
	}
	return alpha, folds, nil
}

// ggufAlpha returns the alpha whose quotient by the rank is the scale as float32 divides, where there is one.
func ggufAlpha(scale float32, rank int) float32 {
	near := float32(alphaOf(scale, rank))
	for _, a := range []float32{near, math.Nextafter32(near, math.MaxFloat32), math.Nextafter32(near, -math.MaxFloat32)} {
		if a/float32(rank) == scale {
			return a
		}
	}
	return near
}

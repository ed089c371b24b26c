package peft

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Matrices is one LoRA in PEFT's names and layout whose values are computed each time that they are read.
type Matrices struct {
	Path    string // of the module: "model.layers.0.self_attn.q_proj"
	Rank    int
	In, Out int // as PEFT has them: of the embeddings, the tokens and the columns
	Scale   float32
	A, B    func() ([]float32, error) // (Rank, In) and (Out, Rank), row-major

	magnitudes int                          // values in DoRA's magnitude vector; 0: plain LoRA
	open       [3]func() (io.Reader, error) // of the raw values of A, B and the magnitude, in the place of the functions
	names      [3]string                    // of A, B and the magnitude in error messages; "": the canonical ones
}

// FromMatrices makes a Source of LoRAs, one for each module, and writes the configuration that gives each of them
// its rank and scale. invocation are the invocation tokens of an activated LoRA, else empty.
func FromMatrices(list []Matrices, invocation []runtime.Token) (*Source, error) {
	return fromParts(&runtime.Facts{}, list, nil, invocation)
}

// fromParts is FromMatrices with whole norms beside the LoRAs; f is the base that has these.
func fromParts(f *runtime.Facts, list []Matrices, norms []runtime.LoRANorm, invocation []runtime.Token) (*Source, error) {
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: it holds no tensors", ErrFormat)
	}
	s := &Source{}
	for i := range list {
		m := &list[i]
		rank, in, out := int64(m.Rank), int64(m.In), int64(m.Out)
		s.add(m, sideA, []int64{rank, in}, m.A)
		s.add(m, sideB, []int64{out, rank}, m.B)
		if m.dora() {
			s.add(m, sideMagnitude, []int64{int64(m.magnitudes)}, nil)
		}
	}
	saved, err := s.addNorms(f, norms)
	if err != nil {
		return nil, err
	}
	raw, err := configOf(list, saved, invocation)
	if err != nil {
		return nil, err
	}
	s.config, err = parseConfig(raw)
	return s, err
}

// add adds a tensor of a module.
func (s *Source) add(m *Matrices, part side, shape []int64, values func() ([]float32, error)) {
	a := address{m.Path, part}
	t := lazyTensor(cmp.Or(m.names[part], a.name()), shape, values)
	if m.open[part] != nil {
		t.open = m.open[part]
	}
	s.tensors = append(s.tensors, placed{t, a})
}

// dora reports whether the module has a magnitude vector.
func (m *Matrices) dora() bool { return m.magnitudes > 0 }

// configOf writes the configuration that gives every module its rank and scale: the most common ones as r and
// lora_alpha, the others in rank_pattern and alpha_pattern. saved is modules_to_save.
func configOf(list []Matrices, saved []string, invocation []runtime.Token) ([]byte, error) {
	ranks, alphas, short := make([]int, len(list)), make([]float64, len(list)), make(map[string]bool)
	for i, m := range list {
		ranks[i], alphas[i] = m.Rank, alphaOf(m.Scale, m.Rank)
		short[shortName(m.Path)] = true
	}
	r, alpha := mostCommon(ranks), mostCommon(alphas)
	rankPattern, alphaPattern := make(map[string]int), make(map[string]float64)
	for i, m := range list {
		if ranks[i] != r {
			rankPattern[m.Path] = ranks[i]
		}
		if alphas[i] != alpha {
			alphaPattern[m.Path] = alphas[i]
		}
	}
	fields := map[string]any{
		"peft_type": "LORA", "task_type": "CAUSAL_LM", "inference_mode": true, "bias": "none",
		"r": r, "lora_alpha": alpha, "use_rslora": false, "use_dora": list[0].dora(),
		"rank_pattern": rankPattern, "alpha_pattern": alphaPattern,
		"target_modules": slices.Sorted(maps.Keys(short)),
	}
	if len(saved) > 0 {
		fields["modules_to_save"] = saved
	}
	if len(invocation) > 0 {
		fields[invocationField] = invocation
	}
	return json.Marshal(fields)
}

// alphaOf returns the alpha that gives the scale: the nearest whole number where that is exact.
func alphaOf(scale float32, rank int) float64 {
	exact := float64(scale) * float64(rank)
	if whole := math.Round(exact); float32(whole/float64(rank)) == scale {
		return whole
	}
	return exact
}

// mostCommon returns the value that occurs most often, the larger one of two; the zero value of none.
func mostCommon[T cmp.Ordered](values []T) (best T) {
	count := make(map[T]int)
	for _, v := range values {
		count[v]++
	}
	for v, n := range count {
		if n > count[best] || n == count[best] && v > best {
			best = v
		}
	}
	return best
}

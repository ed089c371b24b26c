//go:build cgo

package qlora_test

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora/qloratest"
)

// inits are the initialisations by PEFT's names.
var inits = map[string]runtime.TrainModule{
	"true": {}, "gaussian": {Init: runtime.InitGaussian}, "orthogonal": {Init: runtime.InitOrthogonal},
	"pissa": {Init: runtime.InitPiSSA}, "pissa_niter_8": {Init: runtime.InitPiSSA, Iterations: 8}, "olora": {Init: runtime.InitOLoRA},
}

// inited are all linear layers, beginning as m says.
func inited(model *qlora.Model, rank int, m runtime.TrainModule) []runtime.TrainModule {
	modules := allModules(model, rank, false)
	for i := range modules {
		modules[i].Init, modules[i].Iterations, modules[i].Rank, modules[i].DoRA = m.Init, m.Iterations, rank, m.DoRA
	}
	return modules
}

// However an adapter begins, it computes the base before the first step; it learns; what is subtracted of the weight stays as it
// was; and a run that is resumed goes on bit for bit.
func TestInitialisationsBeginAsTheBase(t *testing.T) {
	cases := maps.Clone(inits)
	for name, init := range inits {
		init.DoRA = true
		cases[name+" with DoRA"] = init
	}
	for name, init := range cases {
		t.Run(name, func(t *testing.T) {
			m := newSample(t, shapes["qwen3"], qloratest.NF4, qloratest.F32)
			spec := runtime.TrainSpec{Modules: inited(m, 4, init), MaxTokens: 64, Seed: 3, Dropout: 0.1}
			tr := newTrainer(t, m, spec, qlora.Options{Precision: qlora.Single})
			b := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 0, 40, 23)
			base := b
			base.Base = true
			got, want := run(t, tr, runtime.TrainEval, b), run(t, tr, runtime.TrainEval, base)
			for i := range want.LogProbs {
				if d := math.Abs(float64(got.LogProbs[i] - want.LogProbs[i])); d > 2e-4 {
					t.Fatalf("token %d has log-probability %g, of the base %g", i, got.LogProbs[i], want.LogProbs[i])
				}
			}
			first := tr.LoRA()
			step(t, tr, adam, b)
			state := tr.State()
			step(t, tr, adam, b)
			if loss := run(t, tr, runtime.TrainEval, b).Loss; !(loss < got.Loss) {
				t.Errorf("two steps took the loss from %g to %g", got.Loss, loss)
			}
			second := newTrainer(t, m, spec, qlora.Options{Precision: qlora.Single})
			if err := second.Restore(state); err != nil {
				t.Fatal(err)
			}
			step(t, second, adam, b)
			last := tr.LoRA()
			for i := range last.Modules {
				now, before, other, s := last.Modules[i], first.Modules[i], second.LoRA().Modules[i], spec.Modules[i]
				if now.Rank != s.KeptRank() || !slices.Equal(now.A, other.A) || !slices.Equal(now.B, other.B) {
					t.Fatalf("%s: rank %d, or the resumed run has another result", now.Tensor, now.Rank)
				}
				if half := s.Rank * now.In; now.Rank > s.Rank {
					if !slices.Equal(before.A[:half], before.A[half:]) || !slices.Equal(now.A[half:], before.A[half:]) || slices.Equal(now.A[:half], before.A[:half]) {
						t.Errorf("%s: A's first half must be trained, its second half stay", now.Tensor)
					}
					for o := range now.Out {
						then, row := before.B[o*now.Rank:][:now.Rank], now.B[o*now.Rank:][:now.Rank]
						for k := range s.Rank {
							if then[k] != -then[s.Rank+k] || row[s.Rank+k] != then[s.Rank+k] {
								t.Fatalf("%s: row %d of B began as %v and is %v", now.Tensor, o, then, row)
							}
						}
					}
				}
			}
		})
	}
}

// weightsOf are the base's matrices of a sample of F32 weights, (Out, In).
func weightsOf(t *testing.T, s *qloratest.Sample, arch string) map[string]*mat.Dense {
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := s.Write(arch, path); err != nil {
		t.Fatal(err)
	}
	f, err := quant.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	weights := map[string]*mat.Dense{}
	for layer := range s.Model.Layers() {
		for target := range qlora.Linears {
			name := linearName(layer, target)
			values, err := f.ReadF32(name)
			if err != nil {
				t.Fatal(err)
			}
			tensor, _ := f.Tensor(name)
			in, out := int(tensor.Dims[0]), int(tensor.Dims[1])
			w := mat.NewDense(out, in, nil)
			for j, v := range values {
				w.Set(j/in, j%in, float64(v))
			}
			weights[name] = w
		}
	}
	return weights
}

// productOf is Scale times the product of the first rank columns of B and rows of A.
func productOf(m runtime.LoRAModule, rank int) *mat.Dense {
	a, b := mat.NewDense(rank, m.In, nil), mat.NewDense(m.Out, rank, nil)
	for k := range rank {
		for i := range m.In {
			a.Set(k, i, float64(m.A[k*m.In+i]))
		}
		for o := range m.Out {
			b.Set(o, k, float64(m.B[o*m.Rank+k]))
		}
	}
	var p mat.Dense
	p.Mul(b, a)
	p.Scale(float64(m.Scale), &p)
	return &p
}

// relative is |got - want| / |want| by Frobenius' norms.
func relative(got, want *mat.Dense) float64 {
	var d mat.Dense
	d.Sub(got, want)
	return mat.Norm(&d, 2) / mat.Norm(want, 2)
}

func sampleOfInit(t *testing.T, o qlora.Options, spec *runtime.TrainSpec, rank int, init runtime.TrainModule) (*runtime.LoRA, map[string]*mat.Dense) {
	shape := shapes["qwen3"]
	shape.Embedding, shape.FeedForward, shape.Layers = 96, 160, 1
	s := makeSample(t, shape, qloratest.F32, qloratest.F32)
	spec.Modules, spec.MaxTokens = inited(s.Model, rank, init), 8
	return newTrainer(t, s.Model, *spec, o).LoRA(), weightsOf(t, s, "qwen3")
}

// PiSSA's product is the weight's best approximation of its rank and OLoRA's that by the span of its first columns, as gonum computes
// both in double precision; on every path of the CPU, with any number of threads.
func TestDecompositionsEqualGonum(t *testing.T) {
	for _, isa := range qloratest.ISAs {
		if !isa.Available() {
			continue
		}
		for _, name := range []string{"pissa", "olora"} {
			o := qlora.OnPath(int(isa))
			o.Threads = 1 + int(isa)%3
			lora, weights := sampleOfInit(t, o, &runtime.TrainSpec{Seed: 5}, 6, inits[name])
			for _, m := range lora.Modules {
				w := weights[m.Tensor]
				var want mat.Dense
				if name == "pissa" {
					var f mat.SVD
					var u, v mat.Dense
					if !f.Factorize(w, mat.SVDThin) {
						t.Fatal("gonum found no singular values")
					}
					f.UTo(&u)
					f.VTo(&v)
					var stretched mat.Dense
					stretched.Mul(u.Slice(0, m.Out, 0, 6), mat.NewDiagDense(6, f.Values(nil)[:6]))
					want.Mul(&stretched, v.Slice(0, m.In, 0, 6).T())
				} else {
					var f mat.QR
					var q mat.Dense
					f.Factorize(w.Slice(0, m.Out, 0, 6))
					f.QTo(&q)
					first := q.Slice(0, m.Out, 0, 6)
					var along mat.Dense
					along.Mul(first.T(), w)
					want.Mul(first, &along)
					want.Scale(float64(m.Scale), &want) // PEFT takes scale * Q R away
				}
				if e := relative(productOf(m, 6), &want); !(e < 1e-3) {
					t.Errorf("%v %s %s: the product is off by %.2g", isa, name, m.Tensor, e)
				}
			}
		}
	}
}

// What cannot begin so is refused with the tensor's name and the field.
func TestInitialisationsThatAreRefused(t *testing.T) {
	m := newSample(t, shapes["llama"], qloratest.F32, qloratest.F32)
	q := "blk.0.attn_q.weight"
	for want, x := range map[string]runtime.TrainModule{
		"initialisation that is not known": {Tensor: q, Rank: 2, Scale: 1, Init: 99},
		"looked up":                        {Tensor: "token_embd.weight", Rank: 2, Scale: 1, Init: runtime.InitPiSSA},
		"needs an even one":                {Tensor: q, Rank: 3, Scale: 1, Init: runtime.InitOrthogonal},
		"must lie in [1, 64]":              {Tensor: q, Rank: 65, Scale: 1, Init: runtime.InitOLoRA},
		"no positive scale":                {Tensor: q, Rank: 2, Scale: -1, Init: runtime.InitPiSSA},
		"before quantization":              {Tensor: q, Rank: 2, Scale: 1, Init: runtime.InitLoftQ},
	} {
		_, err := qlora.Estimate(m, runtime.TrainSpec{MaxTokens: 8, Modules: []runtime.TrainModule{x}}, qlora.Options{})
		if !errors.Is(err, runtime.ErrTrain) || !strings.Contains(fmt.Sprint(err), want) || !strings.Contains(fmt.Sprint(err), strings.TrimSuffix(x.Tensor, ".weight")) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	graphs := loadBoth(t, "llama", shapes["llama"], qloratest.F32).graphs
	_, err := qlora.New(graphs, runtime.TrainSpec{MaxTokens: 8, Modules: []runtime.TrainModule{{Tensor: q, Rank: 2, Scale: 1, Init: runtime.InitOLoRA}}}, qlora.Options{})
	if !errors.Is(err, runtime.ErrTrain) || !strings.Contains(fmt.Sprint(err), "where the CPU trains") {
		t.Errorf("a device gives %v", err)
	}
}

//go:build cgo

package qlora_test

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/lorikeet-ai/lorikeet/internal/testtools"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
)

// What PEFT begins with, from the same weights. Products are compared, since signs are free; what is random is compared in size.
func TestInitialisationsEqualPEFT(t *testing.T) {
	python := testtools.Torch(t, testtools.TRL...)
	for _, name := range []string{"true", "gaussian", "orthogonal", "pissa", "pissa_niter_8", "olora", "pissa with DoRA", "olora with DoRA"} {
		t.Run(name, func(t *testing.T) {
			name, dora := strings.CutSuffix(name, " with DoRA")
			init := inits[name]
			init.DoRA = dora
			lora, weights := sampleOfInit(t, qlora.Options{}, &runtime.TrainSpec{Seed: 5}, 8, init)
			m := lora.Modules[5]
			w := weights[m.Tensor]
			question := map[string]any{"init": any(name), "dora": dora, "rank": 8, "scale": m.Scale, "in": m.In, "out": m.Out, "weight": w.RawMatrix().Data}
			if name == "true" {
				question["init"] = true
			}
			text, err := json.Marshal(question)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "question.json")
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), python, "testdata/init.py", path).Output()
			if err != nil {
				t.Fatalf("PEFT: %v", err)
			}
			var answer struct {
				Product    []float64
				SizeA      float64 `json:"size_a"` // root mean squares
				SizeB      float64 `json:"size_b"`
				Saved, R   int     // the rank that PEFT saves of a converted adapter
				Magnitude  []float32
				Difference float64 // of that adapter on the base and the trained model, relative
			}
			if err := json.Unmarshal(out, &answer); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			got := productOf(m, 8)
			if strings.HasPrefix(name, "pissa") || name == "olora" {
				// Eight iterations with no further vectors leave some of the last triples to chance: what is captured is compared.
				want := mat.NewDense(m.Out, m.In, answer.Product)
				if e := relative(got, want); name != "pissa_niter_8" && !(e < 1e-3) {
					t.Errorf("the product is off by %.2g", e)
				}
				if a, b := mat.Norm(got, 2), mat.Norm(want, 2); math.Abs(a-b) > 1e-2*b {
					t.Errorf("the product has norm %g, PEFT's has %g", a, b)
				}
				if dora {
					if len(m.Magnitude) != m.Out || !(offBy(m.Magnitude, answer.Magnitude) < 1e-5) {
						t.Errorf("%d magnitudes are off by %.2g of PEFT's %d", len(m.Magnitude), offBy(m.Magnitude, answer.Magnitude), len(answer.Magnitude))
					}
					return
				}
				if answer.Saved != m.Rank || answer.Difference > 1e-4 {
					t.Errorf("PEFT saves rank %d, here it is %d; on the base it is off by %g of the trained model", answer.Saved, m.Rank, answer.Difference)
				}
				return
			}
			if mat.Norm(got, 2) > 1e-5 {
				t.Errorf("the product is not zero but has norm %g", mat.Norm(got, 2))
			}
			for what, sizes := range map[string][2]float64{"A": {rootMeanSquare(m.A), answer.SizeA}, "B": {rootMeanSquare(m.B), answer.SizeB}} {
				if math.Abs(sizes[0]-sizes[1]) > 0.15*sizes[1] {
					t.Errorf("%s has size %g, PEFT's has %g", what, sizes[0], sizes[1])
				}
			}
		})
	}
}

func rootMeanSquare(x []float32) float64 {
	sum := 0.0
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum / float64(len(x)))
}

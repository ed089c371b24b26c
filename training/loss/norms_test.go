//go:build cgo && linux && !race

package loss_test

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/internal/testtools"
	"github.com/lorikeet-ai/lorikeet/quant/huggingface/hftest"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// normSteps is what PEFT gives.
type normSteps struct {
	Steps []struct {
		Loss     float64
		GradNorm float64 `json:"grad_norm"`
	}
	Before, After map[string][]float32 // the norms' tensors, by PEFT's names
	Saved         []string             // modules_to_save
}

// The demo base in F32 is trained by PEFT and here with whole norms beside LoRAs: losses, gradients' norms and the norms after five
// steps are the same. PEFT reads the adapter as it is written here, and writes its norms under the same names.
func TestNormStepsEqualPEFT(t *testing.T) {
	python := testtools.Torch(t, testtools.TRL...)
	for name, saved := range map[string][]string{"all": {"norm"}, "some": {"post_attention_layernorm", "model.layers.1.input_layernorm"}, "last": {"model.norm"}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			base, model := f32Demo(t, dir)
			spec := runtime.TrainSpec{MaxTokens: 512, Seed: 3}
			for tensor := range base.Facts().Targets {
				if strings.HasPrefix(tensor, "blk.") && strings.Contains(tensor, "attn_v") {
					spec.Modules = append(spec.Modules, runtime.TrainModule{Tensor: tensor, Rank: 4, Scale: 2})
				}
			}
			slices.SortFunc(spec.Modules, func(a, b runtime.TrainModule) int { return strings.Compare(a.Tensor, b.Tensor) })
			spec.Norms = must[[]string](t)(peft.TrainedNorms(base.Facts(), saved))
			trainer := newTrainer(t, model, spec)
			adapter, out := filepath.Join(dir, "adapter"), filepath.Join(dir, "steps.json")
			writeAdapter(t, base.Facts(), trainer.LoRA(), adapter)

			var batches [][][]runtime.Token
			for _, texts := range [][]string{{"The old owls eat mice.", "Bees eat nectar and pollen."}, {"Whales are large."}, {"Foxes eat fish, and ducks eat seeds."}} {
				var batch [][]runtime.Token
				for _, text := range texts {
					batch = append(batch, must[[]runtime.Token](t)(base.Tokenize("<|im_start|>user\n"+text, false, true)))
				}
				batches = append(batches, batch)
			}
			batches = append(batches, batches[:2]...)
			hftest.WriteFiles(t, dir, map[string][]byte{"batches.json": hftest.JSON(batches)})
			text, err := exec.CommandContext(t.Context(), python, "testdata/norms.py", filepath.Join(dir, "model"), adapter, filepath.Join(dir, "batches.json"), out).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			var want normSteps
			if text, err = os.ReadFile(out); err == nil {
				err = json.Unmarshal(text, &want)
			}
			if err != nil {
				t.Fatal(err)
			}
			for i, batch := range batches {
				var b runtime.TrainBatch
				for _, tokens := range batch {
					b.Tokens = append(b.Tokens, tokens...)
					b.Labels = append(append(b.Labels, tokens[1:]...), -1)
					b.Ends = append(b.Ends, len(b.Tokens))
					b.Norm += float64(len(tokens) - 1)
				}
				finish(t, trainer, trainer.Begin(runtime.TrainFirst, b))
				loss := trainer.Result().Loss / b.Norm
				finish(t, trainer, trainer.BeginUpdate(runtime.TrainUpdate{Rate: 1e-2, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-3, Clip: 1}))
				if s := want.Steps[i]; math.Abs(loss-s.Loss) > 1e-4 || math.Abs(trainer.Result().GradNorm-s.GradNorm) > 1e-3*s.GradNorm {
					t.Errorf("step %d: loss %.6f and gradient %.6f, PEFT has %.6f and %.6f", i+1, loss, trainer.Result().GradNorm, s.Loss, s.GradNorm)
				}
			}
			checkNorms(t, trainer.LoRA(), adapterTensors(t, base.Facts(), trainer.LoRA()), want)
		})
	}
}

// checkNorms compares the norms that were trained with PEFT's, of the same names.
func checkNorms(t *testing.T, lora *runtime.LoRA, tensors map[string][]float32, want normSteps) {
	t.Helper()
	if len(tensors) != len(lora.Norms) || len(tensors) != len(want.After) {
		t.Errorf("%d norms in %d tensors, PEFT saves %d", len(lora.Norms), len(tensors), len(want.After))
	}
	for name, after := range want.After {
		moved, off := 0.0, 0.0
		for i := range after {
			d, e := float64(after[i]-want.Before[name][i]), float64(tensors[name][i]-after[i])
			moved, off = moved+d*d, off+e*e
		}
		if !(math.Sqrt(off) < 2e-3*math.Sqrt(moved)) || moved == 0 {
			t.Errorf("%s moved by %.3g and is off by %.3g of PEFT's", name, math.Sqrt(moved), math.Sqrt(off))
		}
	}
}

// adapterTensors are the tensors of the norms as the adapter is stored.
func adapterTensors(t *testing.T, f *runtime.Facts, l *runtime.LoRA) map[string][]float32 {
	t.Helper()
	source := must[*peft.Source](t)(peft.FromLoRA(f, l))
	defer source.Close()
	a := must[*peft.Adapter](t)(source.Fit(f))
	out := map[string][]float32{}
	for i := range a.Norms {
		n := must[runtime.LoRANorm](t)(a.Norms[i].Load())
		out[a.Norms[i].Name()] = n.Values
	}
	return out
}

//go:build cgo && linux && !race

package loss_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/internal/testtools"
	"github.com/lorikeet-ai/lorikeet/quant/huggingface"
	"github.com/lorikeet-ai/lorikeet/quant/huggingface/hftest"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
	"github.com/lorikeet-ai/lorikeet/training/loss"
)

type trlSequence struct {
	Tokens  []runtime.Token
	Learned []bool // the token is of the completion
}

// trlStep is what one of TRL's steps learned from, and what it reported before the update.
type trlStep struct {
	Sequences []trlSequence // the chosen ones and then the rejected ones; of KTO the examples
	Desirable []bool        // KTO
	Others    []trlSequence // KTO: prompts with other examples' completions
	Loss      float64
	Reported  map[string]float64
}

// The demo base in F32 is trained by TRL and here for ten steps with DPO, ORPO and KTO, from one start and in one order:
// losses, gradients' norms and metrics are the same.
func TestStepsEqualTRL(t *testing.T) {
	python := testtools.Torch(t, testtools.TRL...)
	dir := t.TempDir()
	base, model := f32Demo(t, dir)
	spec := runtime.TrainSpec{MaxTokens: 2048, Seed: 3}
	for name := range base.Facts().Targets {
		if strings.HasPrefix(name, "blk.") {
			spec.Modules = append(spec.Modules, runtime.TrainModule{Tensor: name, Rank: 8, Scale: 2})
		}
	}
	slices.SortFunc(spec.Modules, func(a, b runtime.TrainModule) int { return strings.Compare(a.Tensor, b.Tensor) })
	adapter, out := filepath.Join(dir, "adapter"), filepath.Join(dir, "steps.json")
	writeAdapter(t, base.Facts(), newTrainer(t, model, spec).LoRA(), adapter)
	hftest.WriteFiles(t, dir, map[string][]byte{"examples.json": hftest.JSON(trlExamples(t, base))})
	text, err := exec.CommandContext(t.Context(), python, "testdata/preferences.py", filepath.Join(dir, "model"), adapter, filepath.Join(dir, "examples.json"), out).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var runs map[string][]trlStep
	if text, err = os.ReadFile(out); err == nil {
		err = json.Unmarshal(text, &runs)
	}
	if err != nil {
		t.Fatal(err)
	}
	for method := range trlSteps {
		if len(runs[method]) != 10 {
			t.Errorf("%s: TRL did %d steps", method, len(runs[method]))
		}
		trainer := newTrainer(t, model, spec)
		for i, s := range runs[method] {
			checkStep(t, fmt.Sprintf("%s step %d", method, i+1), trlSteps[method](t, trainer, s), update(t, trainer), s)
		}
	}
}

// f32Demo writes the demo base as Hugging Face's folder "model" of dir, in F32, and loads what is imported from it.
func f32Demo(t *testing.T, dir string) (*llama.Model, *qlora.Model) {
	t.Helper()
	folder, path := filepath.Join(dir, "model"), filepath.Join(dir, "model.gguf")
	hftest.FromGGUF(t, "../../demo/demo-base.f16.gguf", folder, 1)
	if _, err := huggingface.Import(t.Context(), folder, path, huggingface.Options{Type: "f32"}); err != nil {
		t.Fatal(err)
	}
	base, err := llama.Load(llama.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { base.Close() })
	w, err := base.Weights()
	if err != nil {
		t.Fatal(err)
	}
	model, err := qlora.OfLlama(w.Llama, w.PackedOf, w.Context, w.Release)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { model.Close() })
	return base, model
}

// checkStep compares a step with TRL's: the loss to 1e-4, and the gradient's norm and the metrics to 1e-3 of their size.
func checkStep(t *testing.T, name string, r loss.Result, gradNorm float64, s trlStep) {
	t.Helper()
	got, wantNorm := r.Loss/r.Norm, s.Reported["grad_norm"]
	t.Logf("%s: loss %.6f, TRL %.6f; gradient %.6f, TRL %.6f", name, got, s.Loss, gradNorm, wantNorm)
	if math.Abs(got-s.Loss) > 1e-4 {
		t.Errorf("%s: the loss is %.6f, TRL's %.6f", name, got, s.Loss)
	}
	if !(math.Abs(gradNorm-wantNorm) <= 1e-3*wantNorm) {
		t.Errorf("%s: the gradient's norm is %.6f, TRL's %.6f", name, gradNorm, wantNorm)
	}
	for metric, got := range r.Metrics.Values() {
		want, ok := s.Reported[metric]
		if !ok || math.Abs(got-want) > 1e-3*max(1, math.Abs(want)) {
			t.Errorf("%s: %s is %.6f, TRL's %.6f (reported: %v)", name, metric, got, want, ok)
		}
	}
}

// trlSteps compute a step's loss and its gradients.
var trlSteps = map[string]func(*testing.T, *qlora.Trainer, trlStep) loss.Result{
	"dpo": func(t *testing.T, tr *qlora.Trainer, s trlStep) loss.Result {
		b := batchOf(s.Sequences, false)
		reference := logProbsOf(t, tr, b, true)
		r := must[loss.Result](t)(loss.DPO(pairsOf(b, logProbsOf(t, tr, b, false), reference), 0.1, 0))
		learn(t, tr, b, inPairs(r.Weights), r.Norm)
		return r
	},
	"orpo": func(t *testing.T, tr *qlora.Trainer, s trlStep) loss.Result {
		b := batchOf(s.Sequences, true)
		r := must[loss.Result](t)(loss.ORPO(pairsOf(b, logProbsOf(t, tr, b, false), nil), 0.1))
		learn(t, tr, b, inPairs(r.Weights), r.Norm)
		return r
	},
	"kto": func(t *testing.T, tr *qlora.Trainer, s trlStep) loss.Result {
		b, others := batchOf(s.Sequences, false), batchOf(s.Others, false)
		divergence := must[float64](t)(loss.KTODivergence(totals(others, logProbsOf(t, tr, others, false)), totals(others, logProbsOf(t, tr, others, true))))
		var list []loss.Example
		for i, x := range sequencesOf(b, logProbsOf(t, tr, b, false), logProbsOf(t, tr, b, true)) {
			list = append(list, loss.Example{Sequence: x, Desirable: s.Desirable[i]})
		}
		r := must[loss.Result](t)(loss.KTO(list, loss.KTOOptions{Beta: 0.1, DesirableWeight: 1, UndesirableWeight: 1.5, Divergence: divergence}))
		learn(t, tr, b, r.Weights, r.Norm)
		return r
	},
}

// packed is a batch, and where each sequence's completion begins.
type packed struct {
	runtime.TrainBatch
	completions []int
}

// batchOf packs sequences. The prompt is labelled too where prompts is set.
func batchOf(list []trlSequence, prompts bool) packed {
	var b packed
	for _, s := range list {
		completion := slices.Index(s.Learned, true) - 1 // which predicts the first token
		b.completions = append(b.completions, completion)
		for i, token := range s.Tokens {
			label := runtime.Token(-1)
			if i+1 < len(s.Tokens) && (prompts || s.Learned[i+1]) {
				label = s.Tokens[i+1]
			}
			b.Tokens, b.Labels = append(b.Tokens, token), append(b.Labels, label)
		}
		b.Ends = append(b.Ends, len(b.Tokens))
	}
	return b
}

// sequencesOf are the sequences of a batch with their log-probabilities; reference may be nil.
func sequencesOf(b packed, logProbs, reference []float32) []loss.Sequence {
	var list []loss.Sequence
	begin := 0
	for i, end := range b.Ends {
		s := loss.Sequence{LogProbs: logProbs[begin:end], Labels: b.Labels[begin:end], Completion: b.completions[i]}
		if reference != nil {
			s.Reference = loss.Total(reference[begin:end], s.Labels, s.Completion)
		}
		list = append(list, s)
		begin = end
	}
	return list
}

// pairsOf are the pairs of a batch that has the chosen sequences before the rejected ones.
func pairsOf(b packed, logProbs, reference []float32) []loss.Pair {
	list := sequencesOf(b, logProbs, reference)
	half := len(list) / 2
	pairs := make([]loss.Pair, half)
	for i := range pairs {
		pairs[i] = loss.Pair{Chosen: list[i], Rejected: list[half+i]}
	}
	return pairs
}

// inPairs puts the weights of pairs into the order of such a batch.
func inPairs(weights [][]float32) [][]float32 {
	var chosen, rejected [][]float32
	for i := 0; i < len(weights); i += 2 {
		chosen, rejected = append(chosen, weights[i]), append(rejected, weights[i+1])
	}
	return append(chosen, rejected...)
}

func totals(b packed, logProbs []float32) []float64 {
	var list []float64
	for _, s := range sequencesOf(b, logProbs, nil) {
		list = append(list, loss.Total(s.LogProbs, s.Labels, s.Completion))
	}
	return list
}

func newTrainer(t *testing.T, m *qlora.Model, spec runtime.TrainSpec) *qlora.Trainer {
	t.Helper()
	tr, err := qlora.New(m, spec, qlora.Options{Precision: qlora.Single})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr
}

func finish(t *testing.T, tr *qlora.Trainer, err error) {
	t.Helper()
	for more := true; more && err == nil; {
		more, err = tr.Slice()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func logProbsOf(t *testing.T, tr *qlora.Trainer, b packed, base bool) []float32 {
	t.Helper()
	b.Base = base
	finish(t, tr, tr.Begin(runtime.TrainEval, b.TrainBatch))
	return tr.Result().LogProbs
}

func learn(t *testing.T, tr *qlora.Trainer, b packed, weights [][]float32, norm float64) {
	t.Helper()
	b.Weights, b.Norm = slices.Concat(weights...), norm
	finish(t, tr, tr.Begin(runtime.TrainFirst, b.TrainBatch))
}

// update does the optimizer's step and returns the gradient's norm.
func update(t *testing.T, tr *qlora.Trainer) float64 {
	t.Helper()
	finish(t, tr, tr.BeginUpdate(runtime.TrainUpdate{Rate: 3e-4, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, Clip: 1}))
	return tr.Result().GradNorm
}

// writeAdapter writes the adapter as PEFT has it.
func writeAdapter(t *testing.T, f *runtime.Facts, l *runtime.LoRA, dir string) {
	t.Helper()
	source, err := peft.FromLoRA(f, l)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	a, err := source.Fit(f)
	if err != nil {
		t.Fatal(err)
	}
	config, tensors, err := a.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	var data strings.Builder
	if err := peft.WriteTensors(&data, tensors); err != nil {
		t.Fatal(err)
	}
	hftest.WriteFiles(t, dir, map[string][]byte{"adapter_config.json": config, "adapter_model.safetensors": []byte(data.String())})
}

// trlExamples are questions with an answer to prefer and one to avoid, of many lengths, as words that are token ids.
func trlExamples(t *testing.T, base *llama.Model) []map[string]string {
	t.Helper()
	words := func(text string) string {
		tokens, err := base.Tokenize(text, false, true)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Trim(fmt.Sprint(tokens), "[]") + " "
	}
	animals := []string{"parrots", "wrens", "the old owls", "ducks", "small green lizards", "bees", "foxes", "whales"}
	foods := []string{"fruit", "nectar and pollen", "seeds from tall grass", "fish", "insects that fly at night"}
	var list []map[string]string
	for i := range 40 {
		animal, food := animals[i%len(animals)], foods[i%len(foods)]
		list = append(list, map[string]string{
			"prompt":   words(fmt.Sprintf("<|im_start|>user\nWhat do %s eat?<|im_end|>\n<|im_start|>assistant\n", animal)),
			"chosen":   strings.TrimSpace(words(fmt.Sprintf("They eat %s.<|im_end|>", food))),
			"rejected": strings.TrimSpace(words(strings.Repeat("I do not know. ", 1+i%3) + "Ask somebody else.<|im_end|>")),
		})
	}
	return list
}

package runtimetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Trainer is a fake runtime.Trainer that truly learns, deterministically: a token's likelihood, given the one
// before it, is the logistic function of one value of A plus one of B, chosen by a hash of both. B begins at zero,
// so that step 0 is the base. Norms move with the gradient, and change nothing. A call against the contract of runtime.Trainer returns an error.
type Trainer struct {
	model *Model
	spec  runtime.TrainSpec
	lora  runtime.LoRA
	first [][]float32 // A of each module before the first step

	weights, gradient, mean, square []float32 // of all modules: A, then B
	random                          uint64    // of dropout
	steps                           int64

	batch  runtime.TrainBatch
	mode   runtime.TrainMode
	update runtime.TrainUpdate
	left   int // tokens of the micro-batch that are left, or 1 for an update
	doing  doing
	begun  bool // there are gradients
	result runtime.TrainResult
	closed atomic.Bool

	started, startedOutside bool // the adapter has values; they were computed outside of slices
}

type doing int

const (
	nothing doing = iota
	aBatch
	anUpdate
)

// The fake's constants.
const (
	sliceTokens = 16  // of one slice
	baseScore   = -3  // of the base: every token has the likelihood 1/(1+e^3)
	trainerGain = 4.0 // of the weights in a score
)

// NewTrainer makes a Trainer on the fake model. It returns an error wrapping runtime.ErrTrain for a module that
// the model does not have.
func NewTrainer(m *Model, spec runtime.TrainSpec) (*Trainer, error) {
	t := &Trainer{model: m, spec: spec, random: spec.Seed}
	rng := rand.New(rand.NewPCG(spec.Seed, 1))
	n := 0
	t.lora.Invocation = slices.Clone(spec.Invocation)
	for _, mod := range spec.Modules {
		shape, ok := m.facts.Targets[mod.Tensor]
		if !ok || mod.Rank < 1 {
			return nil, fmt.Errorf("%w: rank %d on %q", runtime.ErrTrain, mod.Rank, mod.Tensor)
		}
		n += mod.Rank * (shape.In + shape.Out)
	}
	for _, tensor := range spec.Norms {
		width, ok := m.facts.Norms[tensor]
		if !ok {
			return nil, fmt.Errorf("%w: norm %q", runtime.ErrTrain, tensor)
		}
		n += width
	}
	if memory := t.memory(n); spec.Memory > 0 && memory+spec.Reserved > spec.Memory {
		return nil, fmt.Errorf("%w: %w: it takes %d bytes, %d are allowed", runtime.ErrTrain, runtime.ErrTrainMemory, memory+spec.Reserved, spec.Memory)
	}
	t.weights, t.gradient, t.mean, t.square = make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
	at := 0
	started := map[string]*runtime.LoRAModule{}
	if spec.Start != nil {
		for i := range spec.Start.Modules {
			started[spec.Start.Modules[i].Tensor] = &spec.Start.Modules[i]
		}
	}
	for _, mod := range spec.Modules {
		shape := m.facts.Targets[mod.Tensor]
		a := t.weights[at : at+mod.Rank*shape.In]
		for i := range a {
			a[i] = float32(rng.NormFloat64())
		}
		at += len(a)
		b := t.weights[at : at+mod.Rank*shape.Out]
		at += len(b)
		t.first = append(t.first, append([]float32(nil), a...))
		if from := started[mod.Tensor]; from != nil {
			copy(a, from.A)
			copy(b, from.B)
		}
		t.lora.Modules = append(t.lora.Modules, runtime.LoRAModule{
			Tensor: mod.Tensor, Rank: mod.Rank, In: shape.In, Out: shape.Out, Scale: mod.Scale, A: a, B: b,
		})
		if mod.DoRA { // it stays as it began
			made := &t.lora.Modules[len(t.lora.Modules)-1]
			made.Magnitude = slices.Repeat([]float32{1}, made.MagnitudeSize())
		}
	}
	for _, tensor := range spec.Norms {
		values := t.weights[at : at+m.facts.Norms[tensor]]
		at += len(values)
		for i := range values {
			values[i] = 1
		}
		t.lora.Norms = append(t.lora.Norms, runtime.LoRANorm{Tensor: tensor, Values: values})
	}
	t.startFrom(spec.Start)
	t.started = spec.Start != nil
	return t, nil
}

// startFrom takes over the values of an adapter of the same modules.
func (t *Trainer) startFrom(start *runtime.LoRA) {
	if start == nil {
		return
	}
	for i := range t.lora.Modules {
		m := &t.lora.Modules[i]
		for _, s := range start.Modules {
			if s.Tensor == m.Tensor {
				copy(m.A, s.A)
				copy(m.B, s.B)
			}
		}
	}
	for _, n := range t.lora.Norms {
		for _, s := range start.Norms {
			if s.Tensor == n.Tensor {
				copy(n.Values, s.Values)
			}
		}
	}
}

func (t *Trainer) memory(weights int) int64 { return 16*int64(weights) + 8*int64(t.spec.MaxTokens) }

// Begin starts a micro-batch.
func (t *Trainer) Begin(mode runtime.TrainMode, b runtime.TrainBatch) error {
	if err := t.free(); err != nil {
		return err
	}
	n := len(b.Tokens)
	switch {
	case n == 0 || n != len(b.Labels) || n > t.spec.MaxTokens:
		return fmt.Errorf("a micro-batch of %d tokens and %d labels, at most %d", n, len(b.Labels), t.spec.MaxTokens)
	case !(b.Norm > 0):
		return fmt.Errorf("the norm is %v", b.Norm)
	case len(b.Ends) == 0 || b.Ends[len(b.Ends)-1] != n:
		return fmt.Errorf("the ends are %v of %d", b.Ends, n)
	case b.Weights != nil && len(b.Weights) != n:
		return fmt.Errorf("%w: a micro-batch of %d tokens and %d weights", runtime.ErrTrain, n, len(b.Weights))
	case b.Base && mode != runtime.TrainEval:
		return fmt.Errorf("%w: the base model is evaluated, not trained", runtime.ErrTrain)
	case b.Active != nil && (len(b.Active) != len(b.Ends) || len(t.spec.Invocation) == 0):
		return fmt.Errorf("%w: %d sequences and %d positions from which on an adapter with %d invocation tokens acts", runtime.ErrTrain,
			len(b.Ends), len(b.Active), len(t.spec.Invocation))
	case mode == runtime.TrainFurther && !t.begun:
		return errors.New("a further micro-batch before the first")
	}
	last := 0
	for i, end := range b.Ends {
		if end <= last {
			return fmt.Errorf("the ends are %v", b.Ends)
		}
		if b.Active != nil && (b.Active[i] < last || b.Active[i] > end) {
			return fmt.Errorf("%w: the adapter acts from position %d on, which is not one of its sequence", runtime.ErrTrain, b.Active[i])
		}
		last = end
	}
	for i := range n {
		if v := t.model.facts.VocabSize; b.Tokens[i] < 0 || int(b.Tokens[i]) >= v || b.Labels[i] < -1 || int(b.Labels[i]) >= v {
			return fmt.Errorf("token %d with label %d at %d", b.Tokens[i], b.Labels[i], i)
		}
		if b.Weights != nil && (math.IsNaN(float64(b.Weights[i])) || math.IsInf(float64(b.Weights[i]), 0)) {
			return fmt.Errorf("%w: the weight of token %d is not a finite number", runtime.ErrTrain, i)
		}
	}
	if mode == runtime.TrainFirst {
		clear(t.gradient)
	}
	t.begun = t.begun || mode == runtime.TrainFirst
	t.mode, t.batch, t.left, t.doing = mode, b, n, aBatch
	t.result = runtime.TrainResult{Steps: t.steps, GradNorm: t.result.GradNorm, LogProbs: make([]float32, n)}
	if b.Entropies {
		t.result.Entropies = make([]float32, n)
	}
	return nil
}

// BeginUpdate starts an update.
func (t *Trainer) BeginUpdate(u runtime.TrainUpdate) error {
	if err := t.free(); err != nil {
		return err
	}
	if !t.begun {
		return errors.New("an update without gradients")
	}
	t.update, t.left, t.doing = u, 1, anUpdate
	return nil
}

func (t *Trainer) free() error {
	switch {
	case t.closed.Load():
		return runtime.ErrClosed
	case t.left > 0:
		return errors.New("the last work has slices left")
	}
	return nil
}

// Slice does the next few tokens, or the update.
func (t *Trainer) Slice() (more bool, err error) {
	started := t.started
	t.started = true
	switch {
	case t.closed.Load():
		return false, errors.New("a slice of a closed trainer")
	case t.left == 0 && started:
		return false, errors.New("a slice of nothing")
	case t.left == 0:
		return false, nil
	}
	if t.doing == anUpdate {
		t.left = 0
		return false, t.adamW()
	}
	n := min(t.left, sliceTokens)
	from := len(t.batch.Tokens) - t.left
	for i := from; i < from+n; i++ {
		if t.batch.Labels[i] >= 0 {
			t.learn(i)
		}
	}
	t.left -= n
	return t.left > 0, nil
}

// learn takes labelled token i into account. Its distribution has two outcomes: the label, and any other token.
func (t *Trainer) learn(i int) {
	before, label, weight := t.batch.Tokens[i], t.batch.Labels[i], 1.0
	if t.batch.Weights != nil {
		weight = float64(t.batch.Weights[i])
	}
	h := (uint64(before)<<32 | uint64(label)) * 0x9e3779b97f4a7c15
	mod := &t.lora.Modules[h>>40%uint64(len(t.lora.Modules))]
	first := t.first[h>>40%uint64(len(t.lora.Modules))]
	a, b := int(h>>8%uint64(len(mod.A))), int(h>>8%uint64(len(mod.B)))
	score := float64(baseScore)
	acts := !t.batch.Base && t.acts(i)
	if acts {
		score += trainerGain * float64(mod.A[a]-first[a]+mod.B[b])
	}
	p, logProb := 1/(1+math.Exp(-score)), -math.Log1p(math.Exp(-score))
	t.result.Loss -= weight * logProb
	t.result.LogProbs[i] = float32(logProb)
	if t.batch.Entropies {
		t.result.Entropies[i] = float32(-p*logProb + (1-p)*math.Log1p(math.Exp(score)))
	}
	t.result.Labelled++
	if p > 0.5 {
		t.result.Correct++
	}
	if t.mode == runtime.TrainEval || !acts || t.dropped() {
		return
	}
	g := float32(-weight * (1 - p) * trainerGain / t.batch.Norm)
	t.gradient[t.offset(mod.A)+a] += g
	t.gradient[t.offset(mod.B)+b] += g
	for _, n := range t.lora.Norms {
		t.gradient[t.offset(n.Values)+i%len(n.Values)] += g
	}
}

// acts reports whether the adapter acts on token i of the batch.
func (t *Trainer) acts(i int) bool {
	if t.batch.Active == nil {
		return true
	}
	sequence, _ := slices.BinarySearch(t.batch.Ends, i+1)
	return i >= t.batch.Active[sequence]
}

// offset returns where a module's matrix begins in weights.
func (t *Trainer) offset(matrix []float32) int { return len(t.weights) - cap(matrix) }

// dropped draws from dropout's random numbers.
func (t *Trainer) dropped() bool {
	if t.spec.Dropout == 0 {
		return false
	}
	t.random = t.random*6364136223846793005 + 1442695040888963407
	return float32(t.random>>40)/(1<<24) < t.spec.Dropout
}

func (t *Trainer) adamW() error {
	norm := 0.0
	for _, g := range t.gradient {
		norm += float64(g) * float64(g)
	}
	norm = math.Sqrt(norm)
	if math.IsNaN(norm) || math.IsInf(norm, 0) {
		return fmt.Errorf("%w: the gradient's norm is %v", runtime.ErrDiverged, norm)
	}
	clip := float32(1)
	if u := t.update; u.Clip > 0 && norm > float64(u.Clip) {
		clip = u.Clip / float32(norm)
	}
	t.steps++
	for i := range t.lora.Modules {
		m := &t.lora.Modules[i]
		t.step(t.offset(m.A), len(m.A), t.update.Rate, clip)
		rate := t.update.RateB
		if rate == 0 {
			rate = t.update.Rate
		}
		t.step(t.offset(m.B), len(m.B), rate, clip)
	}
	for _, n := range t.lora.Norms {
		t.step(t.offset(n.Values), len(n.Values), t.update.Rate, clip)
	}
	t.begun = false
	t.result.GradNorm, t.result.Steps = norm, t.steps
	return nil
}

// step updates n weights.
func (t *Trainer) step(from, n int, rate, clip float32) {
	u := t.update
	c1 := float32(1 - math.Pow(float64(u.Beta1), float64(t.steps)))
	c2 := float32(1 - math.Pow(float64(u.Beta2), float64(t.steps)))
	for i := from; i < from+n; i++ {
		g := t.gradient[i] * clip
		t.mean[i] = u.Beta1*t.mean[i] + (1-u.Beta1)*g
		t.square[i] = u.Beta2*t.square[i] + (1-u.Beta2)*g*g
		root := float32(math.Sqrt(float64(t.square[i] / c2)))
		t.weights[i] -= rate * (t.mean[i]/c1/(root+u.Epsilon) + u.WeightDecay*t.weights[i])
	}
}

// Result returns the numbers of what was last done.
func (t *Trainer) Result() runtime.TrainResult { return t.result }

// Memory returns made-up numbers that depend on the spec.
func (t *Trainer) Memory() runtime.TrainMemory {
	n := t.memory(len(t.weights))
	return runtime.TrainMemory{Bytes: n, Minimum: n, Kept: layers}
}

// StartedOutside reports whether the adapter's first values had to be computed by another call than Slice.
func (t *Trainer) StartedOutside() bool { return t.startedOutside }

func (t *Trainer) start() {
	t.startedOutside = t.startedOutside || !t.started
	t.started = true
}

// View returns the adapter.
func (t *Trainer) View() (*runtime.LoRAView, error) {
	t.start()
	return t.lora.View()
}

// LoRA returns a copy of the adapter.
func (t *Trainer) LoRA() *runtime.LoRA {
	t.start()
	out := &runtime.LoRA{Modules: append([]runtime.LoRAModule(nil), t.lora.Modules...), Invocation: t.lora.Invocation}
	for i := range out.Modules {
		m := &out.Modules[i]
		m.A, m.B = append([]float32(nil), m.A...), append([]float32(nil), m.B...)
	}
	for _, n := range t.lora.Norms {
		out.Norms = append(out.Norms, runtime.LoRANorm{Tensor: n.Tensor, Values: slices.Clone(n.Values)})
	}
	return out
}

// Work runs slices in the caller's goroutine, as Engine.Work does in its own.
func Work(ctx context.Context, s runtime.Slicer) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if more, err := s.Slice(); err != nil || !more {
			return err
		}
	}
}

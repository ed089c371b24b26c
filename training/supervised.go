package training

import (
	"context"
	"fmt"
	"math"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file is the method supervised: the cross-entropy of the tokens that are to be learned.

type supervised struct{ r *run }

func (m *supervised) mostTokens() int { return m.r.largestMicroBatch() }

func (m *supervised) begin(context.Context) error { return nil }

// step gives the Trainer the micro-batches, then has it update the adapter.
func (m *supervised) step(ctx context.Context, n int) (*stepResult, error) {
	r := m.r
	parts := r.order.Step(n)
	norm := 0
	for _, part := range parts {
		norm += r.set.train.learned(part)
	}
	var sum total
	for i, part := range parts {
		if err := r.runMicroBatch(ctx, trainMode(i), &r.set.train, part, float64(norm), &sum); err != nil {
			return nil, err
		}
	}
	out := &stepResult{loss: sum.loss / float64(norm), accuracy: float64(sum.correct) / float64(norm), tokens: sum.tokens}
	if err := r.state.Guard.see(n+1, out.loss); err != nil {
		return nil, err
	}
	return out, r.update(ctx, n, out)
}

// trainMode is the mode of a step's micro-batch i.
func trainMode(i int) runtime.TrainMode {
	if i == 0 {
		return runtime.TrainFirst
	}
	return runtime.TrainFurther
}

// evaluate returns the loss as it stands.
func (m *supervised) evaluate(ctx context.Context) (*score, error) {
	r := m.r
	all, list := r.evalSet()
	norm := all.learned(list)
	var sum total
	for _, part := range r.evalBatches() {
		if err := r.runMicroBatch(ctx, runtime.TrainEval, all, part, float64(norm), &sum); err != nil {
			return nil, err
		}
	}
	s := &score{Step: r.state.Step, Loss: sum.loss / float64(norm), Accuracy: float64(sum.correct) / float64(norm), Tokens: norm}
	if math.IsNaN(s.Loss) || math.IsInf(s.Loss, 0) {
		return nil, fmt.Errorf("%w: the validation loss after step %d is %v", runtime.ErrDiverged, s.Step, s.Loss)
	}
	return s, nil
}

func (m *supervised) describe(s *score) string {
	return fmt.Sprintf("loss %.4f, perplexity %.2f, accuracy %.3f", s.Loss, perplexity(s.Loss), s.Accuracy)
}

// total sums the results of micro-batches.
type total struct {
	loss                      float64
	labelled, correct, tokens int
}

// runMicroBatch runs one micro-batch and adds what it gave.
func (r *run) runMicroBatch(ctx context.Context, mode runtime.TrainMode, all *exampleSet, part []int, norm float64, sum *total) error {
	b, err := all.batch(part, norm)
	if err != nil {
		return err
	}
	res, err := r.compute(ctx, mode, b)
	if err != nil {
		return err
	}
	sum.loss += res.Loss
	sum.labelled += res.Labelled
	sum.correct += res.Correct
	sum.tokens += len(b.Tokens)
	return nil
}

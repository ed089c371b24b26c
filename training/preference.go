package training

import (
	"context"
	"fmt"
	"math"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/training/dataset"
	"github.com/lorikeet-ai/lorikeet/training/loss"
)

// This file is the method dpo: an adapter learns which of two answers is better, or whether an answer is good. Which loss
// that is, Config.LossType says; package training/loss has them.

// preference is the method. Of each step it first computes the log-probabilities of all its sequences, then the loss and its
// derivative, and then the gradients.
type preference struct {
	r          *run
	references *references // nil where the loss has no reference model
}

func (m *preference) mostTokens() int { return m.r.largestMicroBatch() }

// begin has the log-probabilities of the reference model at hand: they are computed once, and kept with the job.
func (m *preference) begin(ctx context.Context) (err error) {
	if m.r.job.Config.hasReference() {
		m.references, err = m.r.openReferences(ctx)
	}
	return err
}

// step learns from the examples of a step.
func (m *preference) step(ctx context.Context, n int) (*stepResult, error) {
	r := m.r
	parts := r.order.Step(n)
	seen, err := m.look(ctx, &r.set.train, parts)
	if err != nil {
		return nil, err
	}
	res, err := m.loss(ctx, &r.set.train, seen)
	if err != nil {
		return nil, err
	}
	out := &stepResult{loss: res.Loss / res.Norm, accuracy: seen.accuracy(), measures: res.Metrics.Values()}
	if math.IsNaN(out.loss) || math.IsInf(out.loss, 0) {
		return nil, fmt.Errorf("%w: the loss of step %d is %v", runtime.ErrDiverged, n+1, out.loss)
	}
	weights := res.Weights
	for i, part := range parts {
		b, err := r.set.train.batch(part, res.Norm)
		if err != nil {
			return nil, err
		}
		for range b.Ends {
			b.Weights = append(b.Weights, weights[0]...)
			weights = weights[1:]
		}
		if _, err := r.compute(ctx, trainMode(i), b); err != nil {
			return nil, err
		}
		out.tokens += len(b.Tokens)
	}
	return out, r.update(ctx, n, out)
}

// evaluate returns the loss and how well the answers are told apart.
func (m *preference) evaluate(ctx context.Context) (*score, error) {
	r := m.r
	all, _ := r.evalSet()
	seen, err := m.look(ctx, all, r.evalBatches())
	if err != nil {
		return nil, err
	}
	res, err := m.loss(ctx, all, seen)
	if err != nil {
		return nil, err
	}
	s := &score{Step: r.state.Step, Loss: res.Loss / res.Norm, Accuracy: seen.accuracy(), Tokens: seen.labelled, Measures: res.Metrics.Values()}
	if math.IsNaN(s.Loss) || math.IsInf(s.Loss, 0) {
		return nil, fmt.Errorf("%w: the validation loss after step %d is %v", runtime.ErrDiverged, s.Step, s.Loss)
	}
	return s, nil
}

func (m *preference) describe(s *score) string {
	text := fmt.Sprintf("loss %.4f", s.Loss)
	for _, name := range []string{"rewards/accuracies", "rewards/margins"} {
		if x, ok := s.Measures[name]; ok {
			text += fmt.Sprintf(", %s %.3f", name, x)
		}
	}
	return text
}

// lookedAt is what the adapter as it stands gives for examples.
type lookedAt struct {
	examples          []int           // their numbers in their set
	sequences         []loss.Sequence // of each example one, of a pair two, the chosen one first
	desirable         []bool          // of each example
	labelled, correct int
}

// accuracy is the share of the labelled tokens that were the likeliest.
func (s *lookedAt) accuracy() float64 { return float64(s.correct) / float64(max(1, s.labelled)) }

// look computes the log-probabilities of examples, by micro-batches.
func (m *preference) look(ctx context.Context, set *exampleSet, parts [][]int) (*lookedAt, error) {
	seen := &lookedAt{}
	for _, part := range parts {
		list, err := set.read(part)
		if err != nil {
			return nil, err
		}
		b := dataset.Batch(list, 1)
		res, err := m.r.compute(ctx, runtime.TrainEval, b)
		if err != nil {
			return nil, err
		}
		seen.labelled += res.Labelled
		seen.correct += res.Correct
		ends, from := b.Ends, 0
		for i := range list {
			for which := range sequencesOf(set.kind) {
				q := loss.Sequence{LogProbs: res.LogProbs[from:ends[0]], Labels: b.Labels[from:ends[0]], Completion: completionOf(&list[i])}
				if m.references != nil {
					q.Reference = m.references.of(set).values[2*part[i]+which]
				}
				seen.sequences = append(seen.sequences, q)
				from, ends = ends[0], ends[1:]
			}
			seen.examples = append(seen.examples, part[i])
			seen.desirable = append(seen.desirable, list[i].Desirable)
		}
	}
	return seen, nil
}

// sequencesOf is how many sequences an example has.
func sequencesOf(kind dataset.Kind) int {
	if kind == dataset.Preference {
		return 2
	}
	return 1
}

// completionOf is the position of the first label of an example's answers.
func completionOf(x *dataset.Example) int { return max(0, x.Prompt-1) }

// loss computes the loss of what was looked at, and its derivative.
func (m *preference) loss(ctx context.Context, set *exampleSet, seen *lookedAt) (loss.Result, error) {
	c := &m.r.job.Config
	if set.kind == dataset.UnpairedPreference {
		o := loss.KTOOptions{Beta: c.beta(), DesirableWeight: c.DesirableWeight, UndesirableWeight: c.UndesirableWeight}
		var err error
		if o.Divergence, err = m.divergence(ctx, set, seen.examples); err != nil {
			return loss.Result{}, err
		}
		list := make([]loss.Example, len(seen.sequences))
		for i := range list {
			list[i] = loss.Example{Sequence: seen.sequences[i], Desirable: seen.desirable[i]}
		}
		return loss.KTO(list, o)
	}
	pairs := make([]loss.Pair, len(seen.examples))
	for i := range pairs {
		pairs[i] = loss.Pair{Chosen: seen.sequences[2*i], Rejected: seen.sequences[2*i+1]}
	}
	switch c.LossType {
	case IPO:
		return loss.IPO(pairs, c.beta())
	case ORPO:
		return loss.ORPO(pairs, c.beta())
	case SimPO:
		return loss.SimPO(pairs, c.beta(), c.SimPOGamma, c.LabelSmoothing)
	}
	return loss.DPO(pairs, c.beta(), c.LabelSmoothing)
}

package training

import (
	"context"
	"fmt"
	"math"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/training/dataset"
	"github.com/lorikeet-ai/lorikeet/training/loss"
)

// This file learns from graded answers.

// trajectory is an answer as it is learned from.
type trajectory struct {
	graded
	prompt    []runtime.Token
	advantage float64
}

// tokenCount is how many tokens it has in a micro-batch.
func (t *trajectory) tokenCount() int { return len(t.prompt) + len(t.tokens) - 1 }

// trajectories leaves out what cannot be learned from: answers without reward or without tokens, and, without a divergence
// to the base to keep small, those that are as good as their groups.
func (m *reinforcement) trajectories(list []rolloutPrompt, answers []graded) (out []trajectory) {
	c := &m.r.job.Config
	for i, p := range list {
		group := answers[i*c.Generations : (i+1)*c.Generations]
		for g, a := range advantages(group, c.scalesRewards()) {
			if group[g].failure == nil && len(group[g].tokens) > 0 && (a != 0 || m.loss.Beta > 0) {
				out = append(out, trajectory{group[g], p.tokens, a})
			}
		}
	}
	return out
}

// advantages returns those of a group's rewards. Answers without a reward are no part of the group, and have none.
func advantages(group []graded, scale bool) []float64 {
	var rewards []float64
	for i := range group {
		if group[i].failure == nil {
			rewards = append(rewards, group[i].reward)
		}
	}
	some := loss.Advantages(rewards, scale)
	out := make([]float64, len(group))
	for i := range group {
		if group[i].failure == nil {
			out[i], some = some[0], some[1:]
		}
	}
	return out
}

// update learns from trajectories once.
func (m *reinforcement) update(ctx context.Context, n int, list []trajectory, stats *rolloutStats, out *stepResult) error {
	stats.begin()
	parts := m.microBatches(list)
	for i, part := range parts {
		if err := m.learn(ctx, trainMode(i), part, stats); err != nil {
			return err
		}
		for j := range part {
			out.tokens += part[j].tokenCount()
		}
	}
	if len(parts) == 0 {
		return nil // there was nothing to learn from
	}
	if out.loss = stats.loss; math.IsNaN(out.loss) || math.IsInf(out.loss, 0) {
		return fmt.Errorf("%w: the loss is %v", runtime.ErrDiverged, out.loss)
	}
	return m.r.update(ctx, n, out)
}

// microBatches cuts trajectories, in their order, into parts of as many tokens as the Trainer takes.
func (m *reinforcement) microBatches(list []trajectory) (parts [][]trajectory) {
	used := 0
	for i := range list {
		tokens := list[i].tokenCount()
		if i == 0 || used+tokens > m.r.most {
			parts, used = append(parts, nil), 0
		}
		used += tokens
		parts[len(parts)-1] = append(parts[len(parts)-1], list[i])
	}
	return parts
}

// learn adds the gradients of some of a step's trajectories, whose losses are divided by how many answers the step has. The
// log-probabilities as the Trainer computes them come from a pass of their own, and so do those of the base; then each
// token's weight is what the loss says.
func (m *reinforcement) learn(ctx context.Context, mode runtime.TrainMode, part []trajectory, stats *rolloutStats) error {
	b := runtime.TrainBatch{Norm: float64(stats.graded)}
	for i := range part {
		tokens, labels := part[i].sequence(part[i].prompt)
		begin := len(b.Tokens)
		b.Tokens, b.Labels = append(b.Tokens, tokens...), append(b.Labels, labels...)
		b.Ends = append(b.Ends, len(b.Tokens))
		if invocation := m.r.job.Config.Invocation; len(invocation) > 0 { // as it acted when the answer was sampled
			b.Active = append(b.Active, dataset.ActiveIn(begin, len(b.Tokens), part[i].prompt, invocation))
		}
	}
	now, err := m.r.compute(ctx, runtime.TrainEval, b)
	if err != nil {
		return err
	}
	var base runtime.TrainResult
	if m.loss.Beta > 0 {
		b.Base = true
		if base, err = m.r.compute(ctx, runtime.TrainEval, b); err != nil {
			return err
		}
		b.Base = false
	}
	if b.Weights, err = m.weigh(part, b, now.LogProbs, base.LogProbs, stats); err != nil {
		return err
	}
	_, err = m.r.compute(ctx, mode, b)
	return err
}

// weigh returns the weights of a batch's tokens and adds the loss to the numbers of the step. now are the log-probabilities
// as the Trainer computes them, base those of the base model or nil.
func (m *reinforcement) weigh(part []trajectory, b runtime.TrainBatch, now, base []float32, stats *rolloutStats) ([]float32, error) {
	list := make([]loss.Completion, len(part))
	from := 0
	for i := range part {
		end := b.Ends[i]
		sampled := make([]float32, end-from)
		copy(sampled[len(part[i].prompt)-1:], part[i].logprobs)
		list[i] = loss.Completion{LogProbs: now[from:end], Labels: b.Labels[from:end], Sampled: sampled, Advantage: part[i].advantage}
		if base != nil {
			list[i].Reference = base[from:end]
		}
		from = end
	}
	res, err := loss.GRPO(list, m.loss)
	if err != nil {
		return nil, err
	}
	stats.loss += res.Loss / b.Norm
	stats.metrics.Add(res.Metrics)
	weights := make([]float32, 0, len(now))
	for _, w := range res.Weights {
		weights = append(weights, w...)
	}
	return weights, nil
}

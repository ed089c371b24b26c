package training

import (
	"context"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/training/dataset"
	"github.com/lorikeet-ai/lorikeet/training/loss"
)

// This file estimates how far the adapter is from the reference model, which KTO compares rewards with: on answers that belong to
// other prompts. Which answer stands behind which prompt does not change during a run, so that the reference model looks at
// them once: it is that of the example before, in the order of the set, and behind the first prompt that of the last.

// divergence estimates it on the prompts of examples.
func (m *preference) divergence(ctx context.Context, set *exampleSet, list []int) (float64, error) {
	now := make([]float64, len(list))
	err := m.r.overMismatched(ctx, set, list, false, func(at int, total float64) { now[at] = total })
	if err != nil {
		return 0, err
	}
	before := make([]float64, len(list))
	for at, i := range list {
		before[at] = m.references.of(set).values[2*i+1]
	}
	return loss.KTODivergence(now, before)
}

// overMismatched calls each with the log-probability of the answer that stands behind the prompt of list[at].
func (r *run) overMismatched(ctx context.Context, set *exampleSet, list []int, base bool, each func(at int, total float64)) error {
	var b runtime.TrainBatch
	var starts []int // of each sequence, where its answer begins
	first := 0       // of the batch, in list
	flush := func() error {
		b.Norm, b.Base = 1, base
		res, err := r.compute(ctx, runtime.TrainEval, b)
		if err != nil {
			return err
		}
		for i, end := range b.Ends {
			each(first+i, loss.Total(res.LogProbs[:end], b.Labels[:end], starts[i]))
		}
		first += len(b.Ends)
		b, starts = runtime.TrainBatch{}, nil
		return nil
	}
	for at, i := range list {
		pair, err := set.read([]int{i, (i + len(set.lengths) - 1) % len(set.lengths)})
		if err != nil {
			return err
		}
		s, completion := mismatched(&pair[0], &pair[1], r.most)
		if len(b.Tokens)+len(s.Tokens) > r.most {
			if err := flush(); err != nil {
				return err
			}
		}
		starts = append(starts, len(b.Tokens)+completion)
		b.Tokens, b.Labels = append(b.Tokens, s.Tokens...), append(b.Labels, s.Labels...)
		b.Ends = append(b.Ends, len(b.Tokens))
		if at == len(list)-1 {
			return flush()
		}
	}
	return nil
}

// mismatched is the answer of one example behind the prompt of another, which loses its beginning where both have more than most
// tokens. completion is the position of the answer's first label.
func mismatched(prompt, answer *dataset.Example, most int) (s dataset.Sequence, completion int) {
	rest := answer.Tokens[answer.Prompt:] // behind the first token of the answer, which is a label alone where it is empty
	head := prompt.Tokens[:prompt.Prompt]
	head = head[max(0, len(head)+len(rest)-most):]
	s.Tokens = append(append(s.Tokens, head...), rest...)
	for range len(head) - 1 {
		s.Labels = append(s.Labels, unlabelled)
	}
	s.Labels = append(s.Labels, answer.Labels[answer.Prompt-1:]...)
	return s, max(0, len(head)-1)
}

// unlabelled is the label of a token after which nothing is learned.
const unlabelled runtime.Token = -1

package engine

import (
	"slices"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// maxOutputBytes bounds the logits that the Device computes in one turn for rows of prompts that ask for something.
const maxOutputBytes = 64 << 20

// outputRows returns how many rows of prompts may ask for something in one turn.
func outputRows(vocabulary int) int { return max(1, maxOutputBytes/(4*max(1, vocabulary))) }

// outputs is what a task has got of the rows of its prompt, where it asks for something of them. A preempted task keeps
// it: of the rows that are then computed again it asks nothing.
type outputs struct {
	rows   int                 // rows of the prompt, from the first on, that have been computed
	scores []runtime.TokenText // of the prompt's tokens from the second on
	sum    []float64           // of the hidden states
	summed int                 // how many
}

// needsAllRows reports whether the task still asks for something of the prompt's rows, so that a cached prefix cannot
// stand for them.
func (t *task) needsAllRows() bool {
	if t.outputs.rows == t.prompt {
		return false
	}
	pooling := t.request.Pooling
	return t.request.Score || pooling == runtime.PoolingMean || pooling == runtime.PoolingCLS
}

// askOfPrompt sets what the task asks of a row of its prompt.
func (t *task) askOfPrompt(row *runtime.Row) {
	if row.Pos < t.outputs.rows || row.Pos >= t.prompt {
		return
	}
	last := row.Pos == t.prompt-1
	if t.request.Score && !last {
		row.Scored, row.Next, row.Top = true, t.tokens[row.Pos+1], max(0, t.request.Top)
	}
	switch t.request.Pooling {
	case runtime.PoolingMean:
		row.Hidden = true
	case runtime.PoolingLast:
		row.Hidden = last
	case runtime.PoolingCLS:
		row.Hidden = row.Pos == 0
	}
}

// add takes what the Device returned for the rows of a prompt, in their order. It returns the first error among them.
func (o *outputs) add(choices []runtime.Choice, m runtime.Model, score bool) error {
	for i := range choices {
		c := &choices[i]
		if c.Err != nil {
			return c.Err
		}
		if len(c.Hidden) > 0 {
			if o.sum == nil {
				o.sum = make([]float64, len(c.Hidden))
			}
			for j, v := range c.Hidden {
				o.sum[j] += float64(v)
			}
			o.summed++
		}
		if score {
			o.scores = append(o.scores, runtime.TokenText{
				Token: c.Token, Bytes: m.Piece(c.Token, true), Logprob: c.Logprob, Top: slices.Clone(c.Top),
			})
		}
	}
	return nil
}

// embedding returns the mean of the hidden states: all of them, or the only one that was asked for.
func (o *outputs) embedding() []float32 {
	mean := make([]float32, len(o.sum))
	for i, v := range o.sum {
		mean[i] = float32(v / float64(o.summed))
	}
	return mean
}

// deliverRows hands a task what the Device returned for its rows, the last of which is the one before position end.
func (e *Engine) deliverRows(t *task, end int, choices []runtime.Choice) {
	var sampled []runtime.Choice
	if end == len(t.tokens) && t.sampler != nil {
		n := len(choices) - 1
		choices, sampled = choices[:n], choices[n:]
	}
	if t.outputs.rows < t.prompt {
		if err := t.outputs.add(choices, e.model, t.request.Score); err != nil {
			e.end(t, err)
			return
		}
		t.outputs.rows = max(t.outputs.rows, min(end, t.prompt))
		if t.outputs.rows == t.prompt && e.endPrompt(t) {
			return
		}
	}
	if len(sampled) > 0 {
		e.deliver(t, sampled[0])
	}
}

// endPrompt sends what was asked of a prompt whose rows have all been computed, and ends the task where there is nothing
// else to come.
func (e *Engine) endPrompt(t *task) (ended bool) {
	var ev runtime.Event
	if t.request.Score {
		ev.Prompt, t.outputs.scores = t.outputs.scores, nil
	}
	if t.sampler != nil {
		if t.request.Score {
			t.out.Send(ev)
		}
		return false
	}
	if t.request.Pooling != runtime.PoolingNone {
		ev.Embedding = t.outputs.embedding()
	}
	ev.Finish = runtime.FinishLength
	t.out.Send(ev)
	e.end(t, nil)
	return true
}

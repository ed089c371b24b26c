package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// taskRows is how many rows of a batch are a task's.
type taskRows struct {
	task *task
	rows int
	asks int // of them, rows that ask for something; set by buildRows
}

// step decodes one batch and delivers what was sampled. It returns false where nothing can be decoded.
func (e *Engine) step() bool {
	batch := e.planBatch()
	for _, group := range e.splitBatch(batch) {
		e.decode(group)
	}
	return len(batch) > 0
}

// planBatch plans the rows of this turn and makes room for them in the KV cache. Tasks with the same adapters are
// neighbours.
func (e *Engine) planBatch() []taskRows {
	for len(e.running) > 0 {
		demands := make([]demand, len(e.running))
		for i, t := range e.running {
			demands[i] = demand{tenant: t.request.Tenant, flow: t.flow, priority: t.request.Priority, rows: e.uncachedTokens(t), answering: e.answering(t), outputs: t.needsAllRows(), served: t.served}
		}
		clock := e.prefillClock
		var shares []taskRows
		total := 0
		for i, n := range plan(demands, e.options.Chunk, e.limits.Batch, e.outputRows, &clock) {
			if n > 0 {
				shares = append(shares, taskRows{task: e.running[i], rows: n})
				total += n
			}
		}
		if total > e.kv.free() {
			e.makeRoom()
			continue
		}
		e.prefillClock = clock
		for i, t := range e.running {
			t.served = demands[i].served
		}
		slices.SortStableFunc(shares, func(a, b taskRows) int {
			return cmp.Or(compareBools(a.task.exact, b.task.exact), cmp.Compare(a.task.key, b.task.key))
		})
		return shares
	}
	return nil
}

// compareBools orders false before true.
func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// splitBatch splits a batch into what is decoded at once: the rows that are Exact and those that are not, and with
// Options.Grouped the tasks of each mix of adapters by themselves.
func (e *Engine) splitBatch(batch []taskRows) [][]taskRows {
	var groups [][]taskRows
	for i, s := range batch {
		if i == 0 || s.task.exact != batch[i-1].task.exact || e.options.Grouped && s.task.key != batch[i-1].task.key {
			groups = append(groups, nil)
		}
		last := len(groups) - 1
		groups[last] = append(groups[last], s)
	}
	return groups
}

// decode decodes the rows of some tasks at once. If that fails, they end.
func (e *Engine) decode(group []taskRows) {
	// Making room for the previous group may have taken the sequences of tasks of this one.
	group = slices.DeleteFunc(group, func(s taskRows) bool { return s.task.seq < 0 })
	if len(group) == 0 {
		return
	}
	turn := e.buildRows(group)
	start := e.now()
	choices, err := e.callDevice()
	turn.Took = e.now().Sub(start)
	if errors.Is(err, runtime.ErrNoRoom) {
		e.makeRoom()
		return
	}
	if err != nil {
		for _, s := range group {
			e.end(s.task, fmt.Errorf("%w: %w", runtime.ErrDecode, err))
		}
		return
	}
	if e.options.Observer != nil {
		e.options.Observer.Turn(turn)
	}
	for _, s := range group {
		t := s.task
		at := len(e.kv.seqs[t.seq].tokens)
		e.kv.add(t.seq, t.tokens[at:at+s.rows])
		e.deliverRows(t, at+s.rows, choices[:s.asks])
		choices = choices[s.asks:]
	}
}

// buildRows writes the rows of a group to e.rows and describes them.
func (e *Engine) buildRows(group []taskRows) Turn {
	var turn Turn
	e.rows = e.rows[:0]
	for i, s := range group {
		t := s.task
		if i == 0 || t.key != group[i-1].task.key {
			turn.Adapters++
		}
		turn.Rows += s.rows
		if !e.answering(t) {
			turn.Prefill += s.rows
		}
		at := len(e.kv.seqs[t.seq].tokens)
		for pos := at; pos < at+s.rows; pos++ {
			row := runtime.Row{Token: t.tokens[pos], Seq: t.seq, Pos: pos, Top: -1, Exact: t.exact}
			if pos == len(t.tokens)-1 && t.sampler != nil {
				row.Sampler, row.Top = t.sampler, t.request.Top
			}
			t.askOfPrompt(&row)
			if row.Asks() {
				group[i].asks++
			}
			e.rows = append(e.rows, row)
		}
	}
	return turn
}

// callDevice decodes e.rows. A panic of the Device, and a number of choices other than was asked for, are errors like
// those that it returns.
func (e *Engine) callDevice() (choices []runtime.Choice, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	want := 0
	for i := range e.rows {
		if e.rows[i].Asks() {
			want++
		}
	}
	choices, err = e.device.Decode(e.rows)
	if err == nil && len(choices) != want {
		err = fmt.Errorf("%d rows asked for something and %d were answered", want, len(choices))
	}
	return choices, err
}

// endWithoutToken ends a task for which no token can be sampled. Under a grammar with IgnoreEOS, where no end token may be
// drawn, the complete grammar is the regular end of the answer.
func (e *Engine) endWithoutToken(t *task, err error) {
	if errors.Is(err, runtime.ErrLogits) || errors.Is(err, runtime.ErrGrammarCost) || errors.Is(err, runtime.ErrSampler) {
		e.end(t, err)
		return
	}
	if s := &t.request.Sampling; !s.IgnoreEOS || !s.Constrained() || len(t.tokens) == t.prompt {
		e.end(t, fmt.Errorf("%w: %w", runtime.ErrNoToken, err))
		return
	}
	ev := t.text.flush()
	ev.Finish = runtime.FinishStop
	t.out.Send(ev)
	e.end(t, nil)
}

// deliver appends a sampled token to a task's answer and sends the text that is complete.
func (e *Engine) deliver(t *task, c runtime.Choice) {
	if c.Err != nil {
		e.endWithoutToken(t, c.Err)
		return
	}
	first, before, now := len(t.tokens) == t.prompt, t.last, e.now()
	t.tokens, t.last = append(t.tokens, c.Token), now
	e.queue.charge(t, answerCost)
	t.out.Count(func(u *runtime.Usage) {
		u.Completion++
		if first {
			u.FirstToken, before = now, u.Submitted
		}
	})
	if e.options.Observer != nil {
		e.options.Observer.Token(t.flow, first, now.Sub(before))
	}

	if e.model.EndOfGeneration(c.Token) {
		ev := t.text.flush()
		if t.request.Score || t.request.KeepEnd {
			ev.Tokens = append(ev.Tokens, runtime.TokenText{Token: c.Token, Logprob: c.Logprob, Top: slices.Clone(c.Top)})
		}
		ev.Finish = runtime.FinishStop
		t.out.Send(ev)
		e.end(t, nil)
		return
	}
	ev, stop := t.text.add(runtime.TokenText{
		Token: c.Token, Bytes: e.model.Piece(c.Token, slices.Contains(t.request.Shown, c.Token)), Logprob: c.Logprob, Top: slices.Clone(c.Top),
	})
	switch {
	case stop != "":
		ev.Finish, ev.Stop = runtime.FinishStop, stop
	case t.tokensLeft() == 0:
		rest := t.text.flush()
		ev.Text, ev.Tokens, ev.Finish = ev.Text+rest.Text, append(ev.Tokens, rest.Tokens...), runtime.FinishLength
	}
	if len(ev.Tokens) > 0 || ev.Finish != "" {
		t.out.Send(ev)
	}
	if ev.Finish != "" {
		e.end(t, nil)
	}
}

package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// share is what a task has of a batch.
type share struct {
	task *task
	rows int
}

// step decodes one batch and delivers what was sampled. It returns false where nothing can be decoded.
func (e *Engine) step() bool {
	batch := e.batch()
	for _, group := range e.groups(batch) {
		e.decode(group)
	}
	return len(batch) > 0
}

// batch plans a turn, and makes room for it. Tasks with the same mix stand together.
func (e *Engine) batch() []share {
	for len(e.running) > 0 {
		demands := make([]demand, len(e.running))
		for i, t := range e.running {
			demands[i] = demand{flow: t.flow, rows: e.lacks(t), answering: e.answering(t), served: t.served}
		}
		clock := e.rounds
		var shares []share
		total := 0
		for i, n := range plan(demands, e.options.Chunk, e.limits.Batch, &clock) {
			if n > 0 {
				shares = append(shares, share{e.running[i], n})
				total += n
			}
		}
		if total > e.kv.free() {
			e.makeRoom()
			continue
		}
		e.rounds = clock
		for i, t := range e.running {
			t.served = demands[i].served
		}
		slices.SortStableFunc(shares, func(a, b share) int { return cmp.Compare(a.task.key, b.task.key) })
		return shares
	}
	return nil
}

// groups splits a batch into what is decoded at once: all of it, or with Options.Grouped each mix alone.
func (e *Engine) groups(batch []share) [][]share {
	if !e.options.Grouped {
		return [][]share{batch}[:min(1, len(batch))]
	}
	var groups [][]share
	for i, s := range batch {
		if i == 0 || s.task.key != batch[i-1].task.key {
			groups = append(groups, nil)
		}
		last := len(groups) - 1
		groups[last] = append(groups[last], s)
	}
	return groups
}

// decode decodes the rows of some tasks at once. If that fails, they end.
func (e *Engine) decode(group []share) {
	// To make room for the group before, tasks of this one may have lost their sequences.
	group = slices.DeleteFunc(group, func(s share) bool { return s.task.seq < 0 })
	if len(group) == 0 {
		return
	}
	turn := e.fill(group)
	start := e.now()
	choices, err := e.call()
	turn.Took = e.now().Sub(start)
	e.decoded += turn.Took
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
		if at+s.rows == len(t.tokens) {
			e.deliver(t, choices[0])
			choices = choices[1:]
		}
	}
}

// fill makes the rows of a group and describes them.
func (e *Engine) fill(group []share) Turn {
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
			row := runtime.Row{Token: t.tokens[pos], Seq: t.seq, Pos: pos, Top: -1}
			if pos == len(t.tokens)-1 {
				row.Sampler, row.Top = t.sampler, t.request.Top
			}
			e.rows = append(e.rows, row)
		}
	}
	return turn
}

// call decodes e.rows. A Device that panics, or that returns another number of choices than was asked for,
// has failed like one that returns an error.
func (e *Engine) call() (choices []runtime.Choice, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	want := 0
	for _, r := range e.rows {
		if r.Sampler != nil {
			want++
		}
	}
	choices, err = e.device.Decode(e.rows)
	if err == nil && len(choices) != want {
		err = fmt.Errorf("%d tokens were asked for and %d returned", want, len(choices))
	}
	return choices, err
}

// endWithout ends a task that no token can follow. Under a grammar whose end may not be drawn, that is its end.
func (e *Engine) endWithout(t *task, err error) {
	if errors.Is(err, runtime.ErrLogits) {
		e.end(t, err)
		return
	}
	if s := &t.request.Sampling; !s.IgnoreEOS || s.Grammar == "" || len(t.tokens) == t.prompt {
		e.end(t, fmt.Errorf("%w: %w", runtime.ErrNoToken, err))
		return
	}
	ev := t.text.rest()
	ev.Finish = runtime.FinishStop
	t.out.Send(ev)
	e.end(t, nil)
}

// deliver appends a sampled token to a task's answer, and sends what can be read of it.
func (e *Engine) deliver(t *task, c runtime.Choice) {
	if c.Err != nil {
		e.endWithout(t, c.Err)
		return
	}
	first, before, now := len(t.tokens) == t.prompt, t.last, e.now()
	t.tokens, t.last = append(t.tokens, c.Token), now
	e.queue.charge(t.flow, answerCost)
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
		ev := t.text.rest()
		ev.Finish = runtime.FinishStop
		t.out.Send(ev)
		e.end(t, nil)
		return
	}
	ev, stop := t.text.add(runtime.TokenText{
		Token: c.Token, Bytes: e.model.Piece(c.Token, false), Logprob: c.Logprob, Top: slices.Clone(c.Top),
	})
	switch {
	case stop != "":
		ev.Finish, ev.Stop = runtime.FinishStop, stop
	case t.left() == 0:
		rest := t.text.rest()
		ev.Text, ev.Tokens, ev.Finish = ev.Text+rest.Text, append(ev.Tokens, rest.Tokens...), runtime.FinishLength
	}
	if len(ev.Tokens) > 0 || ev.Finish != "" {
		t.out.Send(ev)
	}
	if ev.Finish != "" {
		e.end(t, nil)
	}
}

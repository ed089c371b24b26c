package engine

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// makeRoom frees cells, at the least cost there is: it drops a cached prefix, or else preempts the task
// that came last, or else ends the only one. The task that came first is never preempted, so that one
// always gets on.
func (e *Engine) makeRoom() {
	if seq := e.kv.victim(-1); seq >= 0 {
		e.evict(seq)
		return
	}
	last := slices.MaxFunc(e.running, func(a, b *task) int { return cmp.Compare(a.id, b.id) })
	switch {
	case len(e.running) > 1:
		e.preempt(last)
	case len(last.tokens) > last.prompt:
		ev := last.text.rest()
		ev.Finish = runtime.FinishLength
		last.out.Send(ev)
		e.end(last, nil)
	default:
		e.end(last, fmt.Errorf("%w for a prompt of %d tokens", runtime.ErrNoRoom, last.prompt))
	}
}

// preempt takes a task's sequence. The task keeps its adapters, its sampler and its text, and goes back to
// the head of its flow, to compute its prompt and the answer so far again when there is room.
func (e *Engine) preempt(t *task) {
	e.preempted++
	e.leave(t, false)
	e.queue.unshift(t)
}

// leave takes a task out of its sequence, whose tokens stay as a cached prefix if keep is set. The
// sequence is placed on the base, for the adapters may be closed once they are released.
func (e *Engine) leave(t *task, keep bool) {
	seq := t.seq
	t.seq = -1
	e.running = slices.DeleteFunc(e.running, func(r *task) bool { return r == t })
	e.queue.stop(t)
	e.kv.close(seq)
	if !keep {
		e.forget(seq)
	}
	if len(t.mix.Terms) > 0 && e.device.Place(seq, nil) != nil {
		e.forget(seq)
		e.kv.seqs[seq].doubt = true
	}
}

// evict drops the cached prefix in seq, if there is one, and reports whether seq can be used.
func (e *Engine) evict(seq int) bool {
	if len(e.kv.seqs[seq].tokens) > 0 {
		e.evicted++
		e.forget(seq)
	}
	return !e.kv.seqs[seq].doubt
}

// forget empties a sequence that no task holds. Where the Device fails to, the sequence is not used until
// settle has succeeded.
func (e *Engine) forget(seq int) {
	e.kv.cut(seq, 0)
	if _, err := e.device.Forget(seq, 0); err != nil {
		e.kv.seqs[seq].doubt = true
	}
}

// shorten cuts an idle sequence back to n tokens, or to as many as the Device can keep.
func (e *Engine) shorten(seq, n int) error {
	if n == len(e.kv.seqs[seq].tokens) {
		return nil
	}
	kept, err := e.device.Forget(seq, n)
	if err != nil || kept > n {
		e.forget(seq)
		return fmt.Errorf("%w: cutting a prefix to %d tokens left %d: %w", runtime.ErrDecode, n, kept, err)
	}
	e.kv.cut(seq, kept)
	return nil
}

// settle tries again to empty the sequences that the Device failed to forget.
func (e *Engine) settle() {
	for seq := range e.kv.seqs {
		s := &e.kv.seqs[seq]
		if !s.doubt {
			continue
		}
		if _, err := e.device.Forget(seq, 0); err == nil && e.device.Place(seq, nil) == nil {
			s.doubt = false
		}
	}
}

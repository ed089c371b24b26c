package engine

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// makeRoom frees KV cells in the cheapest way that there is: it drops a cached prefix, or else preempts the newest
// task of the lowest priority, or else ends the only task. The oldest task of the highest priority is never preempted, so
// that at least one always progresses.
func (e *Engine) makeRoom() {
	if seq := e.kv.evictionCandidate(-1); seq >= 0 {
		e.evict(seq)
		return
	}
	last := slices.MaxFunc(e.running, func(a, b *task) int {
		return cmp.Or(cmp.Compare(b.request.Priority, a.request.Priority), cmp.Compare(a.id, b.id))
	})
	switch {
	case len(e.running) > 1:
		e.preempt(last)
	case len(last.tokens) > last.prompt:
		ev := last.text.flush()
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
	e.queue.pushFront(t)
}

// leave takes a task out of its sequence. Its tokens stay as a cached prefix if keep is set. The sequence gets
// the base, because the adapters may be closed as soon as they are released.
func (e *Engine) leave(t *task, keep bool) {
	seq := t.seq
	t.seq = -1
	e.running = slices.DeleteFunc(e.running, func(r *task) bool { return r == t })
	e.queue.stop(t)
	e.kv.close(seq)
	if !keep {
		e.clearSequence(seq)
	}
	if len(t.mix.Terms) > 0 && e.device.SetAdapters(seq, nil) != nil {
		e.clearSequence(seq)
		e.kv.seqs[seq].needsReset = true
	}
}

// evict drops the cached prefix in seq, if there is one, and reports whether seq can be used.
func (e *Engine) evict(seq int) bool {
	if len(e.kv.seqs[seq].tokens) > 0 {
		e.evicted++
		e.clearSequence(seq)
	}
	return !e.kv.seqs[seq].needsReset
}

// clearSequence empties a sequence that no task holds. Where the Device fails to do so, the sequence is not used until
// resetSequences has succeeded.
func (e *Engine) clearSequence(seq int) {
	e.kv.cut(seq, 0)
	if _, err := e.device.Truncate(seq, 0); err != nil {
		e.kv.seqs[seq].needsReset = true
	}
}

// truncate cuts an idle sequence back to its first n tokens, or to as many as the Device can keep.
func (e *Engine) truncate(seq, n int) error {
	if n == len(e.kv.seqs[seq].tokens) {
		return nil
	}
	kept, err := e.device.Truncate(seq, n)
	if err != nil || kept > n {
		e.clearSequence(seq)
		return fmt.Errorf("%w: cutting a prefix to %d tokens left %d: %w", runtime.ErrDecode, n, kept, err)
	}
	e.kv.cut(seq, kept)
	return nil
}

// resetSequences tries again to empty the sequences that the Device failed to empty before.
func (e *Engine) resetSequences() {
	for seq := range e.kv.seqs {
		s := &e.kv.seqs[seq]
		if !s.needsReset {
			continue
		}
		if _, err := e.device.Truncate(seq, 0); err == nil && e.device.SetAdapters(seq, nil) == nil {
			s.needsReset = false
		}
	}
}

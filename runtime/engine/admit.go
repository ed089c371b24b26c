package engine

import (
	"fmt"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

const (
	// headroom is how many tokens of its answer there must be KV cells for when a task is admitted, so that it
	// is not preempted at once.
	headroom = 16

	// minSharedPrefix is how many tokens of a prompt a running stream must be about to put into the KV cache for
	// another one to wait and share them.
	minSharedPrefix = 32
)

// admission is the outcome of an attempt to admit a task.
type admission int

const (
	handled  admission = iota // the task runs, or it has ended
	mustWait                  // the task has to wait; tasks behind it may be admitted
	noRoom                    // there is no room in the KV cache: no other task may be admitted before this one
)

// admit gives waiting tasks sequences of their own, tasks of the least served flow first, until there is no room for
// the next one.
func (e *Engine) admit() {
	e.resetSequences()
	for len(e.running) < e.options.Parallel && e.admitOne() {
	}
}

// admitOne admits the first task that can run, and returns whether there was one.
func (e *Engine) admitOne() bool {
	for _, f := range e.queue.backlog() {
		switch e.tryAdmit(f.waiting[0]) {
		case handled:
			return true
		case noRoom:
			return false
		}
	}
	return false
}

// tryAdmit admits a task if a sequence and cells are free and its adapters are loaded.
func (e *Engine) tryAdmit(t *task) admission {
	if t.loading != nil || e.queue.atBound(t) || e.willBeCached(t) {
		return mustWait
	}
	at, ok := e.kv.choosePlacement(t.spans, t.tokens, t.request.NoReuse || t.needsAllRows())
	if !ok {
		if len(e.running) == 0 {
			e.end(t, fmt.Errorf("%w: no sequence could be freed", runtime.ErrDecode))
			return handled
		}
		return noRoom
	}
	if len(e.running) > 0 && e.committedCells()+e.kv.cellsNeeded(at, t.tokens)+min(headroom, t.tokensLeft()) > e.limits.Cells {
		return noRoom
	}
	if !e.acquire(t) {
		return mustWait
	}
	if at.seq != at.src && !e.evict(at.seq) {
		return handled // that sequence cannot be used now: look for another
	}
	if err := e.start(t, at); err != nil {
		e.end(t, err)
	}
	return handled
}

// committedCells returns how many KV cells running tasks hold or will need soon.
func (e *Engine) committedCells() int {
	n := e.kv.running
	for _, t := range e.running {
		n += e.uncachedTokens(t) + min(headroom, t.tokensLeft())
	}
	return n
}

// willBeCached reports whether a running task is about to decode so much of t's prompt with the same adapters that t
// is answered sooner if it waits and shares those cells: several answers to the same prompt, or a long system prompt
// in common.
func (e *Engine) willBeCached(t *task) bool {
	if t.request.NoReuse || t.needsAllRows() || !e.limits.CanTruncate {
		return false
	}
	soon := 0
	for _, r := range e.running {
		if agree := r.spans.agree(t.spans); agree > 0 && !r.request.NoReuse && e.uncachedTokens(r) > 1 {
			soon = max(soon, min(agree, commonPrefix(r.tokens, t.tokens[:len(t.tokens)-1])))
		}
	}
	if soon < minSharedPrefix {
		return false
	}
	_, now := e.kv.match(t.spans, t.tokens)
	return soon-now >= max(minSharedPrefix, (len(t.tokens)-now)/2)
}

// start puts a task whose adapters are acquired into its sequence, which is empty or holds the prefix that it continues.
func (e *Engine) start(t *task, at mixes) error {
	switch {
	case at.seq == at.src:
		if err := e.truncate(at.seq, at.n); err != nil {
			return err
		}
	case at.n > 0:
		if err := e.device.Copy(at.seq, at.src, at.n); err != nil {
			e.clearSequence(at.seq)
			return fmt.Errorf("%w: sharing a prefix: %w", runtime.ErrDecode, err)
		}
		e.kv.copy(at.seq, at.src, at.n)
	}
	if err := e.device.SetAdapters(at.seq, t.terms()); err != nil {
		e.clearSequence(at.seq)
		return fmt.Errorf("%w: setting the adapters: %w", runtime.ErrDecode, err)
	}
	e.kv.open(at.seq, t.spans, t.request.NoReuse)
	t.seq = at.seq
	e.releaseLoadSlot(t)
	e.running = append(e.running, t)
	if t.started {
		e.queue.start(t, 0) // it was charged when it first started
		return nil
	}
	t.started = true
	cached, now := len(e.kv.seqs[t.seq].tokens), e.now()
	e.queue.start(t, promptCost*(t.prompt-cached))
	t.out.Count(func(u *runtime.Usage) { u.Cached, u.Started = cached, now })
	return nil
}

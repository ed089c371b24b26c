package engine

import (
	"fmt"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

const (
	// headroom is how many tokens of its answer there must be room for when a task is admitted, so that it
	// is not preempted at once.
	headroom = 16

	// worth is how many tokens another stream must be about to put into the KV cache to be waited for.
	worth = 32
)

// verdict is what became of an attempt to admit a task.
type verdict int

const (
	settled verdict = iota // it runs, or it has ended
	later                  // it has to wait, others need not
	full                   // there is no room: nobody may pass it
)

// admit moves waiting tasks to sequences of their own, those of the least served flow first, until there
// is no room for the next one.
func (e *Engine) admit() {
	e.settle()
	for len(e.running) < e.options.Parallel && e.admitOne() {
	}
}

// admitOne admits the first task that can run, and returns whether there was one.
func (e *Engine) admitOne() bool {
	for _, f := range e.queue.backlog() {
		switch e.try(f.waiting[0]) {
		case settled:
			return true
		case full:
			return false
		}
	}
	return false
}

// try admits a task if there is a sequence, cells and its adapters for it.
func (e *Engine) try(t *task) verdict {
	if t.loading != nil || e.promising(t) {
		return later
	}
	at, ok := e.kv.seat(t.key, t.tokens, t.request.NoReuse)
	if !ok {
		if len(e.running) == 0 {
			e.end(t, fmt.Errorf("%w: no sequence could be freed", runtime.ErrDecode))
			return settled
		}
		return full
	}
	if len(e.running) > 0 && e.promised()+e.kv.need(at, t.tokens)+min(headroom, t.left()) > e.limits.Cells {
		return full
	}
	if !e.acquire(t) {
		return later
	}
	if at.seq != at.src && !e.evict(at.seq) {
		return settled // the sequence is out of use: look for another
	}
	if err := e.sit(t, at); err != nil {
		e.end(t, err)
	}
	return settled
}

// promised returns the cells that running tasks hold, and those they are sure to need soon.
func (e *Engine) promised() int {
	n := e.kv.running
	for _, t := range e.running {
		n += e.lacks(t) + min(headroom, t.left())
	}
	return n
}

// promising reports whether a running task is about to decode so much of t's prompt, under the same key,
// that t does better to wait and share it: the same prompt asked for several answers, or a long system
// prompt in common.
func (e *Engine) promising(t *task) bool {
	if t.request.NoReuse || !e.limits.Cut {
		return false
	}
	soon := 0
	for _, r := range e.running {
		if r.key == t.key && !r.request.NoReuse && e.lacks(r) > 1 {
			soon = max(soon, common(r.tokens, t.tokens[:len(t.tokens)-1]))
		}
	}
	if soon < worth {
		return false
	}
	_, now := e.kv.match(t.key, t.tokens)
	return soon-now >= max(worth, (len(t.tokens)-now)/2)
}

// sit puts a task whose adapters are acquired into its sequence, which is empty or what it continues.
func (e *Engine) sit(t *task, at seat) error {
	switch {
	case at.seq == at.src:
		if err := e.shorten(at.seq, at.n); err != nil {
			return err
		}
	case at.n > 0:
		if err := e.device.Copy(at.seq, at.src, at.n); err != nil {
			e.forget(at.seq)
			return fmt.Errorf("%w: sharing a prefix: %w", runtime.ErrDecode, err)
		}
		e.kv.copy(at.seq, at.src, at.n)
	}
	if err := e.device.Place(at.seq, t.mix.Terms); err != nil {
		e.forget(at.seq)
		return fmt.Errorf("%w: placing the adapters: %w", runtime.ErrDecode, err)
	}
	e.kv.open(at.seq, t.key, t.request.NoReuse)
	t.seq = at.seq
	e.unpin(t)
	e.running = append(e.running, t)
	if t.begun {
		e.queue.start(t, 0) // it was charged when it began
		return nil
	}
	t.begun = true
	cached, now := len(e.kv.seqs[t.seq].tokens), e.now()
	e.queue.start(t, promptCost*(t.prompt-cached))
	t.out.Count(func(u *runtime.Usage) { u.Cached, u.Started = cached, now })
	return nil
}

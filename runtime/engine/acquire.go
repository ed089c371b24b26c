package engine

import (
	"context"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// loaded is what became of acquiring a task's adapters.
type loaded struct {
	task *task
	mix  runtime.Mix
	err  error
}

// acquire gets the adapters of a task whose turn it is. Where they are not resident it starts to load
// them, which never blocks the Engine, and returns false.
func (e *Engine) acquire(t *task) bool {
	if t.acquired {
		return true
	}
	if t.request.Adapters == nil {
		t.acquired = true
		return true
	}
	if t.mix, t.acquired = t.request.Adapters.TryAcquire(); t.acquired {
		return true
	}
	if e.pinned >= e.options.Parallel {
		return false // as many are loading as could run at once
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.loading, t.pinned = cancel, true
	e.pinned++
	e.loaders.Add(1)
	go func() {
		defer e.loaders.Done()
		defer cancel()
		mix, err := t.request.Adapters.Acquire(ctx)
		e.inbox.load(loaded{t, mix, err})
	}()
	return false
}

// arrive takes up what was acquired.
func (e *Engine) arrive(l loaded) {
	t := l.task
	t.loading = nil
	switch {
	case l.err != nil:
		e.unpin(t)
		e.end(t, l.err)
	case t.ended:
		e.unpin(t)
		l.mix.Release()
	default:
		t.mix, t.acquired = l.mix, true
	}
}

// unpin says that a task no longer waits with adapters of its own.
func (e *Engine) unpin(t *task) {
	if t.pinned && t.loading == nil {
		t.pinned = false
		e.pinned--
	}
}

package engine

import (
	"context"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// loaded is the result of acquiring a task's adapters.
type loaded struct {
	task *task
	mix  runtime.Mix
	err  error
}

// acquire gets the adapters of the task that is to be admitted next. Where they are not in memory it starts to load
// them in a goroutine, so that the Engine does not block, and returns false.
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
	if e.loadSlots >= e.options.Parallel {
		return false // as many tasks load adapters as may run at once
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.loading, t.hasLoadSlot = cancel, true
	e.loadSlots++
	e.loaders.Add(1)
	go func() {
		defer e.loaders.Done()
		defer cancel()
		mix, err := t.request.Adapters.Acquire(ctx)
		e.inbox.load(loaded{t, mix, err})
	}()
	return false
}

// finishLoading hands a task the adapters that its goroutine has acquired, or ends it with the error.
func (e *Engine) finishLoading(l loaded) {
	t := l.task
	t.loading = nil
	switch {
	case l.err != nil:
		e.releaseLoadSlot(t)
		e.end(t, l.err)
	case t.ended:
		e.releaseLoadSlot(t)
		l.mix.Release()
	default:
		t.mix, t.acquired = l.mix, true
	}
}

// releaseLoadSlot counts a task no longer among those that load adapters or wait with them loaded.
func (e *Engine) releaseLoadSlot(t *task) {
	if t.hasLoadSlot && t.loading == nil {
		t.hasLoadSlot = false
		e.loadSlots--
	}
}

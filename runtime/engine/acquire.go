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

// acquire gets the adapters of the task that is to be admitted next. Where they are not in memory, or not in that of the
// Device, it starts to load them in a goroutine, so that the Engine does not block, and returns false.
func (e *Engine) acquire(t *task) bool {
	if t.acquired {
		return true
	}
	if t.request.Adapters == nil {
		t.acquired = true
		return true
	}
	mix, resident := t.request.Adapters.TryAcquire()
	if resident {
		if t.mix, t.acquired = e.tryStage(mix); t.acquired {
			return true
		}
	}
	if e.loadSlots >= e.options.Parallel {
		mix.Release()
		return false // as many tasks load adapters as may run at once
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.loading, t.loadBegan, t.hasLoadSlot = cancel, e.now(), true
	e.loadSlots++
	e.loaders.Add(1)
	go func() {
		defer e.loaders.Done()
		defer cancel()
		var err error
		if !resident {
			mix, err = t.request.Adapters.Acquire(ctx)
		}
		if err == nil {
			mix, err = e.stage(ctx, mix)
		}
		e.inbox.load(loaded{t, mix, err})
	}()
	return false
}

// tryStage returns a mix that stays in the Device's memory until it is released, if it is there.
func (e *Engine) tryStage(mix runtime.Mix) (runtime.Mix, bool) {
	if e.stager == nil {
		return mix, true
	}
	release, ok := e.stager.TryStage(mix.Terms)
	if !ok {
		return runtime.Mix{}, false
	}
	return staged(mix, release), true
}

// stage brings a mix into the Device's memory, where it stays until it is released. Where that fails it is released.
func (e *Engine) stage(ctx context.Context, mix runtime.Mix) (runtime.Mix, error) {
	if e.stager == nil {
		return mix, nil
	}
	release, err := e.stager.Stage(ctx, mix.Terms)
	if err != nil {
		mix.Release()
		return runtime.Mix{}, err
	}
	return staged(mix, release), nil
}

func staged(mix runtime.Mix, release func()) runtime.Mix {
	return runtime.NewMix(mix.Terms, func() {
		release()
		mix.Release()
	})
}

// finishLoading hands a task the adapters that its goroutine has acquired, or ends it with the error.
func (e *Engine) finishLoading(l loaded) {
	t := l.task
	t.loading = nil
	took := e.now().Sub(t.loadBegan)
	t.out.Count(func(u *runtime.Usage) { u.Loading += took })
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

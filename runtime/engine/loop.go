package engine

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// run is the Engine's goroutine: turn after turn, asleep while there is nothing to decode.
func (e *Engine) run() {
	defer close(e.done)
	for {
		worked, open := e.turn()
		if !open {
			e.err = e.shutdown()
			return
		}
		if !worked {
			e.sleep()
		}
	}
}

// turn handles the messages, admits the tasks that there is room for, decodes one batch, and runs background work. It
// returns whether it decoded or worked, and whether the Engine is still open.
func (e *Engine) turn() (worked, open bool) {
	start := e.now()
	m := e.inbox.take()
	if m.stop {
		e.receive(m, runtime.ErrClosed)
		return false, false
	}
	e.receive(m, runtime.ErrDraining)
	e.expire()
	e.admit()
	worked = e.step()
	e.turnTook = e.now().Sub(start)
	worked = e.runBackgroundSlices(worked) || worked
	e.publish()
	return worked, true
}

// receive handles the messages; with abandon or stop set, every task ends with reason.
func (e *Engine) receive(m messages, reason error) {
	for _, t := range m.submitted {
		e.tasks = append(e.tasks, t)
		e.queue.push(t)
	}
	for _, l := range m.loaded {
		e.finishLoading(l)
	}
	for _, t := range m.cancelled {
		e.end(t, runtime.ErrClosed)
	}
	e.addWork(m.background)
	if m.stop {
		e.failAll(reason)
	}
	if m.abandon || m.stop {
		for _, t := range slices.Clone(e.tasks) {
			e.end(t, reason)
		}
	}
}

// expire ends the tasks whose deadline has come.
func (e *Engine) expire() {
	now := e.now()
	for _, t := range slices.Clone(e.tasks) {
		if !t.deadline.IsZero() && !now.Before(t.deadline) {
			e.end(t, runtime.ErrDeadline)
		}
	}
}

// sleep waits for messages or for the next deadline.
func (e *Engine) sleep() {
	var first time.Time
	for _, t := range e.tasks {
		if !t.deadline.IsZero() && (first.IsZero() || t.deadline.Before(first)) {
			first = t.deadline
		}
	}
	var expired <-chan time.Time
	if !first.IsZero() {
		timer := time.NewTimer(first.Sub(e.now()))
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-e.inbox.wake:
	case <-expired:
	}
}

// end ends a task, whether it waits or runs, and frees all that it holds. err is what its stream returns after the events
// that were sent; nil means that the answer is whole.
func (e *Engine) end(t *task, err error) {
	if t.ended {
		return
	}
	t.ended = true
	if t.seq >= 0 {
		e.leave(t, !t.request.NoReuse && !errors.Is(err, runtime.ErrDecode))
	} else {
		e.queue.remove(t)
	}
	if t.loading != nil {
		t.loading()
	}
	e.releaseLoadSlot(t)
	t.mix.Release()
	t.closeSampler()
	i, _ := slices.BinarySearchFunc(e.tasks, t.id, func(t *task, id int64) int { return cmp.Compare(t.id, id) })
	e.tasks = slices.Delete(e.tasks, i, i+1)

	now := e.now()
	t.out.Count(func(u *runtime.Usage) { u.Finished = now })
	if e.options.Observer != nil {
		e.options.Observer.Finished(t.flow, t.stream.Usage(), err)
	}
	t.out.Finish(err)
	e.inbox.release()
}

// shutdown waits for the goroutines that still load adapters, releases what they load, and closes the Device.
func (e *Engine) shutdown() error {
	e.loaders.Wait()
	e.receive(e.inbox.take(), runtime.ErrClosed)
	e.publish()
	return e.device.Close()
}

package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// maxShare bounds Options.Share, so that decoding goes on whatever share background work is given.
const maxShare = 0.95

// shortSlices is how many slices must fit into the time that a turn allows background work, for slices to count
// as short.
const shortSlices = 4

// work is one call of Engine.Work.
type work struct {
	ctx    context.Context
	slicer runtime.Slicer
	done   chan error    // receives the result of the call; buffered for one
	used   time.Duration // what its slices took, and what the others had used when it came
}

// Work runs s, slice by slice, on the Engine's goroutine until there are no more slices. Between slices
// the Engine decodes: while streams run, background work takes Options.Share of the time, else all of it. It may be
// called from several goroutines: their slices take turns, so that each call gets the same part of the time. It returns
// the first error of Slice, or ErrClosed, or ctx's error if ctx ends first. When Work has returned, the Engine no longer
// uses s. Two calls at once must not be given the same s. A runtime.Reserver is reserved first.
func (e *Engine) Work(ctx context.Context, s runtime.Slicer) error {
	if r, ok := s.(runtime.Reserver); ok {
		release, err := r.Reserve(ctx)
		if err != nil {
			return err
		}
		defer release()
	}
	w := &work{ctx: ctx, slicer: s, done: make(chan error, 1)}
	if err := e.inbox.work(w); err != nil {
		return err
	}
	// A context that ends wakes the Engine: only the Engine's goroutine knows when it no longer uses s.
	defer context.AfterFunc(ctx, e.inbox.wakeEngine)()
	return <-w.done
}

// wakeEngine wakes the Engine although there is no message.
func (b *inbox) wakeEngine() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.signal()
}

// runBackgroundSlices runs the slices of background work that there is time for in this turn, and reports whether it
// ran any. Beside turns that take a time d to decode and deliver, background work may take d*share/(1-share). Where slices are short
// beside that, a turn never exceeds it, so that no answer is delayed for longer than the share allows. Where slices
// are long, the time that a turn does not use is saved for the next slice.
func (e *Engine) runBackgroundSlices(busy bool) bool {
	e.dropCancelledWork()
	if len(e.background) == 0 {
		e.sliceAllowance = 0
		return false
	}
	if !busy {
		e.sliceAllowance = 0
		e.runSlices(0)
		return true
	}
	allowed, expected := e.allowedSliceTime(), e.sliceTimes.secondLongest()
	e.sliceAllowance = min(e.sliceAllowance+allowed, allowed+expected)
	did := false
	for len(e.background) > 0 && e.sliceAllowance > 0 && e.sliceAllowance >= expected {
		e.sliceAllowance -= e.runSlices(e.sliceAllowance)
		did, expected = true, e.sliceTimes.secondLongest()
	}
	if did && expected <= allowed/shortSlices {
		e.sliceAllowance = min(e.sliceAllowance, 0)
	}
	e.sliceAllowance = max(e.sliceAllowance, -max(shortSlices*allowed, expected)) // a slice that other programs delayed is not charged in full
	return did
}

// allowedSliceTime returns how long background work may take in this turn, computed from a moving average of turns
// and not from this turn alone: a decode that was slow, because it read a prompt or because other programs
// ran, must not delay the next token a second time.
func (e *Engine) allowedSliceTime() time.Duration {
	if e.usualTurn == 0 {
		e.usualTurn = e.turnTook
	}
	e.usualTurn += (min(e.turnTook, 2*e.usualTurn) - e.usualTurn) / 8
	return time.Duration(float64(e.usualTurn) * e.options.Share / (1 - e.options.Share))
}

// addWork takes up new calls of Work. A call begins as if it had used as much time as the one that has used the least:
// it is owed nothing for the time before it came.
func (e *Engine) addWork(added []*work) {
	for _, w := range added {
		if next := e.nextWork(); next >= 0 {
			w.used = e.background[next].used
		}
		e.background = append(e.background, w)
	}
}

// nextWork returns which call of Work has used the least time, the first of several, or -1 where there is none.
func (e *Engine) nextWork() int {
	next := -1
	for i, w := range e.background {
		if next < 0 || w.used < e.background[next].used {
			next = i
		}
	}
	return next
}

// runSlices runs slices of the call of Work whose turn it is, and returns how long they took: one, or as many as fit into
// budget where the Slicer can do several at once.
func (e *Engine) runSlices(budget time.Duration) time.Duration {
	next := e.nextWork()
	w := e.background[next]
	start := e.now()
	more, longest, err := callSlices(w.slicer, budget)
	took := e.now().Sub(start)
	if longest == 0 {
		longest = took
	}
	w.used += took
	e.sliceTimes.add(longest)
	if e.options.Observer != nil {
		e.options.Observer.Worked(took)
	}
	if err != nil || !more {
		e.background = slices.Delete(e.background, next, next+1)
		w.done <- err
	}
	e.dropCancelledWork()
	return took
}

// durations holds how long each of the last 16 slices took.
type durations struct {
	last [16]time.Duration
	n    int
}

func (d *durations) add(took time.Duration) {
	d.last[d.n%len(d.last)] = took
	d.n++
}

// secondLongest estimates how long a slice may take. It is not the longest, since one slice may have been delayed by
// other programs.
func (d *durations) secondLongest() time.Duration {
	var first, second time.Duration
	for _, t := range d.last {
		second = max(second, min(first, t))
		first = max(first, t)
	}
	return second
}

// callSlices runs a slice, or several, of which longest is the time of the longest one. It turns a panic into an error:
// background work that fails must not end the Engine.
func callSlices(s runtime.Slicer, budget time.Duration) (more bool, longest time.Duration, err error) {
	defer func() {
		if p := recover(); p != nil {
			more, err = false, fmt.Errorf("panic: %v", p)
		}
	}()
	if b, ok := s.(runtime.BatchSlicer); ok && budget > 0 {
		return b.Slices(budget)
	}
	more, err = s.Slice()
	return more, 0, err
}

// dropCancelledWork ends the calls of Work whose contexts have ended.
func (e *Engine) dropCancelledWork() {
	kept := e.background[:0]
	for _, w := range e.background {
		if err := w.ctx.Err(); err != nil {
			w.done <- err
			continue
		}
		kept = append(kept, w)
	}
	e.background = kept
}

// failAll ends all calls of Work with reason.
func (e *Engine) failAll(reason error) {
	for _, w := range e.background {
		w.done <- reason
	}
	e.background = nil
}

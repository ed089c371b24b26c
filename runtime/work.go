package runtime

import (
	"context"
	"fmt"
	"time"
)

// maxShare keeps decodes alive whatever share of the time work is given.
const maxShare = 0.95

// work is a call of Engine.Work.
type work struct {
	ctx    context.Context
	slicer Slicer
	done   chan error // takes the end of the work; has room for it
}

// Work runs s, slice by slice, on the Engine's goroutine until there are no more slices. Between slices
// the Engine decodes: while streams run, work takes Options.Share of the time, else all of it. Calls wait
// for those that came before. It returns the first error of Slice, or ErrClosed, or ctx's error if ctx ends
// first; in every case s is the caller's again when Work returns.
func (e *Engine) Work(ctx context.Context, s Slicer) error {
	w := &work{ctx: ctx, slicer: s, done: make(chan error, 1)}
	if err := e.inbox.work(w); err != nil {
		return err
	}
	// A context that ends wakes the Engine, which alone may say that it no longer uses s.
	defer context.AfterFunc(ctx, e.inbox.poke)()
	return <-w.done
}

// poke wakes the Engine though there is no mail.
func (b *inbox) poke() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ring()
}

// labour does what work there is time for in this turn, and reports whether it did any. Beside decodes, work
// is allowed share/(1-share) of the time they took; what a turn does not use is carried over, and it never
// amounts to more than a slice.
func (e *Engine) labour(busy bool) bool {
	e.dismiss()
	if len(e.works) == 0 {
		e.allowance = 0
		return false
	}
	if !busy {
		e.allowance = 0
		e.slice()
		return true
	}
	e.allowance += time.Duration(float64(e.decoded) * e.options.Share / (1 - e.options.Share))
	did := false
	for len(e.works) > 0 && e.allowance > 0 && e.allowance >= e.lastSlice {
		e.slice()
		e.allowance -= e.lastSlice
		did = true
	}
	return did
}

// slice does one slice of the first work.
func (e *Engine) slice() {
	w := e.works[0]
	start := e.now()
	more, err := callSlice(w.slicer)
	e.lastSlice = e.now().Sub(start)
	if err != nil || !more {
		e.works = e.works[1:]
		w.done <- err
	}
	e.dismiss()
}

// callSlice turns a panic into an error: a failed work must not end the Engine.
func callSlice(s Slicer) (more bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			more, err = false, fmt.Errorf("panic: %v", p)
		}
	}()
	return s.Slice()
}

// dismiss ends the works whose callers no longer want them.
func (e *Engine) dismiss() {
	kept := e.works[:0]
	for _, w := range e.works {
		if err := w.ctx.Err(); err != nil {
			w.done <- err
			continue
		}
		kept = append(kept, w)
	}
	e.works = kept
}

// strike ends all works with reason.
func (e *Engine) strike(reason error) {
	for _, w := range e.works {
		w.done <- reason
	}
	e.works = nil
}

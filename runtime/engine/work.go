package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// maxShare keeps decodes alive whatever share of the time work is given.
const maxShare = 0.95

// shortSlices is how many slices must fit into what a turn allows for them to count as short.
const shortSlices = 4

// work is a call of Engine.Work.
type work struct {
	ctx    context.Context
	slicer runtime.Slicer
	done   chan error // takes the end of the work; has room for it
}

// Work runs s, slice by slice, on the Engine's goroutine until there are no more slices. Between slices
// the Engine decodes: while streams run, work takes Options.Share of the time, else all of it. Calls wait
// for those that came before. It returns the first error of Slice, or ErrClosed, or ctx's error if ctx ends
// first; in every case s is the caller's again when Work returns.
func (e *Engine) Work(ctx context.Context, s runtime.Slicer) error {
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
// is allowed share/(1-share) of the time they took. Where slices are short beside that, a turn never exceeds it,
// so that no answer waits longer than its share says; where they are long, what a turn does not use is saved up
// for the next slice.
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
	allowed, expected := e.allowed(), e.slices.expected()
	e.allowance = min(e.allowance+allowed, allowed+expected)
	did := false
	for len(e.works) > 0 && e.allowance > 0 && e.allowance >= expected {
		e.allowance -= e.slice()
		did, expected = true, e.slices.expected()
	}
	if did && expected <= allowed/shortSlices {
		e.allowance = min(e.allowance, 0)
	}
	e.allowance = max(e.allowance, -max(shortSlices*allowed, expected)) // a slice that was held up is not paid in full
	return did
}

// allowed is how long work may take beside the decodes of this turn: its share beside usual ones. A decode that took
// long, because it read a prompt or other programs ran, does not make the next token late a second time.
func (e *Engine) allowed() time.Duration {
	if e.usual == 0 {
		e.usual = e.decoded
	}
	e.usual += (min(e.decoded, 2*e.usual) - e.usual) / 8
	return time.Duration(float64(e.usual) * e.options.Share / (1 - e.options.Share))
}

// slice does one slice of the first work and returns how long it took.
func (e *Engine) slice() time.Duration {
	w := e.works[0]
	start := e.now()
	more, err := callSlice(w.slicer)
	took := e.now().Sub(start)
	e.slices.add(took)
	if err != nil || !more {
		e.works = e.works[1:]
		w.done <- err
	}
	e.dismiss()
	return took
}

// durations are how long the last slices took.
type durations struct {
	last [16]time.Duration
	n    int
}

func (d *durations) add(took time.Duration) {
	d.last[d.n%len(d.last)] = took
	d.n++
}

// expected is how long a slice may take: the second longest of the last, since one may have been held up.
func (d *durations) expected() time.Duration {
	var first, second time.Duration
	for _, t := range d.last {
		second = max(second, min(first, t))
		first = max(first, t)
	}
	return second
}

// callSlice turns a panic into an error: a failed work must not end the Engine.
func callSlice(s runtime.Slicer) (more bool, err error) {
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

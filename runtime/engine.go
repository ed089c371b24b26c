package runtime

import (
	"context"
	"time"
)

// Options are the Engine's settings.
type Options struct {
	Parallel int           // streams that run at once; 0: as many as the Device has sequences
	MaxQueue int           // requests beyond Parallel that may wait; Submit returns ErrQueueFull after that
	Chunk    int           // rows of prefill in one turn: what a running stream waits for at most; 0: 256
	Grouped  bool          // one Decode per adapter instead of one for all: the baseline bench/serve compares with
	Deadline time.Duration // of requests that set none; 0: no limit
	Observer Observer      // may be nil
}

// Engine makes answers. Its goroutine owns the Device: in every turn it takes new requests, admits those
// there is room for, plans one batch, decodes it, and delivers what was sampled.
type Engine struct {
	device  Device
	model   Model
	options Options
}

// New starts an Engine, which owns the Device from here on. The Model stays the caller's and must outlive
// the Engine.
func New(d Device, m Model, o Options) *Engine {
	return &Engine{device: d, model: m, options: o}
}

// Submit queues a request and returns the Stream of its answer, which the caller must Close. ctx covers
// Submit alone. It returns ErrQueueFull, ErrDraining, ErrClosed, or an error wrapping ErrPrompt,
// ErrContextLength (a *ContextError) or ErrSampling.
func (e *Engine) Submit(ctx context.Context, r Request) (*Stream, error) {
	return nil, ErrClosed
}

// Model returns the model that answers.
func (e *Engine) Model() Model { return e.model }

// Stats returns a snapshot, as of the last turn. It may be called from any goroutine.
func (e *Engine) Stats() Stats { return Stats{} }

// Drain refuses new requests with ErrDraining and waits until the others are answered. When ctx ends
// first it cancels the rest, whose streams then return ErrDraining, and returns ctx's error.
func (e *Engine) Drain(ctx context.Context) error { return nil }

// Close cancels all requests, whose streams then return ErrClosed, waits for the Engine's goroutines, and
// closes the Device. It may be called twice.
func (e *Engine) Close() error { return e.device.Close() }

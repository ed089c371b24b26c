package engine

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Options are the Engine's settings. A Device with more sequences than Parallel keeps cached prefixes even
// when as many streams run as may.
type Options struct {
	Parallel int           // streams that run at once; 0: as many as the Device has sequences
	MaxQueue int           // requests beyond Parallel that may wait; Submit returns ErrQueueFull after that
	Chunk    int           // prompt tokens decoded in one turn, which bounds how long running streams wait; 0: 256
	Grouped  bool          // one Decode per adapter instead of one for all: the baseline bench/serve compares with
	Deadline time.Duration // of requests that set none; 0: no limit
	Share    float64       // part of the time that Work may take while streams run, from 0 to 0.95
	Observer Observer      // may be nil
}

// defaultChunk is a chunk where Options sets none.
const defaultChunk = 256

// Engine makes answers. Its goroutine owns the Device: in every turn it takes new requests, admits those
// there is room for, plans one batch, decodes it, and delivers what was sampled. Its exported methods may
// be called from any goroutine.
type Engine struct {
	model   runtime.Model
	options Options
	context int // tokens that prompt and answer may have together
	inbox   *inbox
	stats   atomic.Pointer[Stats]
	batch   atomic.Pointer[Batch]
	now     func() time.Time
	stager  runtime.Stager // the Device, where it is one; else nil
	done    chan struct{}  // closed when the goroutine has ended
	err     error          // of closing the Device; to be read after done

	// All below belongs to the Engine's goroutine.
	device         runtime.Device
	limits         runtime.Limits
	outputRows     int // rows of prompts that may ask for something in one turn
	queue          *queue
	kv             *kv
	tasks          []*task // all that have not ended, by id
	running        []*task // of them, those that hold a sequence, in the order they were admitted
	prefillClock   int64   // the clock of plan
	loadSlots      int     // waiting tasks that load adapters or hold loaded ones
	loaders        sync.WaitGroup
	rows           []runtime.Row // of the current Decode, kept to reuse the memory
	preempted      int64
	evicted        int64
	background     []*work       // calls of Work, in the order they came
	turnTook       time.Duration // time of this turn, but for its background work
	sliceAllowance time.Duration // time that background work may take before the next decode
	sliceTimes     durations     // of the last slices of background work
	usualTurn      time.Duration // moving average of it, of turns that decode
}

// New starts an Engine, which owns the Device from here on. The Model stays the caller's and must outlive
// the Engine.
func New(d runtime.Device, m runtime.Model, o Options) *Engine {
	e := newEngine(d, m, o)
	go e.run()
	return e
}

// newEngine returns an Engine whose turns the caller takes.
func newEngine(d runtime.Device, m runtime.Model, o Options) *Engine {
	l := d.Limits()
	if o.Parallel <= 0 {
		o.Parallel = l.Sequences
	}
	o.Parallel = min(o.Parallel, l.Sequences, l.Batch)
	if o.Chunk <= 0 {
		o.Chunk = defaultChunk
	}
	o.Share = min(max(o.Share, 0), maxShare)
	e := &Engine{
		model: m, options: o, context: cmp.Or(l.PerSequence, l.Cells),
		inbox: newInbox(o.Parallel + max(0, o.MaxQueue)), done: make(chan struct{}),
		device: d, limits: l, now: time.Now, queue: newQueue(), kv: newKV(l), outputRows: outputRows(m.Facts().VocabSize),
	}
	e.stager, _ = d.(runtime.Stager)
	if n := m.Facts().ContextLength; n > 0 {
		e.context = min(e.context, n)
	}
	e.publish()
	return e
}

// Capacity is how many requests may be answered and wait together: Submit returns ErrQueueFull beyond it.
func (e *Engine) Capacity() int { return e.inbox.maxLive }

// Submit queues a request and returns the Stream of its answer, which the caller must Close. ctx covers
// Submit alone. It returns ErrQueueFull, ErrDraining, ErrClosed, or an error wrapping ErrPrompt,
// ErrContextLength (a *ContextError) or ErrSampling.
func (e *Engine) Submit(ctx context.Context, r runtime.Request) (*runtime.Stream, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r.PromptOnly = r.PromptOnly || r.Pooling != runtime.PoolingNone
	if err := e.checkPrompt(r.Prompt, r.PromptOnly); err != nil {
		return nil, err
	}
	if err := e.inbox.reserve(); err != nil {
		return nil, err
	}
	var sampler runtime.Sampler // nil: nothing is sampled
	if !r.PromptOnly {
		var err error
		if sampler, err = e.model.NewSampler(r.Sampling, r.Prompt); err != nil {
			e.inbox.release()
			return nil, err
		}
	}
	t := newTask(r, sampler, e.context, e.limits.Exact)
	t.stream, t.out = runtime.NewStream(func() { e.inbox.cancel(t) })
	submitted := e.now()
	t.submitted = submitted
	t.out.Count(func(u *runtime.Usage) { u.Prompt, u.Submitted = len(r.Prompt), submitted })
	if t.deadline.IsZero() && e.options.Deadline > 0 {
		t.deadline = submitted.Add(e.options.Deadline)
	}
	if err := e.inbox.submit(t); err != nil {
		t.closeSampler()
		return nil, err
	}
	return t.stream, nil
}

// checkPrompt returns why a prompt cannot be answered, or nil. Where there is an answer, one token of it must fit.
func (e *Engine) checkPrompt(prompt []runtime.Token, only bool) error {
	if len(prompt) == 0 {
		return fmt.Errorf("%w: it is empty", runtime.ErrPrompt)
	}
	if len(prompt) > e.context || len(prompt) == e.context && !only {
		return &runtime.ContextError{Prompt: len(prompt), Context: e.context}
	}
	vocabulary := e.model.Facts().VocabSize
	for i, t := range prompt {
		if t < 0 || int(t) >= vocabulary {
			return fmt.Errorf("%w: token %d at position %d is outside the vocabulary of %d", runtime.ErrPrompt, t, i, vocabulary)
		}
	}
	return nil
}

// Model returns the model that answers.
func (e *Engine) Model() runtime.Model { return e.model }

// Context returns how many tokens prompt and answer may have together.
func (e *Engine) Context() int { return e.context }

// Parallel returns how many requests may run at once.
func (e *Engine) Parallel() int { return e.options.Parallel }

// Share returns the part of the time that Work may take while streams run.
func (e *Engine) Share() float64 { return e.options.Share }

// Stats returns a snapshot, as of the last turn.
func (e *Engine) Stats() Stats { return *e.stats.Load() }

// SlotStats describes the Device's memory for adapters, where it has any.
func (e *Engine) SlotStats() runtime.SlotStats {
	if e.stager == nil {
		return runtime.SlotStats{}
	}
	return e.stager.SlotStats()
}

// Drain refuses new requests with ErrDraining and waits until the others are answered. When ctx ends
// first it cancels the rest, whose streams then return ErrDraining, and returns ctx's error.
func (e *Engine) Drain(ctx context.Context) error {
	drained := e.inbox.drain()
	select {
	case <-drained:
		return nil // even if ctx has ended too
	default:
	}
	select {
	case <-drained:
		return nil
	case <-e.done:
		return nil
	case <-ctx.Done():
		e.inbox.abandon()
		return ctx.Err()
	}
}

// Close cancels all requests, whose streams then return ErrClosed, waits for the Engine's goroutines, and
// closes the Device. It may be called twice.
func (e *Engine) Close() error {
	e.inbox.stop()
	<-e.done
	return e.err
}

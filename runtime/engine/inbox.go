package engine

import (
	"sync"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// inbox is where other goroutines leave what the Engine is to take up at its next turn. It also counts the
// requests that are in the Engine, to bound them.
type inbox struct {
	wake chan struct{} // holds one value when there is mail

	mu       sync.Mutex
	mail     mail
	bound    int // requests there may be
	live     int // requests that were let in and have not ended
	lastID   int64
	draining bool          // no new requests
	drained  chan struct{} // closed when draining and none are live
}

// mail is what has come in since the last turn.
type mail struct {
	submitted []*task
	cancelled []*task // their readers have gone
	loaded    []loaded
	works     []*work
	abandon   bool // end all requests: draining takes too long; stays set
	stop      bool // end all: the Engine closes; stays set
}

func newInbox(bound int) *inbox {
	return &inbox{wake: make(chan struct{}, 1), bound: bound, drained: make(chan struct{})}
}

// reserve lets a request in, or says why not.
func (b *inbox) reserve() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.mail.stop:
		return runtime.ErrClosed
	case b.draining:
		return runtime.ErrDraining
	case b.live >= b.bound:
		return runtime.ErrQueueFull
	}
	b.live++
	return nil
}

// release says that a request that was let in has ended.
func (b *inbox) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.live--
	b.settle()
}

// settle announces the end of draining, once. The lock is held.
func (b *inbox) settle() {
	if !b.draining || b.live > 0 {
		return
	}
	select {
	case <-b.drained:
	default:
		close(b.drained)
	}
}

// submit hands a task over, and gives it its id: the order in which tasks came.
func (b *inbox) submit(t *task) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mail.stop {
		b.live--
		b.settle()
		return runtime.ErrClosed
	}
	b.lastID++
	t.id = b.lastID
	b.mail.submitted = append(b.mail.submitted, t)
	b.ring()
	return nil
}

// cancel says that a task's reader has gone.
func (b *inbox) cancel(t *task) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mail.cancelled = append(b.mail.cancelled, t)
	b.ring()
}

// load hands over what became of acquiring a task's adapters.
func (b *inbox) load(l loaded) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mail.loaded = append(b.mail.loaded, l)
	b.ring()
}

// work hands over work to be done between decodes.
func (b *inbox) work(w *work) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mail.stop {
		return runtime.ErrClosed
	}
	b.mail.works = append(b.mail.works, w)
	b.ring()
	return nil
}

// drain refuses requests from now on. The channel is closed when those that are live have ended.
func (b *inbox) drain() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.draining = true
	b.settle()
	return b.drained
}

// abandon ends all requests.
func (b *inbox) abandon() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mail.abandon = true
	b.ring()
}

// stop ends the Engine.
func (b *inbox) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mail.stop = true
	b.ring()
}

// take returns the mail and empties the box.
func (b *inbox) take() mail {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.wake: // rung for what is taken now
	default:
	}
	m := b.mail
	b.mail = mail{abandon: m.abandon, stop: m.stop}
	return m
}

// ring wakes the Engine. The lock is held.
func (b *inbox) ring() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

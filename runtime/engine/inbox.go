package engine

import (
	"sync"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// inbox is where other goroutines put what the Engine handles at its next turn. It also counts the requests that have
// not ended, to bound them.
type inbox struct {
	wake chan struct{} // holds one value when there are messages

	mu       sync.Mutex
	messages messages
	maxLive  int // how many requests may be live at once
	live     int // requests that were accepted and have not ended
	lastID   int64
	draining bool          // no new requests
	drained  chan struct{} // closed when draining and none are live
}

// messages are what other goroutines have put into the inbox since the last turn.
type messages struct {
	submitted  []*task
	cancelled  []*task // their readers have gone
	loaded     []loaded
	background []*work
	abandon    bool // end all requests: draining takes too long; stays set
	stop       bool // end all: the Engine closes; stays set
}

func newInbox(bound int) *inbox {
	return &inbox{wake: make(chan struct{}, 1), maxLive: bound, drained: make(chan struct{})}
}

// reserve accepts a request, or returns why not.
func (b *inbox) reserve() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.messages.stop:
		return runtime.ErrClosed
	case b.draining:
		return runtime.ErrDraining
	case b.live >= b.maxLive:
		return runtime.ErrQueueFull
	}
	b.live++
	return nil
}

// release records that an accepted request has ended.
func (b *inbox) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.live--
	b.announceDrained()
}

// announceDrained closes drained, once, when draining has ended. The lock is held.
func (b *inbox) announceDrained() {
	if !b.draining || b.live > 0 {
		return
	}
	select {
	case <-b.drained:
	default:
		close(b.drained)
	}
}

// submit hands a task over and gives it its id, which counts up in the order of arrival.
func (b *inbox) submit(t *task) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.messages.stop {
		b.live--
		b.announceDrained()
		return runtime.ErrClosed
	}
	b.lastID++
	t.id = b.lastID
	b.messages.submitted = append(b.messages.submitted, t)
	b.signal()
	return nil
}

// cancel records that the reader of a task's stream has closed it.
func (b *inbox) cancel(t *task) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages.cancelled = append(b.messages.cancelled, t)
	b.signal()
}

// load hands over the result of acquiring a task's adapters.
func (b *inbox) load(l loaded) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages.loaded = append(b.messages.loaded, l)
	b.signal()
}

// work hands over background work.
func (b *inbox) work(w *work) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.messages.stop {
		return runtime.ErrClosed
	}
	b.messages.background = append(b.messages.background, w)
	b.signal()
	return nil
}

// drain refuses requests from now on. The channel is closed when those that are live have ended.
func (b *inbox) drain() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.draining = true
	b.announceDrained()
	return b.drained
}

// abandon ends all requests.
func (b *inbox) abandon() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages.abandon = true
	b.signal()
}

// stop ends the Engine.
func (b *inbox) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages.stop = true
	b.signal()
}

// take returns the messages and empties the inbox.
func (b *inbox) take() messages {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.wake: // signalled for what is taken now
	default:
	}
	m := b.messages
	b.messages = messages{abandon: m.abandon, stop: m.stop}
	return m
}

// signal wakes the Engine. The lock is held.
func (b *inbox) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

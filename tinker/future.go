package tinker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Bounds of futures.
const (
	maxPending     = 4096      // that have not ended
	maxPendingSize = 256 << 20 // bytes of the requests that they hold
	maxEnded       = 8192      // whose results are kept,
	maxEndedSize   = 128 << 20 // bytes of them,
	keepEnded      = 10 * time.Minute
)

// Future is what a call is answered with: its result comes later.
type Future struct {
	ID      string
	ModelID string   // of the model whose call it is; "" for others
	Samples []string // ids of the sequences that a call of Sample makes

	owner  string
	size   int64 // bytes of the request, then of the result
	done   chan struct{}
	ended  time.Time // set with result and err before done is closed
	result any
	err    error
	cancel context.CancelFunc // nil: it cannot be cancelled
}

// Wait returns the result of the call, ErrPending where it has not ended when ctx does, or the error that the call ended
// with, as a CallError.
func (f *Future) Wait(ctx context.Context) (any, error) {
	if !f.Ended() {
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, ErrPending
		}
	}
	if f.err != nil {
		return nil, &CallError{f.err}
	}
	return f.result, nil
}

// Ended reports whether the call has ended, so that Wait returns at once.
func (f *Future) Ended() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// ErrPending says that a call has not ended yet.
var ErrPending = errors.New("the call has not ended yet")

// CallError is the error of a call that has ended.
type CallError struct{ Err error }

func (e *CallError) Error() string { return e.Err.Error() }

// Unwrap returns what went wrong.
func (e *CallError) Unwrap() error { return e.Err }

// futures holds the futures of all calls.
type futures struct {
	now func() time.Time

	mu          sync.Mutex
	byID        map[string]*Future
	pending     int
	pendingSize int64
	ended       []*Future // in the order in which they ended
	endedSize   int64
}

func newFutures(now func() time.Time) *futures { return &futures{now: now, byID: map[string]*Future{}} }

// add adds a future, or returns the one of the same id that there is already; made is false then. force lets it in although
// there are too many: a call that all others wait for.
func (t *futures) add(f *Future, force bool) (_ *Future, made bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.byID[f.ID]; old != nil {
		return old, false, nil
	}
	if !force && (t.pending >= maxPending || t.pendingSize+f.size > maxPendingSize) {
		return nil, false, fmt.Errorf("%w: %d calls with %d bytes have not ended", ErrTooMany, t.pending, t.pendingSize)
	}
	f.done = make(chan struct{})
	t.byID[f.ID] = f
	t.pending++
	t.pendingSize += f.size
	return f, true, nil
}

// find returns the future of an id, or nil.
func (t *futures) find(id string) *Future {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byID[id]
}

// end gives a future its result, which has so many bytes.
func (t *futures) end(f *Future, result any, err error, size int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pending--
	t.pendingSize -= f.size
	f.result, f.err, f.size, f.ended = result, err, size, t.now()
	close(f.done)
	t.ended = append(t.ended, f)
	t.endedSize += size
	t.drop()
}

// drop forgets the oldest results beyond the bounds. t.mu is held.
func (t *futures) drop() {
	n, limit := 0, t.now().Add(-keepEnded)
	for ; n < len(t.ended)-1; n++ { // the last one has just ended: it stays whatever its size
		f := t.ended[n]
		if len(t.ended)-n <= maxEnded && t.endedSize <= maxEndedSize && f.ended.After(limit) {
			break
		}
		t.endedSize -= f.size
		t.remove(f)
	}
	t.ended = append(t.ended[:0:0], t.ended[n:]...)
}

func (t *futures) clean() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop()
}

// Future returns the future of an id that a call was answered with. ErrExpired: it is not known any more.
func (s *Service) Future(who *Caller, id string) (*Future, error) {
	f := s.futures.find(id)
	if f == nil || !who.sees(f.owner) {
		return nil, fmt.Errorf("%w: request %q is not known: its result is kept for %v, and not beyond a restart", ErrExpired, id, keepEnded)
	}
	return f, nil
}

// Cancel ends a call of Sample that has not ended. What cannot be cancelled goes on.
func (s *Service) Cancel(who *Caller, id string) error {
	f, err := s.Future(who, id)
	if err == nil && f.cancel != nil {
		f.cancel()
	}
	return err
}

// forget removes a future that nobody was told of.
func (t *futures) forget(f *Future) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(f)
}

// remove removes a future from those that can be found. t.mu is held.
func (t *futures) remove(f *Future) {
	if t.byID[f.ID] == f {
		delete(t.byID, f.ID)
	}
}

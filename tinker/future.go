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

	futureBytes   = 512 // that a future takes besides its request or its result,
	sampleIDBytes = 96  // and for each sequence that it names
)

// ownerPart is the part, one of so many, of what is bounded that one owner may have where there are several.
const ownerPart = 2

// Future is what a call is answered with: its result comes later.
type Future struct {
	ID      string
	ModelID string   // of the model whose call it is; "" for others
	Samples []string // ids of the sequences that a call of Sample makes

	owner  string
	size   int64 // bytes of the request, then of the result, with fixed
	fixed  int64 // of them, those of the future itself
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

// futures holds the futures of all calls. Each owner has an account, so that one cannot take the room of all others.
type futures struct {
	now func() time.Time

	mu       sync.Mutex
	byID     map[string]*Future
	all      account // whose ended ones lie in those of the owners
	accounts map[string]*account
}

// account counts futures.
type account struct {
	pending     int
	pendingSize int64
	endedCount  int
	endedSize   int64
	ended       []*Future // in the order in which they ended
}

func newFutures(now func() time.Time) *futures {
	return &futures{now: now, byID: map[string]*Future{}, accounts: map[string]*account{}}
}

// add adds a future, or returns the one of the same id that there is already; made is false then. force lets it in although
// there are too many: a call that all others wait for.
func (t *futures) add(f *Future, force bool) (_ *Future, made bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.byID[f.ID]; old != nil {
		return old, false, nil
	}
	f.fixed = futureBytes + sampleIDBytes*int64(len(f.Samples))
	f.size += f.fixed
	a := t.account(f.owner)
	if !force {
		err := t.all.admit(f.size, 1)
		if f.owner != "" && err == nil {
			err = a.admit(f.size, ownerPart)
		}
		if err != nil {
			return nil, false, err
		}
	}
	f.done = make(chan struct{})
	t.byID[f.ID] = f
	for _, a := range []*account{a, &t.all} {
		a.pending++
		a.pendingSize += f.size
	}
	return f, true, nil
}

// account returns the account of an owner. t.mu is held.
func (t *futures) account(owner string) *account {
	a := t.accounts[owner]
	if a == nil {
		a = &account{}
		t.accounts[owner] = a
	}
	return a
}

// admit returns an error where one more call of so many bytes would be more than one part of the bounds, of so many.
func (a *account) admit(size int64, parts int) error {
	if a.pending < maxPending/parts && a.pendingSize+size <= maxPendingSize/int64(parts) {
		return nil
	}
	return fmt.Errorf("%w: %d calls with %d bytes have not ended", ErrTooMany, a.pending, a.pendingSize)
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
	own := t.account(f.owner)
	for _, a := range []*account{own, &t.all} {
		a.pending--
		a.pendingSize -= f.size
		a.endedCount++
		a.endedSize += size + f.fixed
	}
	f.result, f.err, f.size, f.ended = result, err, size+f.fixed, t.now()
	close(f.done)
	own.ended = append(own.ended, f)
	t.drop()
}

// drop forgets results that are old, and beyond the bounds those of the owner that has the most. Of each owner the last one stays
// whatever its size: it may have just ended. t.mu is held.
func (t *futures) drop() {
	limit := t.now().Add(-keepEnded)
	for owner, a := range t.accounts {
		for len(a.ended) > 1 && !a.ended[0].ended.After(limit) {
			t.dropOldest(a)
		}
		if a.pending == 0 && len(a.ended) == 1 && !a.ended[0].ended.After(limit) {
			t.dropOldest(a)
			delete(t.accounts, owner)
		}
	}
	for t.all.endedCount > maxEnded || t.all.endedSize > maxEndedSize {
		var most *account
		for _, a := range t.accounts {
			if len(a.ended) > 1 && (most == nil || a.part() > most.part()) {
				most = a
			}
		}
		if most == nil {
			return
		}
		t.dropOldest(most)
	}
}

// part is how much of what is bounded the results of an account take.
func (a *account) part() float64 {
	return max(float64(a.endedCount)/maxEnded, float64(a.endedSize)/maxEndedSize)
}

// dropOldest forgets an account's oldest result. t.mu is held.
func (t *futures) dropOldest(a *account) {
	f := a.ended[0]
	a.ended[0] = nil
	a.ended = a.ended[1:]
	for _, a := range []*account{a, &t.all} {
		a.endedCount--
		a.endedSize -= f.size
	}
	t.remove(f)
}

func (t *futures) clean() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop()
}

// Future returns the future of an id that a call was answered with. ErrExpired: it is not known any more. A CallError: nor is the
// model whose call it was, so that repeating the call is of no use.
func (s *Service) Future(who *Caller, id string) (*Future, error) {
	f := s.futures.find(id)
	if f == nil || !who.sees(f.owner) {
		if model, is := modelOfCall(id); is && !s.has(who, model) {
			return nil, &CallError{fmt.Errorf("%w: model %.120q has ended with its session or with the server; go on from its last checkpoint", ErrExpired, model)}
		}
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

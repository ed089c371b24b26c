package disk

import (
	"context"
	"errors"

	"golang.org/x/sync/semaphore"
)

// ErrBusy means that other work holds the bytes that this work needs. Trying again later may succeed.
var ErrBusy = errors.New("the server is receiving or writing as much as it has room for; try again later")

// Budget bounds the bytes that pieces of work hold at the same time, in temporary files and in memory. Its methods
// may be called from any goroutine.
type Budget struct {
	free *semaphore.Weighted
	size int64
}

// NewBudget returns a Budget of that many bytes.
func NewBudget(bytes int64) *Budget {
	return &Budget{free: semaphore.NewWeighted(bytes), size: bytes}
}

// Fits reports whether that many bytes are free at this moment. It takes none of them.
func (b *Budget) Fits(bytes int64) bool {
	if !b.free.TryAcquire(bytes) {
		return false
	}
	b.free.Release(bytes)
	return true
}

// Share returns what one piece of work holds of the budget: nothing yet.
func (b *Budget) Share() *Share { return &Share{budget: b} }

// Share is one piece of work's part of a Budget. It is used by one goroutine at a time.
type Share struct {
	budget *Budget
	held   int64
}

// Take adds bytes to the share. It returns ErrBusy, and takes nothing, where they are not free or others wait for them.
func (s *Share) Take(bytes int64) error {
	if !s.budget.free.TryAcquire(bytes) {
		return ErrBusy
	}
	s.held += bytes
	return nil
}

// Wait adds bytes to a share that holds none, and waits until they are free: first come, first served. A share that
// holds some must not wait for more, or two of them could wait for each other without end. Work that needs more than the
// whole budget gets all of it. The error is the cause of ctx.
func (s *Share) Wait(ctx context.Context, bytes int64) error {
	bytes = min(bytes, s.budget.size)
	if s.held > 0 {
		panic("disk: a share that holds bytes waits for more")
	}
	if err := s.budget.free.Acquire(ctx, bytes); err != nil {
		return context.Cause(ctx)
	}
	s.held = bytes
	return nil
}

// Release gives everything back. It may be called twice.
func (s *Share) Release() {
	s.budget.free.Release(s.held)
	s.held = 0
}

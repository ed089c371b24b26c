package disk

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestBudgetGivesNoMoreThanItHas(t *testing.T) {
	b := NewBudget(10)
	one, two := b.Share(), b.Share()
	if err := errors.Join(one.Take(4), one.Take(3), two.Take(3)); err != nil {
		t.Fatal(err)
	}
	if err := two.Take(1); !errors.Is(err, ErrBusy) || b.Fits(1) {
		t.Errorf("11 bytes of 10 were given: %v", err)
	}
	one.Release()
	one.Release()
	if !b.Fits(7) || b.Fits(8) {
		t.Error("7 bytes were given back, and not 7 are free")
	}
}

// Those who wait are served in turn, a small one not before a large one, and never more than the budget at a time.
func TestBudgetWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(10)
		first := b.Share()
		if err := first.Wait(t.Context(), 100); err != nil { // more than there is: all of it
			t.Fatal(err)
		}
		var order []int64
		var held, most atomic.Int64
		var mu sync.Mutex
		var served sync.WaitGroup
		for _, n := range []int64{8, 5, 1} {
			served.Go(func() {
				s := b.Share()
				if err := s.Wait(t.Context(), n); err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, n)
				mu.Unlock()
				most.Store(max(most.Load(), held.Add(n)))
				time.Sleep(time.Second)
				held.Add(-n)
				s.Release()
			})
			synctest.Wait() // it waits before the next one comes
		}
		cause := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		if err := b.Share().Wait(ctx, 1); !errors.Is(err, cause) {
			t.Errorf("a wait that was given up ends with %v", err)
		}
		if err := b.Share().Take(1); !errors.Is(err, ErrBusy) {
			t.Errorf("one that cannot wait passed the queue: %v", err)
		}
		first.Release()
		served.Wait()
		if len(order) != 3 || order[0] != 8 || most.Load() > 10 {
			t.Errorf("served %v, at most %d at a time", order, most.Load())
		}
	})
}

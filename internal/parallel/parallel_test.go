package parallel

import (
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
)

func TestEachCallsEveryIndexAndReturnsTheLowestError(t *testing.T) {
	const n = 1000
	low, high := errors.New("low"), errors.New("high")
	var calls [n]atomic.Int32
	var running, most atomic.Int32
	err := Each(n, func(i int) error {
		calls[i].Add(1)
		now := running.Add(1)
		for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
		}
		defer running.Add(-1)
		switch i {
		case 3:
			runtime.Gosched()
			return low
		case 900, 4:
			return high
		}
		return nil
	})
	if err != low {
		t.Errorf("the error is %v", err)
	}
	for i := range calls {
		if c := calls[i].Load(); c != 1 {
			t.Fatalf("index %d was called %d times", i, c)
		}
	}
	if limit := int32(runtime.GOMAXPROCS(0)); most.Load() > limit {
		t.Errorf("%d calls ran at a time, the limit is %d", most.Load(), limit)
	}
	if err := Each(0, nil); err != nil {
		t.Error(err)
	}
}

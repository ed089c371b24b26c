package server

import (
	"sync/atomic"
	"time"
)

const (
	// speedWindow is how many whole seconds a speed is measured over.
	speedWindow = 5
	// speedSlots is how many seconds are kept: more than the window, so that no second is read while it is begun anew.
	speedSlots = 16
)

// speeds counts what the engine does, second by second. Its counting methods are the engine's goroutine's and wait for
// nothing; over may be called from any goroutine.
type speeds struct {
	slots [speedSlots]struct {
		second, prefill, decode, turns, work atomic.Int64
	}
}

// rates are averages over the last speedWindow seconds.
type rates struct {
	prefill, decode float64 // tokens per second
	turns           float64 // decodes of the device per second
	work            float64 // the part of the time that background work had
}

// turn counts the rows of a decode.
func (s *speeds) turn(at time.Time, prefill, decode int) {
	slot := s.at(at)
	slot.prefill.Add(int64(prefill))
	slot.decode.Add(int64(decode))
	slot.turns.Add(1)
}

// worked counts time that background work took.
func (s *speeds) worked(at time.Time, took time.Duration) { s.at(at).work.Add(int64(took)) }

// at returns the counters of a second, begun anew where they were those of an earlier one.
func (s *speeds) at(t time.Time) *struct{ second, prefill, decode, turns, work atomic.Int64 } {
	second := t.Unix()
	slot := &s.slots[second%speedSlots]
	if slot.second.Load() != second {
		slot.prefill.Store(0)
		slot.decode.Store(0)
		slot.turns.Store(0)
		slot.work.Store(0)
		slot.second.Store(second)
	}
	return slot
}

// over returns the rates of the last whole seconds before now.
func (s *speeds) over(now time.Time) rates {
	var prefill, decode, turns, work int64
	for i := range s.slots {
		slot := &s.slots[i]
		if age := now.Unix() - slot.second.Load(); age < 1 || age > speedWindow {
			continue
		}
		prefill += slot.prefill.Load()
		decode += slot.decode.Load()
		turns += slot.turns.Load()
		work += slot.work.Load()
	}
	part := time.Duration(work).Seconds() / speedWindow
	return rates{prefill: float64(prefill) / speedWindow, decode: float64(decode) / speedWindow, turns: float64(turns) / speedWindow, work: min(part, 1)}
}

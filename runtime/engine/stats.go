package engine

import (
	"maps"
	"slices"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Observer is told of every turn and every finished request. Its methods are called from the Engine's
// goroutine and must not block.
type Observer interface {
	// Turn is called after every Device.Decode that succeeded.
	Turn(Turn)
	// Finished is called once per submitted request. err is nil where the answer is whole, and wraps
	// ErrClosed where the stream was closed before that.
	Finished(flow string, u runtime.Usage, err error)
	// Token is called for every sampled token. wait is the time since Submit for the first token of an
	// answer, and since the one before for the others.
	Token(flow string, first bool, wait time.Duration)
}

// Turn describes one Device.Decode.
type Turn struct {
	Rows     int // rows decoded
	Prefill  int // of them, rows of prompts, or of answers computed again after a preemption
	Adapters int // distinct mixes among the rows, the base among them
	Took     time.Duration
}

// Stats is a snapshot of the Engine. It is the caller's to keep, but its slices and map are shared with
// other callers and must not be changed.
type Stats struct {
	Waiting       int            // requests in the queue or waiting for an adapter
	Loading       int            // of them, requests whose adapter is being loaded
	Running       int            // requests that hold a sequence
	Cells         int            // KV cells that the Device has
	CellsUsed     int            // cells held by running streams and cached prefixes
	CellsRunning  int            // of them, by running streams
	RunningFlows  []string       // distinct flows of running requests, sorted; the base is ""
	WaitingFlows  []string       // the same of waiting requests
	RunningByFlow map[string]int // running requests per flow
	WaitingByFlow map[string]int // waiting requests per flow
	Preempted     int64          // streams that lost their KV for want of room, ever
	Evicted       int64          // cached prefixes dropped for want of room, ever
}

// publish makes a snapshot for Stats.
func (e *Engine) publish() {
	s := &Stats{
		Cells: e.limits.Cells, CellsUsed: e.kv.used, CellsRunning: e.kv.running,
		RunningByFlow: map[string]int{}, WaitingByFlow: map[string]int{},
		Preempted: e.preempted, Evicted: e.evicted,
	}
	for _, t := range e.tasks {
		switch {
		case t.seq >= 0:
			s.Running++
			s.RunningByFlow[t.flow]++
			continue
		case t.loading != nil:
			s.Loading++
		}
		s.Waiting++
		s.WaitingByFlow[t.flow]++
	}
	s.RunningFlows = slices.Sorted(maps.Keys(s.RunningByFlow))
	s.WaitingFlows = slices.Sorted(maps.Keys(s.WaitingByFlow))
	e.stats.Store(s)
}

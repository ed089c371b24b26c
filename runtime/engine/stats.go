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
	// Worked is called after slices of background work, with the time that they took.
	Worked(took time.Duration)
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

// Batch is a snapshot of who has the Engine's places and who waits for one. It is the caller's to keep, but its slices are
// shared with other callers and must not be changed.
type Batch struct {
	Rows   []RunningRequest // the requests that hold a sequence, in the order in which they came
	Queues []Queue          // of the tenants that have requests waiting
}

// RunningRequest describes a request that holds a sequence.
type RunningRequest struct {
	Tenant    string
	Flow      string // its adapters' names, joined by "+"; the base is ""
	Prompt    int    // tokens of its prompt
	Read      int    // of them, those in the KV cache
	Generated int    // tokens of its answer
	Submitted time.Time
}

// Queue describes the waiting requests of one tenant.
type Queue struct {
	Tenant  string
	Waiting int       // requests in the queue or waiting for an adapter
	Loading int       // of them, requests whose adapter is being loaded
	Oldest  time.Time // when the one that came first was submitted
}

// Batch returns a snapshot, as of the last turn.
func (e *Engine) Batch() Batch { return *e.batch.Load() }

// publishBatch makes a snapshot for Batch.
func (e *Engine) publishBatch() {
	b := &Batch{}
	if len(e.running) > 0 {
		b.Rows = make([]RunningRequest, 0, len(e.running))
	}
	var queues map[string]int
	for _, t := range e.tasks {
		if t.seq >= 0 {
			b.Rows = append(b.Rows, RunningRequest{
				Tenant: t.request.Tenant, Flow: t.flow, Prompt: t.prompt, Read: min(t.prompt, len(e.kv.seqs[t.seq].tokens)),
				Generated: len(t.tokens) - t.prompt, Submitted: t.submitted,
			})
			continue
		}
		at, known := queues[t.request.Tenant]
		if !known {
			if queues == nil {
				queues = map[string]int{}
			}
			at = len(b.Queues)
			queues[t.request.Tenant] = at
			b.Queues = append(b.Queues, Queue{Tenant: t.request.Tenant, Oldest: t.submitted})
		}
		q := &b.Queues[at]
		q.Waiting++
		if t.loading != nil {
			q.Loading++
		}
	}
	e.batch.Store(b)
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
	e.publishBatch()
}

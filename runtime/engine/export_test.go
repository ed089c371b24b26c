package engine

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file lets the script tests, which live outside the package for they use runtimetest, take the
// Engine's turns themselves and look at its state.

// NewStepped returns an Engine without a goroutine, whose clock is now.
func NewStepped(d runtime.Device, m runtime.Model, o Options, now func() time.Time) *Engine {
	e := newEngine(d, m, o)
	e.now = now
	return e
}

// Turn takes one turn.
func (e *Engine) Turn() (worked, open bool) {
	worked, open = e.turn()
	if !open {
		e.err = e.shutdown()
		close(e.done)
	}
	return worked, open
}

// State is what the scripts print. Tasks are named by their ids: 1 for the first submitted.
type State struct {
	Running []RunningState
	Waiting []WaitingState // in the order their turn would come
	Cached  []CachedState
	Used    int
	Busy    int // cells of running tasks
}

type RunningState struct {
	ID               int64
	Seq              int
	Tokens, Uncached int
}

type WaitingState struct {
	Flow    string
	Served  int64
	IDs     []int64
	Loading bool // the first of them
	Loaded  bool
}

// String names what a sequence is decoded with: "x@1*1", or "base to 5, x@1*1" where the base comes first.
func (s spans) String() string {
	var parts []string
	for i, p := range s {
		if i > 0 {
			parts[i-1] = fmt.Sprintf("%s to %d", cmp.Or(s[i-1].key, "base"), p.from)
		}
		parts = append(parts, p.key)
	}
	return strings.Join(parts, ", ")
}

type CachedState struct {
	Seq        int
	Key        string
	Tokens     int
	NeedsReset bool
}

// State returns the Engine's state between turns.
func (e *Engine) State() State {
	s := State{Used: e.kv.used, Busy: e.kv.running}
	for _, t := range e.running {
		s.Running = append(s.Running, RunningState{t.id, t.seq, len(t.tokens), e.uncachedTokens(t)})
	}
	for _, f := range e.queue.backlog() {
		w := WaitingState{Flow: f.name, Served: f.served, Loading: f.waiting[0].loading != nil, Loaded: f.waiting[0].acquired}
		for _, t := range f.waiting {
			w.IDs = append(w.IDs, t.id)
		}
		s.Waiting = append(s.Waiting, w)
	}
	for i := range e.kv.seqs {
		if q := &e.kv.seqs[i]; !q.busy && (len(q.tokens) > 0 || q.needsReset) {
			s.Cached = append(s.Cached, CachedState{i, q.spans.String(), len(q.tokens), q.needsReset})
		}
	}
	return s
}

// Arrived returns how many loads have come back since the last turn.
func (e *Engine) Arrived() int {
	e.inbox.mu.Lock()
	defer e.inbox.mu.Unlock()
	return len(e.inbox.messages.loaded)
}

// Live returns how many requests are in the Engine.
func (e *Engine) Live() int {
	e.inbox.mu.Lock()
	defer e.inbox.mu.Unlock()
	return e.inbox.live
}

// Flows returns how many flows have accounts, and Pinned how many waiting tasks have adapters.
func (e *Engine) Flows() (n int) {
	for _, t := range e.queue.tenants {
		n += len(t.flows)
	}
	return n
}
func (e *Engine) Pinned() int { return e.loadSlots }

// CloseStepped is Close for an Engine without a goroutine. It may be called twice.
func (e *Engine) CloseStepped() {
	e.inbox.stop()
	select {
	case <-e.done:
	default:
		e.Turn()
	}
}

// Drained begins to drain and reports whether that is over.
func (e *Engine) Drained() bool {
	select {
	case <-e.inbox.drain():
		return true
	default:
		return false
	}
}

// CheckRecords returns how the Engine's records differ from what the Device holds, which has length(seq) tokens in
// each sequence and cells in all.
func (e *Engine) CheckRecords(length func(seq int) int, cells int) error {
	needsReset := false
	for i := range e.kv.seqs {
		s := &e.kv.seqs[i]
		if needsReset = needsReset || s.needsReset; !s.needsReset && len(s.tokens) != length(i) {
			return fmt.Errorf("sequence %d: the records have %d tokens, the Device %d", i, len(s.tokens), length(i))
		}
	}
	if !needsReset && e.kv.used != cells {
		return fmt.Errorf("the records have %d cells, the Device %d", e.kv.used, cells)
	}
	return nil
}

// Published identifies the last snapshot: it changes with every turn.
func (e *Engine) Published() any { return e.stats.Load() }

// CallsOfWork counts the calls of Work that have not ended.
func (e *Engine) CallsOfWork() int {
	e.inbox.mu.Lock()
	defer e.inbox.mu.Unlock()
	return len(e.inbox.messages.background) + len(e.background)
}

package runtime

import (
	"context"
	"time"
)

// Options are the Engine's settings.
type Options struct {
	MaxQueue int           // requests that may wait; Submit returns ErrQueueFull beyond it
	Chunk    int           // rows of prefill in one turn; running streams wait for one chunk at most
	Grouped  bool          // one Decode per adapter instead of one for all: the baseline bench/serve compares with
	Deadline time.Duration // of requests that set none; 0: no limit
	Observer Observer      // may be nil
}

// Observer hears of every turn and every finished request. Its methods are called from the Engine's
// goroutine and must not block.
type Observer interface {
	Turn(Turn)
	Finished(flow string, u Usage, err error)
	Token(flow string, first bool, wait time.Duration) // wait: TTFT for the first token, else since the one before
}

// Turn describes one Device.Decode.
type Turn struct {
	Rows     int // rows decoded
	Prefill  int // of them, rows of prompts
	Adapters int // distinct mixes among the rows, the base among them
	Took     time.Duration
}

// Stats is a snapshot of the Engine.
type Stats struct {
	Waiting        int      // requests in the queue or waiting for an adapter
	Running        int      // requests that hold a sequence
	Cells          int      // KV cells that the Device has
	CellsUsed      int      // cells held by running streams and cached prefixes
	CellsRunning   int      // of them, by running streams
	RunningFlows   []string // distinct flows of running requests, sorted; the base is ""
	WaitingFlows   []string
	RunningByFlow  map[string]int
}

// Interface of Engine, in one place for those who build on it:
//
//	func New(d Device, m Model, o Options) *Engine   // starts the goroutine; the Engine owns d from here on
//	func (e *Engine) Submit(ctx context.Context, r Request) (*Stream, error)
//	func (e *Engine) Model() Model
//	func (e *Engine) Stats() Stats
//	func (e *Engine) Drain(ctx context.Context) error // refuse new requests, wait for the others; ctx's error cancels them
//	func (e *Engine) Close() error                    // cancel all, close the Device; twice is safe
//
//	func (s *Stream) Next(ctx context.Context) (Event, error) // io.EOF after the last event
//	func (s *Stream) Usage() Usage                            // any time; final after io.EOF
//	func (s *Stream) Close() error                            // cancels; twice is safe
var _ context.Context

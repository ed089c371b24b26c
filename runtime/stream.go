package runtime

import (
	"context"
	"io"
	"sync"
)

// Stream is the answer to one Request while it is being made. Its StreamWriter writes it, one reader reads it.
type Stream struct {
	closed func() // tells the writer that the reader has gone

	mu     sync.Mutex
	events []Event
	end    error // what Next returns after the events; nil while the answer is being made
	usage  Usage
	signal chan struct{} // holds one value when there is something new to read
}

// StreamWriter is the writing end of a Stream. Its methods may be called from any goroutine; what is written after
// Finish, or after the reader's Close, is dropped.
type StreamWriter struct{ stream *Stream }

// NewStream returns a Stream and its writer. closed is called, at most once and from any goroutine, when the reader
// closes a stream that has not finished.
func NewStream(closed func()) (*Stream, StreamWriter) {
	s := &Stream{closed: closed, signal: make(chan struct{}, 1)}
	return s, StreamWriter{s}
}

// Next returns the next piece of the answer, and blocks until there is one. After the event with Finish
// set it returns io.EOF. It returns ctx's error when ctx ends first (the stream goes on), ErrClosed after
// Close, and where the answer could not be made the reason: an error wrapping ErrDecode, ErrDeadline,
// ErrDraining, ErrNoRoom, ErrClosed, or the one that acquiring the adapters returned. Next is called from
// one goroutine at a time.
func (s *Stream) Next(ctx context.Context) (Event, error) {
	for {
		s.mu.Lock()
		if len(s.events) > 0 {
			ev := s.events[0]
			s.events = s.events[1:]
			s.mu.Unlock()
			return ev, nil
		}
		end := s.end
		s.mu.Unlock()
		if end != nil {
			return Event{}, end
		}
		select {
		case <-s.signal:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}

// Usage returns the counts and times so far; they are final once Next has returned an error. It may be
// called from any goroutine.
func (s *Stream) Usage() Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.usage
}

// Close ends the reading. The writer is notified, which frees the stream's sequence and adapters. It
// may be called twice and from any goroutine; closing a nil or a finished stream does nothing.
func (s *Stream) Close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	running := s.end == nil
	if running || len(s.events) > 0 {
		s.end = ErrClosed
	}
	s.events = nil
	s.mu.Unlock()
	s.wake()
	if running && s.closed != nil {
		s.closed()
	}
	return nil
}

// Send appends an event for the reader.
func (w StreamWriter) Send(ev Event) {
	s := w.stream
	s.mu.Lock()
	if s.end == nil {
		s.events = append(s.events, ev)
	}
	s.mu.Unlock()
	s.wake()
}

// Finish says what Next returns after the last event: io.EOF, where end is nil, or the reason why there are no more.
func (w StreamWriter) Finish(end error) {
	s := w.stream
	if end == nil {
		end = io.EOF
	}
	s.mu.Lock()
	if s.end == nil {
		s.end = end
	}
	s.mu.Unlock()
	s.wake()
}

// Count changes the usage.
func (w StreamWriter) Count(change func(*Usage)) {
	s := w.stream
	s.mu.Lock()
	change(&s.usage)
	s.mu.Unlock()
}

func (s *Stream) wake() {
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

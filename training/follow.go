package training

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
)

// Events reads a job's events: first those that have happened, then those to come. It belongs to one goroutine,
// which must Close it.
type Events struct {
	log        *eventLog
	closed     <-chan struct{} // the Queue is
	from       int             // the number of the next event to give
	file       *os.File
	generation int           // of the file
	lines      *bufio.Reader // of the file from offset to limit
	offset     int64
	limit      int64
}

// Next returns the next event, and waits for it. It returns io.EOF after the last event of a job that has ended,
// ctx's error, ErrUnknown when the job was deleted, or ErrClosed when the Queue is closed.
func (e *Events) Next(ctx context.Context) (Event, error) {
	for {
		s := e.log.state()
		if e.file != nil && e.generation != s.generation { // older events were put together
			if err := e.Close(); err != nil {
				return Event{}, err
			}
		}
		for e.offset < s.size {
			ev, err := e.read(&s)
			if err != nil {
				return Event{}, err
			}
			if e.generation != s.generation {
				break
			}
			if ev.Seq >= e.from {
				e.from = ev.Seq + 1
				return ev, nil
			}
		}
		if e.generation != s.generation && e.file != nil {
			continue
		}
		if s.ended {
			return Event{}, io.EOF
		}
		select {
		case <-s.changed:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		case <-e.closed:
			return Event{}, ErrClosed
		}
	}
}

// read reads a line of the first s.size bytes, which are whole lines. It reads none where the file it opens is of a later
// generation.
func (e *Events) read(s *logState) (ev Event, err error) {
	if e.file == nil {
		if e.file, e.generation, err = e.log.open(); err != nil || e.generation != s.generation {
			return ev, err
		}
	}
	if e.offset == e.limit {
		e.limit = s.size
		e.lines = bufio.NewReader(io.NewSectionReader(e.file, e.offset, e.limit-e.offset))
	}
	line, err := e.lines.ReadBytes('\n')
	if err != nil {
		return ev, err
	}
	e.offset += int64(len(line))
	return ev, json.Unmarshal(line, &ev)
}

// Close frees the file. It may be called twice.
func (e *Events) Close() error {
	if e.file == nil {
		return nil
	}
	err := e.file.Close()
	e.file, e.offset, e.limit = nil, 0, 0
	return err
}

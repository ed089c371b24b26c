package training

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
)

// eventLog is a job's events.jsonl: events are appended, and read by any number of followers, each at its own
// pace. Its methods may be called from any goroutine.
type eventLog struct {
	disk folder
	name string

	mu      sync.Mutex
	size    int64 // bytes of whole lines
	seq     int   // of the last event
	last    Status
	ended   bool          // no more events, unless the job is resumed
	changed chan struct{} // closed and made anew by every change
}

// maxEvent bounds a line of the log.
const maxEvent = 1 << 20

// openLog reads how the log ends. A line that was torn by a kill is cut off.
func openLog(d folder, name string) (*eventLog, error) {
	l := &eventLog{disk: d, name: name, changed: make(chan struct{})}
	f, err := os.OpenFile(d.path(name), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	tail := make([]byte, min(end, 2*maxEvent))
	if _, err := f.ReadAt(tail, end-int64(len(tail))); err != nil && err != io.EOF {
		return nil, err
	}
	whole := bytes.LastIndexByte(tail, '\n') + 1
	l.size = end - int64(len(tail)-whole)
	if l.size < end {
		d.step("truncate " + name)
		if err := f.Truncate(l.size); err != nil {
			return nil, err
		}
	}
	for line := range bytes.Lines(tail[:whole]) {
		var e Event
		if json.Unmarshal(line, &e) != nil {
			continue // the first may be the end of a line
		}
		l.seq = e.Seq
		if e.Status != "" {
			l.last = e.Status
		}
	}
	return l, nil
}

// append writes the event, gives it its number, and wakes the followers. sync puts it on the disk first.
func (l *eventLog) append(e Event, sync bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Seq = l.seq + 1
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if len(line) >= maxEvent {
		return fmt.Errorf("%w: an event of %d bytes", ErrTooLarge, len(line))
	}
	l.disk.step("append " + l.name)
	f, err := os.OpenFile(l.disk.path(l.name), os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(append(line, '\n'), l.size)
	if err == nil && sync {
		err = f.Sync()
	}
	if err != nil {
		_ = f.Truncate(l.size) // what was not told must not be read
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	l.size += int64(len(line)) + 1
	l.seq = e.Seq
	if e.Status != "" {
		l.last = e.Status
		l.ended = e.Status.Ended()
	}
	l.wake()
	return nil
}

// finish lets the followers end when they have read all.
func (l *eventLog) finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.wake()
}

// wake tells the followers of a change. l.mu is held.
func (l *eventLog) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *eventLog) state() (size int64, ended bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size, l.ended, l.changed
}

// lastStatus returns the last state the log tells of, "" where it is too far back.
func (l *eventLog) lastStatus() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Events reads a job's events: first those that have happened, then those to come. It belongs to one goroutine,
// which must Close it.
type Events struct {
	log    *eventLog
	closed <-chan struct{} // the Queue is
	from   int
	file   *os.File
	lines  *bufio.Reader // of the file from offset to limit
	offset int64
	limit  int64
}

// Next returns the next event, and waits for it. It returns io.EOF after the last event of a job that has ended,
// ctx's error, or ErrClosed when the Queue is closed.
func (e *Events) Next(ctx context.Context) (Event, error) {
	for {
		size, ended, changed := e.log.state()
		for e.offset < size {
			ev, err := e.read(size)
			if err != nil {
				return Event{}, err
			}
			if ev.Seq >= e.from {
				return ev, nil
			}
		}
		if ended {
			return Event{}, io.EOF
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		case <-e.closed:
			return Event{}, ErrClosed
		}
	}
}

// read reads a line of the first size bytes, which are whole lines.
func (e *Events) read(size int64) (ev Event, err error) {
	if e.file == nil {
		if e.file, err = os.Open(e.log.disk.path(e.log.name)); err != nil {
			return ev, err
		}
	}
	if e.offset == e.limit {
		e.limit = size
		e.lines = bufio.NewReader(io.NewSectionReader(e.file, e.offset, e.limit-e.offset))
	}
	line, err := e.lines.ReadBytes('\n')
	if err != nil {
		return ev, err
	}
	e.offset += int64(len(line))
	return ev, json.Unmarshal(line, &ev)
}

// Close frees the file. Next must not be called after it; Close may be called twice.
func (e *Events) Close() error {
	if e.file == nil {
		return nil
	}
	err := e.file.Close()
	e.file = nil
	return err
}

package training

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// eventLog is a job's events.jsonl: events are appended, and read by any number of followers, each at its own
// pace. Where it has grown to its bounds the older events are put together (see condense). Its methods may be called
// from any goroutine.
type eventLog struct {
	disk folder
	name string

	mu         sync.Mutex
	size       int64 // bytes of whole lines
	count      int   // events
	generation int   // counts how often the file was replaced
	seq        int   // of the last event
	last       Status
	ended      bool          // no more events, unless the job is resumed
	changed    chan struct{} // closed and made anew by every change
}

// The bounds of a log.
const (
	maxEvent    = 64 << 10 // bytes of a line; a longer message is cut
	maxLogCount = 4096     // events
	maxLogBytes = 2 << 20
)

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
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, err
	}
	if err := l.scan(f); err != nil {
		return nil, err
	}
	if l.size < end {
		err := d.step("truncate " + name)
		if err == nil {
			err = f.Truncate(l.size)
		}
		if err != nil {
			return nil, err
		}
	}
	return l, nil
}

// scan reads all whole lines.
func (l *eventLog) scan(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil // what has no end was torn
		}
		if err != nil {
			return err
		}
		l.size += int64(len(line))
		l.count++
		var e Event
		if json.Unmarshal(line, &e) != nil {
			continue
		}
		l.seq = e.Seq
		if e.Status != "" {
			l.last = e.Status
		}
	}
}

// append writes the event, gives it its number, and wakes the followers. sync puts it on the disk first. A full disk is
// reported as disk.ErrNoSpace, and the log stays as it was.
func (l *eventLog) append(e Event, sync bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count >= maxLogCount || l.size >= maxLogBytes {
		if err := l.condense(); err != nil {
			return fmt.Errorf("putting older events together: %w", err)
		}
	}
	e.Seq = l.seq + 1
	line, err := json.Marshal(e)
	if err == nil && len(line) >= maxEvent {
		e.Message = e.Message[:min(len(e.Message), maxEvent/8)] + "..." // JSON may write a byte as six
		line, err = json.Marshal(e)
	}
	if err != nil {
		return err
	}
	err = l.write(append(line, '\n'), sync)
	if err == nil {
		l.size += int64(len(line)) + 1
		l.count++
		l.seq = e.Seq
	}
	if e.Status != "" { // also where it cannot be told: followers of a job that has ended must end
		l.ended = e.Status.Ended()
	}
	if e.Status != "" && err == nil {
		l.last = e.Status
	}
	l.wake()
	return disk.NoSpace(err)
}

// write puts a line behind the last. l.mu is held.
func (l *eventLog) write(line []byte, sync bool) error {
	if err := l.disk.step("append " + l.name); err != nil {
		return err
	}
	f, err := os.OpenFile(l.disk.path(l.name), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(line, l.size); err == nil {
		err = l.disk.step("appended " + l.name)
	}
	if err == nil && sync {
		err = f.Sync()
	}
	if err != nil {
		_ = f.Truncate(l.size) // what was not told must not be read
	}
	return errors.Join(err, f.Close())
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

// logState is what a follower needs to know of a log.
type logState struct {
	size       int64
	seq        int // of the last event
	generation int
	ended      bool
	changed    <-chan struct{}
}

func (l *eventLog) state() logState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return logState{l.size, l.seq, l.generation, l.ended, l.changed}
}

// open opens the file, and returns of which generation it is. The caller closes it.
func (l *eventLog) open() (*os.File, int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, err := os.Open(l.disk.path(l.name))
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: it was deleted", ErrUnknown)
	}
	return f, l.generation, err
}

// lastStatus returns the last state the log tells of, "" where it tells of none.
func (l *eventLog) lastStatus() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

package batches

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// Files keeps the files that results end in. Its method may be called from any goroutine.
type Files interface {
	// PutAs stores a file under an id that NewFileID made. It does nothing where there is a file of that id: a call that a
	// crash has interrupted is made again. The file is removed after keep; 0: never.
	PutAs(ctx context.Context, id string, body io.Reader, name, purpose, owner string, keep time.Duration) error
	// NewFileID returns an id that no file has.
	NewFileID() string
}

// Request is a line that is to be answered. Owner is who the batch belongs to.
type Request struct {
	Owner    string
	Endpoint string
	Body     []byte
}

// Answer is what a line was answered with: an HTTP status and a body of JSON. Again says that the request could not be
// answered now, and is to be asked again, not before After has passed.
type Answer struct {
	Status    int
	RequestID string
	Body      []byte
	Again     bool
	After     time.Duration
}

// Options are a Queue's settings. Dir and Files are needed.
type Options struct {
	Dir        string // made where it does not exist
	Files      Files
	Concurrent int          // lines that are asked at once, of all batches together; 0: 4
	MaxBatches int          // batches that are kept: the oldest that have ended are removed; 0: 1000
	MaxLines   int          // requests of one batch; 0: 50,000
	MaxLine    int          // bytes of a line; 0: 8 MiB
	MaxBytes   int64        // of an input file; 0: 256 MiB
	Warn       func(string) // called with warnings for the operator; may be nil
}

// maxRunning is how many batches are under way at once. Further ones wait, but for the first one of an owner who has none
// under way: others' batches may take as long as their quotas make them.
const maxRunning = 4

// Queue holds the batches and has their lines answered. Its methods may be called from any goroutine.
type Queue struct {
	o      Options
	folder folder
	lock   *os.File
	slots  chan struct{} // holds one for each line that is being asked
	ctx    context.Context
	stop   context.CancelCauseFunc
	runs   sync.WaitGroup

	mu      sync.Mutex
	answer  func(context.Context, Request) Answer // nil until Start
	entries map[string]*entry
	made    int // batches that are being made
	running int
	total   Totals
	closed  bool
}

// Totals counts what became of lines since the Queue was opened.
type Totals struct{ Completed, Failed int64 }

// entry is one batch. All but saving is guarded by Queue.mu.
type entry struct {
	saving  sync.Mutex // held while the batch is changed and saved; taken before Queue.mu
	batch   Batch      // as it is on the disk, but for the counts
	counts  Counts
	waiting *Fault // why it cannot go on now
	running bool
	stop    context.CancelCauseFunc // ends the run; nil where there is none
}

// Open opens the folder o.Dir. Nothing is answered before Start.
func Open(o Options) (*Queue, error) {
	o.Concurrent, o.MaxBatches = cmp.Or(o.Concurrent, 4), cmp.Or(o.MaxBatches, 1000)
	o.MaxLines, o.MaxLine, o.MaxBytes = cmp.Or(o.MaxLines, 50_000), cmp.Or(o.MaxLine, 8<<20), cmp.Or(o.MaxBytes, 256<<20)
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	q := &Queue{o: o, folder: folder(o.Dir), slots: make(chan struct{}, o.Concurrent), entries: map[string]*entry{}}
	q.ctx, q.stop = context.WithCancelCause(context.Background())
	var err error
	if q.lock, err = q.folder.open(); err != nil {
		return nil, fmt.Errorf("batches: %w", err)
	}
	list, damaged, err := q.folder.load()
	if err != nil {
		q.lock.Close()
		return nil, fmt.Errorf("batches: %w", err)
	}
	for _, err := range damaged {
		o.Warn(err.Error())
	}
	for _, b := range list {
		q.entries[b.ID] = &entry{batch: b, counts: b.Counts}
	}
	return q, nil
}

// Start has the batches answered from now on. answer is called from several goroutines; when its context ends, what it
// returns is not looked at.
func (q *Queue) Start(answer func(context.Context, Request) Answer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.answer = answer
	q.startNext()
}

// Create makes a batch of the requests in input, which it copies. The lines are checked later: what is wrong with them
// fails the batch. It returns an error wrapping ErrTooLarge, ErrTooMany, ErrClosed or disk.ErrNoSpace, or that of input.
func (q *Queue) Create(s Spec, input io.Reader) (Batch, error) {
	if err := q.reserve(); err != nil {
		return Batch{}, err
	}
	now := time.Now().UTC().Truncate(time.Second)
	b := Batch{Spec: s, ID: newID(idPrefix), Status: Validating, Created: now, Expires: now.Add(s.Window)}
	err := q.folder.create(b, input, q.o.MaxBytes)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.made--
	if err != nil {
		return Batch{}, err
	}
	q.entries[b.ID] = &entry{batch: b}
	q.startNext()
	return b, nil
}

// reserve makes room for a batch that is being made, or returns why there is none.
func (q *Queue) reserve() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	for len(q.entries)+q.made >= q.o.MaxBatches {
		oldest := ""
		for id, e := range q.entries {
			if e.batch.Status.Ended() && !e.running && (oldest == "" || e.batch.Created.Before(q.entries[oldest].batch.Created)) {
				oldest = id
			}
		}
		if oldest == "" {
			return fmt.Errorf("%w: %d", ErrTooMany, q.o.MaxBatches)
		}
		delete(q.entries, oldest)
		if err := q.folder.remove(oldest); err != nil {
			q.o.Warn(fmt.Sprintf("batch %s cannot be removed: %v", oldest, err))
		}
	}
	q.made++
	return nil
}

// Get returns a batch. The error wraps ErrUnknown.
func (q *Queue) Get(id string) (Batch, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.entries[id]
	if e == nil {
		return Batch{}, fmt.Errorf("%w: %q", ErrUnknown, id)
	}
	return e.describe(), nil
}

// describe returns the batch as it stands now. Queue.mu is held.
func (e *entry) describe() Batch {
	b := e.batch
	b.Counts, b.Faults, b.Metadata = e.counts, slices.Clone(b.Faults), maps.Clone(b.Metadata)
	if e.waiting != nil {
		b.Faults = append(b.Faults, *e.waiting)
	}
	return b
}

// List returns up to limit of the batches that keep returns true for, the newest first, from the one after the batch named
// after ("": from the first), and whether there are more. The error wraps ErrUnknown.
func (q *Queue) List(keep func(*Batch) bool, after string, limit int) (list []Batch, more bool, err error) {
	q.mu.Lock()
	for _, e := range q.entries {
		if b := e.describe(); keep(&b) {
			list = append(list, b)
		}
	}
	q.mu.Unlock()
	slices.SortFunc(list, func(a, b Batch) int { return cmp.Or(b.Created.Compare(a.Created), strings.Compare(a.ID, b.ID)) })
	if after != "" {
		i := slices.IndexFunc(list, func(b Batch) bool { return b.ID == after })
		if i < 0 {
			return nil, false, fmt.Errorf("%w: %q", ErrUnknown, after)
		}
		list = list[i+1:]
	}
	if len(list) > limit {
		return list[:limit], true, nil
	}
	return list, false, nil
}

// Cancel ends a batch: no further lines are asked, and those that are being asked are given up. The results that there are
// are kept. The error wraps ErrUnknown, ErrState where the batch has ended, or disk.ErrNoSpace.
func (q *Queue) Cancel(id string) (Batch, error) {
	q.mu.Lock()
	e := q.entries[id]
	q.mu.Unlock()
	if e == nil {
		return Batch{}, fmt.Errorf("%w: %q", ErrUnknown, id)
	}
	err := q.change(e, func(b *Batch) error {
		switch b.Status {
		case Cancelling:
			return nil
		case Validating, InProgress:
			b.Status, b.Cancelling, b.Ends = Cancelling, time.Now().UTC().Truncate(time.Second), Cancelled
			return nil
		}
		return fmt.Errorf("%w: it is %s", ErrState, b.Status)
	})
	q.mu.Lock()
	defer q.mu.Unlock()
	if err != nil {
		return e.describe(), err
	}
	if e.stop != nil {
		e.stop(errCancelled)
	}
	q.startNext()
	return e.describe(), nil
}

// change applies f to a batch and saves it, or changes nothing.
func (q *Queue) change(e *entry, f func(*Batch) error) error {
	e.saving.Lock()
	defer e.saving.Unlock()
	q.mu.Lock()
	b := e.batch
	b.Counts = e.counts
	q.mu.Unlock()
	if err := f(&b); err != nil {
		return err
	}
	if err := q.folder.save(b); err != nil {
		return err
	}
	q.mu.Lock()
	e.batch = b
	q.mu.Unlock()
	return nil
}

// Stats returns how many batches there are of each status, and the totals of lines.
func (q *Queue) Stats() (map[Status]int, Totals) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := map[Status]int{}
	for _, e := range q.entries {
		n[e.batch.Status]++
	}
	return n, q.total
}

// startNext starts the batches that there is room for: of the owners that have the fewest under way, the oldest. Those that
// are being cancelled need no room. The lock is held.
func (q *Queue) startNext() {
	if q.answer == nil || q.closed {
		return
	}
	under := map[string]int{}
	var waiting []*entry
	for _, e := range q.entries {
		switch {
		case e.running:
			under[e.batch.Owner]++
		case !e.batch.Status.Ended():
			waiting = append(waiting, e)
		}
	}
	slices.SortFunc(waiting, func(a, b *entry) int {
		return cmp.Or(a.batch.Created.Compare(b.batch.Created), strings.Compare(a.batch.ID, b.batch.ID))
	})
	for _, e := range waiting {
		if e.batch.Status == Cancelling {
			q.start(e)
		}
	}
	for {
		var next *entry
		for _, e := range waiting {
			if !e.running && (next == nil || under[e.batch.Owner] < under[next.batch.Owner]) {
				next = e
			}
		}
		if next == nil || q.running >= maxRunning && under[next.batch.Owner] > 0 {
			return
		}
		under[next.batch.Owner]++
		q.start(next)
	}
}

// start runs a batch in a goroutine. The lock is held.
func (q *Queue) start(e *entry) {
	ctx, stop := context.WithCancelCause(q.ctx)
	e.running, e.stop = true, stop
	q.running++
	q.runs.Go(func() {
		r := &run{queue: q, entry: e, ctx: ctx, places: make(chan struct{}, q.o.Concurrent)}
		r.run()
		q.mu.Lock()
		defer q.mu.Unlock()
		stop(nil)
		e.running, e.stop = false, nil
		q.running--
		q.startNext()
	})
}

// Close gives up the lines that are being asked, waits until nothing is written any more, and lets another process open
// the folder. The batches go on when it is opened again. It may be called twice.
func (q *Queue) Close() error {
	q.mu.Lock()
	closed := q.closed
	q.closed = true
	q.mu.Unlock()
	q.stop(ErrClosed)
	q.runs.Wait()
	if closed {
		return nil
	}
	return q.lock.Close()
}

// causes of a run's end.
var (
	errCancelled = errors.New("the batch was cancelled")
	errExpired   = errors.New("the batch has expired")
)

// isNoSpace reports whether a write failed for want of room on the disk.
func isNoSpace(err error) bool { return errors.Is(disk.NoSpace(err), disk.ErrNoSpace) }

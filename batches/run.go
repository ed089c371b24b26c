package batches

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Times of waiting, which tests shorten.
var (
	firstWait   = time.Second      // before a line that could not be answered is asked again; doubled each time
	longestWait = 30 * time.Second // at most
	diskWait    = time.Second      // before what failed on the disk is tried again
)

// run takes one batch from where it stands to its end, or until the Queue is closed. It belongs to one goroutine, but for
// answerLine.
type run struct {
	queue *Queue
	entry *entry
	ctx   context.Context

	places         chan struct{}  // holds one for each line that is under way
	lines          sync.WaitGroup // those lines
	mu             sync.Mutex     // of what follows
	output, errors *resultFile
	done           map[string]bool // the lines that have a result, by custom_id
}

// state returns the batch as it is now.
func (r *run) state() Batch {
	r.queue.mu.Lock()
	defer r.queue.mu.Unlock()
	return r.entry.describe()
}

// closed reports whether the Queue was closed.
func (r *run) closed() bool { return r.queue.ctx.Err() != nil }

// run goes from status to status.
func (r *run) run() {
	for !r.closed() {
		b := r.state()
		var err error
		switch b.Status {
		case Validating:
			err = r.validate(b)
		case InProgress:
			err = r.execute(b)
		case Cancelling, Finalizing:
			err = r.finalize(b)
		default:
			if err := r.queue.folder.clean(b.ID); err != nil {
				r.queue.o.Warn(fmt.Sprintf("batch %s: its requests cannot be removed: %v", b.ID, err))
			}
			return
		}
		switch {
		case err == nil || r.closed() || errors.Is(err, errCancelled):
		case errors.Is(err, errCrashes):
			r.fail(err, Fault{Code: "server_crashed", Message: "The batch failed: " + err.Error() + "."})
		case errors.Is(err, os.ErrNotExist) || errors.Is(err, ErrDamaged):
			r.fail(err, Fault{Code: "server_error", Message: "The batch failed; the server's log says more."})
		default: // as a disk that fails for a moment, or too many open files
			first := true
			_ = r.persist(r.queue.ctx, func() error {
				if first {
					first = false
					return err
				}
				return nil
			}) // it returns an error only where the queue is closed
		}
	}
}

// fail ends the batch with an error of the server, and keeps the results that there are.
func (r *run) fail(cause error, fault Fault) {
	r.queue.o.Warn(fmt.Sprintf("batch %s failed: %v", r.state().ID, cause))
	_ = r.persist(r.queue.ctx, func() error {
		return r.queue.change(r.entry, func(b *Batch) error {
			if b.Status == Finalizing || b.Status == Cancelling { // even these cannot be had
				b.Status, b.Finished = Failed, now()
			} else {
				b.Status, b.Ends, b.Finalized = Finalizing, Failed, now()
			}
			b.Faults = append(b.Faults, fault)
			return nil
		})
	}) // it returns an error only where the queue is closed
}

func now() time.Time { return time.Now().UTC().Truncate(time.Second) }

// persist does what writes to the disk, again and again until it succeeds: meanwhile the batch says that it waits. It
// returns the cause of ctx's end where that comes first.
func (r *run) persist(ctx context.Context, write func() error) error {
	warned := false
	for {
		err := write()
		if err == nil {
			r.wait(nil)
			return nil
		}
		code := "disk_error"
		if isNoSpace(err) {
			code = "no_space"
		}
		r.wait(&Fault{Code: code, Message: "The batch waits, for the server's disk fails: " + reason(code)})
		if !warned {
			warned = true
			r.queue.o.Warn(fmt.Sprintf("batch %s waits: %v", r.state().ID, err))
		}
		if !sleep(ctx, diskWait) {
			return context.Cause(ctx)
		}
	}
}

// reason is what a client is told of a disk's error.
func reason(code string) string {
	if code == "no_space" {
		return "no space is left."
	}
	return "the server's log says more."
}

// wait notes why the batch cannot go on, nil where it can.
func (r *run) wait(why *Fault) {
	r.queue.mu.Lock()
	defer r.queue.mu.Unlock()
	r.entry.waiting = why
}

// sleep waits, and reports whether ctx has not ended meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// move changes the batch, where it still has the status that it was in: it may have been cancelled meanwhile.
func (r *run) move(from Status, f func(*Batch)) error {
	return r.persist(r.queue.ctx, func() error {
		return r.queue.change(r.entry, func(b *Batch) error {
			if b.Status == from {
				f(b)
			}
			return nil
		})
	})
}

// validate reads all lines. The batch fails where one is at fault.
func (r *run) validate(b Batch) error {
	c := checker{endpoint: b.Endpoint, most: r.queue.o.MaxLines, longest: r.queue.o.MaxLine, seen: map[string]int{}}
	if err := c.checkFile(r.queue.folder.path(b.ID, inputFile)); err != nil {
		return err
	}
	return r.move(Validating, func(b *Batch) {
		b.Started = now()
		if len(c.faults) > 0 {
			b.Status, b.Faults, b.Finished, b.Started = Failed, c.faults, now(), time.Time{}
			return
		}
		b.Status, b.Counts.Total = InProgress, c.total
		r.queue.mu.Lock()
		r.entry.counts = b.Counts
		r.queue.mu.Unlock()
	})
}

// execute has the lines without a result answered, some at once. It returns nil when all have one, or the batch has
// expired, and the cause of the run's end where that comes before.
func (r *run) execute(b Batch) error {
	if err := r.openResults(b.ID); err != nil {
		return err
	}
	defer r.closeResults()
	if err := r.countStart(); err != nil {
		return err
	}
	ctx, cancel := context.WithDeadlineCause(r.ctx, b.Expires, errExpired)
	defer cancel()
	err := r.each(b, func(l line) error { return r.dispatch(ctx, b, l) })
	r.lines.Wait()
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if errors.Is(err, ErrClosed) {
		r.forgetStarts()
	}
	ends := Completed
	if errors.Is(err, errExpired) {
		var late int
		if late, err = r.expire(b); late > 0 {
			ends = Expired
		}
	}
	if err != nil {
		return err
	}
	return r.move(InProgress, func(b *Batch) { b.Status, b.Ends, b.Finalized = Finalizing, ends, now() })
}

// maxStarts is how often a batch is taken up without a result in between.
const maxStarts = 3

// errCrashes is the error of a batch at which the server has ended too often.
var errCrashes = fmt.Errorf("the server has ended %d times while it answered the batch, without a result in between", maxStarts)

// countStart notes that lines begin to be asked. It returns errCrashes where that has been so too often: a batch that ends the
// server, as by the memory that it takes, must not do so for ever.
func (r *run) countStart() error {
	counts := r.state().Counts
	crashed := false
	err := r.move(InProgress, func(b *Batch) {
		if n := counts.Completed + counts.Failed; n != b.Results {
			b.Starts, b.Results = 0, n
		}
		b.Starts++
		crashed = b.Starts > maxStarts
	})
	if err == nil && crashed {
		return errCrashes
	}
	return err
}

// forgetStarts notes that the server was stopped, and has not crashed. Where that cannot be written the start counts.
func (r *run) forgetStarts() {
	err := r.queue.change(r.entry, func(b *Batch) error {
		b.Starts = 0
		return nil
	})
	if err != nil {
		r.queue.o.Warn(fmt.Sprintf("batch %s: %v", r.state().ID, err))
	}
}

// openResults opens the files of results and counts what is in them.
func (r *run) openResults(id string) (err error) {
	r.done = map[string]bool{}
	var counts Counts
	if r.output, err = openResults(r.queue.folder.path(id, outputFile), func(id string) { r.done[id] = true; counts.Completed++ }); err != nil {
		return err
	}
	if r.errors, err = openResults(r.queue.folder.path(id, errorFile), func(id string) { r.done[id] = true; counts.Failed++ }); err != nil {
		return errors.Join(err, r.output.close())
	}
	r.queue.mu.Lock()
	counts.Total = r.entry.counts.Total
	r.entry.counts = counts
	r.queue.mu.Unlock()
	return nil
}

func (r *run) closeResults() {
	if err := errors.Join(r.output.close(), r.errors.close()); err != nil {
		r.queue.o.Warn(fmt.Sprintf("batch %s: closing its results: %v", r.state().ID, err))
	}
}

// finalize makes files of the results, and ends the batch.
func (r *run) finalize(b Batch) error {
	if err := r.openResults(b.ID); err != nil {
		return err
	}
	output, failures := r.output.size, r.errors.size
	r.closeResults()
	err := r.move(b.Status, func(b *Batch) {
		if output > 0 && b.NewOutput == "" {
			b.NewOutput = r.queue.o.Files.NewFileID()
		}
		if failures > 0 && b.NewError == "" {
			b.NewError = r.queue.o.Files.NewFileID()
		}
	})
	if err != nil {
		return err
	}
	b = r.state()
	for _, f := range []struct{ id, name string }{{b.NewOutput, outputFile}, {b.NewError, errorFile}} {
		if f.id == "" {
			continue
		}
		if err := r.persist(r.queue.ctx, func() error { return r.put(b, f.id, f.name) }); err != nil {
			return err
		}
	}
	return r.move(b.Status, func(b *Batch) {
		b.Status, b.Finished, b.OutputFile, b.ErrorFile = b.Ends, now(), b.NewOutput, b.NewError
		b.Ends, b.NewOutput, b.NewError = "", "", ""
	})
}

// put makes a file of results one of the owner's files.
func (r *run) put(b Batch, id, name string) error {
	f, err := os.Open(r.queue.folder.path(b.ID, name))
	if err != nil {
		return err
	}
	defer f.Close()
	return r.queue.o.Files.PutAs(r.queue.ctx, id, f, b.ID+"_"+name, "batch_output", b.Owner, b.Keep)
}

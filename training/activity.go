package training

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/internal/disk"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file is the two goroutines of the Queue: the preparer, which reads datasets, and the worker, which trains.

// activity is the work of the preparer or the worker on one job. Its context can be cancelled.
type activity struct {
	cancel  context.CancelCauseFunc
	pausing atomic.Bool   // it is to end with errPaused when it can go on from there
	done    chan struct{} // closed when the job's state has been saved
}

func (q *Queue) activityOf(j *job) *activity {
	q.mu.RLock()
	defer q.mu.RUnlock()
	return j.active
}

func (q *Queue) prepareLoop() {
	q.loop(q.preparer, Validating, q.prepare)
}

func (q *Queue) trainLoop() {
	q.loop(q.worker, Queued, q.train)
}

// loop runs do on the jobs in state s, one after the other, until the Queue is closed. work wakes it.
func (q *Queue) loop(work <-chan struct{}, s Status, do func(context.Context, *job) (outcome, error)) {
	var full time.Duration // how long it waited last for room on the disk
	for q.ctx.Err() == nil {
		j := q.first(s)
		if j == nil {
			full = 0
			select {
			case <-work:
				continue
			case <-q.ctx.Done():
				return
			}
		}
		err := q.process(j, s, do)
		if isClosing(err) {
			<-q.ctx.Done()
		}
		if err == nil || q.ctx.Err() != nil {
			full = 0
			continue
		}
		// What kept this job's state from being saved would keep the next one's: wait before trying again.
		wait := retryAfter
		if errors.Is(err, disk.ErrNoSpace) {
			q.pause(j, err)
			full = min(max(2*full, firstRoomRetry), q.o.roomRetry)
			wait = full
		} else {
			q.o.Warn(fmt.Sprintf("training job %s: %v", j.ID, err))
		}
		select {
		case <-time.After(wait):
		case <-q.ctx.Done():
		}
	}
}

// retryAfter is how long the Queue waits when a job's state cannot be saved.
const retryAfter = time.Second

// first returns the job in state s with the smallest Order, or nil.
func (q *Queue) first(s Status) *job {
	q.mu.RLock()
	defer q.mu.RUnlock()
	var first *job
	for _, j := range q.jobs {
		if j.Status == s && (first == nil || j.Order < first.Order) {
			first = j
		}
	}
	return first
}

// outcome is the result of an activity that succeeded: how the job changes and what the event says.
type outcome struct {
	signal  signal
	message string
	edit    func(*record)
}

// process runs one activity on a job and saves the job's new state. It returns an error where the state could not be
// saved: the job is then processed again, by this process or the next.
func (q *Queue) process(j *job, s Status, do func(context.Context, *job) (outcome, error)) error {
	ctx, cancel := context.WithCancelCause(q.ctx)
	defer cancel(nil)
	a := &activity{cancel: cancel, done: make(chan struct{})}
	if begun, err := q.begin(j, s, a); !begun {
		return err
	}
	end, err := q.guarded(ctx, j, do)
	if err != nil && errors.Is(context.Cause(ctx), errCancelled) {
		end, err = outcome{signal: cancelled, message: "The job was cancelled."}, nil
	}
	if errors.Is(err, errPaused) || err != nil && errors.Is(context.Cause(ctx), errPaused) {
		end, err = outcome{signal: paused, message: "The job was paused."}, nil
	}
	if err != nil && q.ctx.Err() == nil && !isClosing(err) {
		e := q.explain(j, err)
		end, err = outcome{failed, e.Message, func(r *record) { r.Error = e }}, nil
	}
	if err == nil {
		q.writeResults(q.ctx, j)
	}
	q.commit.Lock()
	defer q.commit.Unlock()
	defer close(a.done)
	if err == nil {
		_, err = q.changeLocked(j.ID, end.signal, end.message, end.edit)
	} else if e := q.setActive(j, false); e != nil { // the server stops in an orderly way
		q.o.Warn(fmt.Sprintf("training job %s: %v", j.ID, e))
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	j.active = nil
	if err != nil && j.Status == Running && !isClosing(err) {
		j.Status = Queued // as the next process would see it
	}
	wake(q.worker)
	return err
}

// begin marks the job as being processed, and as running where the worker does it. It reports false for a job that
// has left the state s in the meantime.
func (q *Queue) begin(j *job, s Status, a *activity) (begun bool, err error) {
	q.commit.Lock()
	defer q.commit.Unlock()
	q.mu.RLock()
	was := j.Status
	q.mu.RUnlock()
	if was != s {
		return false, nil
	}
	if s == Queued {
		_, err = q.changeLocked(j.ID, started, "The job is running.", func(r *record) {
			if r.Started.IsZero() {
				r.Started = now()
			}
		})
	} else {
		err = q.setActive(j, true)
	}
	if err != nil {
		return false, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	j.active = a
	return true, nil
}

// setActive saves whether the server works on the job. q.commit is held.
func (q *Queue) setActive(j *job, active bool) error {
	q.mu.RLock()
	r := j.record
	q.mu.RUnlock()
	r.Active = active
	return q.save(j, r)
}

// guarded turns a panic into an error: one job must not end the server.
func (q *Queue) guarded(ctx context.Context, j *job, do func(context.Context, *job) (outcome, error)) (end outcome, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			q.o.Warn(fmt.Sprintf("training job %s: %v\n%s", j.ID, err, debug.Stack()))
		}
	}()
	return do(ctx, j)
}

// explain turns an error into what a user is told. Errors inside the server go to the log in full.
func (q *Queue) explain(j *job, err error) *JobError {
	e := &JobError{Code: CodeInternal, Message: "an internal error stopped the job; the server's log has the details"}
	var bad *DatasetError
	switch {
	case errors.As(err, &bad):
		return &JobError{Code: CodeDataset, Message: err.Error(), Param: bad.Dataset + "_file", Lines: bad.Bad}
	case errors.Is(err, runtime.ErrDiverged):
		return &JobError{Code: CodeDiverged, Message: err.Error(), Param: "learning_rate"}
	case errors.Is(err, disk.ErrNoSpace):
		e = &JobError{Code: CodeNoSpace, Message: disk.ErrNoSpace.Error() + ": the job can be resumed when there is"}
	case disk.Failed(err) != nil:
		e = &JobError{Code: CodeDisk, Message: disk.Failed(err).Error() + ": the job can be resumed"}
	case errors.Is(err, ErrGrader):
		return &JobError{Code: CodeGrader, Message: err.Error(), Param: "reward"}
	case errors.Is(err, adapters.ErrTooLarge), errors.Is(err, runtime.ErrContextLength):
		return &JobError{Code: CodeTrainer, Message: err.Error()}
	case errors.Is(err, runtime.ErrTrain):
		return &JobError{Code: CodeTrainer, Message: err.Error()}
	}
	q.o.Warn(fmt.Sprintf("training job %s: %v", j.ID, err))
	return e
}

// readerUntil is a Reader that ends with ctx.
type readerUntil struct {
	ctx context.Context
	r   io.Reader
}

// Read returns ctx's error once it has ended.
func (r readerUntil) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

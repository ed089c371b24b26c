package training

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// This file lets a job wait until it is resumed.

// errPaused is what ends the work on a job that is to be paused, and the cause of its context.
var errPaused = errors.New("paused")

// pauseTime is how long a run that is to be paused may take to end its step and save a checkpoint. After it the run stops
// where it is, and goes on from the checkpoint before that.
const pauseTime = 20 * time.Second

// Pause has a job wait until it is resumed, and returns it when its new state is saved. A run ends its step and saves a
// checkpoint first. The error wraps ErrUnknown, ErrState where the job has ended or ended first, ErrQueueFull where
// Options.MaxWaiting jobs are paused, or is ctx's.
func (q *Queue) Pause(ctx context.Context, id string) (Job, error) {
	if err := q.checkPaused(); err != nil {
		return Job{}, err
	}
	return q.stopJob(ctx, id, paused, "The job was paused.", func(a *activity) {
		if job, err := q.Get(id); err != nil || job.Status == Validating { // reading the files begins anew
			a.cancel(errPaused)
			return
		}
		if a.pausing.CompareAndSwap(false, true) {
			time.AfterFunc(pauseTime, func() { a.cancel(errPaused) })
		}
	})
}

// checkPaused returns ErrQueueFull where as many jobs are paused as may wait.
func (q *Queue) checkPaused() error {
	q.mu.RLock()
	defer q.mu.RUnlock()
	count := 0
	for _, j := range q.jobs {
		if j.Status == Paused {
			count++
		}
	}
	if count >= q.o.MaxWaiting {
		return fmt.Errorf("%w: %d jobs are paused", ErrQueueFull, count)
	}
	return nil
}

// pausing reports whether the run is to stop after a step.
func (r *run) pausing() bool {
	a := r.q.activityOf(r.j)
	return a != nil && a.pausing.Load()
}

// pause saves a checkpoint and returns errPaused. A run whose loss rises saves none: it goes on from the last one.
func (r *run) pause(ctx context.Context) error {
	if r.state.Guard.stable() && r.state.Step > 0 {
		if err := r.save(ctx, false, false); err != nil {
			return err
		}
	}
	return errPaused
}

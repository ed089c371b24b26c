package training

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// This file is what becomes of a job when the disk is full: it waits where it is, says so, and goes on when there is room.

// roomRetry is how long a job waits at most on a full disk before it tries again; it begins with firstRoomRetry and doubles.
const (
	firstRoomRetry = 250 * time.Millisecond
	roomRetry      = 10 * time.Second
)

// What a job that waits says.
const (
	pauseNoSpace     = "no space is left on the disk: the job goes on when there is"
	pauseUnavailable = "the cluster cannot be reached: the job goes on when it can"
)

// retryWhileFull calls do, which writes to the disk or to a cluster, again and again while it returns an error that wraps
// disk.ErrNoSpace or adapters.ErrUnavailable, until ctx ends. do must leave everything as it was where it fails.
func (q *Queue) retryWhileFull(ctx context.Context, j *job, do func() error) error {
	for wait := min(firstRoomRetry, q.o.roomRetry); ; wait = min(2*wait, q.o.roomRetry) {
		err := do()
		if !errors.Is(err, disk.ErrNoSpace) && !errors.Is(err, adapters.ErrUnavailable) {
			q.pause(j, nil)
			return err
		}
		q.pause(j, err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			q.pause(j, nil)
			return ctx.Err()
		}
	}
}

// pause notes that a job waits because of an error, or with nil that it does not.
func (q *Queue) pause(j *job, err error) {
	q.mu.RLock()
	was := j.Waits
	q.mu.RUnlock()
	if (was != "") == (err != nil) {
		return
	}
	text := ""
	if err != nil {
		if text = pauseNoSpace; errors.Is(err, adapters.ErrUnavailable) {
			text = pauseUnavailable
		}
		q.o.Warn(fmt.Sprintf("training job %s waits: %v", j.ID, err))
	}
	q.mu.Lock()
	j.Waits = text
	q.mu.Unlock()
	if err != nil {
		_ = j.log.append(Event{Created: now(), Level: LevelWarn, Kind: KindMessage, Message: "The job waits: " + text + "."}, false) // there may be room for a line
		return
	}
	again := "There is room on the disk again."
	if was == pauseUnavailable {
		again = "The cluster can be reached again."
	}
	q.tell(j, LevelInfo, again)
}

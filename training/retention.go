package training

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// This file removes jobs: one that a user deletes, and the oldest of those that have ended where too many are kept.

// Delete removes a job that has ended, with its copy of the datasets, its events, its result file and what it had learned. The adapter
// that it made stays, and so do the checkpoints that are served. The error wraps ErrUnknown, or ErrState where the job
// has not ended.
func (q *Queue) Delete(id string) error {
	if _, err := q.find(id); err != nil {
		return err
	}
	q.commit.Lock()
	defer q.commit.Unlock()
	j, err := q.find(id)
	if err != nil {
		return err
	}
	q.mu.RLock()
	status, active := j.Status, j.active != nil
	q.mu.RUnlock()
	if active || !status.Ended() {
		return fmt.Errorf("%w: it is %s and cannot be deleted: cancel it first", ErrState, status)
	}
	return q.drop(j)
}

// drop removes a job that has ended, its result file first: without the job nobody would know whose it is. q.commit is held.
func (q *Queue) drop(j *job) error {
	if err := q.deleteResults(j); err != nil {
		return err
	}
	if err := q.disk.remove(filepath.Join("jobs", j.ID)); err != nil {
		return err
	}
	q.mu.Lock()
	delete(q.jobs, j.ID)
	q.mu.Unlock()
	j.log.finish()
	return disk.SyncDir(q.disk.path("jobs"))
}

// retain drops jobs that have ended, the oldest first, until no more than Options.MaxJobs are kept in no more than
// Options.MaxJobBytes. The last job that ended stays, and so do all that have not. q.commit is held.
func (q *Queue) retain() {
	q.mu.RLock()
	count, bytes := len(q.jobs), int64(0)
	var ended []*job
	for _, j := range q.jobs {
		bytes += j.bytes
		if j.Status.Ended() && j.active == nil {
			ended = append(ended, j)
		}
	}
	q.mu.RUnlock()
	slices.SortFunc(ended, func(a, b *job) int { return cmp.Or(a.Finished.Compare(b.Finished), cmp.Compare(a.Serial, b.Serial)) })
	for _, j := range ended[:max(0, len(ended)-1)] {
		if count <= q.o.MaxJobs && bytes <= q.o.MaxJobBytes {
			return
		}
		if err := q.drop(j); err != nil {
			q.o.Warn(fmt.Sprintf("training job %s: it is to be removed, because %d jobs with %d bytes are kept: %v", j.ID, count, bytes, err))
			continue
		}
		count, bytes = count-1, bytes-j.bytes
	}
}

// measure notes how many bytes a job's folder has.
func (q *Queue) measure(j *job) {
	var bytes int64
	entries, err := os.ReadDir(q.disk.path("jobs", j.ID))
	for _, e := range entries {
		info, failed := e.Info()
		if failed == nil {
			bytes += info.Size()
		} else if !errors.Is(failed, fs.ErrNotExist) {
			err = errors.Join(err, failed)
		}
	}
	if err != nil {
		q.o.Warn(fmt.Sprintf("training job %s: its size is not known: %v", j.ID, err))
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	j.bytes = bytes
}

package training

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// This file is what can be asked of the Queue about its jobs.

// Get returns the job. The error wraps ErrUnknown.
func (q *Queue) Get(id string) (Job, error) {
	j, err := q.find(id)
	if err != nil {
		return Job{}, err
	}
	q.mu.RLock()
	defer q.mu.RUnlock()
	return j.Job, nil
}

// List returns up to limit jobs, the newest first, from the one after the job named after ("": from the first),
// and whether there are more. limit 0 is no limit. The error wraps ErrUnknown.
func (q *Queue) List(after string, limit int) (list []Job, more bool, err error) {
	return q.ListWhere(func(*Job) bool { return true }, after, limit)
}

// ListWhere is List of the jobs that keep returns true for.
func (q *Queue) ListWhere(keep func(*Job) bool, after string, limit int) (list []Job, more bool, err error) {
	q.mu.RLock()
	defer q.mu.RUnlock()
	all := make([]*job, 0, len(q.jobs))
	for _, j := range q.jobs {
		if keep(&j.Job) {
			all = append(all, j)
		}
	}
	slices.SortFunc(all, func(a, b *job) int { return cmp.Compare(b.Serial, a.Serial) })
	all, more, err = page(all, after, limit, func(j *job) string { return j.ID })
	if err != nil {
		return nil, false, fmt.Errorf("%w: %q", ErrUnknown, after)
	}
	list = make([]Job, len(all))
	for i, j := range all {
		list[i] = j.Job
	}
	return list, more, nil
}

// Events follows the job's events, from number from on; 0 or 1 is from the first. The caller closes it.
func (q *Queue) Events(id string, from int) (*Events, error) {
	j, err := q.find(id)
	if err != nil {
		return nil, err
	}
	return &Events{log: j.log, closed: q.ctx.Done(), from: max(from, 1)}, nil
}

// EventPage returns up to limit of the events there are, the newest first, from the one before number before
// (0: from the last), and whether there are more. limit 0 is no limit.
func (q *Queue) EventPage(id string, before, limit int) (list []Event, more bool, err error) {
	events, err := q.readEvents(id)
	if err != nil {
		return nil, false, err
	}
	slices.Reverse(events)
	if before > 0 {
		events = slices.DeleteFunc(events, func(e Event) bool { return e.Seq >= before })
	}
	if limit > 0 && len(events) > limit {
		return events[:limit], true, nil
	}
	return events, false, nil
}

// readEvents returns all events there are.
func (q *Queue) readEvents(id string) ([]Event, error) {
	e, err := q.Events(id, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = e.Close() }() // it was only read
	var list []Event
	last := e.log.state().seq
	for e.from <= last {
		ev, err := e.Next(context.Background())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		list = append(list, ev)
	}
	return list, nil
}

// Checkpoints returns the checkpoints of the job that can be served, the newest first.
func (q *Queue) Checkpoints(id string) ([]Checkpoint, error) {
	j, err := q.find(id)
	if err != nil {
		return nil, err
	}
	q.mu.RLock()
	all, name := slices.Clone(j.Checkpoints), j.Name
	q.mu.RUnlock()
	slices.Reverse(all)
	return slices.DeleteFunc(all, func(c Checkpoint) bool { return !q.serves(name, c) }), nil
}

// page cuts a list: what comes after the item named after, at most limit of it.
func page[T any](list []T, after string, limit int, id func(T) string) (part []T, more bool, err error) {
	if after != "" {
		i := slices.IndexFunc(list, func(t T) bool { return id(t) == after })
		if i < 0 {
			return nil, false, ErrUnknown
		}
		list = list[i+1:]
	}
	if limit > 0 && len(list) > limit {
		return list[:limit], true, nil
	}
	return list, false, nil
}

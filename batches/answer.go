package batches

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// each calls f for the lines without a result, in the order of the file. It returns f's first error.
func (r *run) each(b Batch, f func(line) error) error {
	in, err := os.Open(r.queue.folder.path(b.ID, inputFile))
	if err != nil {
		return err
	}
	defer in.Close()
	for lines := newLineReader(in, r.queue.o.MaxLine); ; {
		text, err := lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		l, err := parseLine(text)
		if err != nil {
			return fmt.Errorf("%w: line %d of its requests: %w", ErrDamaged, lines.n, err) // it was checked before
		}
		if r.has(l.CustomID) {
			continue
		}
		if err := f(l); err != nil {
			return err
		}
	}
}

// has reports whether a line has a result.
func (r *run) has(customID string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.done[customID]
}

// dispatch has a line answered as soon as fewer than Options.Concurrent of the batch are under way. It returns the cause of
// ctx's end where that comes first.
func (r *run) dispatch(ctx context.Context, b Batch, l line) error {
	select {
	case r.places <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	r.lines.Go(func() {
		defer func() { <-r.places }()
		r.answerLine(ctx, b, l)
	})
	return nil
}

// answerLine asks a line until it is answered, and writes the result. Where ctx ends before, there is none.
func (r *run) answerLine(ctx context.Context, b Batch, l line) {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		a, ok := r.ask(ctx, Request{Owner: b.Owner, Endpoint: b.Endpoint, Body: l.Body})
		if !ok {
			return
		}
		if !a.Again {
			_ = r.persist(ctx, func() error { return r.write(a.Status/100 == 2, answered(l.CustomID, a)) }) // it fails with ctx alone
			return
		}
		if !sleep(ctx, max(a.After, wait)) {
			return
		}
	}
}

// ask asks a line as soon as fewer than Options.Concurrent of all batches are being asked. Those that wait to be asked again
// are not among them: a batch beyond its owner's quota does not keep others from going on. ok is false where ctx ended.
func (r *run) ask(ctx context.Context, q Request) (a Answer, ok bool) {
	select {
	case r.queue.slots <- struct{}{}:
	case <-ctx.Done():
		return a, false
	}
	defer func() { <-r.queue.slots }()
	a = r.queue.answer(ctx, q)
	return a, ctx.Err() == nil
}

// write writes results and counts them.
func (r *run) write(succeeded bool, list ...result) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	file := r.errors
	if succeeded {
		file = r.output
	}
	if err := file.write(list...); err != nil {
		return err
	}
	for _, one := range list {
		r.done[one.CustomID] = true
	}
	q, n := r.queue, len(list)
	q.mu.Lock()
	defer q.mu.Unlock()
	if succeeded {
		r.entry.counts.Completed += n
		q.total.Completed += int64(n)
	} else {
		r.entry.counts.Failed += n
		q.total.Failed += int64(n)
	}
	return nil
}

// expire gives the lines that have no result the one that says so, and returns how many.
func (r *run) expire(b Batch) (late int, err error) {
	const atOnce = 100
	var list []result
	flush := func() error {
		late += len(list)
		err := r.persist(r.queue.ctx, func() error { return r.write(false, list...) })
		list = list[:0]
		return err
	}
	err = r.each(b, func(l line) error {
		if list = append(list, unanswered(l.CustomID)); len(list) < atOnce {
			return nil
		}
		return flush()
	})
	if err == nil && len(list) > 0 {
		err = flush()
	}
	return late, err
}

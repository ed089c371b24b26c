package training

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestFollowers has many followers of one job, from several numbers on; each sees every event once.
func TestFollowers(t *testing.T) {
	h := openFixture(t, t.TempDir(), nil)
	c := smallConfig()
	c.Epochs = 20
	j := h.create("bird", c)
	var wg sync.WaitGroup
	counts := make([]int, 8)
	for i := range counts {
		e, err := h.Events(j.ID, i)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer e.Close()
			want := max(i, 1)
			for {
				ev, err := e.Next(context.Background())
				if err == io.EOF {
					return
				}
				if err != nil || ev.Seq != want {
					t.Errorf("follower %d: event %d, error %v; want %d", i, ev.Seq, err, want)
					return
				}
				want++
				counts[i] = ev.Seq
			}
		})
	}
	wg.Wait()
	for i, n := range counts {
		if n != counts[0] || n < 100 {
			t.Errorf("follower %d saw up to event %d, the first %d", i, n, counts[0])
		}
	}
	page, more, err := h.EventPage(j.ID, 0, 3)
	if err != nil || !more || len(page) != 3 || page[0].Seq != counts[0] || page[2].Seq != counts[0]-2 {
		t.Errorf("the first page is %s, more %v, error %v", asJSON(t, page), more, err)
	}
	page, more, err = h.EventPage(j.ID, 3, 9)
	if err != nil || more || len(page) != 2 || page[0].Seq != 2 || page[1].Seq != 1 {
		t.Errorf("the last page is %s, more %v, error %v", asJSON(t, page), more, err)
	}
}

// TestFollowerThatLeaves ends with its context, or with the Queue.
func TestFollowerThatLeaves(t *testing.T) {
	h, at, _ := blockedFixture(t, nil)
	j := h.create("bird", smallConfig())
	<-at
	drain := func(ctx context.Context) error {
		e, err := h.Events(j.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		for {
			if _, err := e.Next(ctx); err != nil {
				return err
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	wantError(t, drain(ctx), context.DeadlineExceeded)
	time.AfterFunc(20*time.Millisecond, func() { h.Close() })
	wantError(t, drain(context.Background()), ErrClosed)
}

// TestTornEvents cuts a log where a kill may have.
func TestTornEvents(t *testing.T) {
	dir := t.TempDir()
	h := openFixture(t, dir, nil)
	j := h.create("bird", smallConfig())
	_, events := h.wait(j.ID)
	h.close()
	path := filepath.Join(dir, "training", "jobs", j.ID, eventsFile)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data[:len(data)-7], 0o644); err != nil {
		t.Fatal(err)
	}
	h = openFixture(t, dir, nil)
	_, again := h.wait(j.ID)
	last := again[len(again)-1]
	if len(again) != len(events) || last.Status != Succeeded || last.Seq != len(events) {
		t.Errorf("%d events after %d, the last is %+v", len(again), len(events), last)
	}
}

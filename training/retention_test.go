package training

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters"
)

// TestDelete deletes jobs that have ended, with all that they have on disk, and no others.
func TestDelete(t *testing.T) {
	h, at, gate := blockedFixture(t, nil)
	j := h.create("bird", smallConfig())
	<-at
	waiting := h.create("other", smallConfig())
	h.waitFor(waiting.ID, "files are valid")
	wantError(t, h.Delete(j.ID), ErrState, "it is running and cannot be deleted: cancel it first")
	wantError(t, h.Delete(waiting.ID), ErrState, "it is queued")
	wantError(t, h.Delete("ftjob-none"), ErrUnknown)
	close(gate)
	h.wait(j.ID)
	follower, err := h.Events(j.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer follower.Close()
	if err := h.Delete(j.ID); err != nil {
		t.Fatal(err)
	}
	_, err = follower.Next(context.Background())
	wantError(t, err, ErrUnknown)
	for _, err := range []error{
		h.Delete(j.ID), second(h.Get(j.ID)), second(h.Resume(j.ID)), second(h.Cancel(context.Background(), j.ID)), second(h.Report(j.ID)), second(h.Events(j.ID, 0)),
	} {
		wantError(t, err, ErrUnknown, j.ID)
	}
	for _, folder := range []string{"jobs", "tmp"} {
		left, err := filepath.Glob(filepath.Join(h.dir, "training", folder, j.ID))
		if err != nil || len(left) > 0 {
			t.Errorf("left: %v, error %v", left, err)
		}
	}
	if _, err := h.store.Get(adapters.Ref{Name: "bird"}); err != nil {
		t.Errorf("the adapter went with its job: %v", err)
	}
	if _, err := h.Cancel(context.Background(), waiting.ID); err == nil {
		if err := h.Delete(waiting.ID); err != nil {
			t.Error(err)
		}
	}
	h.close()
	h = openFixture(t, h.dir, nil)
	if list, _, _ := h.List("", 0); slices.ContainsFunc(list, func(k Job) bool { return k.ID == j.ID }) {
		t.Error("the job is back")
	}
}

func second[T any](_ T, err error) error { return err }

// TestOldJobsAreRemoved keeps the newest jobs that have ended, by number and by bytes, and what has not ended.
func TestOldJobsAreRemoved(t *testing.T) {
	dir := t.TempDir()
	h := openFixture(t, dir, func(o *Options) { o.MaxJobs = 3 })
	var ids []string
	for i := range 5 {
		j := h.create(fmt.Sprint("bird", i), smallConfig())
		if j, _ := h.wait(j.ID); j.Status != Succeeded {
			t.Fatalf("ended: %s", asJSON(t, j))
		}
		ids = append(ids, j.ID)
	}
	checkKept(t, h, ids[2:])
	h.close()
	var size int64
	for _, id := range ids[3:] {
		entries, _ := os.ReadDir(filepath.Join(dir, "training", "jobs", id))
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			size += info.Size()
		}
	}
	h = openFixture(t, dir, func(o *Options) { o.MaxJobBytes = size })
	checkKept(t, h, ids[3:])
	h.close()
	h = openFixture(t, dir, func(o *Options) { o.MaxJobs, o.MaxJobBytes = 1, 1 })
	checkKept(t, h, ids[4:]) // the last stays, so that its owner can see how it ended
	if w := h.warnings(); len(w) > 0 {
		t.Errorf("warnings %q", w)
	}
}

// checkKept wants exactly these jobs, in memory and on disk.
func checkKept(t *testing.T, h *fixture, want []string) {
	t.Helper()
	list, _, err := h.List("", 0)
	if err != nil {
		t.Fatal(err)
	}
	var got, onDisk []string
	for _, j := range list {
		got = append(got, j.ID)
	}
	entries, err := os.ReadDir(filepath.Join(h.dir, "training", "jobs"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		onDisk = append(onDisk, e.Name())
	}
	want = slices.Sorted(slices.Values(want))
	slices.Sort(got)
	if !slices.Equal(got, want) || !slices.Equal(onDisk, want) {
		t.Errorf("kept %v, on disk %v, want %v", got, onDisk, want)
	}
}

// TestResumeKeepsToTheBound wants a job that is resumed to wait as a new one does, or to be refused as one.
func TestResumeKeepsToTheBound(t *testing.T) {
	h, at, _ := blockedFixture(t, func(o *Options) { o.MaxWaiting = 2 })
	h.create("running", smallConfig())
	<-at
	var ids []string
	for i := range 4 {
		j := h.create(fmt.Sprint("bird", i), smallConfig())
		if _, err := h.Cancel(context.Background(), j.ID); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, j.ID)
	}
	for i, id := range ids {
		_, err := h.Resume(id)
		if i < 2 && err != nil {
			t.Errorf("job %d: %v", i, err)
		}
		if i >= 2 {
			wantError(t, err, ErrQueueFull, "2 jobs wait")
		}
	}
	if j, err := h.Get(ids[3]); err != nil || j.Status != Cancelled {
		t.Errorf("a job that was not resumed is %s, error %v", j.Status, err)
	}
}

// TestLogsAreBounded writes far more events than a log keeps, while one follower reads them as they come and another from
// the beginning now and then.
func TestLogsAreBounded(t *testing.T) {
	h := openFixture(t, t.TempDir(), nil)
	l, err := openLog(h.disk, filepath.Join("tmp", "log"))
	if err != nil {
		t.Fatal(err)
	}
	follower := &Events{log: l, from: 1}
	defer follower.Close()
	add := func(e Event) {
		t.Helper()
		if err := l.append(e, false); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(h.disk.path(l.name))
		if err != nil || info.Size() > maxLogBytes+maxEvent || l.count > maxLogCount {
			t.Fatalf("%d events, %v, error %v", l.count, info, err)
		}
		got, err := follower.Next(context.Background())
		if err != nil || got.Seq != l.seq {
			t.Fatalf("the follower has event %d, error %v; want %d", got.Seq, err, l.seq)
		}
	}
	const steps = 20_000
	want := 0.0
	for i := 1; i <= steps; i++ {
		loss := 10 / float64(i)
		want += loss
		add(Event{Level: LevelInfo, Kind: KindMetrics, Metrics: &Metrics{Step: i, Steps: steps, Loss: loss}})
		if i%50 == 0 {
			add(Event{Level: LevelInfo, Kind: KindMetrics, Metrics: &Metrics{Step: i, Loss: loss, EvalLoss: &loss}})
			add(Event{Level: LevelInfo, Kind: KindMessage, Message: "a message " + strings.Repeat("x", i%2000)})
		}
	}
	reader := &Events{log: l, from: 1}
	defer reader.Close()
	l.finish()
	list := readToEnd(t, reader)
	got, n, last, left := 0.0, 0, 0, 0
	for _, e := range list {
		if e.Seq <= last {
			t.Fatalf("event %d comes after %d", e.Seq, last)
		}
		last = e.Seq
		switch e.kind() {
		case stepEvent:
			n += max(1, e.Merged)
			got += float64(max(1, e.Merged)) * e.Metrics.Loss
		case otherEvent:
			left += max(1, e.Merged)
		}
	}
	if n != steps || got < 0.999*want || got > 1.001*want {
		t.Errorf("the events stand for %d steps whose losses sum to %g, want %d and %g", n, got, steps, want)
	}
	if left != steps/50 || last != steps+2*steps/50 {
		t.Errorf("the events stand for %d messages, the last is %d", left, last)
	}
	again, err := openLog(h.disk, l.name)
	if err != nil || again.size != l.size || again.count != l.count || again.seq != l.seq {
		t.Errorf("opened again: %d bytes, %d events up to %d, error %v; want %d, %d, %d", again.size, again.count, again.seq, err, l.size, l.count, l.seq)
	}
}

func readToEnd(t *testing.T, e *Events) (list []Event) {
	t.Helper()
	for {
		ev, err := e.Next(context.Background())
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, ev)
	}
}

// TestLongMessages wants a log of the longest messages to keep to its bytes, and one event to be cut.
func TestLongMessages(t *testing.T) {
	h := openFixture(t, t.TempDir(), nil)
	l, err := openLog(h.disk, filepath.Join("tmp", "log"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 500 {
		if err := l.append(Event{Message: strings.Repeat("<", i*400), Status: Queued}, false); err != nil {
			t.Fatal(err)
		}
		if l.size > maxLogBytes+maxEvent {
			t.Fatalf("%d bytes after %d events", l.size, i)
		}
	}
	if l.generation == 0 || l.generation > 100 {
		t.Errorf("the log was put together %d times", l.generation)
	}
}

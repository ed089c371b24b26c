package training

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// fullDisk fails writes: those numbered from first on, until it has room again.
type fullDisk struct {
	writes, first, last atomic.Int64
}

func (d *fullDisk) at(op string) error {
	if n := d.writes.Add(1); n >= d.first.Load() && n <= d.last.Load() {
		return fmt.Errorf("%s: %w", op, syscall.ENOSPC)
	}
	return nil
}

// onDisk opens a queue on such a disk, which tries again at once.
func onDisk(t *testing.T, dir string, d *fullDisk) *fixture {
	return openFixture(t, dir, func(o *Options) { o.at, o.roomRetry = d.at, time.Millisecond })
}

// createOnFullDisk creates the job of crashConfig(1) again and again until there is room.
func createOnFullDisk(t *testing.T, h *fixture) Job {
	t.Helper()
	for {
		j, err := h.Create(context.Background(), CreateRequest{Name: "bird1", Config: crashConfig(1), Training: input(conversations(20))})
		if err == nil {
			return j
		}
		wantError(t, err, disk.ErrNoSpace)
		if list, _, _ := h.List("", 0); len(list) != 0 {
			t.Fatalf("a job that was not created is listed: %s", asJSON(t, list))
		}
		for _, folder := range []string{"jobs", "tmp"} {
			if left, _ := filepath.Glob(filepath.Join(h.dir, "training", folder, "ftjob-*")); len(left) > 0 {
				t.Fatalf("left in %s: %v", folder, left)
			}
		}
	}
}

// TestFullDiskAtEveryWrite lets each of a job's writes fail, for itself and together with those that follow it: the job
// waits, goes on, and makes the adapter that it should; and what is on the disk is whole.
func TestFullDiskAtEveryWrite(t *testing.T) {
	want := uninterrupted(t, 1, 2)[1]
	for stride, count := range map[int64]int64{1: 1, 3: 5} { // every write by itself, every third with four that follow
		if testing.Short() {
			stride *= 7
		}
		n := int64(1)
		for ; ; n += stride {
			d := &fullDisk{}
			d.first.Store(1 << 40)
			dir := t.TempDir()
			h := onDisk(t, dir, d)
			opened := d.writes.Load()
			d.last.Store(opened + n + count - 1)
			d.first.Store(opened + n)
			j := createOnFullDisk(t, h)
			j, events := h.wait(j.ID)
			if j.Status != Succeeded || !bytes.Equal(h.weights(j.Result.Digest), want) {
				t.Fatalf("write %d failed: ended: %s", n, asJSON(t, j))
			}
			h.close()
			h = openFixture(t, dir, nil)
			again, told := h.wait(j.ID)
			if again.Status != Succeeded || told[len(told)-1].Status != Succeeded || len(h.warnings()) > 0 {
				t.Fatalf("write %d failed: opened again: %s, warnings %q, events %s", n, asJSON(t, again), h.warnings(), asJSON(t, events))
			}
			h.close()
			if d.writes.Load() < opened+n {
				break // it made fewer writes
			}
		}
		if n < 100 {
			t.Errorf("hardly %d writes were made", n)
		}
	}
}

// TestJobWaitsForRoom fills the disk while a job runs: it says that it waits, can be cancelled, and goes on after the server
// was stopped meanwhile.
func TestJobWaitsForRoom(t *testing.T) {
	d := &fullDisk{}
	d.first.Store(1 << 40)
	dir := t.TempDir()
	fill := func() { d.last.Store(1 << 40); d.first.Store(0) }
	h := openFixture(t, dir, func(o *Options) {
		o.roomRetry = time.Millisecond
		o.at = func(op string) error {
			if strings.HasPrefix(op, "write ") && strings.Contains(op, statePrefix) {
				fill()
			}
			return d.at(op)
		}
	})
	j := h.create("bird1", crashConfig(1))
	paused := func() bool { j, err := h.Get(j.ID); return err == nil && j.Waits != "" }
	waitUntil(t, paused)
	if j, err := h.Get(j.ID); err != nil || j.Status != Running || !strings.Contains(j.Waits, "no space is left") {
		t.Errorf("the job is %s, error %v", asJSON(t, j), err)
	}
	if w := h.warnings(); !strings.Contains(strings.Join(w, "\n"), "waits: no space is left on the disk") {
		t.Errorf("warnings %q", w)
	}
	h.close() // nothing can be written: the stop looks like a crash
	d.first.Store(1 << 40)
	h = onDisk(t, dir, d)
	got, _ := h.wait(j.ID)
	if got.Status != Succeeded || !bytes.Equal(h.weights(got.Result.Digest), uninterrupted(t, 1, 2)[1]) {
		t.Errorf("ended: %s", asJSON(t, got))
	}
}

// waitUntil looks again and again, for a state that no event tells.
func waitUntil(t *testing.T, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it has not come to it in a minute")
		}
	}
}

// TestUploadOnFullDisk wants an upload that does not fit refused as that, and nothing left of it.
func TestUploadOnFullDisk(t *testing.T) {
	dir := t.TempDir()
	f := openFiles(t, dir, nil)
	for n := 1; ; n++ {
		count := 0
		f.disk.at = func(op string) error {
			if count++; count == n {
				return syscall.ENOSPC
			}
			return nil
		}
		file, err := f.Put(context.Background(), strings.NewReader("data"), "x", "", forTraining)
		if err == nil {
			if n < 4 || content(t, f, file.ID) != "data" {
				t.Errorf("write %d: %+v", n, file)
			}
			break
		}
		if !errors.Is(err, disk.ErrNoSpace) {
			t.Errorf("write %d: error %v", n, err)
		}
		if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
			t.Errorf("write %d: left in tmp: %v, error %v", n, left, err)
		}
		if list, _, _ := f.List("", 0); len(list) != 0 {
			t.Errorf("write %d: listed: %v", n, list)
		}
	}
}

// lonely is a Storage that other servers are needed for, which cannot be reached while alone is set.
type lonely struct {
	adapters.Storage
	alone atomic.Bool
}

func (l *lonely) Upload(ctx context.Context, digest, dir string, there bool) (string, error) {
	if l.alone.Load() {
		return "", adapters.ErrUnavailable
	}
	return l.Storage.Upload(ctx, digest, dir, there)
}

// TestJobWaitsForTheCluster cuts a node off while it trains: the job waits to store what it has, and says so, and goes on.
func TestJobWaitsForTheCluster(t *testing.T) {
	dir := t.TempDir()
	storage := &lonely{Storage: adapters.NewFolder(dir, func(string) {})}
	storage.alone.Store(true)
	h := openFixture(t, t.TempDir(), func(o *Options) {
		o.roomRetry = time.Millisecond
		store, err := adapters.Open(adapters.Options{Dir: dir, Facts: o.Model.Facts(), Storage: storage})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		o.Store = store
	})
	j := h.create("bird1", crashConfig(1))
	waitUntil(t, func() bool { j, err := h.Get(j.ID); return err == nil && strings.Contains(j.Waits, "cluster") })
	storage.alone.Store(false)
	got, events := h.wait(j.ID)
	if got.Status != Succeeded || !strings.Contains(asJSON(t, events), "The cluster can be reached again.") {
		t.Errorf("ended: %s, events %s", asJSON(t, got), asJSON(t, events))
	}
	h.close()
}

package batches

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// A server that stops, or is killed, in the middle: the lines that have results are not asked again, the others are, and
// every line has one result, also where the crash cut the last one short.
func TestResumed(t *testing.T) {
	dir, files := t.TempDir(), newMemoryFiles()
	names := append(numbered(40), "bad 1")
	asked := map[string]int{}
	var mu sync.Mutex
	id := ""
	for round := 0; ; round++ {
		q, err := Open(Options{Dir: dir, Files: files, Concurrent: 2})
		if err != nil {
			t.Fatal(err)
		}
		if id == "" {
			id = create(t, q, Spec{}, input(names...)).ID
		}
		answers := 0
		enough := make(chan struct{})
		q.Start(func(ctx context.Context, r Request) Answer {
			mu.Lock()
			defer mu.Unlock()
			if answers++; answers == 9 {
				close(enough)
			}
			if answers > 8 && round < 3 {
				return Answer{Again: true}
			}
			asked[string(r.Body)]++
			return echo(ctx, r)
		})
		if round < 3 {
			<-enough
			q.Close()
			tear(t, filepath.Join(dir, id, outputFile))
			continue
		}
		b := await(t, q, id, "ends", ended(Completed))
		if b.Counts != (Counts{41, 40, 1}) {
			t.Errorf("counts are %+v", b.Counts)
		}
		var got []string
		for _, r := range slices.Concat(files.results(t, b.OutputFile), files.results(t, b.ErrorFile)) {
			got = append(got, r.CustomID)
		}
		slices.Sort(got)
		slices.Sort(names)
		if !slices.Equal(got, names) {
			t.Errorf("results of %v", got)
		}
		repeated := 0
		for _, n := range asked {
			repeated += n - 1
		}
		if repeated > 3 { // of each round, the line whose answer came as the queue was closed
			t.Errorf("%d lines were answered again", repeated)
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		again := openQueue(t, Options{Dir: dir, Files: files})
		if kept, err := again.Get(id); err != nil || kept.Status != Completed || kept.Counts != b.Counts || kept.OutputFile != b.OutputFile {
			t.Errorf("opened again it is %+v, %v", kept, err)
		}
		return
	}
}

// tear leaves the beginning of a line at the end of a file.
func tear(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(`{"id":"batch_req_x","custom_id":"line 3`); err != nil {
		t.Fatal(err)
	}
}

// A crash between the steps of the end: the files are stored once.
func TestFinalizingResumed(t *testing.T) {
	dir, files := t.TempDir(), newMemoryFiles()
	q := openQueue(t, Options{Dir: dir, Files: files})
	b := create(t, q, Spec{}, input("one", "two"))
	q.Close()
	b.Status, b.Ends, b.NewOutput, b.Counts = Finalizing, Completed, files.NewFileID(), Counts{2, 2, 0}
	files.files[b.NewOutput] = "as it was stored"
	if err := q.folder.save(b); err != nil {
		t.Fatal(err)
	}
	r, err := openResults(q.folder.path(b.ID, outputFile), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.write(unanswered("one"), unanswered("two")); err != nil {
		t.Fatal(err)
	}
	r.close()
	again := openQueue(t, Options{Dir: dir, Files: files})
	again.Start(echo)
	got := await(t, again, b.ID, "ends", ended(Completed))
	if got.OutputFile != b.NewOutput || got.ErrorFile != "" || len(files.files) != 1 || files.files[b.NewOutput] != "as it was stored" {
		t.Errorf("%+v, files %v", got, files.files)
	}
}

// A line that cannot be answered now is asked again. A disk that is full is waited for, and the batch says so.
func TestWaiting(t *testing.T) {
	full := disk.NoSpace(fmt.Errorf("put: %w", disk.ErrNoSpace))
	files := newMemoryFiles()
	for range 300 {
		files.fail = append(files.fail, full)
	}
	q := openQueue(t, Options{Dir: t.TempDir(), Files: files})
	var asked atomic.Int64
	q.Start(func(ctx context.Context, r Request) Answer {
		if asked.Add(1) < 4 {
			return Answer{Again: true, After: time.Millisecond}
		}
		return echo(ctx, r)
	})
	b := create(t, q, Spec{}, input("one"))
	waits := await(t, q, b.ID, "waits", func(b Batch) bool { return len(b.Faults) > 0 })
	if f := waits.Faults[0]; f.Code != "no_space" || !strings.Contains(f.Message, "no space is left") || waits.Status != Finalizing {
		t.Errorf("%+v", waits)
	}
	if b = await(t, q, b.ID, "ends", ended(Completed)); len(b.Faults) != 0 || asked.Load() != 4 || b.Counts.Completed != 1 {
		t.Errorf("%+v after %d tries", b, asked.Load())
	}
}

// A result that could not be written whole leaves nothing in its file.
func TestResultFileAfterAFailure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results")
	r, err := openResults(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.write(unanswered("one")); err != nil {
		t.Fatal(err)
	}
	tear(t, path)
	r.torn = true // as after a write that failed, and could not be taken back
	if err := r.write(unanswered("two")); err != nil {
		t.Fatal(err)
	}
	r.close()
	var seen []string
	if r, err = openResults(path, func(id string) { seen = append(seen, id) }); err != nil || !slices.Equal(seen, []string{"one", "two"}) {
		t.Errorf("the file has %v, %v", seen, err)
	}
	r.f.Close()
	if err := r.write(unanswered("three")); err == nil {
		t.Error("a write to a closed file succeeds")
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// What is damaged in the folder is said, and does not keep the others from being opened. Another process is kept out.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	q := openQueue(t, Options{Dir: dir, Files: newMemoryFiles()})
	good, bad := create(t, q, Spec{}, input("a")), create(t, q, Spec{}, input("a"))
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("a second queue: %v", err)
	}
	q.Close()
	if err := os.WriteFile(filepath.Join(dir, bad.ID, aboutFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	var warnings []string
	again := openQueue(t, Options{Dir: dir, Files: newMemoryFiles(), Warn: func(s string) { warnings = append(warnings, s) }})
	if _, err := again.Get(bad.ID); !errors.Is(err, ErrUnknown) || len(warnings) != 1 || !strings.Contains(warnings[0], bad.ID) {
		t.Errorf("a damaged batch: %v, %v", err, warnings)
	}
	again.Start(echo)
	await(t, again, good.ID, "ends", ended(Completed))
	lost := openQueue(t, Options{Dir: t.TempDir(), Files: newMemoryFiles()})
	b := create(t, lost, Spec{}, input("a"))
	if err := os.Remove(lost.folder.path(b.ID, inputFile)); err != nil {
		t.Fatal(err)
	}
	lost.Start(echo)
	if b = await(t, lost, b.ID, "ends", ended(Failed)); len(b.Faults) != 1 || b.Faults[0].Code != "server_error" {
		t.Errorf("a batch without its requests is %+v", b)
	}
}

// A batch at which the server crashes again and again fails, with the results that it has. A server that is stopped, and one
// that gets on, do not count.
func TestCrashes(t *testing.T) {
	dir, files, id := filepath.Join(t.TempDir(), "0"), newMemoryFiles(), ""
	q := openQueue(t, Options{Dir: dir, Files: files, Concurrent: 1})
	id = create(t, q, Spec{}, input("good", "deadly")).ID
	// crash leaves the folder as it is while a line is being asked, and goes on in a copy.
	crash := func(answers int64) {
		t.Helper()
		asked, reached := atomic.Int64{}, make(chan struct{})
		q.Start(func(ctx context.Context, r Request) Answer {
			if asked.Add(1) > answers {
				close(reached)
				<-ctx.Done()
			}
			return echo(ctx, r)
		})
		<-reached
		copied := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		q.Close()
		dir = copied
		q = openQueue(t, Options{Dir: dir, Files: files, Concurrent: 1})
	}
	crash(1) // after the first result
	for range maxStarts - 1 {
		crash(0)
	}
	crash(0) // the third without a result in between
	q.Start(echo)
	b := await(t, q, id, "ends", ended(Failed))
	if len(b.Faults) != 1 || b.Faults[0].Code != "server_crashed" || len(files.results(t, b.OutputFile)) != 1 || b.Counts != (Counts{2, 1, 0}) {
		t.Errorf("%+v", b)
	}

	dir = filepath.Join(t.TempDir(), "stopped")
	for i := range maxStarts + 2 {
		q = openQueue(t, Options{Dir: dir, Files: files, Concurrent: 1})
		if i == 0 {
			id = create(t, q, Spec{}, input("good")).ID
		}
		reached := make(chan struct{})
		q.Start(func(ctx context.Context, r Request) Answer {
			close(reached)
			<-ctx.Done()
			return Answer{}
		})
		<-reached
		q.Close()
	}
	q = openQueue(t, Options{Dir: dir, Files: files})
	q.Start(echo)
	await(t, q, id, "ends", ended(Completed))
}

package adapters

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters/merge"
	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
)

// measuredFiles measures what lies in a folder whenever something is written.
type measuredFiles struct {
	osFiles
	dir  string
	most atomic.Int64
}

func (m *measuredFiles) Write(f *os.File, b []byte) (int, error) {
	n, err := m.osFiles.Write(f, b)
	var sum int64
	_ = filepath.WalkDir(m.dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil //nolint:nilerr // it went meanwhile
		}
		if info, err := d.Info(); err == nil {
			sum += info.Size()
		}
		return nil
	})
	m.most.Store(max(m.most.Load(), sum))
	return n, err
}

// zeroArchive is an archive whose tensors are mostly zeros.
func zeroArchive(t testing.TB, zeros int, gzipped bool) []byte {
	c, _ := pefttest.New(1).Encode(t)
	files := []file{{name: peft.ConfigFile, data: c}, {name: peft.TensorsFile, data: make([]byte, zeros)}}
	if gzipped {
		return gzipOf(t, tarOf(t, files...))
	}
	return zipOf(t, files...)
}

// Archives that become much larger than they are share one budget: together they never hold more than twice the
// largest adapter, whatever their number and form.
func TestArchivesShareOneBudget(t *testing.T) {
	const largest = 4 << 20
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir, Facts: pefttest.Facts(), MaxBytes: largest})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m := &measuredFiles{dir: dir}
	useFiles(s, m)
	data := [][]byte{zeroArchive(t, largest-4096, false), zeroArchive(t, largest-4096, true)}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			_, err := s.PutUpload(t.Context(), "x", []Part{part("x", data[i%2])}, Note{})
			if !errors.Is(err, peft.ErrFormat) { // zeros are no tensors
				t.Errorf("upload %d ended with %v", i, err)
			}
		})
	}
	all.Wait()
	if most := m.most.Load(); most < largest/2 || most > workFactor*largest {
		t.Errorf("the archives held %d bytes together, at most %d are allowed", most, workFactor*largest)
	}
	if left := tree(t, s.path("tmp")); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
	mustPut(t, s, "after", pefttest.New(1))
}

// An entry that is longer than its archive states is refused: the budget was given for what is stated.
func TestZipThatStatesLess(t *testing.T) {
	data := zeroArchive(t, 1<<20, false)
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	z.File[1].UncompressedSize64 = 1000
	o := &opener{ctx: t.Context(), fs: osFiles{}, facts: pefttest.Facts(), maxBytes: 1 << 30, scratch: t.TempDir()}
	_, err = o.archive(Part{}, zipEntries(z))
	pefttest.WantError(t, err, peft.ErrFormat, "archive")
	if info, e := os.Stat(filepath.Join(o.scratch, "unpacked-0", peft.TensorsFile)); e == nil && info.Size() > 1000 {
		t.Errorf("%d bytes were unpacked of an entry that states 1000", info.Size())
	}
}

// A put that waits for others, or works, ends when its context does or the Store is closed, and leaves nothing.
func TestPutsEndWithTheirContextAndTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openStore(t, "")
		parts := partsOf(t, pefttest.New(1))
		others := s.work.Share()
		if err := others.Wait(t.Context(), workFactor*s.o.MaxBytes); err != nil {
			t.Fatal(err)
		}
		left := errors.New("the client has left")
		ctx, leave := context.WithCancelCause(t.Context())
		results := make(chan error, 2)
		go func() { _, err := s.PutUpload(ctx, "a", parts, Note{}); results <- err }()
		go func() { _, err := s.PutUpload(t.Context(), "b", parts, Note{}); results <- err }()
		time.Sleep(time.Second)
		leave(left)
		if err := <-results; !errors.Is(err, left) {
			t.Errorf("a put whose client has left ends with %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-results; !errors.Is(err, ErrClosed) {
			t.Errorf("a put in a store that closes ends with %v", err)
		}
		others.Release()
		if left := tree(t, s.path("tmp")); len(left) > 0 {
			t.Errorf("left are %v", left)
		}
	})
}

// blockingFiles blocks at the first write of tensors until on is closed.
type blockingFiles struct {
	osFiles
	reached, on chan struct{}
	once        sync.Once
}

func (b *blockingFiles) Write(f *os.File, p []byte) (int, error) {
	if filepath.Base(f.Name()) == peft.TensorsFile {
		b.once.Do(func() { close(b.reached); <-b.on })
	}
	return b.osFiles.Write(f, p)
}

// Closing the Store ends a merge where it is, and does not wait for the rest of it.
func TestCloseEndsMerges(t *testing.T) {
	s := openStore(t, "")
	mustPut(t, s, "a", pefttest.New(1))
	files := &blockingFiles{reached: make(chan struct{}), on: make(chan struct{})}
	useFiles(s, files)
	merged, closed := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := s.Merge(t.Context(), "out", Merge{From: weighted(1), Options: merge.Options{Method: merge.SVD}})
		merged <- err
	}()
	<-files.reached
	go func() { closed <- s.Close() }()
	<-s.closing.Done()
	close(files.on)
	if err := <-merged; !errors.Is(err, ErrClosed) {
		t.Errorf("the merge ends with %v", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if left := tree(t, s.path("tmp")); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

// doneFiles holds that an archive is done with before a version is written.
type doneFiles struct {
	osFiles
	done, late bool
}

func (f *doneFiles) Create(path string) (*os.File, error) {
	if strings.Contains(path, string(filepath.Separator)+"version"+string(filepath.Separator)) && !f.done {
		f.late = true
	}
	return f.osFiles.Create(path)
}

// What was received need not lie beside what is unpacked and what is written: an archive may go before the third copy comes.
func TestArchivesAreDoneWithEarly(t *testing.T) {
	for name, data := range map[string][]byte{
		"zip": zipOf(t, filesOf(t, pefttest.New(1), "")...), "tar": tarOf(t, filesOf(t, pefttest.New(1), "")...),
	} {
		s := openStore(t, "")
		f := &doneFiles{}
		useFiles(s, f)
		p := part("x", data)
		p.Done = func() { f.done = true }
		if _, err := s.PutUpload(t.Context(), "x", []Part{p}, Note{}); err != nil || f.late || !f.done {
			t.Errorf("%s: %v, written before it was done with: %v, done: %v", name, err, f.late, f.done)
		}
	}
}

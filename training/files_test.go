package training

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func openFiles(t *testing.T, dir string, change func(*FilesOptions)) *Files {
	t.Helper()
	o := FilesOptions{Dir: dir, MaxBytes: 100}
	if change != nil {
		change(&o)
	}
	f, err := OpenFiles(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// forTraining describes a file of a dataset.
func forTraining(f *File) error { f.Purpose = "fine-tune"; return nil }

func content(t *testing.T, f *Files, id string) string {
	t.Helper()
	r, _, err := f.Open(id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	f := openFiles(t, dir, nil)
	ctx := context.Background()
	var ids []string
	for i := range 3 {
		file, err := f.Put(ctx, strings.NewReader(fmt.Sprint("data ", i)), fmt.Sprint(i, ".jsonl"), "", forTraining)
		if err != nil || !isID(file.ID, filePrefix) || file.Bytes != 6 || file.Name != fmt.Sprint(i, ".jsonl") {
			t.Fatalf("%+v, error %v", file, err)
		}
		ids = append(ids, file.ID)
	}
	f.Close()
	f = openFiles(t, dir, nil)
	if got := content(t, f, ids[1]); got != "data 1" {
		t.Errorf("the content is %q", got)
	}
	list, more, err := f.List("", 2)
	if err != nil || !more || len(list) != 2 {
		t.Fatalf("%v, more %v, error %v", list, more, err)
	}
	rest, more, err := f.List(list[1].ID, 2)
	if err != nil || more || len(rest) != 1 {
		t.Fatalf("%v, more %v, error %v", rest, more, err)
	}
	var got []string
	for _, file := range append(list, rest...) {
		got = append(got, file.ID)
	}
	slices.Sort(got)
	slices.Sort(ids)
	if !slices.Equal(got, ids) {
		t.Errorf("pages %v, want %v", got, ids)
	}

	r, _, err := f.Open(ids[0])
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := f.Delete(ids[0]); err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(r); err != nil || !strings.HasPrefix(string(data), "data ") {
		t.Errorf("a file deleted while it is read: %q, error %v", data, err)
	}
	_, err = f.Get(ids[0])
	wantError(t, err, ErrFile, ids[0])
	wantError(t, f.Delete(ids[0]), ErrFile)
	_, _, err = f.Open("../../etc/passwd")
	wantError(t, err, ErrFile)
	_, _, err = f.List("file-none", 1)
	wantError(t, err, ErrFile)
}

func TestFilesRefuse(t *testing.T) {
	dir := t.TempDir()
	f := openFiles(t, dir, nil)
	ctx, cancel := context.WithCancel(context.Background())
	_, err := f.Put(ctx, strings.NewReader(strings.Repeat("x", 101)), "x", "", forTraining)
	wantError(t, err, ErrTooLarge, "100 bytes")
	if _, err := f.Put(ctx, strings.NewReader(strings.Repeat("x", 100)), strings.Repeat("é", 300), "", forTraining); err != nil {
		t.Error(err)
	}
	if list, _, _ := f.List("", 0); len(list) != 1 || len(list[0].Name) != 254 {
		t.Errorf("%+v", list)
	}
	_, err = f.Put(ctx, broken{}, "x", "", forTraining)
	wantError(t, err, io.ErrUnexpectedEOF)
	cancel()
	_, err = f.Put(ctx, strings.NewReader("x"), "x", "", forTraining)
	wantError(t, err, context.Canceled)
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left in tmp: %v, error %v", left, err)
	}
	f.Close()
	f.Close()
	_, err = f.Put(context.Background(), strings.NewReader("x"), "x", "", forTraining)
	wantError(t, err, ErrClosed)
}

func TestDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	f := openFiles(t, dir, nil)
	file, err := f.Put(context.Background(), strings.NewReader("x"), "x", "", forTraining)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := os.WriteFile(filepath.Join(dir, "files", file.ID, aboutFile), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tmp", "half"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	var warned string
	f = openFiles(t, dir, func(o *FilesOptions) { o.Warn = func(w string) { warned = w } })
	if list, _, _ := f.List("", 0); len(list) != 0 || !strings.Contains(warned, file.ID) {
		t.Errorf("%v, warned %q", list, warned)
	}
	if _, err := os.Stat(filepath.Join(dir, "tmp", "half")); err == nil {
		t.Error("what an interrupted upload left is there")
	}
}

// TestFilesAtOnce uploads, reads and deletes from many goroutines.
func TestFilesAtOnce(t *testing.T) {
	f := openFiles(t, t.TempDir(), nil)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 10 {
				file, err := f.Put(context.Background(), strings.NewReader(fmt.Sprint(i)), "x", "", forTraining)
				if err != nil {
					t.Error(err)
					return
				}
				if list, _, err := f.List("", 0); err != nil || len(list) == 0 {
					t.Errorf("%v, error %v", list, err)
				}
				if err := errors.Join(f.Delete(file.ID)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if list, _, _ := f.List("", 0); len(list) != 0 {
		t.Errorf("left: %v", list)
	}
}

// A file is gone when its time is over, also for a server that was down at that moment; one that is refused after its
// content was read leaves nothing.
func TestFilesExpire(t *testing.T) {
	dir := t.TempDir()
	f := openFiles(t, dir, nil)
	ctx := context.Background()
	put := func(after time.Duration) File {
		file, err := f.Put(ctx, strings.NewReader("x"), "x", "", func(f *File) error {
			f.Expires = f.Created.Add(after)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	later, soon := put(time.Hour), put(300*time.Millisecond)
	if _, err := f.Get(soon.ID); err != nil {
		t.Error(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(dir, "files", soon.ID)); os.IsNotExist(err) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the expired file is still on disk")
		}
	}
	_, err := f.Get(soon.ID)
	wantError(t, err, ErrFile)
	down := put(50 * time.Millisecond)
	f.Close()
	for time.Now().Before(down.Expires) {
		nextMillisecond()
	}
	f = openFiles(t, dir, nil)
	if list, _, err := f.List("", 0); err != nil || len(list) != 1 || list[0].ID != later.ID || !list[0].Expires.Equal(later.Expires) {
		t.Errorf("%+v, error %v", list, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "files", down.ID)); !os.IsNotExist(err) {
		t.Errorf("a file that expired while the server was down: %v", err)
	}
	refused := errors.New("no")
	_, err = f.Put(ctx, strings.NewReader("x"), "x", "", func(*File) error { return refused })
	wantError(t, err, refused)
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left in tmp: %v, error %v", left, err)
	}
}

func TestFilesInBothOrders(t *testing.T) {
	f := openFiles(t, t.TempDir(), nil)
	var ids []string
	for range 3 {
		file, err := f.Put(context.Background(), strings.NewReader("x"), "x", "", forTraining)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, file.ID)
		nextMillisecond() // dates have milliseconds
	}
	all := func(*File) bool { return true }
	list, more, err := f.ListWhere(all, true, ids[0], 1)
	if err != nil || !more || len(list) != 1 || list[0].ID != ids[1] {
		t.Errorf("oldest first: %v, more %v, error %v", list, more, err)
	}
	list, more, err = f.ListWhere(all, false, ids[2], 1)
	if err != nil || !more || len(list) != 1 || list[0].ID != ids[1] {
		t.Errorf("newest first: %v, more %v, error %v", list, more, err)
	}
}

// A file of the server's own is stored once under its id, however often it is put, and is larger than uploads may be.
func TestFilesPutAs(t *testing.T) {
	f := openFiles(t, t.TempDir(), nil)
	id, text := f.NewFileID(), strings.Repeat("result\n", 30)
	for _, body := range []string{text, "another"} {
		if err := f.PutAs(t.Context(), id, strings.NewReader(body), "out.jsonl", "batch_output", "me", time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	file, err := f.Get(id)
	if err != nil || file.Purpose != "batch_output" || file.Owner != "me" || file.Bytes != int64(len(text)) || content(t, f, id) != text ||
		!file.Expires.Equal(file.Created.Add(time.Hour)) {
		t.Errorf("%+v, %v", file, err)
	}
	if err := f.PutAs(t.Context(), "../x", strings.NewReader("a"), "", "", "", 0); !errors.Is(err, ErrFile) {
		t.Errorf("an id of somebody else: %v", err)
	}
	f.Close()
	if err := f.PutAs(t.Context(), f.NewFileID(), strings.NewReader("a"), "", "", "", 0); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// Uploads are bounded in number and in bytes, also those that come at once; what the server makes itself is stored and counts.
func TestFilesAreBounded(t *testing.T) {
	f := openFiles(t, t.TempDir(), func(o *FilesOptions) { o.MaxFiles, o.MaxTotal = 3, 50 })
	put := func(text string) (File, error) {
		return f.Put(t.Context(), strings.NewReader(text), "a", "", forTraining)
	}
	first, err := put(strings.Repeat("x", 30))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := put(strings.Repeat("y", 21)); !errors.Is(err, ErrFilesFull) || !strings.Contains(err.Error(), "51 bytes, 50 are allowed") {
		t.Errorf("51 bytes: %v", err)
	}
	if err := errors.Join(f.Room(20), f.PutAs(t.Context(), f.NewFileID(), strings.NewReader(strings.Repeat("r", 40)), "r", "batch_output", "", 0)); err != nil {
		t.Error(err)
	}
	if _, err := put(""); !errors.Is(err, ErrFilesFull) {
		t.Errorf("beside 70 bytes: %v", err)
	}
	if err := f.Delete(first.ID); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := put("z"); err != nil && !errors.Is(err, ErrFilesFull) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if list, _, _ := f.List("", 0); len(list) != 3 {
		t.Errorf("%d files are kept, 3 are allowed", len(list))
	}
	if _, err := put("z"); !errors.Is(err, ErrFilesFull) || !strings.Contains(err.Error(), "3 of 3 files") {
		t.Errorf("a fourth file: %v", err)
	}
	left, err := os.ReadDir(filepath.Join(f.o.Dir, "tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

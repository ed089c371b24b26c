package training

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// FilesOptions are the settings of Files.
type FilesOptions struct {
	Dir      string       // made where it does not exist
	MaxBytes int64        // of one file; 0: 256 MiB
	MaxFiles int          // that are kept; 0: 10,000
	MaxTotal int64        // bytes of all of them; 0: 16 GiB
	Warn     func(string) // called with warnings for the operator; may be nil
}

// Files stores uploaded files, which jobs then name, and the result files of jobs. A file is there whole or not at all. What
// was uploaded never changes; a result file is replaced while its job runs. A job copies its files, so they may be deleted at any time. The methods may be called from any
// goroutine.
type Files struct {
	o    FilesOptions
	disk folder
	lock *os.File

	commit sync.Mutex // held while files are added and removed; taken before mu
	mu     sync.RWMutex
	files  map[string]File
	closed bool
	timer  *time.Timer // removes the file that expires next; nil: none does
}

// File describes an uploaded file.
type File struct {
	ID      string    `json:"id"` // "file-..."
	Name    string    `json:"filename"`
	Purpose string    `json:"purpose"` // "fine-tune", "fine-tune-results", "batch" or "batch_output"
	Bytes   int64     `json:"bytes"`
	Created time.Time `json:"created_at"`
	Owner   string    `json:"owner,omitempty"`     // the tenant that uploaded it
	Expires time.Time `json:"expires_at,omitzero"` // when it is removed; zero: never

	limited bool // it is stored only where there is room
}

// expired reports whether a file's time is over.
func (f *File) expired(at time.Time) bool { return !f.Expires.IsZero() && !f.Expires.After(at) }

const (
	filePrefix  = "file-"
	aboutFile   = "file.json"
	contentFile = "content"
	maxFileName = 255
)

// OpenFiles opens the folder o.Dir and removes what an interrupted upload has left there.
func OpenFiles(o FilesOptions) (*Files, error) {
	o.MaxBytes = cmp.Or(o.MaxBytes, 256<<20)
	o.MaxFiles = cmp.Or(o.MaxFiles, 10_000)
	o.MaxTotal = cmp.Or(o.MaxTotal, 16<<30)
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	f := &Files{o: o, files: make(map[string]File)}
	var err error
	if f.disk, f.lock, err = openFolder(o.Dir, nil, "files", "tmp"); err == nil {
		err = f.recover()
	}
	if err != nil {
		if f.lock != nil {
			f.lock.Close()
		}
		return nil, fmt.Errorf("uploaded files: %w", err)
	}
	return f, nil
}

func (f *Files) recover() error {
	entries, err := os.ReadDir(f.disk.path("files"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !isID(e.Name(), filePrefix) {
			continue // not ours
		}
		var file File
		err := f.disk.readJSON(filepath.Join("files", e.Name(), aboutFile), &file)
		if err == nil && file.ID != e.Name() {
			err = fmt.Errorf("%w: it is of %q", ErrDamaged, file.ID)
		}
		if err == nil {
			err = f.measure(&file)
		}
		if err != nil {
			f.o.Warn(fmt.Sprintf("uploaded file %s: %v", e.Name(), err))
			continue
		}
		f.files[file.ID] = file
	}
	f.removeExpired()
	return nil
}

// Put stores what body holds. When it has been read, describe says what the file is for and when it expires, or refuses
// it. The error wraps ErrTooLarge, ErrFilesFull or ErrClosed, or is body's, ctx's or describe's.
func (f *Files) Put(ctx context.Context, body io.Reader, name, owner string, describe func(*File) error) (File, error) {
	if err := f.Room(1); err != nil { // before the body is read
		return File{}, err
	}
	file := File{ID: newID(filePrefix), Name: shorten(name), Created: now(), Owner: owner, limited: true}
	return f.put(ctx, file, body, f.o.MaxBytes, describe)
}

// Room returns an error that wraps ErrFilesFull where no further file of so many bytes may be stored. What the server makes
// itself is stored all the same, and counts.
func (f *Files) Room(bytes int64) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, file := range f.files {
		bytes += file.Bytes
	}
	switch {
	case len(f.files) >= f.o.MaxFiles:
		return fmt.Errorf("%w: %d of %d files are kept; delete some, or raise --max-files", ErrFilesFull, len(f.files), f.o.MaxFiles)
	case bytes > f.o.MaxTotal:
		return fmt.Errorf("%w: they would have %d bytes, %d are allowed; delete some, or raise --max-file-data", ErrFilesFull, bytes, f.o.MaxTotal)
	}
	return nil
}

// NewFileID returns an id that no file has.
func (f *Files) NewFileID() string { return newID(filePrefix) }

// maxResults bounds a file that the server makes itself.
const maxResults = 1 << 40

// PutAs stores a file that the server has made, under an id of NewFileID. Where there is a file of that id it does nothing:
// a call that a crash has interrupted may be made again. It is removed after keep; 0: never. The error wraps ErrClosed or disk.ErrNoSpace, or is body's or ctx's.
func (f *Files) PutAs(ctx context.Context, id string, body io.Reader, name, purpose, owner string, keep time.Duration) error {
	if !isID(id, filePrefix) {
		return fmt.Errorf("%w: %q", ErrFile, id)
	}
	if _, err := f.Get(id); err == nil {
		return nil
	}
	file := File{ID: id, Name: shorten(name), Purpose: purpose, Created: now(), Owner: owner}
	_, err := f.put(ctx, file, body, maxResults, func(file *File) error {
		if keep > 0 {
			file.Expires = file.Created.Add(keep)
		}
		return nil
	})
	return err
}

// put stores a file of at most so many bytes.
func (f *Files) put(ctx context.Context, file File, body io.Reader, most int64, describe func(*File) error) (File, error) {
	tmp := f.disk.path("tmp", file.ID)
	if err := f.disk.mkdir(tmp); err != nil {
		return File{}, err
	}
	defer os.RemoveAll(tmp)
	var err error
	if file.Bytes, err = copyBounded(filepath.Join(tmp, contentFile), readerUntil{ctx, body}, most); err != nil {
		return File{}, err
	}
	if err := describe(&file); err != nil {
		return File{}, err
	}
	f.commit.Lock()
	defer f.commit.Unlock()
	if file.limited {
		if err := f.Room(file.Bytes); err != nil { // others may have come meanwhile
			return File{}, err
		}
	}
	f.mu.RLock()
	closed := f.closed
	f.mu.RUnlock()
	if closed {
		return File{}, ErrClosed
	}
	if err := f.disk.putJSON(filepath.Join("tmp", file.ID, aboutFile), file); err != nil {
		return File{}, err
	}
	if err := f.disk.enter(tmp, filepath.Join("files", file.ID)); err != nil {
		return File{}, err
	}
	f.mu.Lock()
	f.files[file.ID] = file
	f.mu.Unlock()
	if !file.Expires.IsZero() {
		f.awaitExpiry()
	}
	return file, nil
}

// shorten cuts a name to what is kept of it.
func shorten(name string) string {
	name = strings.ToValidUTF8(name, "\uFFFD")
	for len(name) > maxFileName {
		_, n := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-n]
	}
	return name
}

// Get describes a file. The error wraps ErrFile.
func (f *Files) Get(id string) (File, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if file, ok := f.files[id]; ok && !file.expired(now()) {
		return file, nil
	}
	return File{}, fmt.Errorf("%w: %q", ErrFile, id)
}

// Open returns a file's content, which the caller closes, and describes it. It stays readable when the file is deleted or
// replaced. The error wraps ErrFile.
func (f *Files) Open(id string) (*os.File, File, error) {
	file, err := f.Get(id)
	if err != nil {
		return nil, file, err
	}
	content, err := os.Open(f.disk.path("files", id, contentFile))
	if os.IsNotExist(err) {
		return nil, file, fmt.Errorf("%w: %q", ErrFile, id) // deleted in this moment
	}
	if err != nil {
		return nil, file, err
	}
	info, err := content.Stat() // it may have been replaced in this moment
	if err != nil {
		return nil, file, errors.Join(err, content.Close())
	}
	file.Bytes = info.Size()
	return content, file, nil
}

// List returns up to limit files, the newest first, from the one after the file named after ("": from the first),
// and whether there are more. limit 0 is no limit. The error wraps ErrFile.
func (f *Files) List(after string, limit int) (list []File, more bool, err error) {
	return f.ListWhere(func(*File) bool { return true }, false, after, limit)
}

// Bytes returns how many bytes the files of an owner have.
func (f *Files) Bytes(owner string) (n int64) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, file := range f.files {
		if file.Owner == owner {
			n += file.Bytes
		}
	}
	return n
}

// ListWhere is List of the files that keep returns true for, the oldest first where oldest is true.
func (f *Files) ListWhere(keep func(*File) bool, oldest bool, after string, limit int) (list []File, more bool, err error) {
	at := now()
	f.mu.RLock()
	for _, file := range f.files {
		if file.expired(at) || !keep(&file) {
			continue
		}
		list = append(list, file)
	}
	f.mu.RUnlock()
	slices.SortFunc(list, func(a, b File) int { return cmp.Or(b.Created.Compare(a.Created), strings.Compare(a.ID, b.ID)) })
	if oldest {
		slices.Reverse(list)
	}
	list, more, err = page(list, after, limit, func(file File) string { return file.ID })
	if err != nil {
		return nil, false, fmt.Errorf("%w: %q", ErrFile, after)
	}
	return list, more, nil
}

// Delete removes a file. The error wraps ErrFile.
func (f *Files) Delete(id string) error {
	f.commit.Lock()
	defer f.commit.Unlock()
	if _, err := f.Get(id); err != nil {
		return err
	}
	return f.delete(id)
}

// delete is Delete of a file that is there. f.commit is held.
func (f *Files) delete(id string) error {
	if err := f.disk.remove(filepath.Join("files", id)); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.files, id)
	if err := disk.SyncDir(f.disk.path("files")); err != nil {
		f.o.Warn(fmt.Sprintf("uploaded file %s is deleted, but may be back after a power cut: %v", id, err))
	}
	return nil
}

// removeExpired removes the files whose time is over. f.commit is held, or nobody else has f.
func (f *Files) removeExpired() {
	at := now()
	var gone []string
	f.mu.RLock()
	for id, file := range f.files {
		if file.expired(at) {
			gone = append(gone, id)
		}
	}
	f.mu.RUnlock()
	for _, id := range gone {
		if err := f.delete(id); err != nil {
			f.o.Warn(fmt.Sprintf("uploaded file %s has expired and cannot be removed: %v", id, err))
		}
	}
	f.awaitExpiry()
}

// expiryRetry is how long a file that has expired and could not be removed waits for the next try.
const expiryRetry = time.Minute

// awaitExpiry sets the timer for the file that expires next. f.commit is held, or nobody else has f.
func (f *Files) awaitExpiry() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.timer != nil {
		f.timer.Stop()
		f.timer = nil
	}
	var next time.Time
	for _, file := range f.files {
		if !file.Expires.IsZero() && (next.IsZero() || file.Expires.Before(next)) {
			next = file.Expires
		}
	}
	if next.IsZero() || f.closed {
		return
	}
	wait := time.Until(next) + time.Millisecond
	if wait < 0 {
		wait = expiryRetry
	}
	f.timer = time.AfterFunc(wait, func() {
		f.commit.Lock()
		defer f.commit.Unlock()
		f.mu.RLock()
		closed := f.closed
		f.mu.RUnlock()
		if !closed {
			f.removeExpired()
		}
	})
}

// Close lets another process open the folder. It may be called twice.
func (f *Files) Close() error {
	f.commit.Lock()
	defer f.commit.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	if f.timer != nil {
		f.timer.Stop()
	}
	return f.lock.Close()
}

package adapters

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
)

// FoldersOptions are the settings of Folders.
type FoldersOptions struct {
	Store *Store
	Dirs  []string          // each holds adapter folders and GGUF LoRA files, or is itself an adapter folder
	Quiet time.Duration     // how long a file must be left alone before it is read; 0: 300 ms
	Event func(FolderEvent) // is called with each event, one at a time; must not call back; may be nil
}

// FolderAction is what happened to an adapter in a watched folder.
type FolderAction string

// The actions.
const (
	Registered FolderAction = "registered" // its content was put in the Store, or found there
	Unchanged  FolderAction = "unchanged"  // it was put before; at the start only
	Removed    FolderAction = "removed"
	Failed     FolderAction = "failed" // Err says why; it is tried again a few times, and when it changes
)

// FolderEvent is something that happened to an adapter in a watched folder.
type FolderEvent struct {
	Action FolderAction
	Name   string // of the adapter
	Path   string
	Info   Info // where it was registered or is unchanged
	Err    error
}

// Folders updates the Store with what folders of adapters hold: a subfolder that holds adapter_config.json and a
// *.gguf LoRA file are registered by their own names, again when they change, and removed when they go, unless
// the name points at something else by then. Methods may be called from any goroutine.
type Folders struct {
	o       FoldersOptions
	dirs    []*watched
	watcher *fsnotify.Watcher
	ctx     context.Context // ends when Close begins, by stop
	stop    context.CancelCauseFunc
	done    chan struct{}
	close   sync.Once

	// The following belongs to WatchFolders until it returns, then to the goroutine of run.
	owner map[string]string    // the path that each name is registered from
	tries map[string]*attempts // by path, after a failure
	due   map[string]time.Time // when to look at a path
}

// watched is one of the folders, or one adapter folder alone.
type watched struct {
	path string   // absolute, without symbolic links; of an adapter folder, the one that it lies in
	only string   // the adapter folder's name; "": everything in path
	root *os.Root // opens nothing that lies outside; nil where only is given
}

// folder is what the user named.
func (d *watched) folder() string { return filepath.Join(d.path, d.only) }

// takes reports whether an entry of path is looked at.
func (d *watched) takes(top string) bool { return d.only == "" || top == d.only }

// inside calls use with a root that opens nothing outside of the folder, and with rel, which is relative to path, as it is
// in that root. The root of a single adapter folder is opened each time: the folder may have been replaced.
func (d *watched) inside(rel string, use func(root *os.Root, rel string) error) error {
	if d.only == "" {
		return use(d.root, rel)
	}
	root, err := os.OpenRoot(d.folder())
	if err != nil {
		return err
	}
	defer root.Close()
	within, err := filepath.Rel(d.only, rel)
	if err != nil {
		return err
	}
	return use(root, within)
}

// stat describes an entry.
func (d *watched) stat(rel string) (info os.FileInfo, err error) {
	err = d.inside(rel, func(root *os.Root, rel string) (err error) {
		info, err = root.Stat(rel)
		return err
	})
	return info, d.explain(rel, err)
}

// attempts counts failures to read the same path.
type attempts struct {
	count int
	last  string // the error that was told
}

// maxAttempts bounds how often a path is tried again before it changes; the pauses double.
const maxAttempts = 6

// WatchFolders registers what the folders hold, and watches them until Close. It returns an error where a folder
// cannot be read, or the Store shares its adapters with other
// servers; an adapter that cannot be read is reported as an event.
func WatchFolders(o FoldersOptions) (_ *Folders, err error) {
	if o.Store.storage.Shared() {
		return nil, fmt.Errorf("%w: folders are watched by a server that keeps its adapters to itself: those of several would contradict each other", ErrPath)
	}
	if o.Quiet == 0 {
		o.Quiet = 300 * time.Millisecond
	}
	if o.Event == nil {
		o.Event = func(FolderEvent) {}
	}
	f := &Folders{o: o, done: make(chan struct{}),
		owner: make(map[string]string), tries: make(map[string]*attempts), due: make(map[string]time.Time)}
	f.ctx, f.stop = context.WithCancelCause(context.Background())
	defer func() {
		if err != nil {
			f.stop(ErrClosed)
			err = errors.Join(err, f.release())
		}
	}()
	if f.watcher, err = fsnotify.NewWatcher(); err != nil {
		return nil, fmt.Errorf("adapter folders: %w", err)
	}
	for _, dir := range o.Dirs {
		if err := f.add(dir); err != nil {
			return nil, fmt.Errorf("adapter folder %s: %w", dir, err)
		}
	}
	for _, d := range f.dirs {
		if err := f.scan(d, true); err != nil {
			return nil, fmt.Errorf("adapter folder %s: %w", d.path, err)
		}
	}
	f.removeStale()
	go f.run()
	return f, nil
}

// add opens a folder and watches it.
func (f *Folders) add(dir string) error {
	path, err := filepath.Abs(dir)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return err
	}
	if slices.ContainsFunc(f.dirs, func(d *watched) bool { return d.folder() == path }) {
		return nil
	}
	d := &watched{path: path}
	if _, err := os.Stat(filepath.Join(path, peft.ConfigFile)); err == nil {
		d.path, d.only = filepath.Split(path)
		d.path = filepath.Clean(d.path)
	} else if d.root, err = os.OpenRoot(path); err != nil {
		return err
	}
	f.dirs = append(f.dirs, d)
	return f.watcher.Add(d.path)
}

// Close stops watching. It may be called twice.
func (f *Folders) Close() (err error) {
	f.close.Do(func() {
		f.stop(ErrClosed)
		<-f.done
		err = f.release()
	})
	return err
}

func (f *Folders) release() (err error) {
	if f.watcher != nil {
		err = f.watcher.Close()
	}
	for _, d := range f.dirs {
		if d.root != nil {
			err = errors.Join(err, d.root.Close())
		}
	}
	return err
}

// run looks at paths when they have been quiet for long enough.
func (f *Folders) run() {
	defer close(f.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-f.ctx.Done():
			return
		case e := <-f.watcher.Events:
			f.touch(e)
		case err := <-f.watcher.Errors:
			f.watchFailed(err)
		case <-timer.C:
			f.lookAtDue()
		}
		if next, ok := f.next(); ok {
			timer.Reset(time.Until(next))
		}
	}
}

// touch notes that something under a watched folder changed.
func (f *Folders) touch(e fsnotify.Event) {
	for _, d := range f.dirs {
		rel, err := filepath.Rel(d.path, e.Name)
		if err != nil || !filepath.IsLocal(rel) || rel == "." {
			continue
		}
		top, _, _ := strings.Cut(rel, string(filepath.Separator))
		if !d.takes(top) {
			continue
		}
		path := filepath.Join(d.path, top)
		if a := f.tries[path]; a != nil {
			a.count = 0
		}
		f.due[path] = time.Now().Add(f.o.Quiet)
		if e.Has(fsnotify.Create) && path == e.Name {
			f.watchInside(d, top)
		}
	}
}

// watchFailed looks at everything again where the kernel dropped events, and tells of other errors.
func (f *Folders) watchFailed(err error) {
	if err == nil {
		return // the watcher is closing
	}
	if !errors.Is(err, fsnotify.ErrEventOverflow) {
		f.o.Event(FolderEvent{Action: Failed, Err: err})
		return
	}
	for _, d := range f.dirs {
		if err := f.scan(d, false); err != nil {
			f.o.Event(FolderEvent{Action: Failed, Path: d.path, Err: err})
		}
	}
	f.removeStale()
}

// lookAtDue looks at the paths whose time has come.
func (f *Folders) lookAtDue() {
	now := time.Now()
	for path, at := range f.due {
		if at.After(now) {
			continue
		}
		delete(f.due, path)
		for _, d := range f.dirs {
			if d.path == filepath.Dir(path) && d.takes(filepath.Base(path)) {
				f.look(d, filepath.Base(path), false)
			}
		}
	}
}

// next returns when to look next.
func (f *Folders) next() (time.Time, bool) {
	var first time.Time
	for _, at := range f.due {
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first, !first.IsZero()
}

// watchInside watches a subfolder, whose files may come later.
func (f *Folders) watchInside(d *watched, top string) {
	info, err := d.stat(top)
	if err != nil || !info.IsDir() {
		return
	}
	if err := f.watcher.Add(filepath.Join(d.path, top)); err != nil {
		f.o.Event(FolderEvent{Action: Failed, Name: top, Path: filepath.Join(d.path, top), Err: fmt.Errorf("not watched: %w", err)})
	}
}

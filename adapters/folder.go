package adapters

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// folder is the Storage of one process: versions and records are files in a folder, as files.go says.
type folder struct {
	dir  string
	fs   fileSystem
	warn func(string)

	mu        sync.Mutex
	writes    uint64            // since Open
	revisions map[string]uint64 // of the records that there are, by their files
}

// NewFolder returns the Storage that a Store has by default: versions and records are files in the folder dir. warn is
// called with warnings for the operator.
func NewFolder(dir string, warn func(string)) Storage { return newFolder(dir, warn) }

func newFolder(dir string, warn func(string)) *folder {
	return &folder{dir: dir, fs: osFiles{}, warn: warn, revisions: make(map[string]uint64)}
}

func (f *folder) path(parts ...string) string {
	return filepath.Join(append([]string{f.dir}, parts...)...)
}

// Shared implements Storage.
func (f *folder) Shared() bool { return false }

// Close implements Storage.
func (f *folder) Close() error { return nil }

// Open implements Storage.
func (f *folder) Open(to Follower) error {
	for _, d := range []string{"versions", "names", "checkpoints", "tmp"} {
		if err := os.MkdirAll(f.path(d), 0o700); err != nil {
			return err
		}
	}
	versions, err := os.ReadDir(f.path("versions"))
	if err != nil {
		return err
	}
	for _, e := range versions {
		if !isHex(e.Name(), 2*sha256.Size) {
			continue // not ours
		}
		v := StoredVersion{Digest: e.Name()}
		v.Manifest, v.Err = checkedManifest(f.path("versions", e.Name()))
		to.Version(v)
	}
	for _, kind := range []RecordKind{NameRecords, CheckpointRecords} {
		if err := f.openRecords(kind, to); err != nil {
			return err
		}
	}
	return nil
}

// openRecords tells of the records of a kind.
func (f *folder) openRecords(kind RecordKind, to Follower) error {
	entries, err := os.ReadDir(f.path(string(kind)))
	if err != nil {
		return err
	}
	for _, e := range entries {
		f.mu.Lock()
		f.writes++
		r := Record{Kind: kind, Name: strings.TrimSuffix(e.Name(), ".json"), Revision: f.writes}
		f.revisions[f.file(r)] = r.Revision
		f.mu.Unlock()
		r.Data, r.Err = os.ReadFile(f.path(string(kind), e.Name()))
		if r.Err == nil && filepath.Ext(e.Name()) != ".json" {
			r.Err = errors.New("its file does not end in .json")
		}
		to.Record(r)
	}
	return nil
}

// file is where a record is.
func (f *folder) file(r Record) string { return f.path(string(r.Kind), r.Name+".json") }

// Upload implements Storage: there is nothing to do before Place.
func (f *folder) Upload(context.Context, string, string, bool) (string, error) { return "", nil }

// Place implements Storage: it renames dir to the version's place.
func (f *folder) Place(v StoredVersion, dir, _ string, there bool) error {
	if there {
		return nil
	}
	to := f.path("versions", v.Digest)
	// What may be there is damaged; it is removed with the scratch folder.
	if err := f.fs.Rename(to, dir+"-damaged"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := f.fs.Rename(dir, to); err != nil {
		return err
	}
	if err := f.fs.SyncDir(f.path("versions")); err != nil {
		if failed := os.Rename(to, dir); failed != nil { // back into the scratch folder, which is removed
			return errors.Join(err, failed, os.RemoveAll(to)) // on a disk that stays full this alone can be done
		}
		return err
	}
	return nil
}

// Folder implements Storage.
func (f *folder) Folder(_ context.Context, digest string) (string, func(), error) {
	return f.path("versions", digest), func() {}, nil
}

// Remove implements Storage.
func (f *folder) Remove(digest string) error {
	tmp := f.path("tmp", "gone-"+digest)
	err := os.Rename(f.path("versions", digest), tmp)
	switch {
	case err == nil:
		err = os.RemoveAll(tmp)
	case !errors.Is(err, fs.ErrNotExist):
		err = os.RemoveAll(f.path("versions", digest)) // a rename may need room
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Write implements Storage: it replaces the file of a record in one step. A record that has been renamed to its place
// counts, also where syncing the folder then fails: a warning says so, and readers agree with what is on the disk.
func (f *folder) Write(r Record) (uint64, error) {
	file := f.file(r)
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.revisions[file]; now != r.Revision {
		r.Revision = now
		r.Data, r.Err = os.ReadFile(file)
		if errors.Is(r.Err, fs.ErrNotExist) {
			r.Data, r.Err = nil, nil
		}
		return 0, &ConflictError{r}
	}
	what, fate := "written", "not survive"
	var err error
	if r.Data == nil {
		what, fate = "removed", "be back after"
		if err = f.fs.Remove(file); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else {
		err = f.replace(file, r)
	}
	if err != nil {
		return 0, err
	}
	f.writes++
	if delete(f.revisions, file); r.Data != nil {
		f.revisions[file] = f.writes
	}
	if err := f.fs.SyncDir(filepath.Dir(file)); err != nil {
		f.warn(fmt.Sprintf("adapter store: %s: the file of %q is %s, but may %s a power cut: %v", r.Kind, r.Name, what, fate, err))
	}
	return f.writes, nil
}

// replace writes the file of a record.
func (f *folder) replace(file string, r Record) error {
	tmp := f.path("tmp", string(r.Kind)+"-"+r.Name)
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	x := writer{context.Background(), f.fs}
	_, err := x.file(tmp, func(w io.Writer) error {
		_, err := w.Write(r.Data)
		return err
	})
	if err == nil {
		err = f.fs.Rename(tmp, file)
	}
	if err != nil {
		os.Remove(tmp)
	}
	return err
}

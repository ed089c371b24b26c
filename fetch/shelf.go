package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// shelf is where a repository's files are on this disk:
//
//	refs/REVISION   the commit that a branch or tag was at last
//	COMMIT.json     the listing of a commit
//	COMMIT/         its files, as far as they were asked for; each is whole and checked
//	parts/DIGEST    a file that is on its way; its name is that of its content, whatever commit it is for
//	lock            held by the process that downloads
type shelf struct{ dir string }

// shelfOf is the place of a repository of this hub.
func (f *Fetcher) shelfOf(repo string) shelf {
	return shelf{filepath.Join(f.o.Dir, strings.ReplaceAll(f.api.Host, ":", "_"), filepath.FromSlash(repo))}
}

func (s shelf) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

func (s shelf) file(commit, p string) string { return s.path(commit, filepath.FromSlash(p)) }

// part is where a file is while it comes. Content that is the same has the same place, whatever commit it is of.
func (s shelf) part(commit string, e entry) string {
	name := sumOf(e).hex
	if name == "" {
		name = commit + "-" + url.PathEscape(e.Path)
	}
	return s.path("parts", name)
}

// has reports whether a file is here. A file that is here is whole; one that something else has shortened is not.
func (s shelf) has(commit string, e entry) bool {
	info, err := os.Stat(s.file(commit, e.Path))
	return err == nil && info.Mode().IsRegular() && (e.Size < 0 || info.Size() == e.Size)
}

// listing returns the listing that was kept for a revision.
func (s shelf) listing(revision string) (listing, error) {
	commit := revision
	if !commitName.MatchString(revision) {
		text, err := os.ReadFile(s.path("refs", url.PathEscape(revision)))
		if err != nil {
			return listing{}, err
		}
		commit = strings.TrimSpace(string(text))
	}
	text, err := os.ReadFile(s.path(commit + ".json"))
	if err != nil {
		return listing{}, err
	}
	var l listing
	if err := json.Unmarshal(text, &l); err != nil || l.Commit != commit {
		return listing{}, fmt.Errorf("%s is damaged: %w", s.path(commit+".json"), errors.Join(err, fs.ErrInvalid))
	}
	for _, e := range l.Files {
		if !safePath(e.Path) {
			return listing{}, fmt.Errorf("%s is damaged: %q leads out of it", s.path(commit+".json"), e.Path)
		}
	}
	return l, nil
}

// keep remembers a listing and the revision it is of.
func (s shelf) keep(revision string, l listing) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.path("refs"), 0o755); err != nil {
		return onDisk(err)
	}
	if err := replace(s.path(l.Commit+".json"), text); err != nil {
		return err
	}
	if revision == l.Commit {
		return nil
	}
	return replace(s.path("refs", url.PathEscape(revision)), []byte(l.Commit+"\n"))
}

// replace writes a small file in one step.
func replace(path string, text []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return onDisk(err)
	}
	_, err = tmp.Write(text)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return onDisk(errors.Join(err, os.Remove(tmp.Name())))
	}
	return nil
}

// reuse takes a file from another commit that has the same content; the two share their place on the disk.
func (s shelf) reuse(commit string, e entry) bool {
	want := sumOf(e)
	if want.kind == "" {
		return false
	}
	others, err := filepath.Glob(s.path("*.json"))
	if err != nil {
		return false
	}
	for _, other := range others {
		l, err := s.listing(strings.TrimSuffix(filepath.Base(other), ".json"))
		if err != nil || l.Commit == commit {
			continue
		}
		for _, o := range l.Files {
			if sumOf(o) == want && o.Size == e.Size && s.has(l.Commit, o) {
				return s.makeRoom(commit, e) == nil && os.Link(s.file(l.Commit, o.Path), s.file(commit, e.Path)) == nil
			}
		}
	}
	return false
}

// makeRoom makes the folder of a file, and removes what is in its place.
func (s shelf) makeRoom(commit string, e entry) error {
	to := s.file(commit, e.Path)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return onDisk(err)
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// place moves a whole, checked part to its name.
func (s shelf) place(part, commit string, e entry) error {
	if err := s.makeRoom(commit, e); err != nil {
		return err
	}
	to := s.file(commit, e.Path)
	if err := os.Rename(part, to); err != nil {
		return onDisk(err)
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// lock waits until nobody else downloads to the shelf. wait is called once where it has to.
func (s shelf) lock(ctx context.Context, wait func()) (unlock func(), err error) {
	if err := os.MkdirAll(s.path("parts"), 0o755); err != nil {
		return nil, onDisk(err)
	}
	f, err := os.OpenFile(s.path("lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, onDisk(err)
	}
	for first := true; ; first = false {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		if first {
			wait()
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			f.Close()
			return nil, context.Cause(ctx)
		}
	}
}

// checkSpace refuses to begin what the disk of dir cannot hold.
func checkSpace(dir string, need int64) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return nil // writing will tell
	}
	if free := int64(st.Bavail) * int64(st.Bsize); need > free { //nolint:unconvert // its type differs between architectures
		return fmt.Errorf("%w: %d bytes are to come and %s has room for %d", ErrSpace, need, dir, free)
	}
	return nil
}

package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
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
		return disk.NoSpace(err)
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
	return disk.WriteFile(path, 0o644, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
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
		return disk.NoSpace(err)
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
		return disk.NoSpace(err)
	}
	return disk.SyncDir(filepath.Dir(to))
}

// lock waits until nobody else downloads to the shelf. wait is called once where it has to.
func (s shelf) lock(ctx context.Context, wait func()) (unlock func(), err error) {
	if err := os.MkdirAll(s.path("parts"), 0o755); err != nil {
		return nil, disk.NoSpace(err)
	}
	f, err := disk.LockWait(ctx, s.dir, wait)
	if err != nil {
		return nil, err
	}
	return func() { f.Close() }, nil
}

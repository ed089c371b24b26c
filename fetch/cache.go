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

// repoCache is the folder that holds the downloaded files of a repository:
//
//	refs/REVISION   the commit that a branch or tag was at last
//	COMMIT.json     the listing of a commit
//	COMMIT/         its files, as far as they were asked for; each is complete and checked
//	parts/DIGEST    a file that is being downloaded, named by the digest of its content, whatever commit it is for
//	lock            held by the process that downloads
type repoCache struct{ dir string }

// cacheOf returns the folder of a repository of this hub.
func (f *Fetcher) cacheOf(repo string) repoCache {
	return repoCache{filepath.Join(f.o.Dir, strings.ReplaceAll(f.api.Host, ":", "_"), filepath.FromSlash(repo))}
}

func (s repoCache) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

func (s repoCache) file(commit, p string) string { return s.path(commit, filepath.FromSlash(p)) }

// partPath returns where a file is while it is downloaded. Equal content has the same path, whatever commit it is of.
func (s repoCache) partPath(commit string, e entry) string {
	name := sumOf(e).hex
	if name == "" {
		name = commit + "-" + url.PathEscape(e.Path)
	}
	return s.path("parts", name)
}

// has reports whether a file is here and complete. A file that something else has shortened does not count.
func (s repoCache) has(commit string, e entry) bool {
	info, err := os.Stat(s.file(commit, e.Path))
	return err == nil && info.Mode().IsRegular() && (e.Size < 0 || info.Size() == e.Size)
}

// listing returns the listing that was saved for a revision.
func (s repoCache) listing(revision string) (listing, error) {
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
			return listing{}, fmt.Errorf("%s is damaged: %q is a path out of the folder", s.path(commit+".json"), e.Path)
		}
	}
	return l, nil
}

// saveListing saves a listing and the revision it is of.
func (s repoCache) saveListing(revision string, l listing) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.path("refs"), 0o700); err != nil {
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
	return disk.WriteFile(path, 0o600, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// linkFromOtherCommit makes a hard link to a file of another commit that has the same content, and reports whether it could.
func (s repoCache) linkFromOtherCommit(commit string, e entry) bool {
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
				return s.prepareFolder(commit, e) == nil && os.Link(s.file(l.Commit, o.Path), s.file(commit, e.Path)) == nil
			}
		}
	}
	return false
}

// prepareFolder makes the folder of a file, and removes what is there under its name.
func (s repoCache) prepareFolder(commit string, e entry) error {
	to := s.file(commit, e.Path)
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return disk.NoSpace(err)
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// finishPart gives a complete, checked part the name of its file.
func (s repoCache) finishPart(part, commit string, e entry) error {
	if err := s.prepareFolder(commit, e); err != nil {
		return err
	}
	to := s.file(commit, e.Path)
	if err := os.Rename(part, to); err != nil {
		return disk.NoSpace(err)
	}
	return disk.SyncDir(filepath.Dir(to))
}

// lock waits until no other process downloads to the folder. wait is called once if it has to wait.
func (s repoCache) lock(ctx context.Context, wait func()) (unlock func(), err error) {
	if err := os.MkdirAll(s.path("parts"), 0o700); err != nil {
		return nil, disk.NoSpace(err)
	}
	f, err := disk.LockWait(ctx, s.dir, wait)
	if err != nil {
		return nil, err
	}
	return func() { f.Close() }, nil
}

package cluster

import (
	"cmp"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/lorikeet-ai/lorikeet/adapters"
)

// localVersions are this node's copies of versions: folders in a folder, of which those used last are kept within a
// number of bytes. Its methods may be called from any goroutine.
type localVersions struct {
	dir   string
	limit int64

	mu      sync.Mutex
	used    int64 // bytes of all
	entries map[string]*localVersion
	idle    *simplelru.LRU[string, *localVersion] // not pinned; the one used longest ago first
}

// localVersion is one copy. Its fields are guarded by localVersions.mu.
type localVersion struct {
	bytes   int64
	pins    int
	checked bool // its digest has been computed in this process
}

const temporaryPrefix = "fetch-"

// openLocal finds the copies that are in dir.
func openLocal(dir string, limit int64) (*localVersions, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	idle, err := simplelru.NewLRU[string, *localVersion](math.MaxInt, nil)
	if err != nil {
		return nil, err
	}
	l := &localVersions{dir: dir, limit: limit, entries: make(map[string]*localVersion), idle: idle}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	age := make(map[string]int64)
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool {
		info, err := e.Info()
		if err != nil || !e.IsDir() || len(e.Name()) != 64 {
			os.RemoveAll(filepath.Join(dir, e.Name())) // a fetch that was not ended
			return true
		}
		age[e.Name()] = info.ModTime().UnixNano()
		return false
	})
	slices.SortFunc(entries, func(x, y os.DirEntry) int { return cmp.Compare(age[x.Name()], age[y.Name()]) })
	for _, e := range entries {
		bytes, err := sizeOf(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		v := &localVersion{bytes: bytes}
		l.entries[e.Name()] = v
		l.idle.Add(e.Name(), v)
		l.used += bytes
	}
	l.makeRoom(0)
	return l, nil
}

// temporary makes a folder for a copy that is being made.
func (l *localVersions) temporary() (string, error) { return os.MkdirTemp(l.dir, temporaryPrefix) }

// pin returns the folder of a copy whose digest was found right, which stays until release is called.
func (l *localVersions) pin(digest string) (dir string, release func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.entries[digest]
	if v == nil || !v.checked {
		return "", nil, false
	}
	l.hold(digest, v)
	return filepath.Join(l.dir, digest), sync.OnceFunc(func() { l.release(digest, v) }), true
}

// hold pins a copy. l.mu is held.
func (l *localVersions) hold(digest string, v *localVersion) {
	v.pins++
	l.idle.Remove(digest)
}

func (l *localVersions) release(digest string, v *localVersion) {
	l.mu.Lock()
	if v.pins--; v.pins == 0 && l.entries[digest] == v {
		l.idle.Add(digest, v)
	}
	l.mu.Unlock()
	l.makeRoom(0)
}

// check reports whether there is a good copy. One that an earlier process left is read; where it is damaged it goes.
func (l *localVersions) check(digest string) bool {
	l.mu.Lock()
	v := l.entries[digest]
	if v == nil || v.checked {
		l.mu.Unlock()
		return v != nil
	}
	l.hold(digest, v)
	l.mu.Unlock()
	got, err := adapters.DigestOf(filepath.Join(l.dir, digest))
	good := err == nil && got == digest
	l.mu.Lock()
	v.checked = good
	l.mu.Unlock()
	l.release(digest, v)
	if !good {
		l.remove(digest)
	}
	return good
}

// add makes the folder from, in which the files of a version are, its copy. Where there is one, from is left alone.
func (l *localVersions) add(digest, from string) error {
	bytes, err := sizeOf(from)
	if err != nil {
		return err
	}
	if !l.check(digest) {
		l.mu.Lock()
		if l.entries[digest] == nil {
			if err := os.Rename(from, filepath.Join(l.dir, digest)); err != nil {
				l.mu.Unlock()
				return err
			}
			v := &localVersion{bytes: bytes, checked: true}
			l.entries[digest] = v
			l.idle.Add(digest, v)
			l.used += bytes
		}
		l.mu.Unlock()
	}
	l.makeRoom(0)
	return nil
}

// makeRoom removes copies until so many bytes are free, or only pinned ones and the one used last are left.
func (l *localVersions) makeRoom(bytes int64) {
	l.mu.Lock()
	var gone []string
	for l.used+bytes > l.limit && (l.idle.Len() > 1 || bytes > 0) {
		digest, v, ok := l.idle.RemoveOldest()
		if !ok {
			break
		}
		gone = append(gone, l.drop(digest, v))
	}
	l.mu.Unlock()
	removeAll(gone)
}

// remove removes a copy, unless it is pinned: then it goes as others do.
func (l *localVersions) remove(digest string) {
	l.mu.Lock()
	var gone []string
	if v := l.entries[digest]; v != nil && v.pins == 0 {
		l.idle.Remove(digest)
		gone = append(gone, l.drop(digest, v))
	}
	l.mu.Unlock()
	removeAll(gone)
}

// drop takes a copy out, and returns the folder that is to be removed without l.mu, which is held.
func (l *localVersions) drop(digest string, v *localVersion) string {
	delete(l.entries, digest)
	l.used -= v.bytes
	from := filepath.Join(l.dir, digest)
	to, err := l.temporary()
	if err == nil {
		if err = os.Rename(from, filepath.Join(to, "gone")); err == nil {
			return to
		}
		os.Remove(to)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		os.RemoveAll(from) // a rename may need room
	}
	return to
}

func removeAll(dirs []string) {
	for _, d := range dirs {
		if d != "" {
			os.RemoveAll(d) // what is left goes at the next start
		}
	}
}

func (l *localVersions) stats() AdapterStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return AdapterStats{Local: len(l.entries), LocalBytes: l.used, LocalBudget: l.limit}
}

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
	"sync/atomic"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Options are the Store's settings.
type Options struct {
	Dir      string         // made where it does not exist
	Facts    *runtime.Facts // of the base that adapters are checked against
	MaxBytes int64          // of an adapter's tensors, and of an upload or what it unpacks to; 0: 2 GiB. All puts together hold twice that in files
	Memory   int64          // that loaded adapters may hold: one that takes more, packed, is not stored; 0: any
	Keep     int            // versions of a name that are kept, with the one it points at; 0: all. Pinned ones and those in use stay beside them
	Reserved []string       // names that no adapter may have
	// CheckTemplates returns why an adapter's own chat templates cannot be used; nil: all are stored as they come.
	CheckTemplates func(Templates) error
	Storage        Storage      // where versions and names are kept; nil: in Dir. It is opened, and closed with the Store
	Changed        func(Change) // is called after every change, once it is on the disk; must not call back; may be nil
	Warn           func(string) // is called with warnings for the operator, from any goroutine; may be nil
}

// Store keeps adapters on disk: versions that never change, and names that point at them. A put is atomic and
// survives the end of the process at any instant. Every method may be called from any goroutine.
type Store struct {
	o       Options
	fs      fileSystem
	storage Storage
	work    *disk.Budget // shared by the puts under way
	exports *disk.Budget // shared by the exports that are open
	lock    *os.File
	use     atomic.Pointer[func(digest string) Use] // set by a Cache

	closing context.Context // ends when Close begins, by end
	end     context.CancelFunc

	lifecycle sync.RWMutex // held for reading by what changes files, for writing by Close
	closed    bool         // guarded by lifecycle

	commit  sync.Mutex  // held while versions and names change on disk; taken before mu, and given back by done
	dropped atomic.Bool // the last hold of a version was dropped: a sweep is due

	mu       sync.RWMutex // guards what follows; never held during I/O
	names    map[string]*nameRecord
	steps    map[string]*nameRecord // checkpoints, by the name they are of; see checkpoint.go
	versions map[string]*version
	damaged  map[string]damagedName // names whose record cannot be read
	lost     []Record               // of checkpoints, that cannot be read
}

// damagedName is a name whose record cannot be read.
type damagedName struct {
	revision uint64
	err      error
}

// version is one that is stored. Its fields are guarded by Store.mu; the manifest itself never changes.
type version struct {
	manifest *manifest // nil where it is damaged
	err      error     // what is wrong with it
	refs     int       // names that refer to it
	holds    int       // selections that may still load it
	verified bool      // the digest of its files has been computed
	warned   bool      // its base is another, and this has been said
}

const (
	// workFactor times MaxBytes is what the puts under way may hold in files, all of them together: one of the largest
	// size is there once unpacked and once written.
	workFactor = 2
	// maxPuts is how many puts work at the same time; the others wait.
	maxPuts = 4
)

// Open opens the store in o.Dir, removes what an interrupted put has left there, and checks what it holds.
// Damaged versions and names are reported by Damaged and do not keep it from opening.
func Open(o Options) (*Store, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = 2 << 30
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	s := newStore(o)
	s.work, s.exports = disk.NewBudget(workFactor*o.MaxBytes), disk.NewBudget(workFactor*o.MaxBytes)
	if s.storage == nil {
		s.storage = newFolder(o.Dir, o.Warn)
	}
	if err := os.MkdirAll(s.path("tmp"), 0o700); err != nil {
		return nil, fmt.Errorf("adapter store: %w", err)
	}
	s.closing, s.end = context.WithCancel(context.Background())
	var err error
	if s.lock, err = disk.Lock(o.Dir); err != nil {
		return nil, fmt.Errorf("adapter store: %w", err)
	}
	if err := s.recover(); err != nil {
		return nil, fmt.Errorf("adapter store: %w", errors.Join(err, s.storage.Close(), s.lock.Close()))
	}
	return s, nil
}

// newStore returns a Store of nothing.
func newStore(o Options) *Store {
	return &Store{o: o, fs: osFiles{}, storage: o.Storage, names: make(map[string]*nameRecord), steps: make(map[string]*nameRecord),
		versions: make(map[string]*version), damaged: make(map[string]damagedName)}
}

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.o.Dir}, parts...)...)
}

// recover empties tmp and learns what is stored.
func (s *Store) recover() error {
	left, err := os.ReadDir(s.path("tmp"))
	if err != nil {
		return err
	}
	for _, e := range left {
		if err := os.RemoveAll(s.path("tmp", e.Name())); err != nil {
			return err
		}
	}
	if err := s.storage.Open(s.follower()); err != nil {
		return err
	}
	s.commit.Lock()
	defer s.commit.Unlock()
	if err := s.removeLost(); err != nil {
		return err
	}
	s.sweep()
	return nil
}

// Close ends the puts and merges under way, except those of a training job, which it waits for, and lets another
// process open the folder. It may be called twice.
func (s *Store) Close() error {
	s.end()
	s.lifecycle.Lock()
	defer s.lifecycle.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.sweep()
	return errors.Join(s.storage.Close(), s.lock.Close())
}

// List returns the adapters in the order of their names, each in the version its name points at. Damaged ones
// are left out.
func (s *Store) List() []Info {
	s.mu.RLock()
	list := make([]Info, 0, len(s.names))
	for _, r := range s.names {
		if v := s.versions[r.current().Digest]; v.err == nil {
			list = append(list, s.info(r, r.current()))
		}
	}
	s.mu.RUnlock()
	slices.SortFunc(list, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return s.withUse(list)
}

// Get returns the version that ref names; its scale does not matter. The error is an UnknownError, or wraps
// ErrName, ErrReference or ErrDamaged.
func (s *Store) Get(ref Ref) (Info, error) {
	s.mu.RLock()
	r, p, err := s.find(ref)
	var list []Info
	if err == nil {
		list = []Info{s.info(r, p)}
	}
	s.mu.RUnlock()
	if err != nil {
		return Info{}, s.suggest(err)
	}
	return s.withUse(list)[0], nil
}

// Versions returns the versions a name has pointed at, newest first, without damaged ones.
func (s *Store) Versions(name string) ([]Info, error) {
	s.mu.RLock()
	r, ok := s.names[name]
	var list []Info
	if ok {
		for i := len(r.Versions) - 1; i >= 0; i-- {
			if p := &r.Versions[i]; s.versions[p.Digest].err == nil {
				list = append(list, s.info(r, p))
			}
		}
	}
	s.mu.RUnlock()
	if !ok {
		return nil, s.unknown(name)
	}
	return s.withUse(list), nil
}

// Damaged returns what cannot be used, in the order of its names. Putting the same content again repairs a
// version; putting or deleting a name replaces its file.
func (s *Store) Damaged() []Damage {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []Damage
	for name, d := range s.damaged {
		list = append(list, Damage{"name " + name, d.err})
	}
	for digest, v := range s.versions {
		if v.err != nil {
			list = append(list, Damage{"version " + digest, v.err})
		}
	}
	slices.SortFunc(list, func(a, b Damage) int { return strings.Compare(a.What, b.What) })
	return list
}

// find looks a reference up. s.mu is held.
func (s *Store) find(ref Ref) (*nameRecord, *pointing, error) {
	if err := ref.check(); err != nil {
		return nil, nil, err
	}
	if r, p := s.findCheckpoint(ref); p != nil {
		return r, p, s.healthy(ref.Name, p)
	}
	r, ok := s.names[ref.Name]
	if !ok {
		if d, ok := s.damaged[ref.Name]; ok {
			return nil, nil, d.err
		}
		return nil, nil, &UnknownError{Name: ref.Name}
	}
	p := r.current()
	if ref.Version != "" {
		var err error
		if p, err = r.version(ref.Version); err != nil {
			return nil, nil, err
		}
	}
	return r, p, s.healthy(ref.Name, p)
}

// healthy returns what is wrong with the version that p is. s.mu is held.
func (s *Store) healthy(name string, p *pointing) error {
	if err := s.versions[p.Digest].err; err != nil {
		return fmt.Errorf("adapter %q: %w", name, err)
	}
	return nil
}

// version finds the version whose digest begins with prefix.
func (r *nameRecord) version(prefix string) (*pointing, error) {
	var found *pointing
	for i := range r.Versions {
		if !strings.HasPrefix(r.Versions[i].Digest, prefix) {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("%w: %q has more than one version that begins with %q", ErrReference, r.Name, prefix)
		}
		found = &r.Versions[i]
	}
	if found == nil {
		e := &UnknownError{Name: r.Name, Version: prefix}
		for i := len(r.Versions) - 1; i >= 0 && len(e.Close) < maxClose; i-- {
			e.Close = append(e.Close, shortDigest(r.Versions[i].Digest))
		}
		return nil, e
	}
	return found, nil
}

func (s *Store) unknown(name string) error {
	s.mu.RLock()
	_, _, err := s.find(Ref{Name: name})
	s.mu.RUnlock()
	return s.suggest(err)
}

// suggest adds the names that come near it to the error of an unknown name. They are searched for without s.mu, which
// is not held: requests go on meanwhile.
func (s *Store) suggest(err error) error {
	e, ok := err.(*UnknownError) //nolint:errorlint // as find returns it
	if !ok || e.Version != "" {
		return err
	}
	s.mu.RLock()
	names := make([]string, 0, len(s.names))
	for name := range s.names {
		names = append(names, name)
	}
	s.mu.RUnlock()
	e.Close = nearest(e.Name, names)
	return e
}

// info describes a healthy version. s.mu is held.
func (s *Store) info(r *nameRecord, p *pointing) Info {
	m, current := s.versions[p.Digest].manifest, s.names[r.Name]
	return Info{
		Name: r.Name, Version: shortDigest(p.Digest), Digest: p.Digest, Summary: m.Summary, Bytes: m.Bytes, Base: m.Base,
		Created: p.Created, Origin: p.Origin, Metrics: p.Metrics, Label: p.Label, Pinned: p.Pinned,
		Current: p.Label == "" && current != nil && p.Digest == current.current().Digest,
	}
}

// withUse asks the Cache how versions are used. s.mu is not held: the Cache calls the Store with its own lock held.
func (s *Store) withUse(list []Info) []Info {
	if use := s.use.Load(); use != nil {
		for i := range list {
			list[i].Use = (*use)(list[i].Digest)
		}
	}
	return list
}

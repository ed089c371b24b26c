package adapters

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// This file is the seam between a Store and where it keeps versions and names: a folder (folder.go), or what several
// servers share (package cluster).

// RecordKind says which of the two sets of records one belongs to.
type RecordKind string

// The kinds. Both may have a record of the same name.
const (
	NameRecords       RecordKind = "names"       // the versions a name points at and has pointed at
	CheckpointRecords RecordKind = "checkpoints" // the labelled versions of a name in training
)

// Record is what is kept under a name. Only the Store reads its Data.
type Record struct {
	Kind     RecordKind
	Name     string
	Data     []byte // JSON; nil: there is none, or it was removed
	Revision uint64 // grows with every write; 0: it was never written
	Err      error  // why Data cannot be read
}

// StoredVersion is what is known of a version without its tensors.
type StoredVersion struct {
	Digest   string
	Manifest []byte // JSON, which only the Store reads; nil: it was removed
	Err      error  // why it cannot be used
}

// ErrUnavailable means that other servers are needed for what was asked, and not enough of them can be reached. Nothing is
// lost; trying again later may succeed.
var ErrUnavailable = errors.New("the cluster cannot be reached")

// ConflictError means that a record is not written because another server has written it since it was read.
type ConflictError struct{ Current Record }

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s of %q: another server has changed it meanwhile", e.Current.Kind, e.Current.Name)
}

// Follower is what a Storage tells, and asks. Its functions may be called from any goroutine and return soon.
type Follower struct {
	Version func(StoredVersion) // it is there, has changed or was removed
	Record  func(Record)        // likewise; one whose revision is not newer changes nothing
	// Unused reports whether no record refers to a version and nothing in this process holds it.
	Unused func(digest string) bool
	Warn   func(string)
}

// Storage is where a Store keeps versions and records. A version is a folder of files that never change; a record is
// replaced in one step. What a method has returned without an error survives the end of this process, and of as many
// others as the storage is made for, at any instant. Its methods may be called from any goroutine after Open, but for
// Place, Write and Remove, of which the Store calls one at a time.
type Storage interface {
	// Open tells the Follower of everything that is stored, the records after the versions they refer to, and returns. From
	// then on it tells of what others change, in the order in which they do, until Close.
	Open(f Follower) error
	// Shared reports whether other processes use it at the same time. A shared Storage removes versions by itself, when
	// none of them has had a use for it for a time.
	Shared() bool
	// Upload brings the files of the version in the folder dir to where Place needs them. It may take long, and is called
	// before Place without any lock. The result is passed to Place. there: the version is stored already and undamaged.
	Upload(ctx context.Context, digest, dir string, there bool) (uploaded string, err error)
	// Place makes a version readable for all. It may move the folder dir away. It replaces what is there of the version,
	// unless there is true: then it only makes sure that the version stays for as long as a record needs to be written.
	Place(v StoredVersion, dir, uploaded string, there bool) error
	// Folder returns a folder of this machine that holds the files of a version, for reading, until release is called: files
	// that are open then stay readable. It waits until they are there. The error wraps ErrDamaged where they are not what
	// was stored, and ErrUnavailable where they are elsewhere and cannot be brought.
	Folder(ctx context.Context, digest string) (dir string, release func(), err error)
	// Remove removes a version that nothing refers to. Where the Storage is shared, it notes that this process does not.
	Remove(digest string) error
	// Write replaces the record whose last revision the caller has seen is r.Revision, or removes it where r.Data is nil,
	// and returns its new revision. Another revision there is a *ConflictError, and changes nothing.
	Write(r Record) (revision uint64, err error)
	// Close ends the calls of the Follower. It may be called twice.
	Close() error
}

// maxConflicts bounds how often a change is made anew because other servers change the same name.
const maxConflicts = 100

// records are the records of a kind. s.mu is held.
func (s *Store) records(kind RecordKind) map[string]*nameRecord {
	if kind == CheckpointRecords {
		return s.steps
	}
	return s.names
}

// rewrite replaces a record by what change makes of it, and change is asked again where another server was faster. It is
// given nil where there is no record, must not change what it is given, and returns the same for no change, or a record
// without versions to remove it. s.commit is held.
func (s *Store) rewrite(kind RecordKind, name string, change func(old *nameRecord) (*nameRecord, error)) (old, next *nameRecord, err error) {
	for range maxConflicts {
		s.mu.RLock()
		old = s.records(kind)[name]
		r := Record{Kind: kind, Name: name}
		if d, ok := s.damaged[name]; ok && kind == NameRecords {
			r.Revision = d.revision
		}
		s.mu.RUnlock()
		if next, err = change(old); err != nil || next == old {
			return old, old, err
		}
		if old != nil {
			r.Revision = old.revision
		}
		if len(next.Versions) > 0 {
			if r.Data, err = json.MarshalIndent(next, "", "  "); err != nil {
				return nil, nil, err
			}
			r.Data = append(r.Data, '\n')
		}
		var conflict *ConflictError
		revision, err := s.storage.Write(r)
		if errors.As(err, &conflict) {
			s.follow(conflict.Current)
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		next.revision = revision
		s.mu.Lock()
		s.setRecord(kind, name, next)
		s.mu.Unlock()
		return old, next, nil
	}
	return nil, nil, fmt.Errorf("%w: other servers change %q all the time", ErrUnavailable, name)
}

// setRecord puts a record in the place of an older one, and counts which versions are referred to. A newer one stays.
// s.mu is held, or the Store not shared.
func (s *Store) setRecord(kind RecordKind, name string, next *nameRecord) {
	records := s.records(kind)
	old := records[name]
	if old != nil && old.revision > next.revision {
		return
	}
	if old != nil {
		for _, p := range old.Versions {
			s.versions[p.Digest].refs--
		}
	}
	delete(records, name)
	if kind == NameRecords {
		delete(s.damaged, name)
	}
	if len(next.Versions) > 0 {
		records[next.Name] = next // not name, whose bytes may be the request's
		s.refer(next)
	}
}

// refer counts what a record refers to.
func (s *Store) refer(r *nameRecord) {
	for _, p := range r.Versions {
		v := s.versions[p.Digest]
		if v == nil {
			v = &version{err: fmt.Errorf("%w: version %s is missing", ErrDamaged, p.Digest)}
			s.versions[p.Digest] = v
		}
		v.refs++
	}
}

// follow takes a record from the Storage.
func (s *Store) follow(r Record) {
	next := &nameRecord{Name: r.Name}
	err := r.Err
	if err == nil && r.Data != nil {
		next, err = parseName(r.Name, r.Data)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		next.revision = r.Revision
		s.setRecord(r.Kind, r.Name, next)
		return
	}
	if old := s.records(r.Kind)[r.Name]; old != nil && old.revision >= r.Revision {
		return
	}
	s.setRecord(r.Kind, r.Name, &nameRecord{Name: r.Name, revision: r.Revision})
	s.damagedRecord(r, err)
}

// damagedRecord notes a record that cannot be read. Checkpoints whose record is lost are made again by their job. s.mu is
// held, or the Store not shared.
func (s *Store) damagedRecord(r Record, err error) {
	if r.Kind == CheckpointRecords {
		s.lost = append(s.lost, r)
		s.o.Warn(fmt.Sprintf("adapter store: the checkpoints in %s.json are lost: %v", r.Name, err))
		return
	}
	s.damaged[r.Name] = damagedName{r.Revision, fmt.Errorf("%w: name %q: %w", ErrDamaged, r.Name, err)}
}

// followVersion takes a version from the Storage.
func (s *Store) followVersion(x StoredVersion) {
	var m *manifest
	err := x.Err
	if err == nil && x.Manifest != nil {
		m, err = parseManifest(x.Digest, x.Manifest)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.versions[x.Digest]
	switch {
	case err != nil:
		err = fmt.Errorf("%w: version %s: %w", ErrDamaged, x.Digest, err)
	case m == nil && v == nil:
		return
	case m == nil && v.refs == 0 && v.holds == 0:
		delete(s.versions, x.Digest)
		return
	case m == nil:
		err = fmt.Errorf("%w: version %s is missing", ErrDamaged, x.Digest)
	}
	if v == nil {
		v = &version{}
		s.versions[x.Digest] = v
	}
	if err == nil {
		v.manifest = m
	}
	v.err = err
}

// unused reports whether no record refers to a version and nothing holds it.
func (s *Store) unused(digest string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := s.versions[digest]
	return v == nil || v.refs == 0 && v.holds == 0
}

// follower is what the Storage tells.
func (s *Store) follower() Follower {
	return Follower{Version: s.followVersion, Record: s.follow, Unused: s.unused, Warn: s.o.Warn}
}

// removeLost removes the records of checkpoints that cannot be read.
func (s *Store) removeLost() error {
	lost := s.lost
	s.lost = nil
	for _, r := range lost {
		if _, err := s.storage.Write(Record{Kind: r.Kind, Name: r.Name, Revision: r.Revision}); err != nil {
			return err
		}
	}
	return nil
}

// withVersion returns a copy of a record whose version at i is changed by change, or removed where change is nil.
func (r *nameRecord) withVersion(i int, change func(*pointing)) *nameRecord {
	next := &nameRecord{Name: r.Name, Versions: slices.Clone(r.Versions)}
	if change == nil {
		next.Versions = slices.Delete(next.Versions, i, i+1)
	} else {
		change(&next.Versions[i])
	}
	return next
}

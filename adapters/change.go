package adapters

import (
	"fmt"
	"slices"
	"strings"
)

// ChangeAction is what happened to an adapter, or to one version of it.
type ChangeAction string

// The actions.
const (
	Added    ChangeAction = "added"    // the name points at the version from now on
	Deleted  ChangeAction = "deleted"  // the name, with all its versions, or one version
	Expired  ChangeAction = "expired"  // the version, which is older than those that are kept
	Pinned   ChangeAction = "pinned"   // the version is kept however many come after it
	Unpinned ChangeAction = "unpinned" // it is no longer
)

// Change is one change of what a Store holds, as a log has it. Checkpoints of a training job are no changes.
type Change struct {
	Action  ChangeAction
	Name    string
	Version string // "" where the name goes
	Bytes   int64  // of the version; of all versions where the name goes
	By      Origin // where it came from, or what asked for the change
}

// reportChange hands a change to Options.Changed.
func (s *Store) reportChange(c Change) {
	if s.o.Changed != nil {
		s.o.Changed(c)
	}
}

// bytesOf returns the bytes of a version, 0 where it is damaged. s.mu is held.
func (s *Store) bytesOf(digest string) int64 {
	if v := s.versions[digest]; v != nil && v.manifest != nil {
		return v.manifest.Bytes
	}
	return 0
}

// Pin keeps the version that ref names however many come after it, or no longer. Pinning a version that is pinned changes
// nothing. Checkpoints cannot be pinned: the error wraps ErrReference. Other errors are those of Get, and ErrClosed.
func (s *Store) Pin(ref Ref, pinned bool, by Origin) (Info, error) {
	if isLabel(ref.Version) {
		return Info{}, fmt.Errorf("%w: %s is a checkpoint, which its job keeps and removes", ErrReference, ref)
	}
	action := Unpinned
	if pinned {
		action = Pinned
	}
	info, err := s.changeVersion(ref, action, by, func(old *nameRecord, i int) *nameRecord {
		if old.Versions[i].Pinned == pinned {
			return old
		}
		return old.withVersion(i, func(p *pointing) { p.Pinned = pinned })
	})
	if err != nil {
		return Info{}, err
	}
	info.Pinned = pinned
	return info, nil
}

// RollBack points the name at the version that ref names, as if that had been stored again: it is the newest from then on. It
// keeps its date and whether it is pinned, and the others stay. Where it is the current version, nothing changes. Checkpoints
// are no versions of a name: the error wraps ErrReference. Other errors are those of Get, and ErrClosed.
func (s *Store) RollBack(ref Ref, by Origin) (Info, error) {
	info, err := s.changeVersion(ref, Added, by, func(old *nameRecord, i int) *nameRecord {
		if i == len(old.Versions)-1 {
			return old
		}
		return old.pointedAt(old.Name, old.Versions[i])
	})
	if err != nil {
		return Info{}, err
	}
	info.Current = true
	return info, nil
}

// changeVersion replaces the record of a name by what change makes of it and of where it has the version that ref names, and
// reports the action, unless change returns the record itself. It returns what was known of the version before.
func (s *Store) changeVersion(ref Ref, action ChangeAction, by Origin, change func(old *nameRecord, i int) *nameRecord) (Info, error) {
	s.lifecycle.RLock()
	defer s.lifecycle.RUnlock()
	if s.closed {
		return Info{}, ErrClosed
	}
	s.commit.Lock()
	defer s.done()
	info, err := s.Get(ref)
	if err != nil {
		return Info{}, err
	}
	old, next, err := s.rewrite(NameRecords, info.Name, func(old *nameRecord) (*nameRecord, error) {
		i, err := old.ofName(ref, info.Digest)
		if err != nil {
			return old, err
		}
		return change(old, i), nil
	})
	if err != nil {
		return Info{}, err
	}
	if next != old {
		s.reportChange(Change{Action: action, Name: info.Name, Version: info.Version, Bytes: info.Bytes, By: by})
	}
	return info, nil
}

// DeleteVersion removes the version that ref names, also a pinned one. Where it is the current one, the name points at the
// newest of the others; the last version goes with its name. Requests that have selected it still get it. Checkpoints are
// their job's: the error wraps ErrReference. Other errors are those of Get, and ErrClosed.
func (s *Store) DeleteVersion(ref Ref, by Origin) error {
	s.lifecycle.RLock()
	defer s.lifecycle.RUnlock()
	if s.closed {
		return ErrClosed
	}
	s.commit.Lock()
	defer s.done()
	info, err := s.Get(ref)
	if err != nil {
		return err
	}
	s.mu.RLock()
	old := s.names[info.Name]
	s.mu.RUnlock()
	if _, err := old.ofName(ref, info.Digest); err == nil && len(old.Versions) == 1 {
		return s.deleteName(info.Name, by)
	}
	_, _, err = s.rewrite(NameRecords, info.Name, func(old *nameRecord) (*nameRecord, error) {
		i, err := old.ofName(ref, info.Digest)
		if err != nil {
			return old, err
		}
		return old.withVersion(i, nil), nil
	})
	if err != nil {
		return err
	}
	s.sweep()
	s.reportChange(Change{Action: Deleted, Name: info.Name, Version: info.Version, Bytes: info.Bytes, By: by})
	return nil
}

// ofName returns where a record has the version that ref was found to be. What only a checkpoint has is an ErrReference.
func (r *nameRecord) ofName(ref Ref, digest string) (int, error) {
	i := -1
	if r != nil && !isLabel(ref.Version) {
		i = slices.IndexFunc(r.Versions, func(p pointing) bool { return p.Digest == digest })
	}
	if i < 0 {
		return i, fmt.Errorf("%w: %s is a checkpoint, which its job keeps and removes", ErrReference, ref)
	}
	return i, nil
}

// trim drops the versions of a record that are older than the newest keep. Pinned ones and those that requests hold stay
// and do not count. It returns the digests of those that went. keep 0 keeps all. s.mu is held.
func (s *Store) trim(r *nameRecord, keep int) (dropped []string) {
	if keep <= 0 {
		return nil
	}
	var kept []pointing // newest first
	for _, p := range slices.Backward(r.Versions) {
		v := s.versions[p.Digest]
		stays := p.Pinned || v != nil && v.holds > 0
		switch {
		case stays:
		case keep > 0:
			keep--
		default:
			dropped = append(dropped, p.Digest)
			continue
		}
		kept = append(kept, p)
	}
	slices.Reverse(kept)
	r.Versions = kept
	return dropped
}

// allBytes sums the bytes of a record's versions. s.mu is held.
func (s *Store) allBytes(r *nameRecord) (sum int64) {
	if r != nil {
		for _, p := range r.Versions {
			sum += s.bytesOf(p.Digest)
		}
	}
	return sum
}

// String is how a log names an origin: its kind, and what it says more.
func (o Origin) String() string {
	detail := o.Detail
	if o.Merge != nil {
		var from []string
		for _, i := range o.Merge.From {
			from = append(from, fmt.Sprintf("%s@%s*%g", i.Name, shortDigest(i.Digest), i.Weight))
		}
		detail = o.Merge.Method + " of " + strings.Join(from, " + ")
	}
	if detail == "" {
		return o.Kind
	}
	return o.Kind + ": " + detail
}

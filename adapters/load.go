package adapters

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file is what the Cache asks of the Store: keep a version while it may be needed, and read it.

// take is Get, and keeps the version on disk until it is dropped.
func (s *Store) take(ref Ref) (Info, error) {
	s.mu.Lock()
	r, p, err := s.find(ref)
	if err != nil {
		s.mu.Unlock()
		return Info{}, s.suggest(err)
	}
	defer s.mu.Unlock()
	s.versions[p.Digest].holds++
	return s.info(r, p), nil
}

// Load returns the version that ref names with its values. Errors are those of Get, and of reading the version: they wrap
// ErrDamaged or runtime.ErrAdapter.
func (s *Store) Load(ref Ref) (Info, *runtime.LoRA, error) {
	info, err := s.take(ref)
	if err != nil {
		return Info{}, nil, err
	}
	defer s.drop(info.Digest)
	lora, err := s.load(info.Digest)
	return info, lora, err
}

// hold keeps a version on disk, if it is still there.
func (s *Store) hold(digest string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.versions[digest]
	if v != nil {
		v.holds++
	}
	return v != nil
}

// drop ends a take or a hold. The last one removes a version that no name refers to any more, or leaves that to
// the change of the Store that is under way.
func (s *Store) drop(digest string) {
	s.mu.Lock()
	v := s.versions[digest]
	v.holds--
	gone := v.holds == 0 && v.refs == 0
	s.mu.Unlock()
	if !gone || !s.lifecycle.TryRLock() {
		return
	}
	defer s.lifecycle.RUnlock()
	if !s.closed {
		s.dropped.Store(true)
		s.sweepIfIdle()
	}
}

// sweepIfIdle sweeps after drops, unless a change is under way: done calls it again at the end of that. s.lifecycle is held.
func (s *Store) sweepIfIdle() {
	for s.dropped.Load() && s.commit.TryLock() {
		s.dropped.Store(false)
		s.sweep()
		s.commit.Unlock()
	}
}

// done ends a change, and does what drops could not do meanwhile.
func (s *Store) done() {
	s.commit.Unlock()
	s.sweepIfIdle()
}

// load reads a version that is held, and checks it against its digest and the base. The error wraps ErrDamaged
// where its files are not what was stored, and runtime.ErrAdapter where it was stored for another base.
func (s *Store) load(digest string) (*runtime.LoRA, error) {
	a, err := s.fit(digest)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	return a.LoRA()
}

// fit is load without the values, which are read when they are asked for. The caller closes the adapter.
func (s *Store) fit(digest string) (*peft.Adapter, error) {
	m, dir, release, err := s.verified(digest)
	if err != nil {
		return nil, err
	}
	defer release()
	o := opener{facts: s.o.Facts, maxBytes: 1 << 62} // nothing of a version is unpacked
	src, err := o.folder(func(name string) (*os.File, error) { return os.Open(filepath.Join(dir, name)) })
	if err != nil {
		return nil, fmt.Errorf("%w: version %s: %s", ErrDamaged, digest, err.Error()) // not %w: no fault of the user
	}
	a, err := src.Fit(s.o.Facts)
	if err != nil {
		src.Close()
		return nil, s.explainBase(m, err)
	}
	s.warnBase(digest, m)
	return a, nil
}

// verified returns the folder of a version that is held, once its digest has been found to be right. Its files may be
// opened until release is called.
func (s *Store) verified(digest string) (m *manifest, dir string, release func(), err error) {
	s.mu.RLock()
	v := s.versions[digest]
	if v == nil {
		s.mu.RUnlock()
		return nil, "", nil, fmt.Errorf("%w: version %s was deleted", ErrUnknown, shortDigest(digest))
	}
	m, verified, err := v.manifest, v.verified, v.err
	s.mu.RUnlock()
	if err != nil {
		return nil, "", nil, err
	}
	if dir, release, err = s.storage.Folder(s.closing, digest); err != nil {
		s.noteDamage(digest, err)
		return nil, "", nil, err
	}
	if !verified {
		if err = s.verify(digest, dir); err != nil {
			release()
			return nil, "", nil, err
		}
	}
	return m, dir, release, nil
}

// noteDamage remembers that a version is damaged, so that putting the same content again repairs it.
func (s *Store) noteDamage(digest string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.versions[digest]; v != nil && errors.Is(err, ErrDamaged) {
		v.err = err
	}
}

// verify computes the digest of a version's files, once in each process.
func (s *Store) verify(digest, dir string) error {
	got, err := DigestOf(dir)
	switch {
	case err == nil && got != digest:
		err = fmt.Errorf("%w: version %s: its content has the digest %s", ErrDamaged, digest, got)
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%w: version %s: %w", ErrDamaged, digest, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.versions[digest]
	if v == nil {
		return err // it was not held, and is gone
	}
	v.verified = err == nil
	if errors.Is(err, ErrDamaged) {
		v.err = err
	}
	return err
}

// explainBase adds to an error that the adapter was stored for another base.
func (s *Store) explainBase(m *manifest, err error) error {
	if m.Base == s.o.Facts.Fingerprint {
		return err
	}
	return fmt.Errorf("%w (it was stored for another base, with the fingerprint %s)", err, m.Base)
}

// warnBase says, once, that a version is used on another base than the one it was stored for.
func (s *Store) warnBase(digest string, m *manifest) {
	s.mu.Lock()
	v := s.versions[digest]
	warn := m.Base != s.o.Facts.Fingerprint && !v.warned
	v.warned = v.warned || warn
	s.mu.Unlock()
	if warn {
		s.o.Warn(fmt.Sprintf("adapter version %s was stored for another base (fingerprint %s); its shapes fit this one, its answers may not",
			shortDigest(m.Digest), m.Base))
	}
}

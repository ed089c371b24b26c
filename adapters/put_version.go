package adapters

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// PutVersion points a name at a version that another name has. Nothing is copied: the files stay for as long as one of the names
// has them. Errors are those of Get and of PutLoRA.
func (s *Store) PutVersion(name string, ref Ref, n Note) (Info, error) {
	if err := CheckName(name); err != nil {
		return Info{}, err
	}
	if slices.Contains(s.o.Reserved, name) {
		return Info{}, fmt.Errorf("%w: the name %q stands for something else here", ErrName, name)
	}
	s.lifecycle.RLock()
	defer s.lifecycle.RUnlock()
	if s.closed {
		return Info{}, ErrClosed
	}
	info, err := s.take(ref)
	if err != nil {
		return Info{}, err
	}
	defer s.drop(info.Digest) // until then it stays where it is, and is not placed anew
	s.mu.RLock()
	m := *s.versions[info.Digest].manifest // which Get has found to be whole
	s.mu.RUnlock()
	m.Created = time.Now().UTC().Round(time.Millisecond)
	uploaded, err := s.storage.Upload(context.Background(), info.Digest, "", true)
	if err != nil {
		return Info{}, err
	}
	if info, err = s.publish(name, "", uploaded, &m, n); err != nil {
		return Info{}, err
	}
	return s.withUse([]Info{info})[0], nil
}

package adapters

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file keeps checkpoints: versions that a training job stores under a name while it runs. They are asked
// for by their label, "pirate@step-100", or by their digest. The name itself does not point at them, and may
// point at nothing yet.

// labelPrefix begins every label; the number of steps follows.
const labelPrefix = "step-"

// isLabel reports whether s is the label of a checkpoint.
func isLabel(s string) bool {
	step, ok := strings.CutPrefix(s, labelPrefix)
	n, err := strconv.ParseUint(step, 10, 31)
	return ok && err == nil && strconv.FormatUint(n, 10) == step // no sign, no leading zero
}

// maxCheckpoints bounds the checkpoints of one name, also pinned ones.
const maxCheckpoints = 1000

// PutCheckpoint stores an adapter in training as name@step-N. Of the checkpoints of the same job the keep newest stay, and
// one with the same label is replaced. Of other jobs the pinned ones stay, up to a bound: the label then means the last of
// its checkpoints, and the digest each. Errors are those of PutLoRA.
func (s *Store) PutCheckpoint(name string, step, keep int, a runtime.LoRASource, n Note) (Info, error) {
	return s.build(context.Background(), name, n, openLoRA(a), func(dir, uploaded string, m *manifest) (Info, error) {
		s.commit.Lock()
		defer s.done()
		defer s.sweep()
		if err := s.place(dir, uploaded, m); err != nil {
			return Info{}, err
		}
		p := pointing{Digest: m.Digest, Label: fmt.Sprint(labelPrefix, step), Created: m.Created, Origin: n.Origin, Metrics: n.Metrics, Pinned: n.Pin}
		_, next, err := s.rewrite(CheckpointRecords, name, func(old *nameRecord) (*nameRecord, error) {
			next := &nameRecord{Name: name}
			if old != nil {
				next.Versions = slices.Clone(old.Versions)
			}
			next.Versions = append(next.Versions, p)
			next.trimCheckpoints(&p, keep)
			return next, nil
		})
		if err != nil {
			return Info{}, err
		}
		s.mu.RLock()
		defer s.mu.RUnlock()
		return s.info(next, next.current()), nil
	})
}

// trimCheckpoints leaves out what does not stay beside the last checkpoint, which is p.
func (r *nameRecord) trimCheckpoints(p *pointing, keep int) {
	kept := []pointing{*p} // the newest first
	for _, o := range slices.Backward(r.Versions[:len(r.Versions)-1]) {
		ofJob := o.Origin.Kind == p.Origin.Kind && o.Origin.Detail == p.Origin.Detail
		switch {
		case ofJob && (o.Label == p.Label || keep <= 1), !ofJob && !o.Pinned, len(kept) == maxCheckpoints:
			continue
		case ofJob:
			keep--
		}
		kept = append(kept, o)
	}
	slices.Reverse(kept)
	r.Versions = kept
}

// JobVersion returns the version that a training job made: the adapter, or with a label one of its checkpoints. It reports
// false where none is kept, or another job has made the same since.
func (s *Store) JobVersion(job, label string) (Ref, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	records := s.names
	if label != "" {
		records = s.steps
	}
	for _, r := range records {
		for _, p := range slices.Backward(r.Versions) {
			if p.Origin.Kind == FromJob && p.Origin.Detail == job && p.Label == label {
				return Ref{Name: r.Name, Version: shortDigest(p.Digest), Scale: 1}, true
			}
		}
	}
	return Ref{}, false
}

// Checkpoints returns the checkpoints stored under the name, the newest first, without damaged ones.
func (s *Store) Checkpoints(name string) []Info {
	s.mu.RLock()
	var list []Info
	if r := s.steps[name]; r != nil {
		for i := len(r.Versions) - 1; i >= 0; i-- {
			if p := &r.Versions[i]; s.versions[p.Digest].err == nil {
				list = append(list, s.info(r, p))
			}
		}
	}
	s.mu.RUnlock()
	return s.withUse(list)
}

// DropCheckpoints removes the checkpoints of the name that are not pinned, if there are any. Requests that have selected
// one of them still get it.
func (s *Store) DropCheckpoints(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	s.lifecycle.RLock()
	defer s.lifecycle.RUnlock()
	if s.closed {
		return ErrClosed
	}
	s.commit.Lock()
	defer s.done()
	old, next, err := s.rewrite(CheckpointRecords, name, func(old *nameRecord) (*nameRecord, error) {
		if old == nil {
			return nil, nil
		}
		next := &nameRecord{Name: name}
		next.Versions = slices.DeleteFunc(slices.Clone(old.Versions), func(p pointing) bool { return !p.Pinned })
		if len(next.Versions) == len(old.Versions) {
			return old, nil
		}
		return next, nil
	})
	if next != old {
		s.sweep()
	}
	return err
}

// findCheckpoint looks a checkpoint up by its label, or by the beginning of a digest that is no version's. It
// returns nil where there is none. s.mu is held.
func (s *Store) findCheckpoint(ref Ref) (*nameRecord, *pointing) {
	r := s.steps[ref.Name]
	if r == nil || ref.Version == "" {
		return nil, nil
	}
	if named := s.names[ref.Name]; named != nil && named.has(ref.Version) {
		return nil, nil
	}
	for i := len(r.Versions) - 1; i >= 0; i-- {
		if p := &r.Versions[i]; p.Label == ref.Version || strings.HasPrefix(p.Digest, ref.Version) {
			return r, p
		}
	}
	return nil, nil
}

// has reports whether a version's digest begins with prefix.
func (r *nameRecord) has(prefix string) bool {
	return slices.ContainsFunc(r.Versions, func(p pointing) bool { return strings.HasPrefix(p.Digest, prefix) })
}

package tinker

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
)

// Checkpoint returns a checkpoint that the caller may use: its own, or a public one. field is what named it.
func (s *Service) Checkpoint(who *Caller, field, path string) (*Checkpoint, error) {
	p, err := ParsePath(field, path)
	if err != nil {
		return nil, err
	}
	c := s.checkpoints.find(p)
	if c == nil || !who.sees(c.Owner) && !c.Public || s.hasExpired(c) {
		return nil, fmt.Errorf("%w: checkpoint %.300q", ErrUnknown, path)
	}
	return c, nil
}

func (s *Service) hasExpired(c *Checkpoint) bool {
	return !c.Expires.IsZero() && !s.o.Now().Before(c.Expires)
}

// AdapterOf returns the version of the adapters' store that a checkpoint is. field is what named it.
func (s *Service) AdapterOf(who *Caller, field, path string) (adapters.Ref, error) {
	c, err := s.Checkpoint(who, field, path)
	if err != nil {
		return adapters.Ref{}, err
	}
	ref := adapters.Ref{Name: c.Adapter, Version: c.Digest, Scale: 1}
	_, err = s.o.Store.Get(ref)
	return ref, err
}

// own returns a checkpoint that the caller may change.
func (s *Service) own(who *Caller, p Path) (*Checkpoint, error) {
	c := s.checkpoints.find(p)
	if c == nil || !who.sees(c.Owner) || s.hasExpired(c) {
		return nil, fmt.Errorf("%w: checkpoint %.300q", ErrUnknown, p)
	}
	return c, nil
}

// Delete removes a checkpoint and its adapter. Answers that are being sampled from it go on.
func (s *Service) Delete(who *Caller, p Path) error {
	c, err := s.own(who, p)
	if err != nil {
		return err
	}
	return s.remove(c)
}

// remove removes a checkpoint, its state and its adapter.
func (s *Service) remove(c *Checkpoint) error {
	if err := s.checkpoints.remove(c); err != nil {
		return err
	}
	err := s.o.Store.Delete(c.Adapter, adapters.Origin{Kind: adapters.ByRequest})
	if errors.Is(err, adapters.ErrUnknown) { // it was deleted as an adapter
		return nil
	}
	return err
}

// Publish lets everybody with a key use a checkpoint, or takes that back.
func (s *Service) Publish(who *Caller, p Path, public bool) error {
	return s.change(who, p, func(c *Checkpoint) { c.Public = public })
}

// SetTTL has a checkpoint expire after so many seconds from now; nil: never.
func (s *Service) SetTTL(who *Caller, p Path, seconds *int64) error {
	if err := checkTTL(seconds); err != nil {
		return err
	}
	return s.change(who, p, func(c *Checkpoint) {
		if c.Expires = (time.Time{}); seconds != nil {
			c.Expires = s.o.Now().UTC().Add(time.Duration(*seconds) * time.Second).Round(time.Millisecond)
		}
	})
}

func (s *Service) change(who *Caller, p Path, do func(*Checkpoint)) error {
	old, err := s.own(who, p)
	if err != nil {
		return err
	}
	c := *old
	do(&c)
	return s.checkpoints.put(&c)
}

// Checkpoints lists the caller's checkpoints, of one run or of all where run is "", the newest first.
func (s *Service) Checkpoints(who *Caller, run string) []*Checkpoint {
	return s.checkpoints.list(func(c *Checkpoint) bool {
		return who.sees(c.Owner) && (run == "" || c.Run == run) && !s.hasExpired(c)
	})
}

// Bytes returns how much the states of an owner's checkpoints take on the disk, beside the adapters.
func (s *Service) Bytes(owner string) (n int64) {
	for _, c := range s.checkpoints.list(func(c *Checkpoint) bool { return c.Owner == owner }) {
		n += s.stateBytes(c)
	}
	return n
}

// Run is a model that is there, or that checkpoints are there of.
type Run struct {
	ID       string
	Owner    string
	Model    string // the base's name
	Config   Config
	Used     time.Time
	Training *Checkpoint // the last of each kind, or nil
	Sampler  *Checkpoint
	Metadata map[string]string
}

// Runs lists the caller's runs, the last used first.
func (s *Service) Runs(who *Caller) []Run {
	runs := map[string]*Run{}
	for _, c := range s.Checkpoints(who, "") {
		r := runs[c.Run]
		if r == nil { // the newest comes first
			r = &Run{ID: c.Run, Owner: c.Owner, Model: c.Model, Config: c.Config, Used: c.Created, Metadata: c.OfRun}
			runs[c.Run] = r
		}
		if c.Kind == KindTraining && r.Training == nil {
			r.Training = c
		} else if c.Kind == KindSampler && r.Sampler == nil {
			r.Sampler = c
		}
	}
	s.mu.Lock()
	for id, m := range s.models {
		if !who.sees(m.owner) {
			continue
		}
		r := runs[id]
		if r == nil {
			r = &Run{ID: id, Owner: m.owner, Model: s.BaseName(), Config: m.config, Metadata: m.metadata}
			runs[id] = r
		}
		m.mu.Lock()
		r.Used = m.seen
		m.mu.Unlock()
	}
	s.mu.Unlock()
	list := make([]Run, 0, len(runs))
	for _, r := range runs {
		list = append(list, *r)
	}
	slices.SortFunc(list, func(a, b Run) int { return b.Used.Compare(a.Used) })
	return list
}

// Run returns one of the caller's runs.
func (s *Service) Run(who *Caller, id string) (Run, error) {
	for _, r := range s.Runs(who) {
		if r.ID == id {
			return r, nil
		}
	}
	return Run{}, fmt.Errorf("%w: training run %.120q", ErrUnknown, id)
}

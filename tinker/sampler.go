package tinker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// sampler is a sampling session: what its answers are sampled from never changes.
type sampler struct {
	id      string
	owner   string
	session *session
	path    string        // of the checkpoint; "" for none
	ref     *adapters.Ref // of the checkpoint's adapter; nil for the base and for weights from memory
	seq     int64         // number of the last client that joined
	used    time.Time     // the last request; Service.mu guards it

	mu       sync.Mutex
	unstored *adapters.Unstored // weights from memory; nil: none, or let go
	snapshot bool               // it is of weights from memory
}

// SamplerInfo describes a sampling session.
type SamplerInfo struct {
	ID, Path string // Path is "" where it is of the base or of weights that are in no checkpoint
}

// CreateSampler makes the session's sampling session number seq, of a checkpoint or, without a path, of the base. A number that
// comes again is answered the same.
func (s *Service) CreateSampler(who *Caller, sessionID string, seq int64, base, path string) (string, error) {
	p := &sampler{path: path}
	if path == "" || base != "" {
		if err := s.checkBase(base); err != nil {
			return "", err
		}
	}
	if path != "" {
		ref, err := s.AdapterOf(who, "model_path", path)
		if err != nil {
			return "", err
		}
		p.ref = &ref
	}
	return s.addSampler(who, sessionID, seq, p)
}

// addSampler adds a sampling session. The error leaves p to the caller.
func (s *Service) addSampler(who *Caller, sessionID string, seq int64, p *sampler) (string, error) {
	if seq < 0 {
		return "", invalid("sampling_session_seq_id", "is %d, it must be 0 or more", seq)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	one, err := s.session(who, sessionID)
	if err != nil {
		return "", err
	}
	id := samplerID(sessionID, seq)
	if s.samplers[id] != nil {
		p.close()
		return id, nil
	}
	if len(one.samplers) >= maxSamplers {
		s.dropSampler(one)
	}
	p.id, p.owner, p.session, p.used = id, one.owner, one, s.o.Now()
	s.samplers[id] = p
	one.samplers = append(one.samplers, p)
	return id, nil
}

// dropSampler ends the sampling session of a session that was not used for the longest time. s.mu is held.
func (s *Service) dropSampler(one *session) {
	oldest := slices.MinFunc(one.samplers, func(a, b *sampler) int { return a.used.Compare(b.used) })
	one.samplers = slices.DeleteFunc(one.samplers, func(o *sampler) bool { return o == oldest })
	delete(s.samplers, oldest.id)
	oldest.close()
}

// sampler returns a sampling session of the caller's and notes that it is used.
func (s *Service) sampler(who *Caller, id string) (*sampler, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.samplers[id]
	if p == nil || !who.sees(p.owner) {
		return nil, fmt.Errorf("%w: sampling session %.120q does not exist, or its session has ended, or has used %d others since", ErrUnknown, id, maxSamplers)
	}
	_, err := s.session(who, p.session.ID)
	p.used = s.o.Now()
	return p, err
}

// Sampler describes a sampling session.
func (s *Service) Sampler(who *Caller, id string) (SamplerInfo, error) {
	p, err := s.sampler(who, id)
	if err != nil {
		return SamplerInfo{}, err
	}
	return SamplerInfo{p.id, p.path}, nil
}

// JoinSampler returns a number, from 1 on, that no other client of the sampling session has.
func (s *Service) JoinSampler(who *Caller, id string) (int64, error) {
	p, err := s.sampler(who, id)
	if err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seq++
	return p.seq, nil
}

// close lets weights from memory go when the last answer that uses them has ended.
func (p *sampler) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unstored != nil {
		_ = p.unstored.Close() // it returns none
	}
	p.unstored = nil
}

// selection returns what a request of this sampling session is answered with; nil is the base.
func (s *Service) selection(p *sampler) (*adapters.Selection, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.unstored != nil:
		return p.unstored.Select(1), nil
	case p.snapshot:
		return nil, fmt.Errorf("%w: the weights of sampling session %q made room for newer ones: of a model's weights that are in no checkpoint, the last %d are kept, and fewer where memory is short",
			ErrExpired, p.id, maxSnapshots)
	case p.ref == nil:
		return nil, nil
	}
	return s.o.Cache.Select([]adapters.Ref{*p.ref})
}

// snapshot places the model's weights as they stand, from memory, for a sampling session of their own.
func (m *model) snapshot(ctx context.Context, who *Caller, seq int64) (any, error) {
	s := m.service
	for len(m.snapshots) >= maxSnapshots {
		m.dropSnapshot()
	}
	p := &sampler{snapshot: true}
	name := m.adapterName("memory")
	lora, err := m.weights()
	if err != nil {
		return nil, err
	}
	for {
		if p.unstored, err = s.o.Cache.AddUnstored(ctx, name, lora); err == nil {
			break
		}
		if !errors.Is(err, adapters.ErrTooLarge) || len(m.snapshots) == 0 {
			return nil, err
		}
		m.dropSnapshot() // older ones of this model make room
	}
	id, err := s.addSampler(who, m.session.ID, seq, p)
	if err != nil {
		p.close()
		return nil, err
	}
	m.snapshots = append(m.snapshots, p)
	return &SavedForSampler{SamplerID: id}, nil
}

// dropSnapshot lets the oldest weights from memory go.
func (m *model) dropSnapshot() {
	m.snapshots[0].close()
	m.snapshots = slices.Delete(m.snapshots, 0, 1)
}

// adapterName is an adapter's name that begins with the model's id.
func (m *model) adapterName(rest string) string { return adapterName(m.id, rest) }

// adapterName is an adapter's name that begins with a run's id.
func adapterName(run, rest string) string { return strings.ReplaceAll(run, ":", "-") + "-" + rest }

// singleToken returns the control token that a text is; ok is false where it is none.
func (s *Service) singleToken(text string) (t runtime.Token, ok bool) {
	tokens, err := s.o.Model.Tokenize(text, false, true)
	if err != nil || len(tokens) != 1 {
		return 0, false
	}
	return tokens[0], len(s.o.Model.Piece(tokens[0], false)) == 0
}

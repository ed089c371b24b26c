package tinker

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// session is what a client works in. Its fields but ctx and end are guarded by Service.mu.
type session struct {
	SessionInfo
	owner    string
	seen     time.Time // the last request
	ctx      context.Context
	end      context.CancelCauseFunc
	models   []*model
	samplers []*sampler
}

// SessionInfo describes a session.
type SessionInfo struct {
	ID       string
	Created  time.Time
	Tags     []string
	Name     string // for people
	Project  string // by which it is found
	Metadata map[string]string
	Models   []string // ids
	Samplers []string // ids
}

// CreateSession makes a session with tags, a name, a project and metadata. It ends when it was not used for a few minutes.
func (s *Service) CreateSession(who *Caller, info SessionInfo) (string, error) {
	if err := checkMetadata(info.Metadata); err != nil {
		return "", err
	}
	if len(info.Tags) > maxMetadata {
		return "", invalid("tags", "are %d, at most %d are kept", len(info.Tags), maxMetadata)
	}
	size := len(info.Name) + len(info.Project)
	for _, tag := range info.Tags {
		size += len(tag)
	}
	if size > maxMetadataText {
		return "", invalid("tags", "with display_name and project_id have %d bytes, at most %d are kept", size, maxMetadataText)
	}
	now := s.o.Now()
	info.ID, info.Created = newID(8), now.UTC().Round(time.Millisecond)
	one := &session{SessionInfo: info, owner: who.Owner, seen: now}
	one.ctx, one.end = context.WithCancelCause(s.ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return "", ErrClosed
	}
	if n := countOf(s.sessions, who.Owner, func(o *session) string { return o.owner }); full(who.Owner, n, len(s.sessions), maxSessions) {
		return "", fmt.Errorf("%w: %d sessions are open; finish some", ErrTooMany, n)
	}
	s.sessions[one.ID] = one
	return one.ID, nil
}

// Bounds of what users note of sessions, models and checkpoints.
const (
	maxMetadata     = 64       // entries
	maxMetadataText = 16 << 10 // bytes of them together
)

func checkMetadata(m map[string]string) error {
	if len(m) > maxMetadata {
		return invalid("user_metadata", "has %d entries, at most %d are kept", len(m), maxMetadata)
	}
	size := 0
	for k, v := range m {
		size += len(k) + len(v)
	}
	if size > maxMetadataText {
		return invalid("user_metadata", "has %d bytes, at most %d are kept", size, maxMetadataText)
	}
	return nil
}

// session returns a session that is open and notes that it is used. s.mu is held.
func (s *Service) session(who *Caller, id string) (*session, error) {
	one := s.sessions[id]
	if one == nil || !who.sees(one.owner) {
		return nil, fmt.Errorf("%w: session %.80q does not exist, or has ended after %v without a request", ErrExpired, id, sessionIdle)
	}
	if s.closed {
		return nil, ErrClosed
	}
	one.seen = s.o.Now()
	return one, nil
}

// Heartbeat keeps a session open.
func (s *Service) Heartbeat(who *Caller, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.session(who, id)
	return err
}

// FinishSession ends a session, its models and its sampling sessions.
func (s *Service) FinishSession(who *Caller, id string) error {
	s.mu.Lock()
	one, err := s.session(who, id)
	s.mu.Unlock()
	if err == nil {
		s.endSession(one, ErrExpired)
	}
	return err
}

// endSession forgets a session; its models end when what they do has.
func (s *Service) endSession(one *session, why error) {
	s.mu.Lock()
	delete(s.sessions, one.ID)
	for _, m := range one.models {
		delete(s.models, m.id)
	}
	for _, p := range one.samplers {
		delete(s.samplers, p.id)
	}
	samplers := one.samplers
	s.mu.Unlock()
	one.end(fmt.Errorf("%w: the session", why))
	for _, p := range samplers {
		p.close()
	}
}

// Sessions lists the caller's sessions, the newest first.
func (s *Service) Sessions(who *Caller) []SessionInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []SessionInfo
	for _, one := range s.sessions {
		if who.sees(one.owner) {
			list = append(list, one.info())
		}
	}
	slices.SortFunc(list, func(a, b SessionInfo) int { return b.Created.Compare(a.Created) })
	return list
}

// Session describes a session.
func (s *Service) Session(who *Caller, id string) (SessionInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, err := s.session(who, id)
	if err != nil {
		return SessionInfo{}, err
	}
	return one.info(), nil
}

func (one *session) info() SessionInfo {
	i := one.SessionInfo
	for _, m := range one.models {
		i.Models = append(i.Models, m.id)
	}
	for _, p := range one.samplers {
		i.Samplers = append(i.Samplers, p.id)
	}
	return i
}

// modelID is the id of a session's model: clients compute it, too.
func modelID(session string, seq int64) string {
	return session + ":train:" + strconv.FormatInt(seq, 10)
}

// modelOfCall returns whose call an id is, where it is one of a model's calls.
func modelOfCall(call string) (model string, is bool) {
	parts := strings.Split(call, ":")
	if len(parts) != 4 || parts[1] != "train" {
		return "", false
	}
	return strings.Join(parts[:3], ":"), true
}

// has reports whether the caller has a model of an id.
func (s *Service) has(who *Caller, model string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.models[model]
	return m != nil && who.sees(m.owner)
}

// samplerID is the id of a sampling session.
func samplerID(session string, seq int64) string {
	return session + ":sample:" + strconv.FormatInt(seq, 10)
}

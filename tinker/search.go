package tinker

import (
	"slices"
	"strings"
	"time"
)

// Search says which sessions are looked for. Fields that are nil or empty exclude none.
type Search struct {
	ID       string            // or, where both are given, sessions that match either:
	Name     string            // words that are in the name for people, in any case
	Projects []string          // one of these
	Owners   []string          // one of these
	Metadata map[string]string // entries that must be the same
	Limit    int
	After    *SearchCursor
}

// SearchCursor is the last session of a page.
type SearchCursor struct {
	Created time.Time
	ID      string
}

// SessionSummary is a session that was found.
type SessionSummary struct {
	SessionInfo
	Owner       string
	Checkpoints int   // of its models
	Bytes       int64 // that they take on the disk
}

// SearchSessions returns the first of the caller's open sessions that match, the newest first, and whether there are more.
func (s *Service) SearchSessions(who *Caller, q *Search) (list []SessionSummary, more bool) {
	s.mu.Lock()
	for _, one := range s.sessions {
		if who.sees(one.owner) && q.matches(one) {
			list = append(list, SessionSummary{SessionInfo: one.info(), Owner: one.owner})
		}
	}
	s.mu.Unlock()
	slices.SortFunc(list, func(a, b SessionSummary) int { return newerFirst(a.Created, a.ID, b.Created, b.ID) })
	if more = len(list) > q.Limit; more {
		list = list[:q.Limit]
	}
	for i := range list {
		for _, c := range s.Checkpoints(who, "") {
			if strings.HasPrefix(c.Run, list[i].ID+":") {
				list[i].Checkpoints++
				list[i].Bytes += c.Bytes
			}
		}
	}
	return list, more
}

func newerFirst(a time.Time, aID string, b time.Time, bID string) int {
	if n := b.Compare(a); n != 0 {
		return n
	}
	return strings.Compare(aID, bID)
}

// matches reports whether a session is looked for. Service.mu is held.
func (q *Search) matches(one *session) bool {
	if q.After != nil && newerFirst(q.After.Created, q.After.ID, one.Created, one.ID) >= 0 {
		return false
	}
	if q.Projects != nil && !slices.Contains(q.Projects, one.Project) || q.Owners != nil && !slices.Contains(q.Owners, one.owner) {
		return false
	}
	for k, v := range q.Metadata {
		if got, there := one.Metadata[k]; !there || got != v {
			return false
		}
	}
	if q.ID == "" && q.Name == "" {
		return true
	}
	return q.ID == one.ID || q.Name != "" && hasWords(one.Name, q.Name)
}

// hasWords reports whether each word is somewhere in text, in any case.
func hasWords(text, words string) bool {
	text = strings.ToLower(text)
	for _, w := range strings.Fields(strings.ToLower(words)) {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// SetProject notes a session's project.
func (s *Service) SetProject(who *Caller, id, project string) error {
	if project == "" || len(project) > maxMetadataText {
		return invalid("project_id", "has %d bytes, it has 1 to %d", len(project), maxMetadataText)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	one, err := s.session(who, id)
	if err == nil {
		one.Project = project
	}
	return err
}

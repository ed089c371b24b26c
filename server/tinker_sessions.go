package server

import (
	"net/http"
	"slices"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/tinker"
)

// Bounds of a search.
const (
	tinkerSearchPage = 50
	maxSearchPage    = 200
	maxSearchTerms   = 64
)

// sessionActive is the state of every session that is kept.
const sessionActive = "active"

// TinkerSearchSessions lists the caller's sessions that have something in common.
func (s *Server) TinkerSearchSessions(c *fiber.Ctx) error {
	var body openapi.TinkerSessionSearch
	t, who, err := s.tinkerCall(c, &body)
	if err != nil {
		return err
	}
	q, active, err := readSearch(&body)
	if err != nil {
		return err
	}
	out := openapi.TinkerSessionPage{Sessions: []openapi.TinkerSessionSummary{}}
	if !active {
		return sendJSON(c, http.StatusOK, out)
	}
	list, more := t.SearchSessions(who, q)
	for i := range list {
		x := &list[i]
		one := openapi.TinkerSessionSummary{
			SessionId: x.ID, CreatedAt: x.Created, Owner: x.Owner, ProjectId: x.Project, Status: openapi.TinkerType{Type: sessionActive},
			CheckpointsCount: x.Checkpoints, CheckpointStorageBytes: x.Bytes, DisplayName: nullable(x.Name),
		}
		if x.Metadata != nil {
			one.UserMetadata = &x.Metadata
		}
		out.Sessions = append(out.Sessions, one)
	}
	if more {
		last := &list[len(list)-1]
		out.NextCursor = &openapi.TinkerSearchCursor{LastCreatedAt: last.Created, LastSessionId: last.ID}
	}
	return sendJSON(c, http.StatusOK, out)
}

// readSearch reads a search. active is false where only sessions are looked for that have ended, which are not kept.
func readSearch(b *openapi.TinkerSessionSearch) (q *tinker.Search, active bool, err error) {
	var check checker
	q = &tinker.Search{ID: text(b.SessionId), Name: text(b.DisplayName), Limit: check.integer("limit", b.Limit, tinkerSearchPage, 1, maxSearchPage)}
	if check.err != nil {
		return nil, false, check.err
	}
	if b.ProjectIds != nil {
		q.Projects = *b.ProjectIds
	}
	if b.UserMetadata != nil {
		q.Metadata = *b.UserMetadata
	}
	if b.Cursor != nil {
		q.After = &tinker.SearchCursor{Created: b.Cursor.LastCreatedAt, ID: b.Cursor.LastSessionId}
	}
	if q.Owners, err = readSearchOwner(b.Owner); err != nil {
		return nil, false, err
	}
	for _, n := range []int{len(q.Projects), len(q.Metadata), len(q.Owners)} {
		if n > maxSearchTerms {
			return nil, false, refuse(codeValue, "search", "has a list of %d, at most %d are read", n, maxSearchTerms)
		}
	}
	if b.Statuses == nil {
		return q, true, nil
	}
	for _, x := range *b.Statuses {
		if !slices.Contains([]string{sessionActive, "cancelled", "failed", "client_finished"}, x.Type) {
			return nil, false, refuse(codeValue, "statuses", "has the type %.40q: active, cancelled, failed or client_finished is expected", x.Type)
		}
		active = active || x.Type == sessionActive
	}
	return q, active, nil
}

// readSearchOwner returns whose sessions are looked for; nil: all that the caller sees.
func readSearchOwner(o *openapi.TinkerSearchOwner) ([]string, error) {
	switch {
	case o == nil || o.Type == "own" || o.Type == "accessible":
		return nil, nil
	case o.Type != "user":
		return nil, refuse(codeValue, "owner", "has the type %.40q: own, accessible or user is expected", o.Type)
	case o.OwnerUrns == nil || len(*o.OwnerUrns) == 0:
		return nil, refuse(codeMissing, "owner", "has no owner_urns")
	}
	return *o.OwnerUrns, nil
}

// TinkerSetProject notes a session's project.
func (s *Server) TinkerSetProject(c *fiber.Ctx, id string) error {
	var body openapi.TinkerProject
	t, who, err := s.tinkerCall(c, &body)
	if err == nil {
		err = t.SetProject(who, id, body.ProjectId)
	}
	return sendNothing(c, err)
}

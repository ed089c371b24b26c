package server

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/batches"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/training"
)

const (
	// batchPurpose is what files of requests are uploaded for.
	batchPurpose = "batch"
	// batchWindow is the time that a batch has, as clients name it: the only one.
	batchWindow = "24h"
)

// batchPaths are the endpoints whose requests batches may have, as far as the server has them.
var batchPaths = []string{"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"}

// batchQueue returns the batches, or an error where the server has none.
func (s *Server) batchQueue() (*batches.Queue, error) {
	if s.batches == nil || s.files == nil {
		return nil, &refusal{status: http.StatusServiceUnavailable, code: "batches_off", message: "this server keeps no batches"}
	}
	return s.batches, nil
}

// CreateBatch makes a batch of an uploaded file.
func (s *Server) CreateBatch(c *fiber.Ctx) error {
	q, err := s.batchQueue()
	if err != nil {
		return err
	}
	var req openapi.BatchRequest
	if err := s.decodeBody(c, &req); err != nil {
		return err
	}
	if err := s.checkBatch(&req); err != nil {
		return err
	}
	if s.draining.Load() {
		return errDraining()
	}
	who := callerOf(c)
	content, f, err := s.openFile(who, req.InputFileId)
	if errors.Is(err, training.ErrFile) {
		err = withParam("input_file_id", err)
	}
	if err != nil {
		return err
	}
	defer content.Close()
	if f.Purpose != batchPurpose {
		return refuse(codeValue, "input_file_id", "is a file of the purpose %s, it must be %s", f.Purpose, batchPurpose)
	}
	if err := s.files.Room(f.Bytes); err != nil { // for its answers
		return withParam("input_file_id", err)
	}
	spec := batches.Spec{Endpoint: req.Endpoint, InputFile: f.ID, Owner: who.tenant.Owner(), Window: 24 * time.Hour, Metadata: req.Metadata}
	if req.OutputExpiresAfter != nil {
		spec.Keep = time.Duration(req.OutputExpiresAfter.Seconds) * time.Second
	}
	b, err := q.Create(spec, content)
	if err != nil {
		return err
	}
	s.log.Info().Str("batch", b.ID).Str("file", f.ID).Str("endpoint", b.Endpoint).Msg("batch created")
	return sendJSON(c, http.StatusOK, batchOf(b))
}

// checkBatch checks the fields of a request for a batch.
func (s *Server) checkBatch(req *openapi.BatchRequest) error {
	var paths []string
	for _, p := range batchPaths {
		if s.routed[http.MethodPost+" "+p] {
			paths = append(paths, p)
		}
	}
	switch {
	case req.InputFileId == "":
		return refuse(codeMissing, "input_file_id", "is missing")
	case req.Endpoint == "":
		return refuse(codeMissing, "endpoint", "is missing")
	case !slices.Contains(paths, req.Endpoint):
		return refuse(codeValue, "endpoint", "is %q, it must be one of %s", req.Endpoint, strings.Join(paths, ", "))
	case req.CompletionWindow == "":
		return refuse(codeMissing, "completion_window", "is missing")
	case req.CompletionWindow != batchWindow:
		return refuse(codeValue, "completion_window", "is %q, it must be %s", req.CompletionWindow, batchWindow)
	}
	if after := req.OutputExpiresAfter; after != nil {
		switch {
		case after.Anchor != "created_at":
			return refuse(codeValue, "output_expires_after.anchor", "is %q, it must be created_at", after.Anchor)
		case after.Seconds < leastExpiry || after.Seconds > mostExpiry:
			return refuse(codeValue, "output_expires_after.seconds", "is %d, it must be between %d and %d", after.Seconds, leastExpiry, mostExpiry)
		}
	}
	return checkMetadata(req.Metadata)
}

// ownBatch returns one of the caller's batches.
func (s *Server) ownBatch(who caller, id string) (batches.Batch, error) {
	q, err := s.batchQueue()
	if err != nil {
		return batches.Batch{}, err
	}
	b, err := q.Get(id)
	if err == nil && !who.tenant.Owns(b.Owner) {
		return batches.Batch{}, fmt.Errorf("%w: %q", batches.ErrUnknown, id)
	}
	return b, err
}

// GetBatch gives one batch.
func (s *Server) GetBatch(c *fiber.Ctx, id string) error {
	b, err := s.ownBatch(callerOf(c), id)
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, batchOf(b))
}

// CancelBatch ends a batch.
func (s *Server) CancelBatch(c *fiber.Ctx, id string) error {
	if _, err := s.ownBatch(callerOf(c), id); err != nil {
		return err
	}
	b, err := s.batches.Cancel(id)
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, batchOf(b))
}

// ListBatches lists the caller's batches.
func (s *Server) ListBatches(c *fiber.Ctx, params openapi.ListBatchesParams) error {
	q, err := s.batchQueue()
	if err != nil {
		return err
	}
	var check checker
	n := check.integer("limit", params.Limit, 20, 1, 100)
	if check.err != nil {
		return check.err
	}
	who := callerOf(c)
	list, more, err := q.List(func(b *batches.Batch) bool { return who.tenant.Owns(b.Owner) }, text(params.After), n)
	if err != nil {
		return withParam("after", err)
	}
	out := openapi.BatchList{Object: "list", Data: make([]openapi.Batch, len(list)), HasMore: more}
	for i, b := range list {
		out.Data[i] = batchOf(b)
	}
	if n := len(list); n > 0 {
		out.FirstId, out.LastId = &list[0].ID, &list[n-1].ID
	}
	return sendJSON(c, http.StatusOK, out)
}

// batchOf puts a batch in OpenAI's shape.
func batchOf(b batches.Batch) openapi.Batch {
	out := openapi.Batch{
		Id: b.ID, Object: "batch", Endpoint: b.Endpoint, InputFileId: b.InputFile, CompletionWindow: batchWindow, Status: string(b.Status),
		OutputFileId: nullable(b.OutputFile), ErrorFileId: nullable(b.ErrorFile), CreatedAt: b.Created.Unix(), ExpiresAt: unix(b.Expires),
		InProgressAt: unix(b.Started), FinalizingAt: unix(b.Finalized), CancellingAt: unix(b.Cancelling), Metadata: b.Metadata,
		RequestCounts: openapi.BatchCounts{Total: b.Counts.Total, Completed: b.Counts.Completed, Failed: b.Counts.Failed},
	}
	switch b.Status {
	case batches.Completed:
		out.CompletedAt = unix(b.Finished)
	case batches.Failed:
		out.FailedAt = unix(b.Finished)
	case batches.Expired:
		out.ExpiredAt = unix(b.Finished)
	case batches.Cancelled:
		out.CancelledAt = unix(b.Finished)
	}
	if len(b.Faults) > 0 {
		out.Errors = &openapi.BatchErrors{Object: "list"}
		for _, f := range b.Faults {
			e := openapi.BatchError{Code: f.Code, Message: f.Message, Param: nullable(f.Param)}
			if f.Line > 0 {
				e.Line = &f.Line
			}
			out.Errors.Data = append(out.Errors.Data, e)
		}
	}
	return out
}

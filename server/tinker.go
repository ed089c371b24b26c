package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/tinker"
)

// This file and the others that begin with tinker are Tinker's API under /api/v1: they read requests, hand them to package
// tinker, and write what comes of them. docs/tinker.md says what is supported.

// tinkerPath begins the paths of Tinker's API, and tinkerDownloads those that need no key.
const (
	tinkerPath      = "/api/v1/"
	tinkerDownloads = tinkerPath + "downloads/"
)

// tinkerService returns the state of Tinker's API, or the refusal where there is none.
func (s *Server) tinkerService() (*tinker.Service, error) {
	if s.tinker == nil {
		return nil, &refusal{status: http.StatusServiceUnavailable, code: "training_off", message: "this server does not train"}
	}
	return s.tinker, nil
}

// tinkerCaller is who makes a call of Tinker's API.
func (s *Server) tinkerCaller(c *fiber.Ctx) *tinker.Caller {
	who := callerOf(c)
	t := &tinker.Caller{Owner: who.tenant.Owner(), Request: who.request()}
	if who.tenant != nil {
		t.Qualify = who.tenant.QualifiedName
		t.Allow = func(bytes int64) error { return s.checkStored(who, bytes) }
	}
	t.Admit = func(n int) (tinker.Done, error) {
		done, err := admitAnswers(who, n)
		return tinker.Done(done), err
	}
	return t
}

// tinkerCall reads the JSON body of a call.
func (s *Server) tinkerCall(c *fiber.Ctx, body any) (*tinker.Service, *tinker.Caller, error) {
	t, err := s.tinkerService()
	if err != nil {
		return nil, nil, err
	}
	return t, s.tinkerCaller(c), s.decodeBody(c, body)
}

// sendFuture answers a call with what its result is retrieved by.
func sendFuture(c *fiber.Ctx, f *tinker.Future, err error) error {
	if err != nil {
		return err
	}
	out := openapi.TinkerFuture{RequestId: f.ID, ModelId: nullable(f.ModelID)}
	if f.Samples != nil {
		out.SampleSequenceIds = &f.Samples
	}
	return sendJSON(c, http.StatusOK, out)
}

// sendNothing answers a call that has no result.
func sendNothing(c *fiber.Ctx, err error) error {
	if err != nil {
		return err
	}
	return c.SendStatus(http.StatusNoContent)
}

// tinkerMetadata is what a user notes: texts as they are, other values as JSON.
func tinkerMetadata(m *map[string]any) map[string]string {
	if m == nil || len(*m) == 0 {
		return nil
	}
	texts := make(map[string]string, len(*m))
	for k, v := range *m {
		if text, ok := v.(string); ok {
			texts[k] = text
			continue
		}
		b, err := json.Marshal(v)
		if err != nil {
			b = []byte("null") // it was JSON, and cannot fail to be
		}
		texts[k] = string(b)
	}
	return texts
}

// TinkerHealth says that the server answers.
func (s *Server) TinkerHealth(c *fiber.Ctx) error {
	return sendJSON(c, http.StatusOK, openapi.TinkerStatus{Status: "ok"})
}

// TinkerTelemetry takes what clients note and throws it away.
func (s *Server) TinkerTelemetry(c *fiber.Ctx) error {
	var body openapi.TinkerAnything
	if err := s.decodeBody(c, &body); err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, openapi.TinkerStatus{Status: "accepted"})
}

// Bounds that clients keep to by themselves.
const (
	tinkerChunk      = 1024 // sequences
	tinkerChunkBytes = 5 << 20
	tinkerSamples    = 512
	tinkerRefresh    = 300 // seconds
	tinkerCancels    = 64
)

// TinkerClientConfig says how clients are to behave.
func (s *Server) TinkerClientConfig(c *fiber.Ctx) error {
	var body openapi.TinkerVersion
	if _, _, err := s.tinkerCall(c, &body); err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, openapi.TinkerConfig{
		CredentialDefaultSource: "api_key", ParallelFwdbwdChunks: true, FwdbwdMaxChunkLen: tinkerChunk,
		FwdbwdMaxChunkBytesCount: int(min(tinkerChunkBytes, s.maxBody/2)), SampleMaxConcurrentRequests: tinkerSamples,
		CreateModelViaLoadWeights: true, SampleJoinSamplingSession: true,
	})
}

// TinkerDynamicConfig says what clients ask for again.
func (s *Server) TinkerDynamicConfig(c *fiber.Ctx) error {
	var body openapi.TinkerVersion
	if _, _, err := s.tinkerCall(c, &body); err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, openapi.TinkerChangingConfig{
		RefreshIntervalSec: tinkerRefresh, SampleCancelEnabled: true, SampleCancelMaxBatchSize: tinkerCancels,
	})
}

// TinkerCapabilities names the base.
func (s *Server) TinkerCapabilities(c *fiber.Ctx) error {
	if _, err := s.tinkerService(); err != nil {
		return err
	}
	out := openapi.TinkerModels{SupportedModels: []openapi.TinkerModel{}}
	trainable := s.trainable == nil || s.trainable() == nil
	for _, id := range s.ids {
		out.SupportedModels = append(out.SupportedModels, openapi.TinkerModel{ModelName: id, MaxContextLength: s.context, Trainable: trainable, Sampleable: true})
	}
	return sendJSON(c, http.StatusOK, out)
}

// TinkerCreateSession opens a session.
func (s *Server) TinkerCreateSession(c *fiber.Ctx) error {
	var body openapi.TinkerSessionRequest
	t, who, err := s.tinkerCall(c, &body)
	if err != nil {
		return err
	}
	var tags []string
	if body.Tags != nil {
		tags = *body.Tags
	}
	id, err := t.CreateSession(who, tinker.SessionInfo{
		Tags: tags, Name: text(body.DisplayName), Project: text(body.ProjectId), Metadata: tinkerMetadata(body.UserMetadata),
	})
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, openapi.TinkerSession{Type: "create_session", SessionId: id})
}

// TinkerHeartbeat keeps a session open.
func (s *Server) TinkerHeartbeat(c *fiber.Ctx) error {
	var body openapi.TinkerSessionId
	t, who, err := s.tinkerCall(c, &body)
	if err == nil {
		err = t.Heartbeat(who, body.SessionId)
	}
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, openapi.TinkerType{Type: "session_heartbeat"})
}

// TinkerFinishSession ends a session.
func (s *Server) TinkerFinishSession(c *fiber.Ctx, id string) error {
	var body openapi.TinkerFinish
	t, who, err := s.tinkerCall(c, &body)
	if err == nil {
		err = t.FinishSession(who, id)
	}
	return sendNothing(c, err)
}

// TinkerListSessions lists the caller's sessions.
func (s *Server) TinkerListSessions(c *fiber.Ctx, params openapi.TinkerListSessionsParams) error {
	t, err := s.tinkerService()
	if err != nil {
		return err
	}
	list := t.Sessions(s.tinkerCaller(c))
	page, _, err := tinkerPage(list, params.Limit, params.Offset)
	if err != nil {
		return err
	}
	out := openapi.TinkerSessionList{Sessions: []string{}}
	for i := range page {
		out.Sessions = append(out.Sessions, page[i].ID)
	}
	return sendJSON(c, http.StatusOK, out)
}

// tinkerPage cuts a list.
func tinkerPage[T any](list []T, limit, offset *int) ([]T, openapi.TinkerCursor, error) {
	var check checker
	cursor := openapi.TinkerCursor{
		Limit: check.integer("limit", limit, 20, 1, 1000), Offset: check.integer("offset", offset, 0, 0, 1<<31-1), TotalCount: len(list),
	}
	if check.err != nil {
		return nil, cursor, check.err
	}
	list = list[min(cursor.Offset, len(list)):]
	return list[:min(cursor.Limit, len(list))], cursor, nil
}

// TinkerGetSession describes a session.
func (s *Server) TinkerGetSession(c *fiber.Ctx, id string, _ openapi.TinkerGetSessionParams) error {
	t, err := s.tinkerService()
	if err != nil {
		return err
	}
	i, err := t.Session(s.tinkerCaller(c), id)
	if err != nil {
		return err
	}
	out := openapi.TinkerSessionFacts{TrainingRunIds: append([]string{}, i.Models...), SamplerIds: append([]string{}, i.Samplers...), DisplayName: nullable(i.Name)}
	if i.Metadata != nil {
		out.UserMetadata = &i.Metadata
	}
	return sendJSON(c, http.StatusOK, out)
}

// tinkerWait is how long a request for a result is held: clients give up after 45 seconds.
const tinkerWait = 30 * time.Second

// TinkerRetrieveFuture gives the result of a call.
func (s *Server) TinkerRetrieveFuture(c *fiber.Ctx) error {
	var body openapi.TinkerFutureRequest
	t, who, err := s.tinkerCall(c, &body)
	if err != nil {
		return err
	}
	var result any
	f, err := t.Future(who, body.RequestId)
	if err == nil {
		result, err = s.awaitFuture(c, f)
	}
	var failed *tinker.CallError
	switch {
	case errors.Is(err, tinker.ErrPending):
		kind, state := "try_again", "active"
		return sendJSON(c, http.StatusOK, openapi.TinkerResult{Type: &kind, RequestId: &f.ID, QueueState: &state})
	case errors.As(err, &failed):
		category, message := tinker.Category(failed.Err)
		return sendJSON(c, http.StatusOK, openapi.TinkerResult{Error: &message, Category: &category})
	case err != nil:
		return err
	}
	return s.sendTinkerResult(c, result)
}

// awaitFuture waits for the result of a call, for as long as a request is held.
func (s *Server) awaitFuture(c *fiber.Ctx, f *tinker.Future) (any, error) {
	if f.Ended() {
		return f.Wait(s.serving)
	}
	ctx, stop := s.work(c)
	defer stop()
	timed, cancel := context.WithTimeout(ctx, tinkerWait)
	defer cancel()
	return f.Wait(timed)
}

// sendTinkerResult writes a result by its type.
func (s *Server) sendTinkerResult(c *fiber.Ctx, result any) error {
	var out openapi.TinkerResult
	var kind string
	switch r := result.(type) {
	case *tinker.ForwardBackwardResult:
		return sendWire(c, forwardBackwardWire(r))
	case *tinker.SampleResult:
		return sendWire(c, sampleWire(r))
	case *tinker.ModelCreated:
		kind, out.ModelId = "create_model", &r.ModelID
	case *tinker.Unloaded:
		kind, out.ModelId = "unload_model", &r.ModelID
	case *tinker.OptimStepResult:
		kind, out.Metrics = "optim_step", &r.Metrics
	case *tinker.Saved:
		kind, out.Path = "save_weights", &r.Path
	case *tinker.SavedExternal:
		kind, out.Path, out.SizeBytes = "save_weights_external", &r.Path, &r.Bytes
	case *tinker.SavedForSampler:
		kind, out.Path, out.SamplingSessionId = "save_weights_for_sampler", nullable(r.Path), nullable(r.SamplerID)
	case *tinker.Loaded:
		kind, out.Path, out.ModelId = "load_weights", &r.Path, &r.ModelID
	default:
		return fmt.Errorf("a result of the type %T", result)
	}
	out.Type = &kind
	return sendJSON(c, http.StatusOK, out)
}

// tokensOf checks that a list of tokens is one.
func tokensOf(list []int64, field string) ([]runtime.Token, error) {
	out := make([]runtime.Token, len(list))
	for i, t := range list {
		if out[i] = runtime.Token(t); int64(out[i]) != t {
			return nil, refuse(codeValue, field, "has %d, which is no token", t)
		}
	}
	return out, nil
}

package server

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file keeps the last requests for answers, which GET /state shows.

// maxRecent is how many of them are kept.
const maxRecent = 100

// recordedPaths are the URLs of the requests that are kept.
var recordedPaths = []string{"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/messages", "/v1/responses", "/api/chat", "/api/generate", "/api/embed"}

// recordKey is where record leaves what it keeps of a request.
const recordKey = "request-record"

// requestRecord is what is kept of one request. It belongs to the goroutine that answers the request until it is added to
// the recentRequests; then it does not change any more.
type requestRecord struct {
	id, endpoint, tenant string
	batch, stream        bool
	began, ended         time.Time
	status               int
	code                 string // of the error; "" for none
	flow                 string // the adapters' names, joined by "+"
	answers              int

	prompt, cached, completion            int // tokens
	loading                               time.Duration
	submitted, started, firstToken, ready time.Time // as runtime.Usage has them, of the first and, ready, of the last answer
}

// recentRequests are the last requests, in a ring. Its methods may be called from any goroutine.
type recentRequests struct {
	mu   sync.Mutex
	ring [maxRecent]*requestRecord
	next int
}

func (l *recentRequests) add(r *requestRecord) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring[l.next%maxRecent] = r
	l.next++
}

// latest returns the requests of those whom the caller may see, the one that ended last first.
func (l *recentRequests) latest(who caller) []*requestRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []*requestRecord
	for i := l.next - 1; i >= max(0, l.next-maxRecent); i-- {
		if r := l.ring[i%maxRecent]; who.tenant.Owns(r.tenant) {
			list = append(list, r)
		}
	}
	return list
}

// record keeps a request for answers, once it has ended. A stream is added by startStream, since it ends after the handler.
func (s *Server) record(c *fiber.Ctx) error {
	at := -1
	if c.Method() == http.MethodPost {
		at = slices.Index(recordedPaths, strings.TrimSuffix(c.Path(), "/"))
	}
	if at < 0 {
		return c.Next()
	}
	who := callerOf(c)
	began, _ := c.Locals(requestStartKey).(time.Time)
	r := &requestRecord{id: requestID(c), endpoint: recordedPaths[at], tenant: who.tenant.Owner(), batch: who.batch, began: began}
	c.Locals(recordKey, r)
	err := c.Next()
	if r.stream && err == nil {
		return nil
	}
	r.status = c.Response().StatusCode()
	r.failed(err)
	s.finish(r)
	return err
}

// finish keeps a request that has ended.
func (s *Server) finish(r *requestRecord) {
	if r == nil {
		return
	}
	r.ended = time.Now()
	s.recent.add(r)
}

// recordOf returns what is kept of a request, nil for one that is not kept.
func recordOf(c *fiber.Ctx) *requestRecord {
	r, _ := c.Locals(recordKey).(*requestRecord)
	return r
}

// failed notes the error that a request ends with, where there is one.
func (r *requestRecord) failed(err error) {
	if r == nil || err == nil {
		return
	}
	status, e := describe(err)
	r.status, r.code = status, text(e.Code)
}

// count notes what the streams of a request used, answers of them to each prompt. It may be called again, with what they
// used by then.
func (r *requestRecord) count(streams []*runtime.Stream, answers int) {
	if r == nil {
		return
	}
	r.answers, r.prompt, r.cached, r.completion, r.loading = len(streams), 0, 0, 0, 0
	r.submitted, r.started, r.firstToken, r.ready = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	for i, s := range streams {
		u := s.Usage()
		if i%answers == 0 {
			r.prompt += u.Prompt
			r.cached += u.Cached
		}
		r.completion += u.Completion
		r.loading = max(r.loading, u.Loading)
		r.submitted, r.started = earlier(r.submitted, u.Submitted), earlier(r.started, u.Started)
		r.firstToken, r.ready = earlier(r.firstToken, u.FirstToken), later(r.ready, u.Finished)
	}
}

// shown is the request in the API's shape.
func (r *requestRecord) shown() openapi.RecentRequest {
	out := openapi.RecentRequest{
		Id: r.id, CreatedAt: seconds(r.began), Endpoint: r.endpoint, Adapters: adaptersOf(r.flow), Status: r.status, Error: nullable(r.code),
		Stream: r.stream, Batch: r.batch, Answers: r.answers, PromptTokens: r.prompt, CachedTokens: r.cached, CompletionTokens: r.completion,
		Tenant: nullable(r.tenant),
	}
	t := &out.Timings
	t.TotalMs = milliseconds(r.ended.Sub(r.began))
	if r.submitted.IsZero() { // it never came to the engine
		t.PrepareMs = t.TotalMs
		return out
	}
	end := r.ended
	if !r.ready.IsZero() && r.ready.Before(end) {
		end = r.ready
	}
	started, first := orTime(r.started, end), orTime(r.firstToken, end)
	t.PrepareMs = milliseconds(r.submitted.Sub(r.began))
	t.LoadMs = milliseconds(min(r.loading, started.Sub(r.submitted)))
	t.QueueMs = milliseconds(max(0, started.Sub(r.submitted)-r.loading))
	t.PrefillMs = milliseconds(max(0, first.Sub(started)))
	t.DecodeMs = milliseconds(max(0, end.Sub(first)))
	return out
}

// orTime is t, or other where t has not come.
func orTime(t, other time.Time) time.Time {
	if t.IsZero() {
		return other
	}
	return t
}

// seconds is a time as Unix has it, to a millisecond.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// adaptersOf splits the name of a flow into those of its adapters: none for the base.
func adaptersOf(flow string) []string {
	if flow == "" {
		return []string{}
	}
	return strings.Split(flow, "+")
}

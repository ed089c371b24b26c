package server

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// form writes the answer of one of the two completion endpoints.
type form interface {
	// whole makes the answer to a request without stream.
	whole(r *reply, choices []choice) any
	// object is the object field of a chunk.
	object() string
	// open appends the choice of a chunk that begins choice i, or nothing where there is no such chunk.
	open(b []byte, i int) []byte
	// piece appends the choice of a chunk with a piece of choice i.
	piece(b []byte, i int, ev runtime.Event) []byte
	// end appends the choice of the chunk that ends choice i.
	end(b []byte, i int, why runtime.FinishReason) []byte
}

// reply is the answer to one completion request: n choices for every prompt, each a stream of the engine.
type reply struct {
	form
	generation
	id          string
	created     int64
	fingerprint string
	model       *model
	prompts     []prompt
	streams     []*runtime.Stream       // prompt by prompt, n each
	leave       func([]*runtime.Stream) // ends the request's use of its tenant's quota; nil before
}

// choice is one answer that has come to its end.
type choice struct {
	text   string
	tokens []runtime.TokenText // with logprobs alone
	finish openapi.FinishReason
}

// newID returns a random identifier for an answer.
func newID(prefix string) string {
	var b [12]byte
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return prefix + hex.EncodeToString(b[:])
}

// answer makes the reply and sends it, whole or as a stream. param is the field that holds the prompt.
func (s *Server) answer(c *fiber.Ctx, r *reply, param string) error {
	r.created, r.fingerprint = time.Now().Unix(), s.fingerprint
	ctx, stop := watch(c.Context().Conn())
	if err := s.submit(ctx, callerOf(c), r); err != nil {
		r.close()
		stop()
		if errors.Is(err, runtime.ErrContextLength) {
			err = at(param, err)
		}
		if errors.Is(err, runtime.ErrSampling) && r.formatted && strings.Contains(err.Error(), "grammar") {
			err = at("response_format", err)
		}
		return err
	}
	if r.stream {
		return s.startStream(c, r, ctx, stop)
	}
	defer stop()
	defer r.close()
	choices := make([]choice, len(r.streams))
	for i, stream := range r.streams {
		var err error
		if choices[i], err = collect(ctx, stream, r.top >= 0); err != nil {
			return cause(ctx, err)
		}
	}
	return sendJSON(c, http.StatusOK, r.whole(r, choices))
}

// submit hands the choices to the engine. Where it fails, r.streams has those submitted so far.
func (s *Server) submit(ctx context.Context, who caller, r *reply) (err error) {
	s.submitting.RLock()
	defer s.submitting.RUnlock()
	if s.draining.Load() {
		return errDraining()
	}
	if r.leave, err = enter(who, len(r.prompts)*r.n); err != nil {
		return err
	}
	asked := runtime.Request{Tenant: who.tenant.Owner()}
	if t := who.tenant; t != nil {
		asked.Priority, asked.AtOnce = t.Priority, t.Quota.Concurrent
	}
	var chosen runtime.Adapters
	if r.model.selection != nil {
		chosen = r.model.selection
	}
	for _, p := range r.prompts {
		for i := range r.n {
			sampling := r.sampling
			sampling.Seed += uint64(i)
			stream, err := s.engine.Submit(ctx, runtime.Request{
				Prompt: p.tokens, Adapters: chosen, Sampling: sampling,
				MaxTokens: r.maxTokens, Stop: r.stop, Top: r.top, NoReuse: r.noReuse,
				Tenant: asked.Tenant, Priority: asked.Priority, AtOnce: asked.AtOnce,
			})
			if err != nil {
				return cause(ctx, err)
			}
			r.streams = append(r.streams, stream)
		}
	}
	return nil
}

// close ends all choices and gives the adapters back; twice is safe.
func (r *reply) close() {
	for _, s := range r.streams {
		_ = s.Close() // it returns no error that matters here
	}
	if r.leave != nil {
		r.leave(r.streams)
	}
	r.model.release()
}

// cause returns the cause of ctx's end where err is ctx's error, and otherwise err.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return context.Cause(ctx)
	}
	return err
}

// collect reads a stream to its end.
func collect(ctx context.Context, s *runtime.Stream, tokens bool) (choice, error) {
	var c choice
	var text strings.Builder
	for {
		ev, err := s.Next(ctx)
		if errors.Is(err, io.EOF) {
			c.text = text.String()
			return c, nil
		}
		if err != nil {
			return c, err
		}
		text.WriteString(ev.Text)
		if tokens {
			c.tokens = append(c.tokens, ev.Tokens...)
		}
		if ev.Finish != "" {
			c.finish = openapi.FinishReason(ev.Finish)
		}
	}
}

// label is the response's adapter field.
func (r *reply) label() *openapi.AnsweredBy {
	l := r.model.label
	return &l
}

// usage sums over the choices; a prompt counts once however many choices it has.
func (r *reply) usage() openapi.Usage {
	var u openapi.Usage
	for i, s := range r.streams {
		one := s.Usage()
		if i%r.n == 0 {
			u.PromptTokens += one.Prompt
			u.PromptTokensDetails.CachedTokens += one.Cached
		}
		u.CompletionTokens += one.Completion
	}
	u.TotalTokens = u.PromptTokens + u.CompletionTokens
	return u
}

// timings measures from the first choice's start to the last one's end.
func (r *reply) timings() openapi.Timings {
	var t openapi.Timings
	var started, first, finished time.Time
	for i, s := range r.streams {
		u := s.Usage()
		started, first, finished = earlier(started, u.Started), earlier(first, u.FirstToken), later(finished, u.Finished)
		if i%r.n == 0 {
			t.CacheN += u.Cached
			t.PromptN += u.Prompt - u.Cached
		}
		t.PredictedN += u.Completion
	}
	if !started.IsZero() && !first.IsZero() && !finished.IsZero() {
		t.PromptMs, t.PredictedMs = milliseconds(first.Sub(started)), milliseconds(finished.Sub(first))
	}
	if t.PromptMs > 0 {
		t.PromptPerSecond = thousandths(float64(t.PromptN) / t.PromptMs * 1000)
	}
	if t.PredictedMs > 0 {
		t.PredictedPerSecond = thousandths(float64(t.PredictedN-len(r.streams)) / t.PredictedMs * 1000)
	}
	return t
}

func milliseconds(d time.Duration) float64 {
	return thousandths(float64(d) / float64(time.Millisecond))
}

// thousandths rounds to three decimal places.
func thousandths(v float64) float64 { return math.Round(1000*v) / 1000 }

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

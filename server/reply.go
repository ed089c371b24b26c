package server

import (
	"context"
	"encoding/hex"
	"errors"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// form writes the answer to one request in the shape of one API. Its methods are called from one goroutine.
type form interface {
	// whole makes the answer to a request without stream, which is sent as JSON.
	whole(r *reply, choices []choice) any
	// contentType is that of a stream.
	contentType() string
	// begin appends what a stream begins with, before any choice does.
	begin(b []byte, r *reply) []byte
	// open appends what choice i begins with, when the engine has begun to answer and before its first part.
	open(b []byte, i int) []byte
	// part appends what one part of choice i becomes, which may be nothing. The last one of a choice is its End.
	part(b []byte, i int, p part) []byte
	// finish appends what a stream ends with, when all choices have ended.
	finish(b []byte, r *reply) []byte
	// wait appends what keeps the connection of a stream from being closed while there is nothing to write.
	wait(b []byte) []byte
	// fail appends an error that ends a stream.
	fail(b []byte, e openapi.Error) []byte
}

// reply is the answer to one completion request: n choices for every prompt, each a stream of the engine.
type reply struct {
	form
	generation
	id          string
	request     string // the request's id, for the log
	created     int64
	fingerprint string
	model       *model
	prompts     []prompt
	parser      func() parser           // of a choice; nil: its text is all content
	shown       []runtime.Token         // control tokens that the parser reads
	tooled      bool                    // the answer may call tools
	shortIDs    bool                    // identifiers of calls are nine letters and digits, as the model's template wants them
	legacyCalls bool                    // and has them as function_call, OpenAI's older name
	streams     []*runtime.Stream       // prompt by prompt, n each
	record      *requestRecord          // nil where none is kept
	thinks      atomic.Int64            // tokens of reasoning in the answers so far
	scores      [][]runtime.TokenText   // of a stream's choices that have begun: the prompt's tokens from the second on
	leave       func([]*runtime.Stream) // ends the request's use of its tenant's quota; nil before
	done        func()                  // gives back what the request's body holds of the budget; nil: that has been done
}

// reader returns what makes the parts of a choice.
func (r *reply) reader() partReader {
	if r.parser == nil {
		return partReader{}
	}
	return partReader{parser: r.parser(), short: r.shortIDs, thinks: &r.thinks}
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
	r.created, r.fingerprint, r.request, r.record = time.Now().Unix(), s.fingerprint, requestID(c), recordOf(c)
	ctx, stop := watch(c.Context().Conn())
	if err := s.submit(ctx, callerOf(c), r); err != nil {
		r.close()
		stop()
		if errors.Is(err, runtime.ErrContextLength) {
			err = withParam(param, err)
		}
		return r.locate(err)
	}
	if r.stream {
		return s.startStream(c, r, ctx, stop)
	}
	defer stop()
	defer r.close()
	choices := make([]choice, len(r.streams))
	for i, stream := range r.streams {
		var err error
		reader := r.reader()
		if choices[i], err = collect(ctx, stream, &reader, r.top >= 0); err != nil {
			return r.locate(cause(ctx, err))
		}
	}
	return sendJSON(c, http.StatusOK, r.whole(r, choices))
}

// locate names the field that a grammar came from where the grammar is at fault.
func (r *reply) locate(err error) error {
	if !errors.Is(err, runtime.ErrGrammarCost) && (!errors.Is(err, runtime.ErrSampling) || !strings.Contains(err.Error(), "grammar")) {
		return err
	}
	switch {
	case r.formatted:
		return withParam("response_format", err)
	case r.ruled:
		return withParam("grammar", err)
	case r.tooled:
		return withParam("tools", err)
	}
	return err
}

// submit hands the choices to the engine. Where it fails, r.streams has those submitted so far.
func (s *Server) submit(ctx context.Context, who caller, r *reply) (err error) {
	s.submitting.RLock()
	defer s.submitting.RUnlock()
	if s.draining.Load() {
		return errDraining()
	}
	if n := len(r.prompts) * r.n; n > s.engine.Capacity() {
		field := "prompt"
		if r.n > 1 {
			field = "n"
		}
		return refuse(codeValue, field, "asks for %d answers at once, %d to each prompt: this server takes %d at most", n, r.n, s.engine.Capacity())
	}
	if r.leave, err = admitAnswers(who, len(r.prompts)*r.n); err != nil {
		return err
	}
	asked := who.request()
	asked.MaxTokens, asked.Stop, asked.Top, asked.NoReuse = r.maxTokens, r.stop, r.top, r.noReuse
	asked.Shown, asked.Score, asked.PromptOnly = r.shown, r.score, r.promptOnly
	if r.model.selection != nil {
		asked.Adapters = r.model.selection
	}
	for _, p := range r.prompts {
		for i := range r.n {
			asked.Prompt, asked.Sampling = p.tokens, r.sampling
			asked.Sampling.Seed += uint64(i)
			stream, err := s.engine.Submit(ctx, asked)
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
	r.keep()
	if r.done != nil {
		r.done()
	}
	r.model.release()
}

// keep notes what has become of the answers so far in the request's record.
func (r *reply) keep() {
	if r.record == nil {
		return
	}
	r.record.count(r.streams, r.n)
	if r.model.selection != nil {
		r.record.flow = r.model.selection.Flow()
	}
}

// cause returns the cause of ctx's end where err is ctx's error, and otherwise err.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return context.Cause(ctx)
	}
	return err
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
	u.CompletionTokensDetails.ReasoningTokens = int(r.thinks.Load())
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
		if r.promptOnly {
			first = finished
		}
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

package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"golang.org/x/sync/semaphore"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
)

// A body is decoded, rendered and tokenized before its request has a place in the engine's queue, and takes some ten
// times its bytes meanwhile. So large bodies share a budget: a request that finds it used up waits before its body is
// read, and is answered 503 after bodyWait.

const (
	// bodyMemory is how many bytes of large bodies may be under way at once.
	bodyMemory = 32 << 20
	// smallBody is the largest body that takes nothing of it.
	smallBody = 64 << 10
	// bodyWait is how long a body waits for its share.
	bodyWait = 10 * time.Second
	// A body has to come in bodyTime, and a second more for each bodyRate bytes: it holds its share meanwhile.
	bodyTime = 10 * time.Second
	bodyRate = 512 << 10
)

// errBusy says that too many large bodies are under way.
var errBusy = errors.New("the server is busy with other large requests; ask again")

// bodies is the budget of large bodies.
type bodies struct {
	*semaphore.Weighted
	total int64
	wait  time.Duration
	held  atomic.Int64 // of total
}

func newBodies(total int64) *bodies {
	if total <= 0 {
		total = bodyMemory
	}
	return &bodies{Weighted: semaphore.NewWeighted(total), total: total, wait: bodyWait}
}

// take waits for the share of a body of so many bytes, or returns errBusy. give gives it back and may be called twice.
func (b *bodies) take(size int64) (give func(), err error) {
	if size <= smallBody {
		return func() {}, nil
	}
	size = min(size, b.total)
	ctx, cancel := context.WithTimeout(context.Background(), b.wait)
	defer cancel()
	if b.Acquire(ctx, size) != nil {
		return nil, errBusy
	}
	b.held.Add(size)
	given := false
	return func() {
		if !given {
			given = true
			b.held.Add(-size)
			b.Release(size)
		}
	}, nil
}

// readBody returns a request's body of at most limit bytes. done is called when it is no longer needed; it is never
// nil. The body has been read to its end where no error is returned, so that the connection may be watched.
func (s *Server) readBody(c *fiber.Ctx, limit int64) (body []byte, done func(), err error) {
	done = func() {}
	encoding, err := contentEncoding(c)
	if err != nil {
		return nil, done, err
	}
	stream := c.Context().RequestBodyStream()
	if stream == nil && encoding == "" {
		return c.Body(), done, nil
	}
	if stream == nil {
		stream = bytes.NewReader(c.Request().Body())
	}
	size := int64(c.Request().Header.ContentLength())
	if size > limit {
		return nil, done, tooLarge(c, stream, limit)
	}
	if encoding != "" {
		return s.readEncoded(c, stream, encoding, limit)
	}
	if size < 0 {
		size = limit // chunked: the length is not known
	}
	give, err := s.bodies.take(size)
	if err != nil {
		discard(c, stream, limit, bodyTime)
		return nil, done, err
	}
	if conn := c.Context().Conn(); conn != nil && size > smallBody {
		_ = conn.SetReadDeadline(time.Now().Add(bodyTime + time.Duration(size/bodyRate)*time.Second)) // where it cannot, reading fails
	}
	body, err = readAtMost(stream, limit, size)
	switch {
	case errors.Is(err, errTooLong):
		give()
		return nil, done, tooLarge(c, stream, limit)
	case err != nil:
		give()
		c.Context().SetConnectionClose()
		return nil, done, &refusal{
			status: http.StatusBadRequest, code: "incomplete_body",
			message: fmt.Sprintf("the body ended after %d bytes: %v", len(body), err),
		}
	}
	return body, give, nil
}

var errTooLong = errors.New("too long")

// readAtMost reads to the end, or returns errTooLong beyond limit. expected is how much memory is taken at once, up to a
// bound: a client that says much and sends little gets little.
func readAtMost(r io.Reader, limit, expected int64) ([]byte, error) {
	const start = 64 << 10
	body := make([]byte, 0, min(max(expected, 511), start)+1)
	for {
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case int64(len(body)) > limit:
			return body, errTooLong
		case errors.Is(err, io.EOF):
			return body, nil
		case err != nil:
			return body, err
		case len(body) == cap(body):
			// To the end at once when an eighth of it has come, so that there is one copy and not six.
			next := int64(2 * cap(body))
			if int64(len(body)) >= expected/8 {
				next = max(next, expected+1)
			}
			grown := make([]byte, len(body), min(next, limit+1))
			copy(grown, body)
			body = grown
		}
	}
}

// discard reads at most so much of a body that is refused, so that the client comes to read the answer, and closes the
// connection with what is left of it.
func discard(c *fiber.Ctx, rest io.Reader, most int64, wait time.Duration) {
	if upload, ok := rest.(*idleTimeoutReader); ok {
		rest = upload.r // which does not move the deadline
	}
	if rest == nil {
		c.Context().SetConnectionClose()
		return
	}
	if conn := c.Context().Conn(); conn != nil {
		_ = conn.SetReadDeadline(time.Now().Add(wait)) // where it cannot, the body is waited for
	}
	_, _ = io.CopyN(io.Discard, rest, most) // how it ends changes nothing
	c.Context().SetConnectionClose()
}

// tooLarge refuses a body.
func tooLarge(c *fiber.Ctx, rest io.Reader, limit int64) error {
	discard(c, rest, maxDrain, drainTime)
	return &refusal{
		status: http.StatusRequestEntityTooLarge, code: codeTooLarge,
		message: fmt.Sprintf("the body is larger than %d bytes", limit),
	}
}

// decodeKnown is decodeBody for requests that make something that stays: a field that is not known is refused, since a slip of
// the pen in its name would make something else.
func (s *Server) decodeKnown(c *fiber.Ctx, v any) error {
	body, done, err := s.readBody(c, s.maxBody)
	defer done()
	if err != nil {
		return err
	}
	if err := decodeJSON(body, v); err != nil {
		return err
	}
	if name := jsonvalue.Unknown(body, v); name != "" {
		return refuse(codeUnsupported, clipName(name), "is not a field of this request")
	}
	return nil
}

// decodeBody reads and decodes a JSON body.
func (s *Server) decodeBody(c *fiber.Ctx, v any) error {
	body, done, err := s.readBody(c, s.maxBody)
	defer done()
	if err != nil {
		return err
	}
	return decodeJSON(body, v)
}

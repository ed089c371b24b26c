package server

import (
	"bufio"
	"context"
	"errors"
	"io"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// heartbeat is how long a stream may be silent before it sends a comment, which keeps proxies from closing the
// connection. Where the connection cannot be watched, the flush that fails shows that the client has disconnected.
const heartbeat = 500 * time.Millisecond

// item is an event of one of the choices.
type item struct {
	choice int
	event  runtime.Event
	err    error // io.EOF at its end
}

// startStream answers with server-sent events. It waits up to one heartbeat for the first token, so that a request that
// fails at once is answered with the error's status; later errors are sent as events.
func (s *Server) startStream(c *fiber.Ctx, r *reply, ctx context.Context, stop func()) error {
	items := make(chan item, 16)
	for i, stream := range r.streams {
		go pump(ctx, i, stream, items)
	}
	out := &events{reply: r, items: items, opened: make([]bool, len(r.streams))}
	timer := time.NewTimer(heartbeat)
	defer timer.Stop()
	var err error
	select {
	case it := <-items:
		out.first = &it
		err = cause(ctx, it.err)
	case <-timer.C:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		r.close()
		stop()
		return err
	}
	c.Set(fiber.HeaderContentType, "text/event-stream; charset=utf-8")
	c.Set(fiber.HeaderCacheControl, "no-cache")
	c.Set("X-Accel-Buffering", "no")
	c.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
		defer stop()
		defer r.close()
		defer func() {
			if p := recover(); p != nil {
				s.log.Error().Any("panic", p).Bytes("stack", debug.Stack()).Msg("stream failed")
			}
		}()
		if err := out.write(ctx, w); err != nil {
			s.streamFailed(w, r, err)
		}
	})
	return nil
}

// pump moves a stream's events to the writer until the stream or ctx ends.
func pump(ctx context.Context, i int, s *runtime.Stream, items chan<- item) {
	for {
		ev, err := s.Next(ctx)
		select {
		case items <- item{i, ev, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// streamFailed sends the error to the client, if it is still connected, and logs it where the server is at fault.
func (s *Server) streamFailed(w *bufio.Writer, r *reply, err error) {
	if errors.Is(err, errGone) {
		s.log.Debug().Str("id", r.id).Msg("the client of a stream has gone")
		return
	}
	status, e := describe(err)
	if status >= 500 {
		s.log.Error().Err(err).Str("id", r.id).Msg("stream failed")
	}
	b := appendJSON([]byte("data: "), openapi.ErrorResponse{Error: e})
	if _, err := w.Write(append(b, '\n', '\n')); err == nil {
		_ = w.Flush() // the stream ends here either way
	}
}

// events writes a reply as server-sent events.
type events struct {
	reply  *reply
	items  <-chan item
	first  *item  // what came before the writer began
	opened []bool // choices whose first chunk is written
	ended  int    // choices that are whole
	head   []byte // of every chunk, up to its choices
	tail   string // of every chunk but the last
	buf    []byte
}

// write sends chunks as they are generated, all that are available with one flush, until all choices have ended. It
// returns errGone where the client has disconnected, or the error that ended a choice.
func (e *events) write(ctx context.Context, w *bufio.Writer) error {
	e.begin()
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	if e.first != nil {
		if err := e.put(*e.first); err != nil {
			return err
		}
		if err := e.flush(w); err != nil {
			return err
		}
	}
	for e.ended < len(e.reply.streams) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
			e.buf = append(e.buf, ": waiting\n\n"...)
		case it := <-e.items:
			if err := e.putAll(it); err != nil {
				return errors.Join(e.flush(w), cause(ctx, err))
			}
			ticker.Reset(heartbeat)
		}
		if err := e.flush(w); err != nil {
			return err
		}
	}
	if e.reply.includeUsage {
		e.finish()
	}
	e.buf = append(e.buf, "data: [DONE]\n\n"...)
	return e.flush(w)
}

// begin prepares the parts that are the same in all chunks.
func (e *events) begin() {
	r := e.reply
	b := append([]byte(`data: {"id":`), jsonvalue.AppendString(nil, r.id)...)
	b = append(append(b, `,"object":`...), jsonvalue.AppendString(nil, r.object())...)
	b = strconv.AppendInt(append(b, `,"created":`...), r.created, 10)
	b = jsonvalue.AppendString(append(b, `,"model":`...), r.model.name)
	b = jsonvalue.AppendString(append(b, `,"system_fingerprint":`...), r.fingerprint)
	b = append(append(b, `,"adapter":`...), r.model.label...)
	b = append(b, `,"choices":[`...)
	e.head = b
	e.tail = "]}\n\n"
	if r.includeUsage {
		e.tail = `],"usage":null}` + "\n\n"
	}
}

// putAll appends an item and all further ones that are available.
func (e *events) putAll(it item) error {
	for {
		if err := e.put(it); err != nil {
			return err
		}
		select {
		case it = <-e.items:
		default:
			return nil
		}
	}
}

// put appends the chunks that one item becomes.
func (e *events) put(it item) error {
	if errors.Is(it.err, io.EOF) {
		e.ended++
		return nil
	}
	if it.err != nil {
		return it.err
	}
	if !e.opened[it.choice] {
		e.opened[it.choice] = true
		e.chunk(func(b []byte) []byte { return e.reply.open(b, it.choice) })
	}
	if it.event.Text != "" || e.reply.top >= 0 && len(it.event.Tokens) > 0 {
		e.chunk(func(b []byte) []byte { return e.reply.piece(b, it.choice, it.event) })
	}
	if it.event.Finish != "" {
		e.chunk(func(b []byte) []byte { return e.reply.end(b, it.choice, it.event.Finish) })
	}
	return nil
}

// chunk appends a chunk with the choice that fill appends, or none where it appends nothing.
func (e *events) chunk(fill func([]byte) []byte) {
	start := len(e.buf)
	e.buf = append(e.buf, e.head...)
	n := len(e.buf)
	if e.buf = fill(e.buf); len(e.buf) == n {
		e.buf = e.buf[:start]
		return
	}
	e.buf = append(e.buf, e.tail...)
}

// finish appends the last chunk, which has the usage and no choices.
func (e *events) finish() {
	e.buf = append(e.buf, e.head...)
	e.buf = appendJSON(append(e.buf, `],"usage":`...), e.reply.usage())
	e.buf = appendJSON(append(e.buf, `,"timings":`...), e.reply.timings())
	e.buf = append(e.buf, "}\n\n"...)
}

// flush sends the chunks that have been appended.
func (e *events) flush(w *bufio.Writer) error {
	_, err := w.Write(e.buf)
	e.buf = e.buf[:0]
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return errGone
	}
	return nil
}

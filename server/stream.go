package server

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/gofiber/fiber/v2"

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

// startStream answers with a stream. It waits up to one heartbeat for the first token, so that a request that
// fails at once is answered with the error's status; later errors are sent as events.
func (s *Server) startStream(c *fiber.Ctx, r *reply, ctx context.Context, stop func()) error {
	items := make(chan item, 16)
	for i, stream := range r.streams {
		go pump(ctx, i, stream, items)
	}
	out := &streamWriter{reply: r, items: items, readers: make([]partReader, len(r.streams)), opened: make([]bool, len(r.streams))}
	for i := range out.readers {
		out.readers[i] = r.reader()
	}
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
		return r.locate(err)
	}
	if r.record != nil {
		r.record.stream, r.record.status = true, http.StatusOK
	}
	sendStream(c, r.contentType(), func(w *bufio.Writer) {
		defer stop()
		defer s.finish(r.record)
		defer r.close()
		defer func() {
			if p := recover(); p != nil {
				s.log.Error().Any("panic", p).Bytes("stack", debug.Stack()).Msg("stream failed")
			}
		}()
		if err := out.write(ctx, w); err != nil {
			r.record.failed(err)
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
	if errors.Is(err, errClientGone) {
		s.log.Debug().Str("request", r.request).Str("id", r.id).Msg("the client of a stream has gone")
		return
	}
	status, e := describe(r.locate(err))
	if status >= 500 {
		s.log.Error().Err(err).Str("request", r.request).Str("id", r.id).Msg("stream failed")
	}
	if _, err := w.Write(r.fail(nil, e)); err == nil {
		_ = w.Flush() // the stream ends here either way
	}
}

// streamWriter writes a reply while it is made.
type streamWriter struct {
	reply   *reply
	items   <-chan item
	first   *item        // what came before the writer began
	readers []partReader // one for each choice
	opened  []bool       // choices that have begun
	ended   int          // choices that are whole
	parts   []part       // kept for its memory
	buf     []byte
}

// write sends the parts of all choices as they are generated, all that are available with one flush, until all choices
// have ended. It returns errClientGone where the client has disconnected, or the error that ended a choice.
func (e *streamWriter) write(ctx context.Context, w *bufio.Writer) error {
	e.buf = e.reply.begin(e.buf, e.reply)
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	if e.first != nil {
		if err := e.put(*e.first); err != nil {
			return err
		}
	}
	if err := e.flush(w); err != nil {
		return err
	}
	for e.ended < len(e.reply.streams) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
			e.buf = e.reply.wait(e.buf)
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
	e.buf = e.reply.finish(e.buf, e.reply)
	return e.flush(w)
}

// putAll appends an item and all further ones that are available.
func (e *streamWriter) putAll(it item) error {
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

// put appends what one item becomes.
func (e *streamWriter) put(it item) error {
	if errors.Is(it.err, io.EOF) {
		e.ended++
		return nil
	}
	if it.err != nil {
		return it.err
	}
	if it.event.Prompt != nil { // it comes with the first event
		if e.reply.scores == nil {
			e.reply.scores = make([][]runtime.TokenText, len(e.opened))
		}
		e.reply.scores[it.choice] = it.event.Prompt
	}
	if !e.opened[it.choice] {
		e.opened[it.choice] = true
		e.buf = e.reply.open(e.buf, it.choice)
	}
	e.parts = e.readers[it.choice].read(e.parts[:0], it.event)
	for _, p := range e.parts {
		e.buf = e.reply.part(e.buf, it.choice, p)
	}
	return nil
}

// flush sends what has been appended.
func (e *streamWriter) flush(w *bufio.Writer) error {
	if len(e.buf) > 0 {
		if _, err := w.Write(e.buf); err != nil {
			return errClientGone
		}
		e.buf = e.buf[:0]
	}
	if w.Flush() != nil {
		return errClientGone
	}
	return nil
}

package server

import (
	"bufio"
	"context"
	"errors"
	"io"
	"runtime/debug"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/training"
)

// FollowTraining streams a job's events.
func (s *Server) FollowTraining(c *fiber.Ctx, id string, params openapi.FollowTrainingParams) error {
	return s.follow(c, id, params.LastEventID, eventOf)
}

// follow answers with a job's events after the one numbered last, each in the shape that shape gives it.
func (s *Server) follow(c *fiber.Ctx, id string, last *string, shape func(training.Event) any) error {
	q, err := s.queue()
	if err != nil {
		return err
	}
	from := 0
	if last != nil && *last != "" {
		if from, err = strconv.Atoi(*last); err != nil || from < 0 {
			return refuse(codeValue, "Last-Event-ID", "is %q, not the number of an event", *last)
		}
	}
	_, done, err := s.readBody(c, smallBody)
	if done(); err != nil { // the connection is watched from here on
		return err
	}
	if _, err := s.getJob(callerOf(c), id); err != nil {
		return err
	}
	events, err := q.Events(id, from+1)
	if err != nil {
		return err
	}
	ctx, stop := watch(c.Context().Conn())
	sendStream(c, eventStream, func(w *bufio.Writer) {
		defer stop()
		defer events.Close() // it was only read
		defer func() {
			if p := recover(); p != nil {
				s.log.Error().Any("panic", p).Bytes("stack", debug.Stack()).Msg("stream failed")
			}
		}()
		s.writeEvents(ctx, w, events, shape)
	})
	return nil
}

// writeEvents sends events until the job or the client has disconnected. A server that stops says so in an event of its
// own: the client may follow again later, from the last event on.
func (s *Server) writeEvents(ctx context.Context, w *bufio.Writer, events *training.Events, shape func(training.Event) any) {
	var b []byte
	for done := false; !done; {
		ev, err := nextEvent(ctx, events)
		b = b[:0]
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			b = strconv.AppendInt(append(b, "id: "...), int64(ev.Seq), 10)
			b = appendJSON(append(b, "\ndata: "...), shape(ev))
			b = append(b, "\n\n"...)
		case errors.Is(err, context.DeadlineExceeded):
			b = append(b, ": waiting\n\n"...)
		case errors.Is(err, io.EOF):
			b, done = append(b, "data: [DONE]\n\n"...), true
		default:
			status, e := describe(err)
			if status >= 500 && !errors.Is(err, training.ErrClosed) {
				s.log.Error().Err(err).Msg("stream failed")
			}
			b = appendJSON(append(b, "data: "...), openapi.ErrorResponse{Error: e})
			b, done = append(b, "\n\n"...), true
		}
		if _, err := w.Write(b); err != nil || w.Flush() != nil {
			return // the client has disconnected
		}
	}
}

// nextEvent waits for an event for as long as a stream may be silent.
func nextEvent(ctx context.Context, events *training.Events) (training.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, heartbeat)
	defer cancel()
	return events.Next(ctx)
}

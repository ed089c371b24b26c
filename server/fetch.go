package server

import (
	"context"
	"net/http"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

const (
	// maxFetches bounds the adapters that come from elsewhere at the same time; further ones wait.
	maxFetches = 2
	// fetchTime is the longest time that one may take.
	fetchTime = 10 * time.Minute
)

// work returns the context of a request whose body has been read: it ends when the client has disconnected and when the server
// stops, with the error for that as its cause. stop must be called before the handler returns.
func (s *Server) work(c *fiber.Ctx) (ctx context.Context, stop func()) {
	watched, unwatch := watch(c.Context().Conn())
	ctx, cancel := context.WithCancelCause(watched)
	undo := context.AfterFunc(s.serving, func() { cancel(errDraining()) })
	return ctx, func() {
		undo()
		cancel(context.Canceled)
		unwatch()
	}
}

// fetch registers what a source names. It ends when the client has disconnected and when the server stops.
func (s *Server) fetch(c *fiber.Ctx, name, source, param string) (adapters.Info, error) {
	if s.fetcher == nil {
		return adapters.Info{}, &refusal{status: http.StatusForbidden, param: param, code: codeNotAllowed,
			message: param + " cannot be fetched: this server was started with --remote-adapters off, or is open to other machines without an --api-key"}
	}
	ctx, stop := s.work(c)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, fetchTime, runtime.ErrDeadline)
	defer cancel()
	select {
	case s.fetches <- struct{}{}:
	case <-ctx.Done():
		return adapters.Info{}, context.Cause(ctx)
	}
	defer func() { <-s.fetches }()
	s.log.Info().Str("adapter", name).Str("source", source).Msg("fetching an adapter")
	info, err := s.fetcher(ctx, name, source)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return info, err
}

package server

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"github.com/lorikeet-ai/lorikeet/batches"
	"github.com/lorikeet-ai/lorikeet/openapi"
)

// A line of a batch is answered by the handler that answers a client's request, through the same middleware, on a
// connection in memory: so it is checked, counted and logged in the same way, whatever API it is of.

// batchPriority is how much lower the priority of a batch's requests is than that of the tenant's other ones. Between them
// lie all priorities that tenants have.
const batchPriority = 1 << 40

// performerKey is where Perform leaves the caller. No client can set it.
type performerKey struct{}

// Perform answers a line of a batch. When ctx ends the engine is told to give the answer up.
func (s *Server) Perform(ctx context.Context, r batches.Request) batches.Answer {
	who, known := s.ownerOf(r.Owner)
	if !known { // it may get one again before the batch expires, when its keys are exchanged for new ones
		return batches.Answer{Again: true, Status: http.StatusUnauthorized, Body: appendJSON(nil, openapi.ErrorResponse{
			Error: newError(requestFault, "invalid_api_key", "", "the batch's owner has no API key any longer"),
		})}
	}
	client, connection := net.Pipe()
	defer client.Close()
	defer connection.Close()
	defer context.AfterFunc(ctx, func() { _ = client.Close() })() // as a client that goes away

	var c fasthttp.RequestCtx
	c.Init2(&conn{Conn: connection}, nil, false)
	c.Request.Header.SetMethod(http.MethodPost)
	c.Request.SetRequestURI(r.Endpoint)
	c.Request.Header.SetHost("localhost")
	c.Request.Header.SetContentType(fiber.MIMEApplicationJSON)
	c.Request.SetBodyRaw(r.Body)
	c.SetUserValue(performerKey{}, who)
	s.handler(&c)

	a := batches.Answer{
		Status: c.Response.StatusCode(), RequestID: string(c.Response.Header.Peek(fiber.HeaderXRequestID)),
		Body: append([]byte(nil), c.Response.Body()...),
	}
	switch a.Status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		a.Again = true
	}
	if seconds, err := strconv.Atoi(string(c.Response.Header.Peek(fiber.HeaderRetryAfter))); err == nil {
		a.After = time.Duration(seconds) * time.Second
	}
	if !json.Valid(a.Body) && !a.Again {
		s.log.Warn().Str("request", a.RequestID).Int("status", a.Status).Msg("a line of a batch was answered with something that is not JSON")
	}
	return a
}

// ownerOf returns the caller that an owner's batches are answered for.
func (s *Server) ownerOf(owner string) (who caller, known bool) {
	who.batch = true
	if owner == "" {
		return who, true
	}
	if s.tenants == nil {
		return who, false
	}
	who.tenant, who.usage, known = s.tenants.Named(owner)
	return who, known
}

package server

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/openapi"
)

// This file has Anthropic's Messages API: anthropic_read.go translates its requests into chat requests, anthropic_form.go
// writes the answers.

// CreateMessage answers a conversation in Anthropic's shape.
func (s *Server) CreateMessage(c *fiber.Ctx) error {
	body, done, err := s.readBody(c, s.maxBody)
	if err != nil {
		return err
	}
	r, err := s.messageReply(callerOf(c), body)
	done()
	if err != nil {
		return err
	}
	return s.answer(c, r, "messages")
}

// messageReply decodes and checks a request, up to the tokens of its prompt.
func (s *Server) messageReply(who caller, body []byte) (*reply, error) {
	var req openapi.MessagesRequest
	if err := decodeJSON(body, &req); err != nil {
		return nil, err
	}
	if req.MaxTokens == nil {
		return nil, refuse(codeMissing, "max_tokens", "is missing")
	}
	t, err := translateMessages(&req)
	if err != nil {
		return nil, err
	}
	r, err := s.translated(who, t)
	if err != nil {
		return nil, err
	}
	r.id, r.form = newID("msg_"), &messageForm{reply: r}
	return r, nil
}

// CountMessageTokens counts the tokens that a request's prompt has.
func (s *Server) CountMessageTokens(c *fiber.Ctx) error {
	var req openapi.MessagesRequest
	if err := s.decodeBody(c, &req); err != nil {
		return err
	}
	t, err := translateMessages(&req)
	if err != nil {
		return err
	}
	t.request.MaxTokens, t.request.Stream = nil, nil
	r, err := s.translated(callerOf(c), t)
	if err != nil {
		return err
	}
	defer r.close()
	return sendJSON(c, http.StatusOK, openapi.MessageTokens{InputTokens: len(r.prompts[0].tokens)})
}

// isMessages reports whether a path is one of the Messages API.
func isMessages(path string) bool {
	return path == "/v1/messages" || strings.HasPrefix(path, "/v1/messages/")
}

// messagesError is an error in Anthropic's shape.
func messagesError(status int, e openapi.Error, id string) openapi.MessagesErrorResponse {
	kind := "api_error"
	switch status {
	case http.StatusUnauthorized:
		kind = "authentication_error"
	case http.StatusForbidden:
		kind = "permission_error"
	case http.StatusNotFound:
		kind = "not_found_error"
	case http.StatusRequestEntityTooLarge:
		kind = "request_too_large"
	case http.StatusTooManyRequests:
		kind = "rate_limit_error"
	case http.StatusServiceUnavailable:
		kind = "overloaded_error"
	case http.StatusGatewayTimeout:
		kind = "timeout_error"
	default:
		if status < 500 {
			kind = "invalid_request_error"
		}
	}
	out := openapi.MessagesErrorResponse{Type: "error", Error: openapi.MessagesError{Type: kind, Message: e.Message}}
	if id != "" {
		out.RequestId = &id
	}
	return out
}

// rawOr is raw, or text where it is absent or null.
func rawOr(raw json.RawMessage, text string) json.RawMessage {
	if jsonvalue.Kind(raw) == "null" {
		return json.RawMessage(text)
	}
	return raw
}

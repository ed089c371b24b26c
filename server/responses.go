package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/responses"
)

// This file has OpenAI's Responses API: responses_read.go translates its requests into chat requests, responses_form.go
// writes the answers, and package responses keeps those that later requests may go on from.

// ResponseStore keeps responses.
type ResponseStore interface {
	Put(responses.Record) error
	Get(id string, owns func(owner string) bool) (responses.Record, error)
	ChainBytes(id string, owns func(owner string) bool, limit int64) (int64, error)
	Chain(id string, owns func(owner string) bool, limit int64) ([]responses.Record, error)
	Delete(id string, owns func(owner string) bool) error
}

// CreateResponse answers a conversation in the shape of the Responses API.
func (s *Server) CreateResponse(c *fiber.Ctx) error {
	body, done, err := s.readBody(c, s.maxBody)
	if err != nil {
		return err
	}
	r, err := s.responseReply(callerOf(c), body)
	if err != nil {
		done()
		return err
	}
	r.done = done // the items of the request are kept with the response
	return s.answer(c, r, "input")
}

// responseReply decodes and checks a request, up to the tokens of its prompt.
func (s *Server) responseReply(who caller, body []byte) (*reply, error) {
	var req openapi.ResponseRequest
	if err := decodeJSON(body, &req); err != nil {
		return nil, err
	}
	if err := checkResponseRequest(&req); err != nil {
		return nil, err
	}
	history, done, err := s.history(who, text(req.PreviousResponseId))
	defer done()
	if err != nil {
		return nil, err
	}
	id := newID("resp_")
	t, input, err := s.translateResponse(who, &req, history, id)
	if err != nil {
		return nil, err
	}
	r, err := s.translated(who, t)
	if err != nil {
		return nil, err
	}
	form := &responseForm{server: s, reply: r, asked: &req, owner: who.tenant.Owner(), input: input}
	form.kept = s.responses != nil && flag(req.Store, true)
	form.summary = summaryWanted(&req)
	r.id, r.form = id, form
	return r, nil
}

// CountResponseTokens counts the tokens that a request's prompt has.
func (s *Server) CountResponseTokens(c *fiber.Ctx) error {
	var req openapi.ResponseRequest
	if err := s.decodeBody(c, &req); err != nil {
		return err
	}
	if err := checkResponseRequest(&req); err != nil {
		return err
	}
	who := callerOf(c)
	history, done, err := s.history(who, text(req.PreviousResponseId))
	defer done()
	if err != nil {
		return err
	}
	t, _, err := s.translateResponse(who, &req, history, newID("resp_"))
	if err != nil {
		return err
	}
	r, err := s.translated(who, t)
	if err != nil {
		return err
	}
	defer r.close()
	return sendJSON(c, http.StatusOK, openapi.ResponseTokens{Object: "response.input_tokens", InputTokens: len(r.prompts[0].tokens)})
}

// checkResponseRequest refuses what the server does not do.
func checkResponseRequest(req *openapi.ResponseRequest) error {
	switch {
	case flag(req.Background, false):
		return refuse(codeUnsupported, "background", "is true: answers are made while the client waits")
	case !isEmpty(req.Conversation):
		return refuse(codeUnsupported, "conversation", "is not supported: previous_response_id goes on from a response")
	case !isEmpty(req.Prompt):
		return refuse(codeUnsupported, "prompt", "is not supported: the server keeps no prompts")
	case req.Metadata != nil:
		return checkMetadata(*req.Metadata)
	}
	return nil
}

// history returns the responses that a request goes on from, the oldest first. They take their share of the budget of
// bodies, which done gives back; it is never nil.
func (s *Server) history(who caller, previous string) (list []responses.Record, done func(), err error) {
	done = func() {}
	if previous == "" {
		return nil, done, nil
	}
	if s.responses == nil {
		return nil, done, refuse(codeUnsupported, "previous_response_id", "is given, and this server keeps no responses")
	}
	limit := 2 * s.maxBody
	size, err := s.responses.ChainBytes(previous, who.tenant.Owns, limit)
	if err == nil {
		if done, err = s.bodies.take(size); err != nil {
			return nil, func() {}, err
		}
		list, err = s.responses.Chain(previous, who.tenant.Owns, limit)
	}
	var long *responses.LengthError
	switch {
	case errors.As(err, &long):
		err = refuse(codeValue, "previous_response_id", "goes on from a conversation that is too long: %v", long)
	case errors.Is(err, responses.ErrUnknown):
		err = &refusal{status: http.StatusNotFound, param: "previous_response_id", code: "previous_response_not_found",
			message: fmt.Sprintf("previous_response_id: %v; responses are kept for a time, and not where store is false", err)}
	}
	return list, done, err
}

// response returns a kept response of the caller's.
func (s *Server) response(who caller, id string) (responses.Record, error) {
	if s.responses != nil {
		r, err := s.responses.Get(id, who.tenant.Owns)
		if !errors.Is(err, responses.ErrUnknown) {
			return r, err
		}
	}
	return responses.Record{}, noResponse(id)
}

func noResponse(id string) error {
	return &refusal{status: http.StatusNotFound, param: "response_id", code: "response_not_found",
		message: fmt.Sprintf("there is no response %q; responses are kept for a time, and not where store is false", id)}
}

// GetResponse gives a kept response.
func (s *Server) GetResponse(c *fiber.Ctx, id string, params openapi.GetResponseParams) error {
	if flag(params.Stream, false) {
		return refuse(codeUnsupported, "stream", "is true: a kept response comes whole")
	}
	r, err := s.response(callerOf(c), id)
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, r.Response)
}

// DeleteResponse deletes a kept response.
func (s *Server) DeleteResponse(c *fiber.Ctx, id string) error {
	who := callerOf(c)
	if _, err := s.response(who, id); err != nil {
		return err
	}
	if err := s.responses.Delete(id, who.tenant.Owns); errors.Is(err, responses.ErrUnknown) {
		return noResponse(id) // in this moment
	} else if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, openapi.ResponseDeleted{Id: strings.Clone(id), Object: "response", Deleted: true})
}

// ListInputItems lists what a request was made of, the newest first.
func (s *Server) ListInputItems(c *fiber.Ctx, id string, params openapi.ListInputItemsParams) error {
	var check checker
	n := check.integer("limit", params.Limit, 20, 1, 100)
	order := text(params.Order)
	if order != "" && order != "asc" && order != "desc" {
		check.refuse(codeValue, "order", "is %q, it must be asc or desc", order)
	}
	if check.err != nil {
		return check.err
	}
	r, err := s.response(callerOf(c), id)
	if err != nil {
		return err
	}
	list := slices.Clone(r.Input)
	if order != "asc" {
		slices.Reverse(list)
	}
	if after := text(params.After); after != "" {
		at := slices.IndexFunc(list, func(raw json.RawMessage) bool { return itemID(raw) == after })
		if at < 0 {
			return refuse(codeValue, "after", "is %q, which is no item of this response", after)
		}
		list = list[at+1:]
	}
	out := openapi.ResponseItemList{Object: "list", Data: list[:min(n, len(list))], HasMore: len(list) > n}
	if len(out.Data) > 0 {
		first, last := itemID(out.Data[0]), itemID(out.Data[len(out.Data)-1])
		out.FirstId, out.LastId = &first, &last
	}
	return sendJSON(c, http.StatusOK, out)
}

// itemID returns the id of an item.
func itemID(raw json.RawMessage) string {
	var item struct {
		ID string `json:"id"`
	}
	_ = json.Unmarshal(raw, &item) // the server has given it one
	return item.ID
}

// keep keeps a response that has ended. It reports whether it did.
func (s *Server) keep(f *responseForm, answer *openapi.Response) bool {
	err := s.responses.Put(responses.Record{
		ID: f.reply.id, Owner: f.owner, Created: time.Unix(f.reply.created, 0), Previous: text(f.asked.PreviousResponseId),
		Input: f.input, Response: asJSON(answer),
	})
	if err != nil {
		s.log.Error().Err(err).Str("id", f.reply.id).Msg("a response cannot be kept")
	}
	return err == nil
}

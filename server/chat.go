package server

import (
	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/chat/calls"
	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/openapi"
)

// CreateChatCompletion answers a conversation.
func (s *Server) CreateChatCompletion(c *fiber.Ctx) error {
	body, done, err := s.readBody(c, s.maxBody)
	if err != nil {
		return err
	}
	r, err := s.chatReply(callerOf(c), body)
	done() // what the answer needs of it are the tokens
	if err != nil {
		return err
	}
	return s.answer(c, r, "messages")
}

// chatReply decodes and checks a chat request, up to the tokens of its prompt.
func (s *Server) chatReply(who caller, body []byte) (*reply, error) {
	var req openapi.ChatCompletionRequest
	if err := decodeJSON(body, &req); err != nil {
		return nil, err
	}
	r, err := s.chat(who, &req)
	if err != nil {
		return nil, err
	}
	r.id, r.form = newID("chatcmpl-"), &chatForm{chunks{object: "chat.completion.chunk"}, s, r.top}
	return r, nil
}

// chat checks a chat request and prepares its answer. Other APIs with conversations translate their requests into chat
// requests; they set the reply's id and form themselves, and give errors the names that their own fields have.
func (s *Server) chat(who caller, req *openapi.ChatCompletionRequest) (*reply, error) {
	q := chatRequest{}
	var err error
	if q.messages, err = s.messages(req.Messages); err != nil {
		return nil, err
	}
	if q.options, err = templateOptions(req, q.messages); err != nil {
		return nil, err
	}
	if q.generation, err = newGeneration(&req.GenerationParameters); err != nil {
		return nil, err
	}
	var check checker
	q.maxTokens = check.limit(req.MaxTokens, req.MaxCompletionTokens, 0, 1)
	top := check.integer("top_logprobs", req.TopLogprobs, 0, 0, maxTop)
	switch {
	case flag(req.Logprobs, false):
		q.top = top
	case top > 0:
		check.refuse(codeValue, "top_logprobs", "needs logprobs to be true")
	}
	if check.err != nil {
		return nil, check.err
	}
	return s.converse(who, &q, &req.GenerationParameters)
}

// chatForm writes chat completions.
type chatForm struct {
	chunks
	server *Server
	top    int // -1: no logprobs
}

func (f *chatForm) whole(r *reply, choices []choice) any {
	out := openapi.ChatCompletion{
		Id: r.id, Object: "chat.completion", Created: r.created, Model: r.model.name, SystemFingerprint: r.fingerprint,
		Adapter: r.label(), Choices: make([]openapi.ChatChoice, len(choices)), Usage: r.usage(), Timings: r.timings(),
	}
	for i, c := range choices {
		out.Choices[i] = openapi.ChatChoice{
			Index: i, Message: openapi.AssistantMessage{Role: "assistant", Content: c.text}, FinishReason: c.finish,
		}
		if r.top >= 0 {
			out.Choices[i].Logprobs = f.server.chatLogprobs(c.tokens)
		}
	}
	return out
}

func (f *chatForm) open(b []byte, i int) []byte {
	b = append(f.chunk(b, i), `,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}`...)
	return append(b, f.tail...)
}

func (f *chatForm) part(b []byte, i int, p part) []byte {
	switch {
	case p.Kind == calls.End:
		b = append(f.chunk(b, i), `,"delta":{},"logprobs":null,"finish_reason":`...)
		b = append(jsonvalue.AppendString(b, string(p.finish)), '}')
		return append(b, f.tail...)
	case p.Text == "" && f.top < 0:
		return b
	}
	b = jsonvalue.AppendString(append(f.chunk(b, i), `,"delta":{"content":`...), p.Text)
	b = append(b, `},"logprobs":`...)
	if f.top >= 0 {
		b = appendJSON(b, f.server.chatLogprobs(p.tokens))
	} else {
		b = append(b, "null"...)
	}
	return append(append(b, `,"finish_reason":null}`...), f.tail...)
}

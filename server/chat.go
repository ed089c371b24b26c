package server

import (
	"strconv"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
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
	list, err := s.messages(req.Messages)
	if err != nil {
		return nil, err
	}
	options, err := templateOptions(&req, list)
	if err != nil {
		return nil, err
	}
	g, err := newGeneration(&req.GenerationParameters)
	if err != nil {
		return nil, err
	}
	var check checker
	g.maxTokens = check.limit(req.MaxTokens, req.MaxCompletionTokens, 0)
	top := check.integer("top_logprobs", req.TopLogprobs, 0, 0, maxTop)
	switch {
	case flag(req.Logprobs, false):
		g.top = top
	case top > 0:
		check.refuse(codeValue, "top_logprobs", "needs logprobs to be true")
	}
	if check.err != nil {
		return nil, check.err
	}
	tokens, err := s.conversation(list, options)
	if err != nil {
		return nil, at("messages", err)
	}
	m, err := s.choose(who, &req.GenerationParameters)
	if err != nil {
		return nil, err
	}
	return &reply{
		form: chatForm{s, g.top}, generation: g, id: newID("chatcmpl-"), model: m, prompts: []prompt{{tokens: tokens}},
	}, nil
}

// chatForm writes chat completions.
type chatForm struct {
	server *Server
	top    int // -1: no logprobs
}

func (f chatForm) object() string { return "chat.completion.chunk" }

func (f chatForm) whole(r *reply, choices []choice) any {
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

func (f chatForm) open(b []byte, i int) []byte {
	b = strconv.AppendInt(append(b, `{"index":`...), int64(i), 10)
	return append(b, `,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}`...)
}

func (f chatForm) piece(b []byte, i int, ev runtime.Event) []byte {
	b = strconv.AppendInt(append(b, `{"index":`...), int64(i), 10)
	b = jsonvalue.AppendString(append(b, `,"delta":{"content":`...), ev.Text)
	b = append(b, `},"logprobs":`...)
	if f.top >= 0 {
		b = appendJSON(b, f.server.chatLogprobs(ev.Tokens))
	} else {
		b = append(b, "null"...)
	}
	return append(b, `,"finish_reason":null}`...)
}

func (f chatForm) end(b []byte, i int, why runtime.FinishReason) []byte {
	b = strconv.AppendInt(append(b, `{"index":`...), int64(i), 10)
	b = append(b, `,"delta":{},"logprobs":null,"finish_reason":`...)
	return append(jsonvalue.AppendString(b, string(why)), '}')
}

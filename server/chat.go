package server

import (
	"fmt"
	"math"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/chat"
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
	r.id, r.form = newID("chatcmpl-"), &chatForm{chunks{object: "chat.completion.chunk"}, s, r}
	return r, nil
}

// chat checks a chat request and prepares its answer. Other APIs with conversations translate their requests into chat
// requests; they set the reply's id and form themselves, and give errors the names that their own fields have.
func (s *Server) chat(who caller, req *openapi.ChatCompletionRequest) (*reply, error) {
	m, err := s.choose(who, &req.GenerationParameters)
	if err != nil {
		return nil, err
	}
	var r *reply
	template, err := s.own.of(m)
	if err == nil {
		r, err = s.chatWith(template, req)
	}
	if err != nil {
		m.release()
		return nil, err
	}
	r.model = m
	return r, nil
}

// chatWith is chat with a template, without the model.
func (s *Server) chatWith(template *chat.Template, req *openapi.ChatCompletionRequest) (*reply, error) {
	q := chatRequest{}
	var err error
	if q.messages, err = conversationOf(req.Messages, template); err != nil {
		return nil, err
	}
	if q.options, err = templateOptions(req, q.messages); err != nil {
		return nil, err
	}
	if q.tools, err = toolUseOf(req); err != nil {
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
	check.modalities(req)
	if req.ThinkingTokenBudget != nil {
		budget := check.integer("thinking_token_budget", req.ThinkingTokenBudget, 0, 0, math.MaxInt32)
		q.budget = &budget
	}
	if check.err != nil {
		return nil, check.err
	}
	q.schema, q.schemaParam = answerSchema(&req.GenerationParameters)
	return s.converse(&q, template)
}

// modalities refuses answers in other forms than text.
func (c *checker) modalities(r *openapi.ChatCompletionRequest) {
	for i, m := range c.texts("modalities", r.Modalities, 8, 64) {
		if m != "text" {
			c.refuse(codeUnsupported, fmt.Sprintf("modalities[%d]", i), "is %q: this server answers in text", m)
		}
	}
	if jsonvalue.Kind(r.Audio) != "null" {
		c.refuse(codeUnsupported, "audio", "is not supported: this server answers in text")
	}
	if jsonvalue.Kind(r.WebSearchOptions) != "null" {
		c.refuse(codeUnsupported, "web_search_options", "is not supported: the server searches nothing")
	}
	if r.ReasoningEffort != nil && len(*r.ReasoningEffort) > 64 {
		c.refuse(codeValue, "reasoning_effort", "has %d bytes, at most 64 are read", len(*r.ReasoningEffort))
	}
}

// chatForm writes chat completions.
type chatForm struct {
	chunks
	server *Server
	reply  *reply
}

func (f *chatForm) whole(r *reply, choices []choice) any {
	out := openapi.ChatCompletion{
		Id: r.id, Object: "chat.completion", Created: r.created, Model: r.model.name, SystemFingerprint: r.fingerprint,
		Adapter: r.label(), Choices: make([]openapi.ChatChoice, len(choices)), Usage: r.usage(), Timings: r.timings(),
	}
	for i, c := range choices {
		out.Choices[i] = openapi.ChatChoice{Index: i, Message: assistantMessage(r, c), FinishReason: f.finishReason(r, c.finish)}
		if r.top >= 0 {
			out.Choices[i].Logprobs = f.server.chatLogprobs(c.tokens)
		}
	}
	return out
}

// finishReason is that of a choice, by the older name where the request had older names.
func (f *chatForm) finishReason(r *reply, finish openapi.FinishReason) openapi.FinishReason {
	if r.legacyCalls && finish == openapi.ToolCalls {
		return openapi.FunctionCall
	}
	return finish
}

// assistantMessage is a choice as a message.
func assistantMessage(r *reply, c choice) openapi.AssistantMessage {
	m := openapi.AssistantMessage{Role: "assistant", Content: &c.text}
	if c.reasoning != "" {
		m.ReasoningContent = &c.reasoning
	}
	if len(c.calls) == 0 {
		return m
	}
	if c.text == "" {
		m.Content = nil
	}
	if r.legacyCalls {
		m.FunctionCall = &openapi.CalledFunction{Name: c.calls[0].name, Arguments: c.calls[0].arguments}
		return m
	}
	list := make([]openapi.ToolCall, len(c.calls))
	for i, one := range c.calls {
		list[i] = openapi.ToolCall{
			Id: one.id, Type: "function", Function: openapi.CalledFunction{Name: one.name, Arguments: one.arguments},
		}
	}
	m.ToolCalls = &list
	return m
}

func (f *chatForm) open(b []byte, i int) []byte {
	content := `""`
	if f.reply.tooled {
		content = "null" // of an answer that calls tools there may be none
	}
	b = append(append(f.chunk(b, i), `,"delta":{"role":"assistant","content":`...), content...)
	return append(append(b, `},"logprobs":null,"finish_reason":null}`...), f.tail...)
}

func (f *chatForm) part(b []byte, i int, p part) []byte {
	start := len(b)
	b = append(f.chunk(b, i), `,"delta":`...)
	switch p.Kind {
	case calls.Text:
		if p.Text == "" && f.reply.top < 0 {
			return b[:start]
		}
		b = jsonvalue.AppendString(append(b, `{"content":`...), p.Text)
	case calls.Reasoning:
		b = jsonvalue.AppendString(append(b, `{"reasoning_content":`...), p.Text)
	case calls.Call:
		b = f.call(b, p)
	case calls.Arguments:
		b = f.arguments(b, p)
	case calls.Done:
		return b[:start]
	case calls.End:
		b = append(b, `{},"logprobs":null,"finish_reason":`...)
		b = append(jsonvalue.AppendString(b, string(f.finishReason(f.reply, p.finish))), '}')
		return append(b, f.tail...)
	}
	b = append(b, `},"logprobs":`...)
	if f.reply.top >= 0 && p.Kind == calls.Text {
		b = appendJSON(b, f.server.chatLogprobs(p.tokens))
	} else {
		b = append(b, "null"...)
	}
	return append(append(b, `,"finish_reason":null}`...), f.tail...)
}

// call appends a delta, but its end, that begins a call.
func (f *chatForm) call(b []byte, p part) []byte {
	if f.reply.legacyCalls {
		b = jsonvalue.AppendString(append(b, `{"function_call":{"name":`...), p.Name)
		return append(b, `,"arguments":""}`...)
	}
	b = strconv.AppendInt(append(b, `{"tool_calls":[{"index":`...), int64(p.Index), 10)
	b = jsonvalue.AppendString(append(b, `,"id":`...), p.id)
	b = jsonvalue.AppendString(append(b, `,"type":"function","function":{"name":`...), p.Name)
	return append(b, `,"arguments":""}}]`...)
}

// arguments appends a delta, but its end, with a piece of a call's arguments.
func (f *chatForm) arguments(b []byte, p part) []byte {
	if f.reply.legacyCalls {
		return append(jsonvalue.AppendString(append(b, `{"function_call":{"arguments":`...), p.Text), '}')
	}
	b = strconv.AppendInt(append(b, `{"tool_calls":[{"index":`...), int64(p.Index), 10)
	b = jsonvalue.AppendString(append(b, `,"function":{"arguments":`...), p.Text)
	return append(b, "}}]"...)
}

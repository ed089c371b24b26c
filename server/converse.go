package server

import (
	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// chatRequest is a conversation to answer. The requests of all APIs that have conversations are translated into it, and
// converse is the one way from it to an answer: messages and tools to tokens, the constraint of the answer, and the parser
// of its text. Whoever translates checks the values and names the fields of his own API in the errors.
type chatRequest struct {
	// messages are the turns, at least one, with OpenAI's names of roles ("developer" has become "system"). What else a
	// turn has is in Extra by the names of OpenAI's chat API, as json.RawMessage: tool_calls, a list of
	// {"id", "type": "function", "function": {"name", "arguments": JSON text}}; tool_call_id of a turn of the role tool;
	// reasoning_content, what the assistant thought in that turn.
	messages []runtime.Message
	// options are what the chat template gets besides messages.
	options chat.Options
	// generation is what newGeneration makes of the parameters: sampling, format, stop, n, maxTokens, top, stream.
	generation
}

// converse prepares the answer to a conversation, up to the tokens of its prompt. which has the fields that choose model
// and adapter. The caller sets form and id, and gives the reply to Server.answer, which releases the adapters that it holds.
// Errors about the conversation as a whole name the field "messages".
func (s *Server) converse(who caller, q *chatRequest, which *openapi.GenerationParameters) (*reply, error) {
	tokens, err := s.conversation(q.messages, q.options)
	if err != nil {
		return nil, withParam("messages", err)
	}
	m, err := s.choose(who, which)
	if err != nil {
		return nil, err
	}
	return &reply{generation: q.generation, model: m, prompts: []prompt{{tokens: tokens}}}, nil
}

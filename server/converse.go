package server

import (
	"encoding/json"
	"strings"

	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/chat/calls"
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
	// options are what the chat template gets besides messages. Tools are set by converse.
	options chat.Options
	// tools are those that the model may call, and how.
	tools toolUse
	// schema is that of an answer that calls nothing, where there is one, and schemaParam where it stands. It is used where
	// there are tools; else the grammar of generation says it.
	schema      json.RawMessage
	schemaParam string
	// budget is how many tokens reasoning may have; nil: any number.
	budget *int
	// generation is what newGeneration makes of the parameters: sampling, format, stop, n, maxTokens, top, stream.
	generation
}

// converse prepares the answer to a conversation, up to the tokens of its prompt, with the template of the model or of the
// adapter that is asked. Errors about the conversation as a whole name the field "messages".
func (s *Server) converse(q *chatRequest, template *chat.Template) (*reply, error) {
	hasTools := len(q.tools.list) > 0
	if hasTools {
		q.options.Tools = q.tools.raw
	}
	text, err := template.Render(q.messages, q.options)
	if err == nil {
		err = s.fits(text)
	}
	if err != nil {
		return nil, withParam("messages", err)
	}
	tokens, err := template.Encode(text)
	if err != nil {
		return nil, withParam("messages", err)
	}
	r := &reply{generation: q.generation, prompts: []prompt{{tokens: tokens}}, tooled: hasTools, legacyCalls: q.tools.legacy}
	format := template.Format(hasTools)
	thinks := format.Think.Open != "" && q.sampling.Grammar == "" // a client's grammar says all of the answer
	thinking := thinks && strings.HasSuffix(strings.TrimRight(text, " \t\r\n"), strings.TrimSpace(format.Think.Open))
	var set calls.Tools
	c := calls.Constraint{
		Required: q.tools.required, Parallel: !q.tools.single, Thinking: thinking, Thinks: thinks, Schema: q.schema, Param: q.schemaParam,
	}
	if thinks {
		c.Budget = q.budget
	}
	if hasTools {
		c.Tools = q.tools.callable()
		set = calls.NewSet(c.Tools)
	}
	if hasTools || q.schema != nil && (thinking || format.Always()) || q.schema == nil && c.Budget != nil {
		if err := q.constrain(r, s.kept, format, c); err != nil {
			return nil, err
		}
	}
	apart := thinks && s.reasoning
	if hasTools || apart || format.Always() {
		f := *format
		if !apart {
			f.Think, thinking = calls.Pair{}, false
		}
		r.parser = func() parser { return calls.NewParser(&f, set, thinking) }
		r.shown, r.shortIDs = template.Markers(hasTools), format.HasIdentifiers()
	}
	return r, nil
}

// constrain sets the constraint of an answer that may call tools.
func (q *chatRequest) constrain(r *reply, kept constraints, f *calls.Format, c calls.Constraint) (err error) {
	if r.sampling.Grammar != "" {
		return refuse(codeValue, "grammar", "cannot be given together with tools: calls have a grammar of their own")
	}
	if r.sampling.Constraint, err = kept.of(f, c); err != nil {
		return schemaRefusal(err)
	}
	return nil
}

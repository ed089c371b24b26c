package dataset

import (
	"encoding/json"

	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Conversation is what one line says: turns to render, or a text as it is. What its maps and slices hold must not be
// changed.
type Conversation struct {
	Turns  []Turn
	Tools  json.RawMessage            // a list of objects; nil: none
	Kwargs map[string]json.RawMessage // further variables of the chat template
	Text   string                     // where there are no turns
	Skip   bool                       // the line says that nothing of it is to be learned
	Keys   []string                   // of the line, under which what is learned stands

	// Of a text.
	Split     bool // it is learned in pieces of max_length tokens, and not cut
	Continues bool // it goes on in the next line, so that its end is not learned

	// What lines of other kinds than Supervised say besides. Turns are then a prompt and the answer to it: of a pair the
	// chosen one, of PromptOnly none.
	Rejected  *Conversation   // the same prompt and the rejected answer; nil: there is no pair
	Desirable bool            // of UnpairedPreference, where there is no pair: the answer's label
	Line      json.RawMessage // of PromptOnly: the whole line
}

// Turn is one message and whether it is to be learned.
type Turn struct {
	Message  runtime.Message
	Learn    bool // it is an answer to learn
	Excluded bool // the line says that it is not to be learned, also where every token is
}

// messages are the turns without what training adds to them.
func (c *Conversation) messages() []runtime.Message {
	list := make([]runtime.Message, len(c.Turns))
	for i, t := range c.Turns {
		list[i] = t.Message
	}
	return list
}

// options are what the conversation is rendered with.
func (c *Conversation) options(generationPrompt bool) chat.Options {
	o := chat.Options{AddGenerationPrompt: generationPrompt}
	if c.Tools != nil {
		o.Tools = c.Tools
	}
	if len(c.Kwargs) > 0 {
		o.Kwargs = make(map[string]any, len(c.Kwargs))
		for name, value := range c.Kwargs {
			o.Kwargs[name] = value
		}
	}
	return o
}

// Question returns the messages before the last and the text of the last. It reports false where the conversation does not
// end with the assistant's answer to plain messages, so that it cannot be asked as it stands.
func (c *Conversation) Question() (messages []runtime.Message, answer string, ok bool) {
	n := len(c.Turns)
	if n < 2 || c.Tools != nil || c.Kwargs != nil || c.Turns[n-1].Message.Role != assistant {
		return nil, "", false
	}
	for _, t := range c.Turns {
		if t.Message.Extra != nil {
			return nil, "", false
		}
	}
	messages = c.messages()
	return messages[:n-1], messages[n-1].Content, true
}

// Bytes is about how much text the conversation has, with the rejected one.
func (c *Conversation) Bytes() int {
	n := len(c.Text) + len(c.Tools)
	for _, t := range c.Turns {
		n += len(t.Message.Content)
		for _, value := range t.Message.Extra {
			if raw, isJSON := value.(json.RawMessage); isJSON {
				n += len(raw)
			}
		}
	}
	if c.Rejected != nil {
		n += c.Rejected.Bytes()
	}
	return n
}

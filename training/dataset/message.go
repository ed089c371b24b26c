package dataset

import (
	"encoding/json"
	"strings"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// speakers are the names that ShareGPT's "from" gives the roles.
var speakers = map[string]string{
	"human": "user", "user": "user", "gpt": assistant, "chatgpt": assistant, "assistant": assistant, "bard": assistant,
	"bing": assistant, "model": assistant, "bot": assistant, "system": "system", "observation": "tool", "tool": "tool",
	"tool_response": "tool", "function_response": "tool", functionCall: assistant,
}

// functionCall is the name of a turn of ShareGPT's that is a call, and of the older field of OpenAI's for one.
const functionCall = "function_call"

// roles are other names that messages have for the roles that chat templates know.
var roles = map[string]string{"developer": "system", "function": "tool"}

// parseMessage reads a message as OpenAI has it (role, content) or ShareGPT (from, value). What is neither goes to
// the chat template as it is, as it does when serving. learn says whether the assistant's messages are learned
// where they do not say so themselves. The error continues "messages[3]".
func parseMessage(raw json.RawMessage, learn bool) (Turn, error) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil || fields == nil {
		return Turn{}, badLine("is not an object")
	}
	roleKey, contentKey := "role", "content"
	if isNull(fields["role"]) && !isNull(fields["from"]) {
		roleKey, contentKey = "from", "value"
	}
	var t Turn
	if err := t.readRole(fields[roleKey], roleKey); err != nil {
		return t, err
	}
	isCall := roleKey == "from" && strings.EqualFold(t.Message.Role, functionCall)
	if err := t.nameRole(roleKey); err != nil {
		return t, err
	}
	if err := refuseMedia(fields); err != nil {
		return t, err
	}
	t.Learn = learn && t.Message.Role == assistant
	if err := t.readFlags(fields); err != nil {
		return t, err
	}
	content := fields[contentKey]
	delete(fields, roleKey)
	delete(fields, contentKey)
	for name, value := range fields {
		t.setExtra(name, value)
	}
	if isCall {
		t.Message.Missing = runtime.ContentNull
		return t, t.readCallTurn(content)
	}
	if err := t.readCalls(); err != nil {
		return t, err
	}
	return t, t.readContent(content, contentKey)
}

// readRole reads the role by the name that the line has for it.
func (t *Turn) readRole(raw json.RawMessage, key string) error {
	if isNull(raw) {
		return badLine("has no role")
	}
	if json.Unmarshal(raw, &t.Message.Role) != nil || t.Message.Role == "" {
		return badLine("has a %s that is not a text", key)
	}
	return nil
}

// nameRole replaces other names of a role by the one that chat templates know.
func (t *Turn) nameRole(key string) error {
	name := t.Message.Role
	if key == "from" {
		if t.Message.Role = speakers[strings.ToLower(name)]; t.Message.Role == "" {
			return badLine("is from %q: human, gpt, system, function_call, observation or tool are expected", name)
		}
		return nil
	}
	if known := roles[name]; known != "" {
		t.Message.Role = known
	}
	return nil
}

// setExtra sets a field of the message that goes to the chat template under its name.
func (t *Turn) setExtra(name string, value json.RawMessage) {
	if t.Message.Extra == nil {
		t.Message.Extra = make(map[string]any)
	}
	t.Message.Extra[name] = value
}

// extra returns such a field, nil where there is none or it is null.
func (t *Turn) extra(name string) json.RawMessage {
	raw, _ := t.Message.Extra[name].(json.RawMessage)
	if isNull(raw) {
		return nil
	}
	return raw
}

// readContent reads a text, or parts, whose texts are joined.
func (t *Turn) readContent(raw json.RawMessage, key string) error {
	switch jsonvalue.Kind(raw) {
	case "null":
		if t.extra("tool_calls") == nil {
			return badLine("has no %s", key)
		}
		if t.Message.Missing = runtime.ContentNull; len(raw) == 0 {
			t.Message.Missing = runtime.ContentAbsent
		}
		return nil
	case "string":
		return json.Unmarshal(raw, &t.Message.Content)
	case "array":
		return t.readParts(raw, key)
	}
	return badLine("has a %s that is neither a text nor a list of parts", key)
}

// part is one of the parts of a content: a text, what the assistant thought, or a call.
type part struct {
	Type      string          `json:"type"`
	Text      *string         `json:"text"`
	Value     json.RawMessage `json:"value"` // as LLaMA-Factory has it
	Reasoning *string         `json:"reasoning"`
	Thinking  *string         `json:"thinking"`
	Name      json.RawMessage `json:"name"` // of a call, where it has no value
	Arguments json.RawMessage `json:"arguments"`
}

// readParts reads a list of parts. Reasoning and calls become the fields of the message that chat templates know.
func (t *Turn) readParts(raw json.RawMessage, key string) error {
	var parts []part
	var fields []map[string]json.RawMessage
	if jsonvalue.Decode(raw, &parts) != nil || json.Unmarshal(raw, &fields) != nil {
		return badLine("has a %s that is neither a text nor a list of parts", key)
	}
	var content, reasoning strings.Builder
	var calls []json.RawMessage
	for i := range parts {
		p := &parts[i]
		if err := checkPartFlags(fields[i]); err != nil {
			return badLine("%s[%d] %v", key, i, err)
		}
		switch p.Type {
		case "text":
			s, ok := p.text(p.Text)
			if !ok {
				return badLine("%s[%d] has no text", key, i)
			}
			content.WriteString(s)
		case "reasoning", "thinking":
			s, ok := p.text(p.Text, p.Reasoning, p.Thinking)
			if !ok {
				return badLine("%s[%d] has no text", key, i)
			}
			reasoning.WriteString(s)
		case "tool_call", functionCall:
			list, err := p.calls()
			if err != nil {
				return badLine("%s[%d] %v", key, i, err)
			}
			calls = append(calls, list...)
		default:
			return badLine("%s[%d] is of type %q: text, reasoning and tool_call can be learned", key, i, p.Type)
		}
	}
	if t.Message.Content = content.String(); t.Message.Content == "" && len(calls) > 0 {
		t.Message.Missing = runtime.ContentNull
	}
	return t.addParts(reasoning.String(), calls)
}

// addParts puts reasoning and calls into the message's fields.
func (t *Turn) addParts(reasoning string, calls []json.RawMessage) error {
	if reasoning != "" {
		if t.extra("reasoning_content") != nil {
			return badLine("has reasoning both in its content and in reasoning_content")
		}
		raw, err := json.Marshal(reasoning)
		if err != nil {
			return err
		}
		t.setExtra("reasoning_content", raw)
	}
	if len(calls) == 0 {
		return nil
	}
	if t.extra("tool_calls") != nil {
		return badLine("has calls both in its content and in tool_calls")
	}
	t.setCalls(calls)
	return nil
}

// text returns the first text there is of a part.
func (p *part) text(places ...*string) (string, bool) {
	for _, s := range places {
		if s != nil {
			return *s, true
		}
	}
	var s string
	if jsonvalue.Kind(p.Value) == "string" && json.Unmarshal(p.Value, &s) == nil {
		return s, true
	}
	return "", false
}

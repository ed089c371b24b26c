package dataset

import (
	"encoding/json"
	"strings"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
)

// speakers are the names that ShareGPT's "from" gives the roles.
var speakers = map[string]string{
	"human": "user", "user": "user", "gpt": assistant, "chatgpt": assistant, "assistant": assistant, "bard": assistant,
	"bing": assistant, "model": assistant, "bot": assistant, "system": "system", "observation": "tool", "tool": "tool",
}

// parseMessage reads a message as OpenAI has it (role, content) or ShareGPT (from, value). What is neither goes to
// the chat template as it is, as it does when serving. learn says whether the assistant's messages are learned
// where they do not say so themselves. The error continues "messages[3]".
func parseMessage(raw json.RawMessage, learn bool) (Turn, error) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil || fields == nil {
		return Turn{}, badLine("is not an object")
	}
	role, content := "role", "content"
	if isNull(fields["role"]) && !isNull(fields["from"]) {
		role, content = "from", "value"
	}
	var t Turn
	if isNull(fields[role]) {
		return t, badLine("has no role")
	}
	if json.Unmarshal(fields[role], &t.Message.Role) != nil || t.Message.Role == "" {
		return t, badLine("has a %s that is not a text", role)
	}
	if role == "from" {
		known := speakers[strings.ToLower(t.Message.Role)]
		if known == "" {
			return t, badLine("is from %q: human, gpt, system or tool are expected", t.Message.Role)
		}
		t.Message.Role = known
	}
	if t.Message.Role == "developer" {
		t.Message.Role = "system" // OpenAI's newer name, which chat templates do not know
	}
	var err error
	if t.Message.Content, err = parseContent(fields[content], content, !isNull(fields["tool_calls"])); err != nil {
		return t, err
	}
	t.Learn = learn && t.Message.Role == assistant
	for name, value := range fields {
		switch name {
		case role, content:
		case "weight", "loss_weight":
			if err := t.weigh(name, value); err != nil {
				return t, err
			}
		default:
			if t.Message.Extra == nil {
				t.Message.Extra = make(map[string]any)
			}
			t.Message.Extra[name] = value
		}
	}
	return t, nil
}

// weigh reads how much a message counts: 1 or 0, and 0 only where it is not the assistant's.
func (t *Turn) weigh(name string, raw json.RawMessage) error {
	if isNull(raw) {
		return nil
	}
	var w float64
	if json.Unmarshal(raw, &w) != nil || w != 0 && w != 1 {
		return badLine("has a %s of %s: 0 or 1 is expected", name, jsonvalue.Clip(raw))
	}
	if w == 1 && t.Message.Role != assistant {
		return badLine("has a %s of 1 and is the %s's: only the assistant's messages are learned, or all with train_on_inputs", name, t.Message.Role)
	}
	t.Learn = t.Learn && w == 1
	return nil
}

// parseContent reads a text, or text parts, which are joined.
func parseContent(raw json.RawMessage, key string, optional bool) (string, error) {
	if isNull(raw) {
		if !optional {
			return "", badLine("has no %s", key)
		}
		return "", nil
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s, nil
	}
	var parts []struct {
		Type  string  `json:"type"`
		Text  *string `json:"text"`
		Value *string `json:"value"` // as LLaMA-Factory has it
	}
	if json.Unmarshal(raw, &parts) != nil {
		return "", badLine("has a %s that is neither a text nor a list of text parts", key)
	}
	var b strings.Builder
	for i, p := range parts {
		switch {
		case p.Type != "text":
			return "", badLine("%s[%d] is of type %q: only text can be learned", key, i, p.Type)
		case p.Text != nil:
			b.WriteString(*p.Text)
		case p.Value != nil:
			b.WriteString(*p.Value)
		default:
			return "", badLine("%s[%d] has no text", key, i)
		}
	}
	return b.String(), nil
}

package dataset

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file reads a line in any of the formats that people have. The keys tell which it is; keys that belong to
// none, such as ids and categories, are not looked at.

const assistant = "assistant"

// parseLine reads one line. The error is a LineError.
func parseLine(raw []byte) (Conversation, error) {
	fields, err := parseObject(raw)
	if err != nil {
		return Conversation{}, err
	}
	has := func(keys ...string) bool {
		return !slices.ContainsFunc(keys, func(k string) bool { return isNull(fields[k]) })
	}
	for _, pair := range [][2]string{{"chosen", "rejected"}, {"preferred_output", "non_preferred_output"}} {
		if has(pair[0]) || has(pair[1]) {
			return Conversation{}, badLine("is preference data (%s, %s), which supervised training does not use", pair[0], pair[1])
		}
	}
	var c Conversation
	switch {
	case has("messages"):
		err = c.chat(fields["messages"], "messages", true)
	case has("conversations"):
		err = c.chat(fields["conversations"], "conversations", true)
	case has("prompt", "completion"):
		err = c.pair(fields["prompt"], fields["completion"])
	case has("instruction", "output"):
		err = c.alpaca(fields)
	case has("text"):
		c.Text, err = text(fields["text"], "text")
		if err == nil && c.Text == "" {
			err = badLine("has an empty text")
		}
	default:
		err = badLine("has the keys %s: messages, conversations, prompt and completion, instruction and output, or text are expected",
			strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
	}
	if err == nil && c.Text == "" {
		err = c.finish(fields)
	}
	return c, err
}

// finish reads what goes with turns in every format, and looks at them as a whole.
func (c *Conversation) finish(fields map[string]json.RawMessage) error {
	if !isNull(fields["system"]) {
		system, err := text(fields["system"], "system")
		if err != nil {
			return err
		}
		if system != "" {
			c.Turns = slices.Insert(c.Turns, 0, Turn{Message: runtime.Message{Role: "system", Content: system}})
		}
	}
	if !slices.ContainsFunc(c.Turns, func(t Turn) bool { return t.Message.Role == assistant }) {
		return badLine("has no message of the assistant to learn from")
	}
	if raw := fields["chat_template_kwargs"]; !isNull(raw) {
		if json.Unmarshal(raw, &c.Kwargs) != nil {
			return badLine("has chat_template_kwargs that are not an object")
		}
	}
	return c.readTools(fields["tools"])
}

// readTools takes a list of tools, or a string that holds one, as data sets of equal columns have it.
func (c *Conversation) readTools(raw json.RawMessage) error {
	if isNull(raw) {
		return nil
	}
	var inner string
	if json.Unmarshal(raw, &inner) == nil {
		if raw = json.RawMessage(inner); strings.TrimSpace(inner) == "" {
			return nil
		}
	}
	var list []map[string]json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return badLine("has tools that are not a list of objects")
	}
	if len(list) > 0 {
		c.Tools = raw
	}
	return nil
}

// chat appends a list of messages.
func (c *Conversation) chat(raw json.RawMessage, key string, learn bool) error {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return badLine("has %s that are not a list", key)
	}
	if len(list) == 0 {
		return badLine("has no %s", key)
	}
	for i, m := range list {
		t, err := parseMessage(m, learn)
		if err != nil {
			return badLine("%s[%d] %v", key, i, err)
		}
		c.Turns = append(c.Turns, t)
	}
	return nil
}

// pair reads prompt and completion: two texts, or two lists of messages.
func (c *Conversation) pair(prompt, completion json.RawMessage) error {
	for _, side := range []struct {
		raw   json.RawMessage
		key   string
		role  string
		learn bool
	}{{prompt, "prompt", "user", false}, {completion, "completion", assistant, true}} {
		if side.raw[0] == '[' {
			if err := c.chat(side.raw, side.key, side.learn); err != nil {
				return err
			}
			continue
		}
		content, err := text(side.raw, side.key)
		if err != nil {
			return err
		}
		c.say(side.role, content)
	}
	return nil
}

// say appends a turn; the assistant's is learned.
func (c *Conversation) say(role, content string) {
	c.Turns = append(c.Turns, Turn{runtime.Message{Role: role, Content: content}, role == assistant})
}

// alpaca reads instruction, input and output, and history, which are questions and answers that came before.
func (c *Conversation) alpaca(fields map[string]json.RawMessage) error {
	if raw := fields["history"]; !isNull(raw) {
		var history [][2]string
		if json.Unmarshal(raw, &history) != nil {
			return badLine("has a history that is not a list of pairs of texts")
		}
		for _, h := range history {
			c.say("user", h[0])
			c.say(assistant, h[1])
		}
	}
	instruction, err := text(fields["instruction"], "instruction")
	if err != nil {
		return err
	}
	if raw := fields["input"]; !isNull(raw) {
		input, err := text(raw, "input")
		if err != nil {
			return err
		}
		if input != "" {
			instruction += "\n" + input
		}
	}
	output, err := text(fields["output"], "output")
	if err != nil {
		return err
	}
	c.say("user", instruction)
	c.say(assistant, output)
	return nil
}

// text reads a string. The error is a LineError.
func text(raw json.RawMessage, key string) (string, error) {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return "", badLine("has a %s that is not a text", key)
	}
	return s, nil
}

func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

package dataset

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file reads a line in any of the formats that people have. The keys tell which it is and must match exactly; keys
// that belong to none, such as ids and categories, are not looked at.

// Bounds of a line, besides its bytes.
const (
	maxDepth    = 128     // objects and arrays inside one another
	maxValues   = 1 << 20 // JSON values
	maxMessages = 1024    // each of the assistant's is rendered with all that come before it
)

const assistant = "assistant"

// preferenceKeys are what marks lines that say which of two answers is better, or whether one is good.
var preferenceKeys = []string{
	"chosen", "rejected", "preferred_output", "non_preferred_output", "chosen_response", "rejected_response", "chosen_messages",
	"rejected_messages",
}

// parseLine reads one line as the kind wants it. The error is a LineError.
func parseLine(raw []byte, kind Kind) (Conversation, error) {
	fields, err := parseObject(raw)
	if err != nil {
		return Conversation{}, err
	}
	if err := refuseMedia(fields); err != nil {
		return Conversation{}, err
	}
	var c Conversation
	switch kind {
	case Preference:
		err = c.readPair(fields)
	case UnpairedPreference:
		err = c.readLabelled(fields)
	case PromptOnly:
		err = c.readPrompt(fields, raw)
	default:
		err = c.readSupervised(fields)
	}
	if err == nil {
		c.Skip, err = lineIsSkipped(fields)
	}
	return c, err
}

// readSupervised reads a line with answers to learn, or a text.
func (c *Conversation) readSupervised(fields map[string]json.RawMessage) error {
	if err := refusePreferences(fields); err != nil {
		return err
	}
	err := c.readFormat(fields)
	if err == nil && len(c.Turns) > 0 {
		err = c.finish(fields)
	}
	return err
}

// readFormat reads the line's turns, or its text, in whichever format the keys are those of.
func (c *Conversation) readFormat(fields map[string]json.RawMessage) (err error) {
	has := func(keys ...string) bool {
		return !slices.ContainsFunc(keys, func(k string) bool { return isNull(fields[k]) })
	}
	switch {
	case has("messages"):
		c.Keys = []string{"messages"}
		err = c.chat(fields["messages"], "messages", true)
	case has("conversations"):
		c.Keys = []string{"conversations"}
		err = c.chat(fields["conversations"], "conversations", true)
	case has("prompt", "completion"):
		c.Keys = []string{"prompt", "completion"}
		err = c.pair(fields["prompt"], fields["completion"])
	case has("instruction", "output"):
		c.Keys = []string{"instruction", "output"}
		err = c.alpaca(fields)
	case has("text"):
		c.Keys = []string{"text"}
		err = c.readText(fields)
	default:
		err = badLine("has the keys %s: messages, conversations, prompt and completion, instruction and output, or text are expected",
			strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
	}
	return err
}

// readText reads a text that is no conversation.
func (c *Conversation) readText(fields map[string]json.RawMessage) (err error) {
	if c.Text, err = text(fields["text"], "text"); err == nil && c.Text == "" {
		err = badLine("has an empty text")
	}
	for _, flag := range []struct {
		name string
		to   *bool
	}{{"split", &c.Split}, {"continues", &c.Continues}} {
		if raw := fields[flag.name]; jsonvalue.Kind(raw) == "boolean" { // other data sets may have other things there
			*flag.to, _ = flagValue(raw)
		}
	}
	return err
}

// parseObject reads a line's object. The error is a LineError.
func parseObject(raw []byte) (map[string]json.RawMessage, error) {
	if f := jsonvalue.AsFault(jsonvalue.Scan(raw, jsonvalue.Limits{Depth: maxDepth, Values: maxValues})); f != nil {
		return nil, badLine("%s at byte %d", f.Reason, f.Offset+1)
	}
	var fields map[string]json.RawMessage
	err := json.Unmarshal(raw, &fields)
	switch syntax := asSyntax(err); {
	case syntax != nil:
		return nil, badLine("is not JSON: %v (at byte %d)", syntax, syntax.Offset)
	case err != nil || fields == nil:
		return nil, badLine("is not a JSON object")
	}
	return fields, nil
}

// refusePreferences refuses what says of an answer that it is not the one to learn.
func refusePreferences(fields map[string]json.RawMessage) error {
	var found []string
	for _, key := range preferenceKeys {
		if !isNull(fields[key]) {
			found = append(found, key)
		}
	}
	for _, key := range []string{"label", "kto_tag"} { // of other data sets, a label may be anything but true or false
		var word string
		isWord := json.Unmarshal(fields[key], &word) == nil && (strings.EqualFold(word, "true") || strings.EqualFold(word, "false"))
		if isWord || jsonvalue.Kind(fields[key]) == "boolean" {
			found = append(found, key)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return badLine("is preference data (%s), which supervised training does not use", strings.Join(found, ", "))
}

// mediaKeys are what a line or a message has pictures, sounds and videos under.
var mediaKeys = []string{
	"images", "image", "videos", "video", "audios", "audio", "image_url", "image_urls", "video_url", "audio_url", "image_path", "image_paths",
	"video_path", "video_paths", "audio_path", "audio_paths", "pixel_values", "input_audio", "input_image",
}

// refuseMedia refuses what is not text: it would be left out, and the answers learned without it.
func refuseMedia(fields map[string]json.RawMessage) error {
	for _, key := range mediaKeys {
		switch jsonvalue.Kind(fields[key]) {
		case "string", "array", "object":
			if raw := string(fields[key]); raw != `""` && raw != "[]" && raw != "{}" {
				return badLine("has %s: only text can be learned", key)
			}
		}
	}
	return nil
}

// finish reads what goes with turns in every format, and looks at them as a whole.
func (c *Conversation) finish(fields map[string]json.RawMessage) error {
	if err := c.readAround(fields); err != nil {
		return err
	}
	if !slices.ContainsFunc(c.Turns, func(t Turn) bool { return t.Message.Role == assistant }) {
		return badLine("has no message of the assistant to learn from: its roles are %s", c.roleNames())
	}
	return nil
}

// readAround reads what goes with turns in every format: the system's message, tools and variables of the template.
func (c *Conversation) readAround(fields map[string]json.RawMessage) error {
	if !isNull(fields["system"]) {
		system, err := text(fields["system"], "system")
		if err != nil {
			return err
		}
		if system != "" {
			c.Turns = slices.Insert(c.Turns, 0, Turn{Message: runtime.Message{Role: "system", Content: system}})
		}
	}
	if len(c.Turns) > maxMessages {
		return badLine("has %d messages: at most %d can be learned", len(c.Turns), maxMessages)
	}
	if raw := fields["chat_template_kwargs"]; !isNull(raw) {
		if json.Unmarshal(raw, &c.Kwargs) != nil {
			return badLine("has chat_template_kwargs that are not an object")
		}
	}
	return c.readTools(fields)
}

// roleNames lists the roles of the turns, each once.
func (c *Conversation) roleNames() string {
	var names []string
	for _, t := range c.Turns {
		if !slices.Contains(names, t.Message.Role) {
			names = append(names, t.Message.Role)
		}
	}
	return strings.Join(names, ", ")
}

// chat appends a list of messages.
func (c *Conversation) chat(raw json.RawMessage, key string, learn bool) error {
	var list []json.RawMessage
	raw, err := innerJSON(raw) // tables have it as a text
	if err != nil || json.Unmarshal(raw, &list) != nil {
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
		c.addTurn(side.role, content)
	}
	return nil
}

// addTurn appends a turn; the assistant's is learned.
func (c *Conversation) addTurn(role, content string) {
	c.Turns = append(c.Turns, Turn{Message: runtime.Message{Role: role, Content: content}, Learn: role == assistant})
}

// alpaca reads instruction, input and output, and history, which are questions and answers that came before.
func (c *Conversation) alpaca(fields map[string]json.RawMessage) error {
	if raw := fields["history"]; !isNull(raw) {
		var history [][]*string
		if json.Unmarshal(raw, &history) != nil || slices.ContainsFunc(history, func(h []*string) bool { return len(h) != 2 || slices.Contains(h, nil) }) {
			return badLine("has a history that is not a list of pairs of texts")
		}
		for _, h := range history {
			c.addTurn("user", *h[0])
			c.addTurn(assistant, *h[1])
		}
	}
	if err := c.instruction(fields); err != nil {
		return err
	}
	output, err := text(fields["output"], "output")
	if err != nil {
		return err
	}
	c.addTurn(assistant, output)
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

func isNull(raw json.RawMessage) bool { return jsonvalue.Kind(raw) == "null" }

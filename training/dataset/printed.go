package dataset

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file finds what a chat template leaves out. What is not printed would not be learned, and an empty answer would
// be learned in its place.

// printedFields are the fields of the assistant's messages that are a part of the answer.
var printedFields = []string{"tool_calls", "reasoning_content", "reasoning", "thinking", "refusal"}

const (
	// maxPrintedChecks bounds how many messages of a kind, of a role or with a field, are looked at in a conversation: a
	// template treats all of a kind alike.
	maxPrintedChecks = 3
	// maxPrinted is how many messages are rendered to see whether one at the beginning is printed.
	maxPrinted = 32
	// enoughPrinted is how many conversations show that a template prints tools, or messages of a role, so that the
	// others are not looked at.
	enoughPrinted = 64
)

// PrintChecker finds what a chat template leaves out of conversations. It belongs to one goroutine.
type PrintChecker struct {
	template *chat.Template
	printed  map[string]int // how often tools, or the messages of a role, were seen to be printed
}

// NewPrintChecker returns a PrintChecker for a template.
func NewPrintChecker(t *chat.Template) *PrintChecker {
	return &PrintChecker{template: t, printed: make(map[string]int)}
}

// HasMore reports whether a conversation has more than texts, so that PrintChecker looks at it.
func (c *Conversation) HasMore() bool {
	return c.Tools != nil || slices.ContainsFunc(c.Turns, func(t Turn) bool {
		return t.Message.Role != assistant && t.Message.Role != "user" || len(t.printed()) > 0
	})
}

// printed returns the names of the parts of an answer that the turn has besides its content.
func (t *Turn) printed() []string {
	var list []string
	for _, name := range printedFields {
		if raw := t.extra(name); t.Message.Role == assistant && !slices.Contains([]string{"", `""`, "[]", "{}"}, string(raw)) {
			list = append(list, name)
		}
	}
	return list
}

// CheckRoles returns a LineError that names the first message whose role the template does not know: it would be rendered
// as another's, or left out.
func CheckRoles(t *chat.Template, c *Conversation) error {
	for i := range c.Turns {
		if role := c.Turns[i].Message.Role; !t.KnowsRole(role) {
			return badLine("has a message %d of the role %q: %s, and what else the base's chat template names, are known",
				i+1, role, strings.Join(chat.Roles, ", "))
		}
	}
	return nil
}

// Check returns a LineError that names the first part of the conversation that the template leaves out, so that it would
// neither be learned nor seen: tools, calls, reasoning, or a whole message of the system or of a tool.
func (p *PrintChecker) Check(c *Conversation) error {
	if !c.HasMore() {
		return nil
	}
	messages := c.messages()
	if c.Tools != nil && p.printed["tools"] < enoughPrinted {
		without := c.options(false)
		without.Tools = nil
		part := p.beginning(c, messages, maxPrinted)
		if sameText(p.template, part, part, c.options(false), without) {
			return badLine("has tools, which the base's chat template does not print: the model would not see them")
		}
		p.printed["tools"]++
	}
	seen := make(map[string]int) // messages of each kind that were looked at
	for i := range c.Turns {
		role, fields := messages[i].Role, c.Turns[i].printed()
		kind := role
		if role == assistant {
			kind += strings.Join(fields, ",")
		}
		if seen[kind]++; seen[kind] > maxPrintedChecks || role == "user" || role == assistant && len(fields) == 0 {
			continue
		}
		if err := p.checkMessage(c, messages, i, fields); err != nil {
			return err
		}
	}
	return nil
}

// checkMessage renders a conversation with and without what messages[i] has. An answer is rendered as the last message,
// because templates leave out what was thought in earlier ones.
func (p *PrintChecker) checkMessage(c *Conversation, messages []runtime.Message, i int, fields []string) error {
	o := c.options(false)
	for _, name := range fields {
		if err := p.checkPart(c, messages, i, name, "", func(m *runtime.Message) { delete(m.Extra, name) }); err != nil {
			return err
		}
	}
	if slices.Contains(fields, "tool_calls") && c.Turns[i].Learn {
		if err := p.checkCalls(c, messages, i); err != nil {
			return err
		}
	}
	role := messages[i].Role
	if role == assistant || strings.TrimSpace(messages[i].Content) == "" || p.printed[role] >= enoughPrinted {
		return nil
	}
	with := p.beginning(c, messages, i+maxPrinted)
	without := slices.Clone(with)
	without[i].Content = ""
	if sameText(p.template, with, without, o, o) {
		return badLine("has a message %d of the role %s, which the base's chat template does not print: the model would not see it", i+1, role)
	}
	p.printed[role]++
	return nil
}

// checkCalls wants every one of the calls of messages[i] to be printed, and the text beside them.
func (p *PrintChecker) checkCalls(c *Conversation, messages []runtime.Message, i int) error {
	if strings.TrimSpace(messages[i].Content) != "" {
		if err := p.checkPart(c, messages, i, "a text beside its tool_calls", "", func(m *runtime.Message) { m.Content = "" }); err != nil {
			return err
		}
	}
	var calls []json.RawMessage
	raw, _ := messages[i].Extra["tool_calls"].(json.RawMessage)
	if json.Unmarshal(raw, &calls) != nil || len(calls) < 2 {
		return nil
	}
	return p.checkPart(c, messages, i, "several tool_calls", " all of", func(m *runtime.Message) {
		m.Extra["tool_calls"] = joinList(calls[:len(calls)-1])
	})
}

// checkPart renders messages[i], as the last one, with and without a part of it, which remove takes away.
func (p *PrintChecker) checkPart(c *Conversation, messages []runtime.Message, i int, name, of string, remove func(*runtime.Message)) error {
	without := slices.Clone(messages[:i+1])
	without[i].Extra = maps.Clone(messages[i].Extra)
	remove(&without[i])
	o := c.options(false)
	if sameText(p.template, messages[:i+1], without, o, o) {
		return badLine("has a message %d with %s, which the base's chat template does not print%s: it would not be learned", i+1, name, of)
	}
	return nil
}

// beginning is the first n messages of a longer conversation, or all where the template does not take these alone.
func (p *PrintChecker) beginning(c *Conversation, messages []runtime.Message, n int) []runtime.Message {
	if n >= len(messages) {
		return messages
	}
	if _, err := p.template.Render(messages[:n], c.options(false)); err != nil {
		return messages
	}
	return messages[:n]
}

// sameText reports whether two conversations are rendered alike. One that is refused is not like another.
func sameText(t *chat.Template, a, b []runtime.Message, with, without chat.Options) bool {
	one, err := t.Render(a, with)
	if err != nil {
		return false
	}
	other, err := t.Render(b, without)
	return err == nil && one == other
}

package dataset

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file reads lines that say which of two answers is better, or whether an answer is good, in the formats that
// people have, and lines with a prompt alone.

// pairKeys are the keys that the two answers of a pair have, the better one first.
var pairKeys = [][2]string{
	{"chosen", "rejected"}, {"preferred_output", "non_preferred_output"}, // TRL and LLaMA-Factory; OpenAI
	{"chosen_response", "rejected_response"}, {"chosen_messages", "rejected_messages"},
}

// endingKeys are those of a rejected answer whose chosen one ends the line's messages, as ms-swift has it.
var endingKeys = []string{"rejected_response", "rejected_messages"}

// readPair reads a prompt and two answers to it.
func (c *Conversation) readPair(fields map[string]json.RawMessage) error {
	fields, err := inputFields(fields)
	if err != nil {
		return err
	}
	for _, keys := range pairKeys {
		if !isNull(fields[keys[0]]) && !isNull(fields[keys[1]]) {
			c.Keys = keys[:]
			return c.readAnswers(fields, keys)
		}
	}
	for _, key := range endingKeys {
		if !isNull(fields[key]) && !isNull(fields["messages"]) {
			c.Keys = []string{"messages", key}
			return c.readEnding(fields, key)
		}
	}
	return badLine("has the keys %s: a pair of answers is expected, such as prompt, chosen and rejected, or input, preferred_output and "+
		"non_preferred_output", strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
}

// inputFields puts the fields of OpenAI's input beside the others.
func inputFields(fields map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	if isNull(fields["preferred_output"]) || isNull(fields["non_preferred_output"]) || isNull(fields["input"]) {
		return fields, nil
	}
	var input map[string]json.RawMessage
	if json.Unmarshal(fields["input"], &input) != nil {
		return nil, badLine("has an input that is not an object with messages")
	}
	if isNull(input["messages"]) {
		return nil, badLine("has an input without messages")
	}
	if err := refuseMedia(input); err != nil {
		return nil, err
	}
	all := maps.Clone(fields)
	delete(all, "input")
	maps.Copy(all, input)
	return all, nil
}

// readAnswers reads the two answers under the keys, and the prompt.
func (c *Conversation) readAnswers(fields map[string]json.RawMessage, keys [2]string) error {
	prompt := Conversation{}
	key, err := prompt.readQuestion(fields)
	if err != nil {
		return err
	}
	var sides [2]Conversation
	for i := range sides {
		if err := sides[i].answer(fields[keys[i]], keys[i]); err != nil {
			return err
		}
	}
	chosen, rejected := sides[0].Turns, sides[1].Turns
	if isWhole(chosen) != isWhole(rejected) {
		return badLine("has a %s and a %s of which one begins with the prompt and the other one does not", keys[0], keys[1])
	}
	if !isWhole(chosen) {
		if key == "" {
			return badLine("has no prompt: prompt, or a %s and a %s that begin with it, are expected", keys[0], keys[1])
		}
		return c.setPair(fields, prompt.Turns, chosen, rejected)
	}
	common := commonTurns(chosen, rejected)
	if common == len(chosen) && common == len(rejected) { // two equal answers
		common = lastQuestion(chosen)
	}
	if key != "" && !isPromptOf(prompt.Turns, chosen[:common]) {
		return badLine("has a %s that does not begin with its %s", keys[0], key)
	}
	return c.setPair(fields, chosen[:common], chosen[common:], rejected[common:])
}

// setPair looks at the two answers and joins them with the prompt.
func (c *Conversation) setPair(fields map[string]json.RawMessage, prompt, chosen, rejected []Turn) error {
	for _, side := range []struct {
		name  string
		turns []Turn
	}{{"chosen", chosen}, {"rejected", rejected}} {
		switch {
		case len(side.turns) == 0:
			return badLine("has a %s answer that is the beginning of the other one", side.name)
		case side.turns[0].Message.Role != assistant:
			return badLine("has a %s answer that begins with a message of the %s: the chosen and the rejected one answer the same prompt",
				side.name, side.turns[0].Message.Role)
		}
	}
	c.Rejected = &Conversation{}
	for _, side := range []struct {
		to    *Conversation
		turns []Turn
	}{{c, chosen}, {c.Rejected, rejected}} {
		side.to.Turns = slices.Concat(unlearned(prompt), side.turns)
		if err := side.to.finish(fields); err != nil {
			return err
		}
	}
	return nil
}

// unlearned are turns of which nothing is learned.
func unlearned(turns []Turn) []Turn {
	list := slices.Clone(turns)
	for i := range list {
		list[i].Learn = false
	}
	return list
}

// readQuestion reads the prompt, and returns the key that it has, "" where the line has none.
func (c *Conversation) readQuestion(fields map[string]json.RawMessage) (string, error) {
	for _, key := range []string{"prompt", "messages", "conversations", "question"} {
		switch jsonvalue.Kind(fields[key]) {
		case "null":
		case "array":
			return key, c.chat(fields[key], key, false)
		default:
			content, err := text(fields[key], key)
			c.addTurn("user", content)
			return key, err
		}
	}
	if isNull(fields["instruction"]) {
		return "", nil
	}
	return "instruction", c.instruction(fields)
}

// answer reads one of the answers of a pair: a text, a message, or a list of messages.
func (c *Conversation) answer(raw json.RawMessage, key string) error {
	switch jsonvalue.Kind(raw) {
	case "string":
		content, err := text(raw, key)
		c.addTurn(assistant, content)
		return err
	case "object":
		t, err := parseMessage(raw, true)
		if err != nil {
			return badLine("%s %v", key, err)
		}
		c.Turns = append(c.Turns, t)
		return nil
	}
	return c.chat(raw, key, true)
}

// isWhole reports whether turns begin before the answer, with the prompt.
func isWhole(turns []Turn) bool {
	return len(turns) > 0 && turns[0].Message.Role != assistant && turns[0].Message.Role != "tool"
}

// commonTurns is how many turns two conversations begin with in common.
func commonTurns(a, b []Turn) int {
	n := 0
	for n < min(len(a), len(b)) && sameTurn(&a[n], &b[n]) {
		n++
	}
	return n
}

func sameTurn(a, b *Turn) bool { return reflect.DeepEqual(a.Message, b.Message) }

// lastQuestion is where the answer to the last message of the user begins, after which only answers and results of tools come.
func lastQuestion(turns []Turn) int {
	n := len(turns)
	for n > 0 && (turns[n-1].Message.Role == assistant || turns[n-1].Message.Role == "tool") {
		n--
	}
	return n
}

// isPromptOf reports whether a prompt that is given besides is the one that a conversation begins with, which may have a system's
// message besides.
func isPromptOf(prompt, turns []Turn) bool {
	if len(turns) > len(prompt) && turns[0].Message.Role == "system" {
		turns = turns[1:]
	}
	if len(prompt) > len(turns) {
		return false
	}
	for i := range prompt {
		a, b := &prompt[i].Message, &turns[i].Message
		if a.Role != b.Role || strings.TrimSpace(a.Content) != strings.TrimSpace(b.Content) {
			return false
		}
	}
	return true
}

// readEnding reads messages that end with the chosen answer, and another answer.
func (c *Conversation) readEnding(fields map[string]json.RawMessage, key string) error {
	var chosen, other Conversation
	if err := chosen.chat(fields["messages"], "messages", true); err != nil {
		return err
	}
	if err := other.answer(fields[key], key); err != nil {
		return err
	}
	rejected, at := other.Turns, lastQuestion(chosen.Turns)
	if isWhole(rejected) {
		at = min(at, commonTurns(chosen.Turns, rejected))
		rejected = rejected[at:]
	}
	if at == len(chosen.Turns) {
		return badLine("has messages that do not end with the chosen answer")
	}
	return c.setPair(fields, chosen.Turns[:at], chosen.Turns[at:], rejected)
}

// labelKeys are what says whether an answer is good: TRL's and ms-swift's name, and LLaMA-Factory's.
var labelKeys = []string{"label", "kto_tag"}

// readLabelled reads an answer with a label, or a pair, which is two.
func (c *Conversation) readLabelled(fields map[string]json.RawMessage) error {
	key := ""
	for _, name := range labelKeys {
		if !isNull(fields[name]) {
			key = name
			break
		}
	}
	if key == "" {
		for _, keys := range pairKeys {
			if !isNull(fields[keys[0]]) && !isNull(fields[keys[1]]) {
				return c.readPair(fields)
			}
		}
		return badLine("has no label, which says with true or false whether its answer is good")
	}
	on, ok := flagWord(fields[key])
	if !ok {
		return badLine("has a %s of %s: true or false is expected", key, jsonvalue.Clip(fields[key]))
	}
	c.Desirable = on
	if err := c.readFormat(fields); err != nil {
		return err
	}
	c.Keys = append(c.Keys, key)
	if len(c.Turns) == 0 {
		return badLine("has a text: a label needs a prompt and its answer")
	}
	answer := lastQuestion(c.Turns)
	for answer < len(c.Turns) && c.Turns[answer].Message.Role != assistant {
		answer++
	}
	switch {
	case answer == len(c.Turns):
		return badLine("does not end with an answer, to which its label would belong: its roles are %s", c.roleNames())
	case answer == 0:
		return badLine("has no prompt before its answer")
	}
	copy(c.Turns, unlearned(c.Turns[:answer]))
	return c.finish(fields)
}

// flagWord reads true or false, 1 or 0, also as a word.
func flagWord(raw json.RawMessage) (on, ok bool) {
	if jsonvalue.Kind(raw) == "string" {
		return lineFlag("", raw)
	}
	return flagValue(raw)
}

// readPrompt reads a line whose answer is sampled. An answer at the end of messages is left out: the line has it for the grader.
func (c *Conversation) readPrompt(fields map[string]json.RawMessage, raw []byte) error {
	key, err := c.readQuestion(fields)
	if err != nil {
		return err
	}
	if key == "" {
		return badLine("has the keys %s: messages or prompt are expected", strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
	}
	c.Keys = []string{key}
	if n := len(c.Turns); c.Turns[n-1].Message.Role == assistant {
		c.Turns = c.Turns[:lastQuestion(c.Turns)]
	}
	if len(c.Turns) == 0 {
		return badLine("has no prompt: it begins with the answer")
	}
	c.Turns, c.Line = unlearned(c.Turns), slices.Clone(raw)
	return c.readAround(fields)
}

// instruction reads instruction and input as the user's turn.
func (c *Conversation) instruction(fields map[string]json.RawMessage) error {
	instruction, err := text(fields["instruction"], "instruction")
	if err != nil {
		return err
	}
	if raw := fields["input"]; !isNull(raw) {
		input, err := text(raw, "input")
		if err != nil {
			return err
		}
		switch {
		case instruction == "":
			instruction = input
		case input != "":
			instruction += "\n" + input
		}
	}
	c.Turns = append(c.Turns, Turn{Message: runtime.Message{Role: "user", Content: instruction}})
	return nil
}

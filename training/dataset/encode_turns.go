package dataset

import (
	"context"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file encodes a conversation turn by turn, each with all that comes before it, which takes time that grows with the
// square of its length. It says what the encoding is: encode_once.go gives the same where it can.

// scriptsByTurn tokenizes a conversation turn by turn: what comes before each is rendered and tokenized as the server would.
func (e *Encoder) scriptsByTurn(ctx context.Context, c *Conversation, messages []runtime.Message) (list []script, err error) {
	for i, t := range c.Turns {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		switch {
		case e.isLeftOut(&t):
			list, err = e.exclude(list, c, messages, i)
		case e.isLearned(&t):
			var length int
			list, length, err = e.answer(list, c, messages, i)
			if err == nil && length > e.o.MaxLength {
				return list, nil // what follows has a prompt that is longer still
			}
		}
		if err != nil {
			return nil, err
		}
	}
	if e.learnsQuestion(&c.Turns[len(c.Turns)-1]) {
		tokens, err := e.render(c, messages, len(messages), false)
		if err != nil {
			return nil, err
		}
		list = e.extend(list, tokens, true)
	}
	return list, nil
}

// answer adds the answer messages[i] and what comes before it. length is that of its prompt, in tokens.
func (e *Encoder) answer(list []script, c *Conversation, messages []runtime.Message, i int) (_ []script, length int, err error) {
	prompt, answer, err := e.turn(c, messages, i)
	if err != nil {
		return nil, 0, err
	}
	list = e.extend(list, prompt, e.o.TrainOnInputs)
	s := &list[len(list)-1]
	s.add(answer, e.o.TrainOnInputs)
	e.markAnswer(s, len(answer), i == len(messages)-1)
	return list, len(prompt), nil
}

// exclude adds messages[i], of which nothing is learned, and what comes before it, of which all is.
func (e *Encoder) exclude(list []script, c *Conversation, messages []runtime.Message, i int) ([]script, error) {
	if i > 0 {
		before, err := e.render(c, messages, i, messages[i].Role == assistant)
		if err != nil {
			return nil, err
		}
		list = e.extend(list, before, true)
	}
	with, err := e.render(c, messages, i+1, false)
	if err != nil {
		return nil, err
	}
	return e.extend(list, with, false), nil
}

// render returns the tokens of the first n messages.
func (e *Encoder) render(c *Conversation, messages []runtime.Message, n int, generationPrompt bool) ([]runtime.Token, error) {
	text, err := e.renderText(messages[:n], c.options(generationPrompt))
	if err != nil {
		return nil, badLine("cannot be rendered up to message %d: %v", n, err)
	}
	return e.template.Encode(text)
}

// turn returns the tokens of the prompt with which the server would be asked for the answer messages[i], and the tokens
// that it would have to sample.
func (e *Encoder) turn(c *Conversation, messages []runtime.Message, i int) (prompt, answer []runtime.Token, err error) {
	before, err := e.renderText(messages[:i], c.options(true))
	if err != nil {
		return nil, nil, badLine("cannot be rendered up to message %d: %v", i, err)
	}
	after, err := e.renderText(messages[:i+1], c.options(false))
	if err != nil {
		return nil, nil, badLine("cannot be rendered up to message %d: %v", i+1, err)
	}
	added, ok := strings.CutPrefix(after, before)
	if !ok {
		return nil, nil, badLine("cannot be learned: the chat template does not render message %d as a continuation of its prompt", i+1)
	}
	if prompt, err = e.template.Encode(before); err != nil {
		return nil, nil, err
	}
	whole, err := e.template.Encode(after)
	if err != nil {
		return nil, nil, err
	}
	if len(whole) > len(prompt) && slices.Equal(whole[:len(prompt)], prompt) {
		return prompt, whole[len(prompt):], nil
	}
	answer, err = e.alone(added)
	return prompt, answer, err
}

// renderText renders messages.
func (e *Encoder) renderText(messages []runtime.Message, o chat.Options) (string, error) {
	text, err := e.template.Render(messages, o)
	e.rendered += len(text)
	return text, err
}

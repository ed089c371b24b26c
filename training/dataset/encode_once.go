package dataset

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file encodes a conversation in time that is linear in its length. The whole is rendered once. Where each turn lies in
// that text is found by rendering the turn behind a few of those before it, as the last message, as the server would have
// it: where that gives the very text that the whole has at this place, the whole begins with what the server renders
// up to there. Each stretch between two control tokens, at which tokenizers cut, or between lines where there are none, is
// tokenized for itself, and at the end all is compared with the tokens of the whole. Where any of this does not hold, because the template shows earlier turns in another
// way than the last one, say, the conversation is encoded turn by turn.

const (
	// minMarked is from how many turns on, which are learned or left out, the conversation is rendered as a whole.
	minMarked = 3
	// maxVariables bounds the bytes of chat_template_kwargs, which every rendering reads.
	maxVariables = 16 << 10
	// leadText is how much of a message's text is kept, in bytes, where only its place in the conversation counts.
	leadText = 48
	// minSplit is from how many tokens on a text without control tokens is cut at a line, before at least minTail of them.
	minSplit, minTail = 256, 16
	// maxFailures is how often that may fail until it is given up.
	maxFailures = 8
	// maxLead is how many messages a turn is rendered behind, besides the system's and the user's last one.
	maxLead = 4
)

// leadTools stand for the conversation's tools where a turn is rendered behind a few others.
const leadTools = `[{"type": "function", "function": {"name": "f", "description": "f", "parameters": {"type": "object", "properties": {}}}}]`

// countMarked is how many turns of a conversation have to be found in its text.
func (e *Encoder) countMarked(c *Conversation) (n int) {
	for i := range c.Turns {
		if e.isLearned(&c.Turns[i]) || e.isLeftOut(&c.Turns[i]) {
			n++
		}
	}
	return n
}

// isLeftOut reports whether a turn is the one that is not learned of a conversation that is.
func (e *Encoder) isLeftOut(t *Turn) bool { return t.Excluded && e.o.TrainOnInputs }

// isLearned reports whether a turn is an answer that is learned.
func (e *Encoder) isLearned(t *Turn) bool {
	return t.Message.Role == assistant && (t.Learn || e.o.TrainOnInputs) && !e.isLeftOut(t)
}

// learnsQuestion reports whether the last turn of a conversation is no answer and is learned all the same.
func (e *Encoder) learnsQuestion(last *Turn) bool {
	return e.o.TrainOnInputs && last.Message.Role != assistant && !last.Excluded
}

// scriptsOnce is scriptsByTurn in linear time. ok is false where it cannot tell that it gives the same. The error is ctx's.
func (e *Encoder) scriptsOnce(ctx context.Context, c *Conversation, messages []runtime.Message) (list []script, ok bool, err error) {
	x := e.newWhole(c, messages)
	if x == nil {
		return nil, false, ctx.Err()
	}
	for i := range c.Turns {
		t := &c.Turns[i]
		if !e.isLearned(t) && !e.isLeftOut(t) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		before, end, ok := x.find(i)
		switch {
		case !ok:
		case e.isLeftOut(t):
			ok = (i == 0 || x.extend(before, true)) && x.extend(end, false)
		default:
			ok = x.extend(before, e.o.TrainOnInputs)
			length := len(x.script.tokens)
			if ok = ok && x.answer(before, end, i == len(messages)-1); ok && length > e.o.MaxLength {
				return []script{x.script}, x.verify(), nil // what follows has a prompt that is longer still
			}
		}
		if !ok {
			return nil, false, nil
		}
	}
	if last := &c.Turns[len(c.Turns)-1]; e.learnsQuestion(last) && !x.extend(len(x.text), true) {
		return nil, false, nil
	}
	return []script{x.script}, x.verify(), nil
}

// whole is a conversation's text while it is encoded from the beginning to the end.
type whole struct {
	e        *Encoder
	c        *Conversation
	messages []runtime.Message
	text     string // all messages

	done, end int // how many messages were found, and where in text the last of them ends

	script   script
	from, at int // text[:from] gives the first at tokens of the script, whatever follows; there a control token begins

	failures int // of advanceToLine

	checkedText, checkedTokens int // the last place of which the script has all tokens, and no other ones
}

// newWhole renders a conversation, nil where that cannot be done at once.
func (e *Encoder) newWhole(c *Conversation, messages []runtime.Message) *whole {
	size := 0
	for _, raw := range c.Kwargs {
		size += len(raw)
	}
	if size > maxVariables {
		return nil
	}
	text, err := e.renderText(messages, c.options(false))
	if err != nil {
		return nil
	}
	return &whole{e: e, c: c, messages: messages, text: text}
}

// find returns where in the text the prompt ends that messages[i] comes behind, and where the message ends. The
// indices it is called with grow.
func (x *whole) find(i int) (before, end int, ok bool) {
	var lead []runtime.Message
	o := x.c.options(false)
	base := ""
	if x.done > 0 {
		lead = x.lead()
		if o.Tools != nil {
			o.Tools = json.RawMessage(leadTools)
		}
		if base, ok = x.render(lead, o); !ok {
			return 0, 0, false
		}
	}
	prompt := base
	if o.AddGenerationPrompt = x.messages[i].Role == assistant; o.AddGenerationPrompt || i > x.done {
		if prompt, ok = x.render(slices.Concat(lead, x.messages[x.done:i]), o); !ok {
			return 0, 0, false
		}
	}
	o.AddGenerationPrompt = false
	with, ok := x.render(slices.Concat(lead, x.messages[x.done:i+1]), o)
	if !ok || !strings.HasPrefix(prompt, base) || !strings.HasPrefix(with, prompt) || !strings.HasPrefix(x.text[x.end:], with[len(base):]) {
		return 0, 0, false
	}
	before, end = x.end+len(prompt)-len(base), x.end+len(with)-len(base)
	if i == len(x.messages)-1 && end != len(x.text) {
		return 0, 0, false
	}
	x.done, x.end = i+1, end
	return before, end, true
}

func (x *whole) render(messages []runtime.Message, o chat.Options) (text string, ok bool) {
	text, err := x.e.renderText(messages, o)
	return text, err == nil
}

// lead is a short conversation that stands for the messages before x.done: the system's, the user's last one, and what
// came since then, of which the first ones are left out where they are many. Of long texts it has the beginning.
func (x *whole) lead() []runtime.Message {
	first := x.done - 1
	for first > 0 && x.messages[first].Role != "user" {
		first--
	}
	var list []runtime.Message
	if first > 0 && (x.messages[0].Role == "system" || x.messages[0].Role == "developer") {
		list = append(list, shortMessage(x.messages[0], true))
	}
	list = append(list, shortMessage(x.messages[first], true))
	next := first + 1
	if x.done-next > maxLead {
		next = x.done - maxLead
		for next < x.done-1 && x.messages[next].Role != assistant {
			next++
		}
	}
	for _, m := range x.messages[next:x.done] {
		list = append(list, shortMessage(m, false))
	}
	return list
}

// shortMessage is a message with the beginning of its text, and without long fields where it stands before many turns.
func shortMessage(m runtime.Message, dropFields bool) runtime.Message {
	if len(m.Content) > leadText {
		n := leadText
		for n > 0 && !utf8.RuneStart(m.Content[n]) {
			n--
		}
		m.Content = m.Content[:n]
	}
	if !dropFields {
		return m
	}
	extra := make(map[string]any)
	for name, value := range m.Extra {
		if raw, isJSON := value.(json.RawMessage); isJSON && len(raw) <= leadText {
			extra[name] = raw
		}
	}
	if m.Extra = extra; len(extra) == 0 {
		m.Extra = nil
	}
	return m
}

// tokens are those of text[x.from:end], and at the beginning of the text BOS.
func (x *whole) tokens(end int) ([]runtime.Token, bool) {
	encode := x.e.template.EncodePart
	if x.from == 0 {
		encode = x.e.template.Encode
	}
	list, err := encode(x.text[x.from:end])
	return list, err == nil
}

// extend adds the tokens up to a place in the text. It reports false where they do not continue those that there are.
func (x *whole) extend(end int, learn bool) bool {
	list, ok := x.tokens(end)
	known := len(x.script.tokens) - x.at
	if !ok || known > len(list) || !slices.Equal(list[:known], x.script.tokens[x.at:]) {
		return false
	}
	x.script.add(list[known:], learn)
	x.advance(list, end)
	return true
}

// answer adds the tokens of an answer, as scriptsByTurn does.
func (x *whole) answer(before, end int, last bool) bool {
	list, ok := x.tokens(end)
	if !ok {
		return false
	}
	known := len(x.script.tokens) - x.at
	joined := known >= len(list) || !slices.Equal(list[:known], x.script.tokens[x.at:])
	var added []runtime.Token
	if joined {
		var err error
		if added, err = x.e.alone(x.text[before:end]); err != nil {
			return false
		}
	} else {
		added = list[known:]
	}
	x.script.add(added, x.e.o.TrainOnInputs)
	if !joined {
		x.advance(list, end)
	}
	x.e.markAnswer(&x.script, len(added), last)
	return true
}

// advance notes that the script ends with list, the tokens of text[x.from:end], and moves x.from to the last control token
// in them.
func (x *whole) advance(list []runtime.Token, end int) {
	x.checkedText, x.checkedTokens = end, len(x.script.tokens)
	for i := len(list) - 1; i > 0; i-- {
		if !x.e.isControl(list[i]) {
			continue
		}
		control, part := string(x.e.model.Piece(list[i], true)), x.text[x.from:end]
		same := 0
		for _, t := range list {
			if t == list[i] {
				same++
			}
		}
		if same == strings.Count(part, control) { // it is written nowhere else, so the last one is this one
			x.from += strings.LastIndex(part, control)
			x.at += i
			return
		}
		break
	}
	x.advanceToLine(list, end)
}

// advanceToLine is advance for a template that writes no control tokens between turns: x.from moves to the beginning of a line
// from which on the text alone gives the same tokens.
func (x *whole) advanceToLine(list []runtime.Token, end int) {
	if len(list) < minSplit || x.failures == maxFailures {
		return
	}
	part := x.text[x.from:end]
	offset := len(part) // where token i begins
	for i := len(list) - 1; i > 0; i-- {
		piece := x.e.model.Piece(list[i], true)
		if !strings.HasSuffix(part[:offset], string(piece)) {
			x.failures++ // a tokenizer that changes the text, or text that is masked
			return
		}
		offset -= len(piece)
		if len(list)-i < minTail || offset == 0 || part[offset-1] != '\n' || strings.ContainsRune(" \t\r\n", rune(part[offset])) {
			continue
		}
		tail, err := x.e.template.EncodePart(part[offset:])
		if err == nil && slices.Equal(tail, list[i:]) {
			x.from, x.at = x.from+offset, x.at+i
		} else {
			x.failures++
		}
		return
	}
}

// isControl reports whether a token is one that only the template writes.
func (e *Encoder) isControl(t runtime.Token) bool {
	return len(e.model.Piece(t, false)) == 0 && len(e.model.Piece(t, true)) > 0
}

// verify reports whether the tokens that were put together are those of the text.
func (x *whole) verify() bool {
	list, err := x.e.template.Encode(x.text[:x.checkedText])
	return err == nil && slices.Equal(list, x.script.tokens[:x.checkedTokens])
}

package calls

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/lorikeet-ai/lorikeet/grammar"
)

// Constraint says what an answer may be.
type Constraint struct {
	Tools    []Tool          // those that may be called; where there are none, Schema is given
	Required bool            // the answer is calls and nothing else
	Parallel bool            // it may have several, where the format can
	Thinking bool            // the prompt ends within a block of reasoning
	Thinks   bool            // the answer may begin with one
	Budget   *int            // after how many tokens of the answer reasoning has to end; nil: it ends where the model ends it
	Schema   json.RawMessage // of an answer that calls nothing; nil: it is free
	Param    string          // where Schema stands in the request
}

// maxCalls bounds the calls of one answer.
const maxCalls = 64

// Part returns what the answers are. Errors are *grammar.SchemaError, which names the keyword of a tool's schema that
// cannot be held to. Where a tool is neither strict nor required, its arguments are then any object instead.
func (f *Format) Part(c Constraint) (grammar.Part, error) {
	var tools []grammar.Part
	for _, tool := range c.Tools {
		arguments, err := f.arguments(tool, c.Required || tool.Strict)
		if err != nil {
			return grammar.Part{}, err
		}
		tools = append(tools, grammar.Sequence(grammar.Literal(tool.Name), literal(f.Middle), arguments, literal(f.Finish)))
	}
	tool := grammar.Choice(tools...)
	var further grammar.Part
	if c.Parallel && f.Parallel {
		further = grammar.Repeat(grammar.Sequence(literal(f.Separator+f.Begin), tool), 0, maxCalls-1)
	}
	calls := grammar.Sequence(tool, further, literal(f.Section.Close)) // after what the first begins with
	opening := strings.TrimLeft(f.opening(), whiteSpace)
	whole := grammar.Sequence(grammar.Repeat(literal(f.Tag), 0, 1), literal(opening), calls)
	var marked []grammar.Trigger // where there are no tools, nothing in a text is a call
	if len(c.Tools) > 0 && f.Marker != "" {
		marked = []grammar.Trigger{{Marker: f.Marker, Then: grammar.Sequence(literal(strings.TrimPrefix(opening, f.Marker)), calls)}}
	}
	text := grammar.Text(marked...)
	if c.Budget != nil && c.Thinks && !c.Thinking { // else reasoning could be read as text, which has no budget
		text = grammar.TextUnlike(strings.TrimSpace(f.Think.Open), marked...)
	}
	switch {
	case c.Required:
		return f.withReasoning(whole, c), nil
	case c.Schema != nil:
		answer, err := grammar.Schema(c.Param, c.Schema)
		if answer = f.contentOnly(answer); len(c.Tools) > 0 {
			answer = grammar.Choice(whole, answer)
		}
		return f.withReasoning(answer, c), err
	case f.TextOpen != "":
		return grammar.Choice(whole, grammar.Sequence(literal(f.TextOpen), text)), nil
	case f.Marker == "" && len(c.Tools) > 0:
		other := []string{opening}
		if f.Tag != "" {
			other = append(other, f.Tag)
		}
		if c.Budget != nil && c.Thinks {
			other = append(other, strings.TrimSpace(f.Think.Open))
		}
		return f.withReasoning(grammar.Choice(grammar.Sequence(blanks, whole), grammar.TextNotBeginning(other...)), c), nil
	case f.Channels && c.Budget == nil:
		return text, nil // whatever the channels
	}
	return f.withReasoning(text, c), nil
}

// contentOnly is a text that is the whole answer but for reasoning.
func (f *Format) contentOnly(text grammar.Part) grammar.Part {
	switch {
	case f.Channels:
		return grammar.Sequence(grammar.Literal(channelMark+"final"+channelMessage), text)
	case f.TextOpen != "":
		return grammar.Sequence(grammar.Literal(f.TextOpen), text)
	}
	return grammar.Sequence(blanks, text)
}

// blanks are white space that a model may write before its answer.
var blanks = grammar.Pattern(`[ \t\n]{0,12}`)

// withReasoning is an answer with the reasoning before it.
func (f *Format) withReasoning(answer grammar.Part, c Constraint) grammar.Part {
	end := strings.TrimSpace(f.Think.Close)
	if end == "" || !c.Thinking && !c.Thinks {
		return answer
	}
	after := grammar.Sequence(blanks, answer)
	if f.Channels {
		after = grammar.Sequence(grammar.Literal(channelStart), answer)
	}
	thought := grammar.TextBefore(grammar.Trigger{Marker: end, Then: after})
	if c.Budget != nil {
		thought = grammar.TextWithin(*c.Budget, grammar.Trigger{Marker: end, Then: after})
	}
	if c.Thinking {
		return thought
	}
	return grammar.Choice(grammar.Sequence(literal(strings.TrimSpace(f.Think.Open)), thought), answer)
}

// arguments are those of a tool.
func (f *Format) arguments(t Tool, strict bool) (grammar.Part, error) {
	if f.Parameters != nil {
		return f.parameters(t, strict)
	}
	if len(t.Parameters) == 0 {
		return grammar.Literal("{}"), nil
	}
	if err := describesObject(t); err != nil {
		return grammar.Part{}, err
	}
	if isEmptySchema(t.Parameters) {
		return grammar.Object(), nil
	}
	part, err := grammar.Schema(t.Param, t.Parameters)
	if !strict && unsupported(err) {
		return grammar.Object(), nil
	}
	return part, err
}

// unsupported reports whether a schema is a good one that an answer cannot be held to.
func unsupported(err error) bool {
	var e *grammar.SchemaError
	return errors.As(err, &e) && e.Problem == grammar.Unsupported
}

func isEmptySchema(schema json.RawMessage) bool {
	s := bytes.TrimSpace(schema)
	return string(s) == "true" || len(s) > 1 && s[0] == '{' && len(bytes.TrimSpace(s[1:len(s)-1])) == 0
}

// describesObject refuses a schema of which no value is an object.
func describesObject(t Tool) error {
	var s struct {
		Type json.RawMessage `json:"type"`
	}
	if json.Unmarshal(t.Parameters, &s) == nil && s.Type != nil && !bytes.Contains(s.Type, []byte(`"object"`)) {
		return &grammar.SchemaError{Problem: grammar.BadValue, Param: t.Param + ".type", Reason: "must be object: the arguments of a call are one"}
	}
	return nil
}

// identifier is what stands for idHole.
var identifier = grammar.Pattern(fmt.Sprintf("[a-zA-Z0-9]{%d}", idLength))

// number is what stands for numberHole.
var number = grammar.Pattern(fmt.Sprintf("[0-9]{1,%d}", maxNumber))

// literal is a text of a format.
func literal(text string) grammar.Part {
	var list []grammar.Part
	for {
		at := strings.IndexAny(text, string(idHole)+string(numberHole))
		if at < 0 {
			return grammar.Sequence(append(list, grammar.Literal(text))...)
		}
		hole := identifier
		if text[at] == numberHole {
			hole = number
		}
		list, text = append(list, grammar.Literal(text[:at]), hole), text[at+1:]
	}
}

// keysOf are the different keys of a JSON object in their order.
func keysOf(object []byte) ([]string, error) {
	d := json.NewDecoder(bytes.NewReader(object))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	var keys []string
	known := make(map[string]bool)
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := key.(string) // encoding/json gives no other keys
		if !known[name] {
			keys, known[name] = append(keys, name), true
		}
		var skipped json.RawMessage
		if err := d.Decode(&skipped); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

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
	Tools    []Tool          // those that may be called, at least one
	Required bool            // the answer is calls and nothing else
	Parallel bool            // it may have several, where the format can
	Thinking bool            // the prompt ends within a block of reasoning
	Thinks   bool            // the answer may begin with one
	Schema   json.RawMessage // of an answer that calls nothing; nil: it is free
	Param    string          // where Schema stands in the request
}

// maxCalls bounds the calls of one answer.
const maxCalls = 64

// Grammar returns the grammar of the answers, in GBNF. Errors are those of package grammar; *grammar.SchemaError names the
// keyword of a tool's schema that cannot be enforced. Where a tool is neither strict nor required, its arguments are then
// any object instead.
func (f *Format) Grammar(c Constraint) (string, error) {
	w := &writer{format: f}
	var tools []string
	for i, tool := range c.Tools {
		arguments, err := w.arguments(tool, c.Required || tool.Strict)
		if err != nil {
			return "", err
		}
		name := fmt.Sprintf("tool%d", i+1)
		w.Define(name, sequence(grammar.Literal(tool.Name), literal(f.Middle), arguments, literal(f.Finish)))
		tools = append(tools, name)
	}
	w.Define("tool", strings.Join(tools, " | "))
	further := ""
	if c.Parallel && f.Parallel {
		further = fmt.Sprintf("( %s ){0,%d}", sequence(literal(f.Separator+f.Begin), "tool"), maxCalls-1)
	}
	w.Define("calls", sequence(literal(strings.TrimLeft(f.opening(), whiteSpace)), "tool", further, literal(f.Section.Close)))
	answer := "calls"
	if !c.Required {
		var err error
		if answer, err = w.free(c); err != nil {
			return "", err
		}
	}
	return w.Grammar(w.thoughtful(answer, c))
}

// writer makes a grammar.
type writer struct {
	grammar.Composer
	format *Format
}

// free is an answer that may call tools.
func (w *writer) free(c Constraint) (string, error) {
	switch {
	case c.Schema != nil:
		rule, err := w.Schema(c.Param, c.Schema)
		w.Define("answer", "calls | space "+rule)
		return "answer", err
	case w.format.Marker == "":
		w.Define("answer", "space calls | "+w.TextNotBeginning(w.format.opening()))
	default:
		w.Define("answer", w.TextWithout(w.format.Marker)+" calls?")
	}
	return "answer", nil
}

// thoughtful is an answer with the reasoning before it.
func (w *writer) thoughtful(answer string, c Constraint) string {
	end := strings.TrimSpace(w.format.Think.Close)
	if end == "" || !c.Thinking && !c.Thinks {
		return answer
	}
	thought := sequence(w.TextWithout(end), literal(end), "space", answer)
	if c.Thinking {
		return thought
	}
	return sequence(literal(strings.TrimSpace(w.format.Think.Open)), thought) + " | " + answer
}

// arguments is a rule for the arguments of a tool.
func (w *writer) arguments(t Tool, strict bool) (string, error) {
	if w.format.Parameters != nil {
		return w.parameters(t, strict)
	}
	if len(t.Parameters) == 0 {
		return grammar.Literal("{}"), nil
	}
	if err := describesObject(t); err != nil {
		return "", err
	}
	if isEmptySchema(t.Parameters) {
		return w.Object(), nil
	}
	rule, err := w.Schema(t.Param, t.Parameters)
	if !strict && unsupported(err) {
		return w.Object(), nil
	}
	return rule, err
}

// unsupported reports whether a schema is a good one that a grammar cannot express.
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

// parameters is a rule for arguments that are written one by one.
func (w *writer) parameters(t Tool, strict bool) (string, error) {
	if err := describesObject(t); err != nil && len(t.Parameters) > 0 {
		return "", err
	}
	f := w.format.Parameters
	all := parametersOf(t.Parameters)
	anyText := func() string { return w.TextWithout(strings.TrimSpace(f.Close)) }
	if all.free {
		if strict {
			return "", &grammar.SchemaError{Problem: grammar.Unsupported, Param: t.Param,
				Reason: "has its parameters not in properties: this model writes them one by one, and they cannot be enforced"}
		}
		return fmt.Sprintf("( %s [a-zA-Z0-9_-]{1,64} %s )*", literal(f.Open), sequence(literal(f.Middle), anyText(), literal(f.Close))), nil
	}
	var rules []string
	for _, p := range all.list {
		value := ""
		switch {
		case p.text && p.values != nil:
			choices := make([]string, len(p.values))
			for i, v := range p.values {
				choices[i] = grammar.Literal(v)
			}
			value = "( " + strings.Join(choices, " | ") + " )"
		case p.text:
			value = anyText()
		default:
			var err error
			if value, err = w.Schema(t.Param+".properties."+p.name, p.schema); !strict && unsupported(err) {
				value = w.Value()
			} else if err != nil {
				return "", err
			}
		}
		rule := sequence(literal(f.Separator), literal(f.Open), grammar.Literal(p.name), literal(f.Middle), value, literal(f.Close))
		if !p.required {
			rule = "( " + rule + " )?"
		}
		rules = append(rules, rule)
	}
	return sequence(rules...), nil
}

// sequence joins expressions, leaving out empty ones.
func sequence(list ...string) string {
	var kept []string
	for _, e := range list {
		if e != "" {
			kept = append(kept, e)
		}
	}
	return strings.Join(kept, " ")
}

// literal is a text of a format as an expression, "" for the empty text.
func literal(text string) string {
	var list []string
	for i, piece := range strings.Split(text, string(idHole)) {
		if i > 0 {
			list = append(list, fmt.Sprintf("[a-zA-Z0-9]{%d}", idLength))
		}
		if piece != "" {
			list = append(list, grammar.Literal(piece))
		}
	}
	return strings.Join(list, " ")
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

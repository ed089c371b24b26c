package grammar

import (
	"encoding/json"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/lorikeet-ai/lorikeet/grammar/automaton"
)

// Part is a piece of what an answer may be. Parts never change and may be used in any number of others. The zero Part is
// the empty text.
type Part struct{ element *element }

// Literal is exactly this text. Control tokens may spell it, as one token or a part of several.
func Literal(text string) Part {
	if text == "" {
		return Part{}
	}
	// One path through the bytes of the text: it is not larger than the text, so there is no error.
	d := &automaton.DFA{Edges: make([][]automaton.Edge, len(text)+1), Accept: make([]bool, len(text)+1)}
	for i := range len(text) {
		d.Edges[i] = []automaton.Edge{{Lo: int32(text[i]), Hi: int32(text[i]), To: int32(i + 1)}}
	}
	d.Accept[len(text)] = true
	return Part{&element{kind: kindLexical, lexer: automaton.NewLexer(d), control: true}}
}

// Schema is a JSON value that is valid under a JSON schema. param is where the schema stands in the request: errors, which
// are *SchemaError, name the keyword at fault by its path from there. The schemas that were asked for last are kept, with
// the masks of their tokens: applications ask for the same ones again and again.
func Schema(param string, schema json.RawMessage) (Part, error) {
	key := param + "\x00" + string(schema)
	if p, ok := recentSchemas.Get(key); ok {
		return p, nil
	}
	e, err := compileSchema(param, schema)
	if err != nil {
		return Part{}, err
	}
	e.prepare()
	if len(key)+e.size() <= maxRecentBytes {
		recentSchemas.Add(key, Part{e})
	}
	return Part{e}, nil
}

// Up to maxRecent schemas are kept, each of at most maxRecentBytes with all of its automata.
const (
	maxRecent      = 64
	maxRecentBytes = 1 << 20
)

var recentSchemas, _ = lru.New[string, Part](maxRecent) // the error is for sizes below 1

// Object is any JSON object.
func Object() Part { return Part{anyObject()} }

// Value is any JSON value.
func Value() Part { return Part{anyValue()} }

// Pattern is a text that a regular expression of ECMA-262 matches as a whole. It is for expressions that are known to be
// good: a bad one panics.
func Pattern(text string) Part {
	d, err := automaton.Regexp("^(?:" + text + ")$")
	if err == nil {
		d, err = automaton.EncodePlain(d)
	}
	if err != nil {
		panic("grammar: the pattern " + text + " " + err.Error())
	}
	return Part{&element{kind: kindLexical, lexer: automaton.NewLexer(d), control: true}}
}

// Sequence is its parts, one after the other.
func Sequence(parts ...Part) Part {
	e := &element{kind: kindSequence}
	for _, p := range parts {
		if p.element != nil {
			e.parts = append(e.parts, p.element)
		}
	}
	return Part{e}
}

// Choice is one of its parts. Several may be followed at once, as long as each can be the one.
func Choice(parts ...Part) Part {
	e := &element{kind: kindChoice}
	for _, p := range parts {
		if p.element == nil {
			p.element = &element{kind: kindSequence}
		}
		e.parts = append(e.parts, p.element)
	}
	return Part{e}
}

// Repeat is a part, least to most times; a most below 0 stands for any number.
func Repeat(p Part, least, most int) Part {
	if p.element == nil {
		return p
	}
	if most < 0 {
		most = unbounded
	}
	return Part{&element{kind: kindRepeat, parts: []*element{p.element}, least: int32(least), most: int32(min(most, unbounded))}}
}

// Trigger is a text that ends free text, and what follows it.
type Trigger struct {
	Marker string // not empty
	Then   Part
}

// Text is free text up to the first of its markers, and then that trigger's part. Free text may hold anything, control
// tokens too. The answer may also end in it, before a marker has come.
func Text(triggers ...Trigger) Part { return freeText(triggers, true) }

// TextBefore is Text in which the answer cannot end: a marker must come.
func TextBefore(triggers ...Trigger) Part { return freeText(triggers, false) }

// TextWithin is TextBefore one marker, which comes at last when the answer has so many tokens: from then on there is nothing
// but what is left of the marker.
func TextWithin(tokens int, t Trigger) Part {
	p := freeText([]Trigger{t}, false)
	last := Literal(t.Marker).element // its states are the beginnings of the marker, as those of the search are
	last.labels, last.then = make([]int32, len(last.lexer.Accept)), p.element.then
	p.element.forced, p.element.tokens = last, tokens
	return p
}

// Constraint is what an answer has to be, ready to be followed. It never changes and may be used by any number of answers
// at once.
type Constraint struct {
	root   *element
	forces bool // some element is forced after a number of tokens
	owner  *owner
}

// New makes a part the whole of an answer.
func New(p Part) *Constraint {
	if p.element == nil {
		p.element = &element{kind: kindSequence}
	}
	p.element.prepare()
	c := &Constraint{root: p.element, owner: &owner{bytes: int64(p.element.size())}}
	p.element.each(func(e *element) { c.forces = c.forces || e.forced != nil })
	return c
}

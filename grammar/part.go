package grammar

import (
	"encoding/json"
	"slices"
	"strings"

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
// are *SchemaError, name the keyword at fault by its path from there.
func Schema(param string, schema json.RawMessage) (Part, error) {
	e, err := compileSchema(param, schema)
	return Part{e}, err
}

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

// TextNotBeginning is free text that begins with none of some prefixes, white space before them left out. The answer may
// end anywhere in it.
func TextNotBeginning(prefixes ...string) Part {
	known := map[string]int32{"": 0}
	states, whole := []string{""}, map[string]bool{}
	for _, p := range prefixes {
		p = strings.TrimLeft(p, " \t\r\n")
		whole[p] = true
		for i := range len(p) - 1 {
			if read := p[:i+1]; known[read] == 0 {
				known[read] = int32(len(states))
				states = append(states, read)
			}
		}
	}
	n := int32(len(states)) // anything from here on
	d := &automaton.DFA{Edges: make([][]automaton.Edge, n+1), Accept: make([]bool, n+1)}
	for s, text := range states {
		for b := range int32(256) {
			to, read := n, text+string([]byte{byte(b)})
			switch {
			case whole[read]:
				continue
			case known[read] != 0:
				to = known[read]
			case s == 0 && strings.IndexByte(" \t\r\n", byte(b)) >= 0:
				to = 0
			}
			d.Edges[s] = append(d.Edges[s], automaton.Edge{Lo: b, Hi: b, To: to})
		}
	}
	d.Edges[n] = []automaton.Edge{{Lo: 0, Hi: 255, To: n}}
	return Part{&element{kind: kindLexical, lexer: automaton.NewLexer(d), control: true, mayEnd: true}}
}

// freeText makes an automaton of the search for several words: its states are the beginnings of markers.
func freeText(triggers []Trigger, mayEnd bool) Part {
	known := map[string]int32{"": 0}
	states := []string{""}
	for _, t := range triggers {
		for i := range len(t.Marker) {
			if prefix := t.Marker[:i+1]; known[prefix] == 0 {
				known[prefix] = int32(len(states))
				states = append(states, prefix)
			}
		}
	}
	e := &element{kind: kindLexical, control: true, mayEnd: mayEnd, labels: make([]int32, len(states))}
	d := &automaton.DFA{Edges: make([][]automaton.Edge, len(states)), Accept: make([]bool, len(states))}
	for s, text := range states {
		e.labels[s] = int32(slices.IndexFunc(triggers, func(t Trigger) bool { return t.Marker == text }))
		if d.Accept[s] = e.labels[s] >= 0; d.Accept[s] {
			continue // the first marker that is complete ends the text
		}
		for b := range 256 {
			read := text + string([]byte{byte(b)})
			for known[read] == 0 && read != "" {
				read = read[1:]
			}
			if last := len(d.Edges[s]) - 1; last >= 0 && d.Edges[s][last].To == known[read] {
				d.Edges[s][last].Hi++
				continue
			}
			d.Edges[s] = append(d.Edges[s], automaton.Edge{Lo: int32(b), Hi: int32(b), To: known[read]})
		}
	}
	// A marker that ends inside of another one is found there: its state is one that the search falls back to.
	for s, text := range states {
		for rest := text; !d.Accept[s] && rest != ""; rest = rest[1:] {
			if at, ok := known[rest]; ok && d.Accept[at] {
				d.Accept[s], d.Edges[s], e.labels[s] = true, nil, e.labels[at]
			}
		}
	}
	for _, t := range triggers {
		then := t.Then.element
		if then == nil {
			then = &element{kind: kindSequence}
		}
		e.then = append(e.then, then)
	}
	e.lexer = automaton.NewLexer(d)
	return Part{e}
}

// Constraint is what an answer has to be, ready to be followed. It never changes and may be used by any number of answers
// at once.
type Constraint struct{ root *element }

// New makes a part the whole of an answer.
func New(p Part) *Constraint {
	if p.element == nil {
		p.element = &element{kind: kindSequence}
	}
	p.element.prepare()
	return &Constraint{p.element}
}

package grammar

import (
	"fmt"

	"github.com/lorikeet-ai/lorikeet/grammar/automaton"
)

// This file has the types of a parsed GBNF grammar and the bounds that it is held to. The syntax is that of llama.cpp:
//
//	root ::= "yes" | [a-z0-9]+ (", " item){0,5} # a comment
//	item ::= . | <|im_end|> | !<[42]>
//
// gbnf_parse.go reads it, gbnf_print.go writes it, gbnf_compile.go turns it into the flat rules that a matcher follows,
// and gbnf_check.go refuses rules that cannot be followed in bounded time.

// The bounds of a grammar.
const (
	MaxBytes    = 64 << 10 // of its text
	MaxReadings = 128      // ways in which one place may be read
	maxNesting  = 200      // of parentheses
	maxRepeat   = 2000     // a number between braces
	maxElements = 500_000  // of the flat rules, in which repetitions are spelled out
	maxDescent  = 500      // rules that begin with each other
	maxToken    = 256      // bytes of a token's text, with its angle brackets
)

// Error says what is wrong with a grammar, and where.
type Error struct {
	Line, Column int // of the character at fault, from 1; 0 where the grammar as a whole is at fault
	Message      string
}

// Error returns the message with its place before it.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Message
	}
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
}

// Vocabulary tells which tokens a grammar may name.
type Vocabulary interface {
	// TokenOf returns the token that a text such as <|im_end|> is as a whole.
	TokenOf(text string) (token int32, ok bool)
	// HasToken reports whether there is a token with this id.
	HasToken(token int32) bool
	// EndsAnswer reports whether an answer ends with the token.
	EndsAnswer(token int32) bool
}

// Grammar is a parsed grammar. It never changes. Every rule that it refers to is defined, and one of them is root.
type Grammar struct {
	rules []rule // in the order of the text
	root  int
}

// place is where something stands in the text, from 1.
type place struct{ line, column int }

func (p place) fault(format string, args ...any) error {
	return &Error{Line: p.line, Column: p.column, Message: fmt.Sprintf(format, args...)}
}

type rule struct {
	name string
	at   place
	body alternatives
}

type alternatives []sequence // at least one

type sequence []item // none: the empty text

type kind uint8

const (
	literal   kind = iota // the characters of text, one or more
	class                 // one character of ranges
	anything              // any character
	reference             // what the rule number target admits
	token                 // the token number id
	notToken              // any other token
	group                 // what is between parentheses
)

// item is one part of a sequence. Which of its fields mean something depends on its kind.
type item struct {
	kind    kind
	at      place
	text    []rune
	ranges  []Range
	name    string // of the rule
	target  int
	id      int32
	inner   alternatives
	repeats []repeat // the first is the innermost: a{2}* has {2} and *
}

// repeat says how often the part before it occurs.
type repeat struct {
	at          place
	least, most int // most: -1 for any number
}

// Range is the characters from Lo to Hi, both included.
type Range = automaton.Range

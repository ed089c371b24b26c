// Package calls knows the formats in which models call tools and write down their reasoning: it reads them from the text
// of an answer, piece by piece.
package calls

// Kind says what a Part is.
type Kind uint8

// The kinds of parts. A choice is any number of stretches of Text, of Reasoning and of calls, in the order in which the
// model wrote them, and one End. A call is one Call, any number of Arguments, whose texts together are a JSON object, and
// one Done; no other part stands between them. Only an answer that was cut off has arguments that are not whole.
const (
	Text      Kind = iota // a piece of what the model says
	Reasoning             // a piece of what the model thinks before it says something
	Call                  // a call begins: Index and Name say which
	Arguments             // a piece of the arguments of the call, JSON text
	Done                  // the call has ended
	End                   // the answer has ended
)

// Part is a piece of an answer. Its text is whole UTF-8 and never a piece of the markers of the format.
type Part struct {
	Kind  Kind
	Text  string // of Text, Reasoning and Arguments
	Index int    // of Call, Arguments and Done: the number of the call in the answer, from 0
	Name  string // of Call: the tool's
}

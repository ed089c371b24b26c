package calls

import (
	"crypto/sha256"
	"strings"
)

// Format is how a model writes calls and reasoning into its answers. An answer is
//
//	[Think.Open reasoning Think.Close] [text] [Section.Open call (Separator call)* Section.Close]
//
// and a call is Begin, the tool's name, Middle, the arguments, Finish. The arguments are a JSON object, or parameters
// one after the other. White space in these texts stands for any white space when an answer is read. The zero value has
// neither calls nor reasoning. A Format never changes.
type Format struct {
	// Family is the name by which the format is known, "" where it is none of those of the table.
	Family string
	// Think is what stands around reasoning; empty: there is none.
	Think Pair

	// Calls says that there are calls: the fields below mean something.
	Calls bool
	// Marker is what begins a call after text, and what no text contains. "": a call stands at the beginning of an answer
	// or nowhere.
	Marker     string
	Section    Pair
	Begin      string
	Middle     string
	Finish     string
	Separator  string
	Parallel   bool        // an answer may have several calls
	Tag        string      // what may stand before a call at the beginning of an answer
	TextOpen   string      // what a text begins with where a call has no Begin: the Marker ends it
	Channels   bool        // the answer is in messages of channels, see channels.go; Begin is the header of one with a call
	Parameters *Parameters // nil: the arguments are a JSON object
}

// Pair is what stands before something and after it.
type Pair struct{ Open, Close string }

// Parameters is how arguments are written one by one: each is Open, its name, Middle, its value, Close. A value that is
// no text is JSON; a text is written as it is.
//
// Where texts have quotes, a value is a literal: texts, also those inside of lists and objects, stand in quotes, keys may
// stand without, and what follows a value, Separator or the call's Finish, ends it.
type Parameters struct {
	Open, Middle, Close string
	Separator           string // between two of them
	TextMiddle          string // in place of Middle where the value is a text; "": Middle
	Quotes              Pair   // of texts; empty: values are no literals
	Wrap                Pair   // what may stand around a text that has characters of markup in it
	Sorted              bool   // they come in the order of their names
	Python              bool   // true, false and null are True, False and None
}

// literals reports whether values are literals.
func (p *Parameters) literals() bool { return p.Quotes.Open != "" }

// textMiddle is what stands between the name and the value of a text.
func (p *Parameters) textMiddle() string {
	if p.TextMiddle != "" {
		return p.TextMiddle
	}
	return p.Middle
}

// idHole stands, in the texts of a Format, for the identifier that a model gives a call: nine letters and digits.
const (
	idHole   = '\x00'
	idLength = 9
	// numberHole stands for the number of a call in its answer, which some models write: one to three digits.
	numberHole = '\x01'
	maxNumber  = 3
)

// opening is what the first call of an answer begins with.
func (f *Format) opening() string { return f.Section.Open + f.Begin }

// Texts are all texts of the format, white space and holes included.
func (f *Format) Texts() []string {
	texts := []string{f.Think.Open, f.Think.Close}
	if f.Channels {
		texts = append(texts, channelTexts...)
	}
	if f.Calls {
		texts = append(texts, f.Tag, f.Marker)
		texts = append(texts, f.Section.Open, f.Section.Close, f.Begin, f.Middle, f.Finish, f.Separator)
	}
	if p := f.Parameters; p != nil {
		texts = append(texts, p.Open, p.Middle, p.Close, p.TextMiddle, p.Quotes.Open, p.Quotes.Close)
	}
	return texts
}

// HasIdentifiers reports whether calls are written with identifiers, of nine letters and digits.
func (f *Format) HasIdentifiers() bool {
	return strings.ContainsRune(f.Begin+f.Middle+f.Finish, idHole)
}

// Identifier returns the identifier by which a call is written: id itself where it can be, or else one made of it.
func Identifier(id string) string {
	if len(id) == idLength && nameLength(id) == idLength && !strings.ContainsAny(id, "_-.") {
		return id
	}
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	sum := sha256.Sum256([]byte(id))
	short := make([]byte, idLength)
	for i := range short {
		short[i] = digits[int(sum[i])%len(digits)]
	}
	return string(short)
}

// Always reports whether answers are to be parsed also where there are no tools and no reasoning.
func (f *Format) Always() bool { return f.Channels || f.TextOpen != "" }

// mark sets what tells calls from text: the tag that they begin with, where there is one.
func (f *Format) mark() {
	f.Marker = ""
	opening := strings.TrimLeft(f.opening(), " \n")
	switch {
	case strings.HasPrefix(opening, "<"):
		f.Marker = opening[:strings.IndexByte(opening, '>')+1]
		if strings.HasPrefix(f.Marker, "<function=") || f.Marker == "" { // the name is within the tag
			f.Marker = opening
		}
	case len(opening) > 1 && opening[0] == '[' && opening[1] >= 'A' && opening[1] <= 'Z':
		f.Marker = opening[:strings.IndexByte(opening, ']')+1]
	}
}

// Generic is the format for models whose template prints no tools: they are told it in words (Describe).
func Generic() Format {
	return Format{
		Family: "generic", Calls: true, Marker: "<tool_call>", Begin: "<tool_call>\n{\"name\": \"", Middle: `", "arguments": `,
		Finish: "}\n</tool_call>", Separator: "\n", Parallel: true,
	}
}

// Written is a call as it is printed.
type Written struct {
	Name      string
	Arguments string // JSON text of an object
}

// Print writes calls.
func (f *Format) Print(list []Written) string {
	var b strings.Builder
	b.WriteString(f.Section.Open)
	for i, c := range list {
		if i > 0 {
			b.WriteString(f.Separator)
		}
		b.WriteString(f.Begin + c.Name + f.Middle)
		if f.Parameters != nil {
			b.WriteString(f.Parameters.print(c.Arguments))
		} else {
			b.WriteString(c.Arguments)
		}
		b.WriteString(f.Finish)
	}
	b.WriteString(f.Section.Close)
	return strings.NewReplacer(string(idHole), ProbeID, string(numberHole), "0").Replace(b.String())
}

// Describe tells a model in words how to call tools, and which there are, for a template that does not. list has the
// tools as JSON, as OpenAI's API has them; none: the template prints them. The result begins and ends without white space.
func (f *Format) Describe(list []string) string {
	var b strings.Builder
	if len(list) > 0 {
		b.WriteString("You can call tools. Each line describes one of them as JSON:\n" + strings.Join(list, "\n") + "\n\n")
	}
	if f.Parameters != nil {
		b.WriteString("To call a tool, write nothing but this, with its name and its arguments:\n")
		b.WriteString(f.Print([]Written{{Name: "NAME", Arguments: `{"ARGUMENT_1": "VALUE_1", "ARGUMENT_2": "VALUE_2"}`}}))
	} else {
		b.WriteString("To call a tool, write nothing but this, with its name and a JSON object of its arguments:\n")
		b.WriteString(f.Print([]Written{{Name: "NAME", Arguments: "{ARGUMENTS}"}}))
	}
	b.WriteString("\nThe next turn then has what the tool returned.")
	return b.String()
}

// Result writes what a tool returned, for a template that does not print it.
func Result(text string) string { return "<tool_response>\n" + text + "\n</tool_response>" }

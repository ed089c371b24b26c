package calls

import (
	"strings"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
)

// braces finds the end of a JSON object.
type braces struct {
	depth  int
	quoted bool // within a string
	escape bool // after a backslash
}

// scan reads on. n is how much of s belongs to the object, end whether it ends there.
func (b *braces) scan(s string) (n int, end bool) {
	for i := range len(s) {
		switch c := s[i]; {
		case b.escape:
			b.escape = false
		case b.quoted:
			b.escape, b.quoted = c == '\\', c != '"'
		case c == '"':
			b.quoted = true
		case c == '{' || c == '[':
			b.depth++
		case c == '}' || c == ']':
			if b.depth--; b.depth <= 0 {
				return i + 1, true
			}
		}
	}
	return len(s), false
}

// params is where a parser is among arguments that are written one by one.
type params struct {
	tool, name string
	count      int           // that have begun
	text       bool          // the value is a text
	end        string        // what ends it
	begun      bool          // a piece of the text is in a part
	value      []byte        // what was read of one that is no text
	braces     braces        // where it is in that, where it is JSON
	literal    literalReader // the same where values are literals
}

// maxParameter bounds the name of a parameter.
const maxParameter = 512

// parameter is where a parameter may begin, or the call end.
func (p *Parser) parameter() bool {
	f := p.format.Parameters
	open := f.Open
	if p.params.count > 0 {
		open = f.Separator + open
	}
	p.take(spaces(p.held))
	size, next := match(p.held, open)
	_, end := match(p.held, p.format.Finish)
	switch {
	case end == equal || next != equal && p.whole:
		p.endParameters()
		return p.become((*Parser).endCall)
	case next == equal && (open != "" || end == differs && p.held != ""):
		p.take(size)
		return p.become((*Parser).parameterName)
	case next == begins || end == begins || p.held == "" && !p.whole:
		return false
	}
	p.endParameters()
	return p.become((*Parser).endCall)
}

// endParameters closes the object, unless the answer was cut off in it.
func (p *Parser) endParameters() {
	if _, end := match(p.held, p.format.Finish); end == equal || !p.whole {
		p.emit(Arguments, "}")
	}
}

// middle finds what stands between a name and its value: where, and which text of the format it is.
func (p *Parameters) middle(held string) (at int, middle string) {
	at = strings.Index(held, strings.TrimSpace(p.Middle))
	if p.TextMiddle != "" {
		if text := strings.Index(held, strings.TrimSpace(p.TextMiddle)); text >= 0 && (at < 0 || text < at) {
			return text, p.TextMiddle
		}
	}
	return at, p.Middle
}

func (p *Parser) parameterName() bool {
	f := p.format.Parameters
	at, middle := f.middle(p.held)
	if at < 0 {
		if len(p.held) > maxParameter {
			return p.become((*Parser).endCall)
		}
		return false
	}
	// White space after the middle may belong to a text; what the format writes there is taken and no more.
	core := strings.TrimSpace(middle)
	from := at + len(core)
	for _, c := range []byte(middle[strings.Index(middle, core)+len(core):]) {
		if from == len(p.held) && !p.whole {
			return false
		}
		if from < len(p.held) && p.held[from] == c {
			from++
		}
	}
	name := strings.TrimSpace(p.held[:at])
	if f.literals() {
		name = strings.Trim(strings.TrimSuffix(strings.TrimPrefix(name, f.Quotes.Open), f.Quotes.Close), `"'`)
	}
	p.params.name = name
	p.params.text = p.tools.IsText(p.params.tool, name)
	if f.TextMiddle != "" {
		p.params.text = middle == f.TextMiddle
	}
	p.take(from)
	key := string(jsonvalue.AppendString(nil, name)) + ": "
	if p.params.count++; p.params.count > 1 {
		key = ", " + key
	}
	p.emit(Arguments, key)
	p.params.begun, p.params.value, p.params.braces, p.params.literal = false, nil, braces{}, literalReader{quotes: f.Quotes}
	switch {
	case f.literals():
		return p.become((*Parser).beginLiteral)
	case p.params.text && f.Wrap.Open != "":
		return p.become((*Parser).beginText)
	}
	p.params.end = f.Close
	return p.become((*Parser).value)
}

// beginText is at a text that something may stand around.
func (p *Parser) beginText() bool {
	f := p.format.Parameters
	p.params.end = f.Close
	switch size, o := match(p.held, f.Wrap.Open); {
	case o == begins && !p.whole:
		return false
	case o == equal:
		p.take(size)
		p.params.end = f.Wrap.Close + f.Close
	}
	return p.become((*Parser).value)
}

// value is within the value of a parameter.
func (p *Parser) value() bool {
	end := p.params.end
	lead := end[:spaces(end)]
	core := strings.TrimSpace(end)
	if at := strings.Index(p.held, core); at >= 0 {
		if !p.params.text && p.params.add(p.held[:at]) { // it is a piece of a text within JSON
			p.params.add(p.held[at : at+len(core)])
			p.take(at + len(core))
			return true
		}
		p.endValue(strings.TrimSuffix(p.take(at), lead))
		p.take(len(core))
		return p.become((*Parser).parameter)
	}
	keep := len(core) + len(lead) - 1
	if p.whole {
		keep = 0
	}
	n := max(len(p.held)-keep, 0)
	for n > 0 && n < len(p.held) && !utf8.RuneStart(p.held[n]) {
		n--
	}
	if p.params.text {
		p.quote(p.take(n), false)
	} else {
		p.params.add(p.take(n))
	}
	return false
}

// add keeps a piece of a value that is no text. quoted says that it ends within a text of JSON.
func (p *params) add(s string) (quoted bool) {
	p.value = append(p.value, s...)
	if begin := strings.TrimLeft(string(p.value[:min(len(p.value), maxSpaces)]), whiteSpace); begin == "" || strings.IndexByte(`{["`, begin[0]) < 0 {
		return false
	}
	for s != "" {
		n, _ := p.braces.scan(s)
		s = s[n:]
	}
	return p.braces.quoted
}

// endValue writes a value, or what is left of it, as JSON.
func (p *Parser) endValue(s string) {
	if p.params.text {
		p.quote(s, true)
		return
	}
	p.emit(Arguments, jsonOf(strings.TrimSpace(string(p.params.value))))
}

// beginLiteral is at the beginning of a value that is a literal.
func (p *Parser) beginLiteral() bool {
	p.take(spaces(p.held))
	open, end, more := p.format.Parameters.text(p.held)
	switch {
	case open != "":
		p.take(len(open))
		p.params.text, p.params.end = true, end
		return p.become((*Parser).literalText)
	case more && !p.whole:
		return false
	}
	p.params.text = false
	return p.become((*Parser).literalValue)
}

// literalText is within a text in quotes that is a value.
func (p *Parser) literalText() bool {
	text, n, closed := unquote(nil, p.held, p.params.end, p.whole)
	p.take(n)
	p.quote(string(text), closed)
	return closed && p.become((*Parser).parameter)
}

// literalValue is within any other value. It is written when it has ended.
func (p *Parser) literalValue() bool {
	n, end := p.params.literal.scan(p.held, p.whole)
	p.take(n)
	if end {
		p.emit(Arguments, p.params.literal.json())
	}
	return end && p.become((*Parser).parameter)
}

// quote writes a piece of a text as one of a JSON string.
func (p *Parser) quote(s string, end bool) {
	quoted := string(jsonvalue.AppendString(nil, s))
	if p.params.begun || s == "" && !end {
		quoted = quoted[1:]
	}
	if s != "" {
		p.params.begun = true
	} else if !end {
		return
	}
	if !end {
		quoted = strings.TrimSuffix(quoted, `"`)
	}
	p.emit(Arguments, quoted)
}

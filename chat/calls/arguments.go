package calls

import (
	"encoding/json"
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
	count      int    // that have begun
	text       bool   // the value is a text
	begun      bool   // and a piece of it is in a part
	value      []byte // what was read of one that is no text
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
	if next != equal && (end == equal || p.whole) {
		p.endParameters()
		return p.become((*Parser).endCall)
	}
	switch {
	case next == equal:
		p.take(size)
		return p.become((*Parser).parameterName)
	case next == begins || end == begins:
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

func (p *Parser) parameterName() bool {
	f := p.format.Parameters
	middle := strings.TrimSpace(f.Middle)
	at := strings.Index(p.held, middle)
	if at < 0 {
		if len(p.held) > maxParameter {
			return p.become((*Parser).endCall)
		}
		return false
	}
	// White space after the middle may belong to a text; what the format writes there is taken and no more.
	from := at + len(middle)
	for _, c := range []byte(f.Middle[strings.Index(f.Middle, middle)+len(middle):]) {
		if from == len(p.held) && !p.whole {
			return false
		}
		if from < len(p.held) && p.held[from] == c {
			from++
		}
	}
	p.params.name = strings.TrimSpace(p.held[:at])
	p.params.text = p.tools.IsText(p.params.tool, p.params.name)
	p.take(from)
	key := string(jsonvalue.AppendString(nil, p.params.name)) + ": "
	if p.params.count++; p.params.count > 1 {
		key = ", " + key
	}
	p.emit(Arguments, key)
	p.params.begun, p.params.value = false, nil
	return p.become((*Parser).value)
}

// value is within the value of a parameter.
func (p *Parser) value() bool {
	f := p.format.Parameters
	lead := f.Close[:spaces(f.Close)]
	core := strings.TrimSpace(f.Close)
	if at := strings.Index(p.held, core); at >= 0 {
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
		p.params.value = append(p.params.value, p.take(n)...)
	}
	return false
}

// endValue writes a value, or what is left of it, as JSON.
func (p *Parser) endValue(s string) {
	if p.params.text {
		p.quote(s, true)
		return
	}
	s = strings.TrimSpace(string(p.params.value) + s)
	switch s {
	case "True", "False":
		s = strings.ToLower(s)
	case "None":
		s = "null"
	}
	if !json.Valid([]byte(s)) {
		s = string(jsonvalue.AppendString(nil, s))
	}
	p.emit(Arguments, s)
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

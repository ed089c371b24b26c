package calls

import "strings"

// Parser divides the text of one answer into parts. What may still become a piece of a marker is held back. Its work is
// linear in the length of the text, however that is cut.
type Parser struct {
	format  *Format
	tools   Tools
	state   func(*Parser) bool // the step to take next; false: it needs more text
	held    string             // read, and in no part yet
	whole   bool               // no more text follows
	parts   []Part
	raw     string // what was read of a call that has no Part yet
	calls   int    // that have begun
	open    bool   // the last of them has not ended
	thought bool   // there was reasoning
	thinks  bool   // what was read last is reasoning
	channel Kind   // of the message, where there are channels
	braces  braces
	params  params
}

// Tools are what a parser is told of the request's tools.
type Tools interface {
	// Has reports whether there is a tool with the name.
	Has(name string) bool
	// IsText reports whether the value of a tool's parameter is written as a text, where the format has Parameters.
	IsText(tool, parameter string) bool
}

// NewParser returns a parser. tools is nil where no calls are to be found. thinking says that the prompt ends within a
// block of reasoning, which the answer goes on with.
func NewParser(f *Format, tools Tools, thinking bool) *Parser {
	p := &Parser{format: f, tools: tools, state: (*Parser).start}
	if !f.Calls {
		p.tools = nil
	}
	switch {
	case f.Channels:
		p.state = (*Parser).header
	case thinking:
		p.state, p.thinks = (*Parser).beginThought, true
	}
	return p
}

// Write appends the parts that are certain now that text follows on what was written before.
func (p *Parser) Write(parts []Part, text string) []Part {
	p.parts = parts
	p.held += text
	for p.state(p) {
	}
	return p.parts
}

// Close appends the parts that are left at the end of the answer.
func (p *Parser) Close(parts []Part) []Part {
	p.parts, p.whole = parts, true
	for p.state(p) {
	}
	if p.open {
		p.done()
	} else if p.raw != "" || p.calls == 0 || strings.TrimSpace(p.held) != "" {
		p.emit(Text, p.raw+p.held)
	}
	p.held, p.raw = "", ""
	return p.parts
}

// take removes the first n bytes of what is held.
func (p *Parser) take(n int) string {
	s := p.held[:n]
	p.held = p.held[n:]
	return s
}

// emit appends a part with text, or none where there is no text.
func (p *Parser) emit(kind Kind, s string) {
	if s != "" {
		p.parts = append(p.parts, Part{Kind: kind, Text: s, Index: max(p.calls-1, 0)})
	}
}

// done ends the call.
func (p *Parser) done() {
	p.open = false
	p.parts = append(p.parts, Part{Kind: Done, Index: p.calls - 1})
}

// become sets the state, for the next step.
func (p *Parser) become(state func(*Parser) bool) bool {
	p.state = state
	return true
}

// start is at the beginning of an answer, or after reasoning.
func (p *Parser) start() bool {
	n := spaces(p.held)
	rest := p.held[n:]
	if rest == "" && n <= maxSpaces && !p.whole {
		return false
	}
	if tag := p.format.Tag; p.tools != nil && tag != "" && rest != "" {
		switch size, o := match(rest, tag); {
		case o == equal:
			p.take(n + size)
			return true
		case o == begins && !p.whole:
			return false
		}
	}
	if p.format.TextOpen != "" {
		return p.startOpened()
	}
	thinks, calls := differs, differs
	size := 0
	if open := strings.TrimSpace(p.format.Think.Open); open != "" && rest != "" {
		size, thinks = match(rest, open)
	}
	if p.tools != nil && p.format.Marker == "" && rest != "" {
		_, calls = match(rest, p.format.opening())
	}
	switch {
	case thinks == equal:
		p.take(n + size)
		return p.become((*Parser).beginThought)
	case calls == equal:
		p.take(n)
		return p.become((*Parser).beginCall)
	case (thinks == begins || calls == begins) && !p.whole:
		return false
	}
	if p.thought {
		p.take(n)
	}
	return p.become((*Parser).say)
}

// startOpened is start where a text has an opening of its own and a call has none.
func (p *Parser) startOpened() bool {
	open := p.format.TextOpen
	switch {
	case strings.HasPrefix(p.held, open):
		p.take(len(open))
		return p.become((*Parser).say)
	case strings.HasPrefix(open, p.held) && !p.whole:
		return false
	case p.tools == nil:
		return p.become((*Parser).say)
	}
	return p.become((*Parser).name)
}

// Reasoning reports whether what was read last is reasoning.
func (p *Parser) Reasoning() bool { return p.thinks }

// beginThought is after the opening of reasoning.
func (p *Parser) beginThought() bool {
	p.thought, p.thinks = true, true
	if p.take(spaces(p.held)); p.held == "" {
		return false
	}
	return p.become((*Parser).think)
}

// think is within reasoning.
func (p *Parser) think() bool {
	end := strings.TrimSpace(p.format.Think.Close)
	if at := strings.Index(p.held, end); at >= 0 {
		p.emit(Reasoning, strings.TrimRight(p.take(at), whiteSpace))
		p.take(len(end))
		p.thinks = false
		return p.become((*Parser).start)
	}
	p.emit(Reasoning, p.take(p.certain(end)))
	if p.whole {
		p.emit(Reasoning, strings.TrimRight(p.take(len(p.held)), whiteSpace))
	}
	return false
}

// certain is how much of what is held stands before anything that may belong to a marker: its beginning, and the white
// space before it.
func (p *Parser) certain(marker string) int {
	before := p.held[:len(p.held)-partial(p.held, marker)]
	trimmed := len(strings.TrimRight(before, whiteSpace))
	if len(before)-trimmed > maxSpaces {
		return len(before)
	}
	return trimmed
}

// say is within text.
func (p *Parser) say() bool {
	marker := p.format.Marker
	if p.tools == nil || marker == "" {
		p.emit(Text, p.take(len(p.held)))
		return false
	}
	at := strings.Index(p.held, marker)
	if at < 0 {
		p.emit(Text, p.take(p.certain(marker)))
		return false
	}
	before := strings.TrimRight(p.held[:at], whiteSpace)
	p.emit(Text, before)
	p.raw = p.take(at)[len(before):]
	return p.become((*Parser).beginCall)
}

// notCall makes text of what looked like a call.
func (p *Parser) notCall() bool {
	raw := p.raw
	if marker := p.format.Marker; spaces(raw) == len(raw) && strings.HasPrefix(p.held, marker) { // it is found no second time
		raw += p.take(len(marker))
	}
	p.raw = ""
	p.emit(Text, raw)
	return p.become((*Parser).say)
}

// expect takes a text of the format. o tells how far it is there; what is taken is kept in raw.
func (p *Parser) expect(want string) outcome {
	size, o := match(p.held, want)
	if o == equal {
		p.raw += p.take(size)
	}
	return o
}

// beginCall is where the first call begins.
func (p *Parser) beginCall() bool {
	opening := strings.TrimLeft(p.format.opening(), whiteSpace)
	if p.format.TextOpen != "" {
		opening = p.format.Marker
	}
	switch p.expect(opening) {
	case equal:
		return p.become((*Parser).name)
	case differs:
		return p.notCall()
	}
	return false
}

// name is where the name of a tool is. The call has begun when what follows it is there too.
func (p *Parser) name() bool {
	if n := spaces(p.held); n > 0 && len(p.raw) < maxSpaces+2*maxText { // more of it is text
		p.raw += p.take(n)
	}
	n := nameLength(p.held)
	size, o := match(p.held[n:], p.format.Middle)
	switch {
	case (o == begins || n == len(p.held)) && n <= maxName && !p.whole:
		return false
	case o != equal || n == len(p.held) || p.format.Middle != "" && space(p.format.Middle[0]) && !space(p.held[n]) || !p.tools.Has(p.held[:n]):
		return p.notCall()
	}
	tool := p.take(n)
	p.take(size)
	p.raw, p.open, p.calls = "", true, p.calls+1
	p.parts = append(p.parts, Part{Kind: Call, Index: p.calls - 1, Name: tool})
	if p.format.Parameters != nil {
		p.params = params{tool: tool}
		p.emit(Arguments, "{")
		return p.become((*Parser).parameter)
	}
	p.braces = braces{}
	return p.become((*Parser).arguments)
}

// arguments is within a JSON object.
func (p *Parser) arguments() bool {
	if p.braces.depth == 0 {
		if p.take(spaces(p.held)); p.held != "" && p.held[0] != '{' {
			return p.become((*Parser).endCall)
		}
	}
	n, end := p.braces.scan(p.held)
	p.emit(Arguments, p.take(n))
	return end && p.become((*Parser).endCall)
}

// endCall is after the arguments.
func (p *Parser) endCall() bool {
	p.take(spaces(p.held))
	switch o := p.expect(p.format.Finish); {
	case o == begins && !p.whole:
		return false
	case o == begins:
		p.held = ""
	}
	p.raw = ""
	p.done()
	if p.format.Channels {
		return p.become((*Parser).message) // up to its end
	}
	return p.become((*Parser).afterCall)
}

// afterCall is where the next call or the end of all calls may be.
func (p *Parser) afterCall() bool {
	if p.take(spaces(p.held)); p.held == "" && !p.whole {
		return false
	}
	next, end := differs, differs
	if p.format.Section.Close != "" {
		end = p.expect(p.format.Section.Close)
	}
	if p.format.Parallel && end == differs {
		if next = p.expect(p.format.Separator + p.format.Begin); next == equal {
			return p.become((*Parser).name)
		}
	}
	p.raw = ""
	if (next == begins || end == begins) && !p.whole {
		return false
	}
	return p.become((*Parser).afterCalls)
}

// afterCalls is after all calls; white space there means nothing.
func (p *Parser) afterCalls() bool {
	p.take(spaces(p.held))
	if p.held == "" {
		return false
	}
	return p.become((*Parser).say)
}

package calls

import "strings"

// OpenAI's open models answer in messages, each with a header that names its channel: what they think is in "analysis",
// what they say in "final" and "commentary", and a message to "functions.NAME" is a call, whose text is the arguments.
//
//	<|channel|>analysis<|message|>thought<|end|><|start|>assistant<|channel|>final<|message|>text
//	<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{...}
//
// The prompt ends with <|start|>assistant, and the tokens <|return|> and <|call|> end the answer.

const (
	channelStart   = "<|start|>assistant"
	channelMark    = "<|channel|>"
	channelMessage = "<|message|>"
	channelEnd     = "<|end|>"
	channelCall    = "<|channel|>commentary to=functions."
	channelJSON    = " <|constrain|>json<|message|>"
	recipient      = "to=functions."
)

var (
	// channelTexts have the control tokens that messages are made of.
	channelTexts = []string{channelStart, channelMark, channelMessage, channelEnd, channelJSON}
	// channelEnds end the text of a message.
	channelEnds = []string{channelEnd, "<|start|>", "<|return|>", "<|call|>"}
)

// maxHeader bounds the header of a message.
const maxHeader = 1024

// channels reports whether a template is one of channels.
func channels(p Probes) bool {
	return strings.Contains(p.Source, channelMark) && strings.Contains(p.Source, channelMessage) && strings.Contains(p.One, recipient+ProbeTool)
}

// harmony is the format of channels.
func harmony() Format {
	return Format{
		Family: "gpt-oss", Think: Pair{channelMark + "analysis" + channelMessage, channelEnd}, Calls: true, Channels: true,
		Marker: channelCall, Begin: channelCall, Middle: channelJSON,
	}
}

// header is at the header of a message.
func (p *Parser) header() bool {
	rest := strings.TrimLeft(p.held, whiteSpace)
	known := false
	for _, first := range []string{channelMark, channelStart, recipient} {
		known = known || strings.HasPrefix(rest, first) || strings.HasPrefix(first, rest)
	}
	at := strings.Index(p.held, channelMessage)
	switch {
	case !known || at < 0 && len(p.held) > maxHeader:
		return p.become((*Parser).message)
	case at < 0 && p.whole:
		p.held = "" // a header that was cut off
	}
	if at < 0 {
		return false
	}
	header := p.take(at)
	p.take(len(channelMessage))
	_, channel, _ := strings.Cut(header, channelMark)
	p.channel = Text
	if strings.HasPrefix(strings.TrimSpace(channel), "analysis") && p.format.Think.Open != "" {
		p.channel = Reasoning
	}
	p.thinks = p.channel == Reasoning
	_, name, called := strings.Cut(header, recipient)
	if name = name[:nameLength(name)]; called && p.tools != nil && p.tools.Has(name) {
		p.open, p.calls, p.braces = true, p.calls+1, braces{}
		p.parts = append(p.parts, Part{Kind: Call, Index: p.calls - 1, Name: name})
		return p.become((*Parser).arguments)
	}
	return p.become((*Parser).message)
}

// message is within the text of a message.
func (p *Parser) message() bool {
	first, size, certain := len(p.held), 0, len(p.held)
	for _, end := range channelEnds {
		if at := strings.Index(p.held, end); at >= 0 && at < first {
			first, size = at, len(end)
		}
		certain = min(certain, len(p.held)-partial(p.held, end))
	}
	if size > 0 {
		p.emit(p.channel, p.take(first))
		p.take(size)
		p.thinks = false
		return p.become((*Parser).header)
	}
	if p.whole {
		certain = len(p.held)
	}
	p.emit(p.channel, p.take(certain))
	return false
}

package server

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"

	"github.com/lorikeet-ai/lorikeet/chat/calls"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file connects the text that the engine makes and the forms that write answers: it divides the text of
// a choice into parts.

// part is a piece of a choice, in the order that calls.Kind describes. The forms write parts.
type part struct {
	calls.Part
	id     string               // of a call, with its beginning: unique
	tokens []runtime.TokenText  // those that the part was read from; nil without logprobs
	finish openapi.FinishReason // with End
	stop   string               // with End: the stop string that ended the answer, where one did
}

// parser divides the text of one choice. It holds back what may become a piece of a marker, and its work is linear in
// the length of the text.
type parser interface {
	// Write appends the parts that are certain now that text follows on what was written before.
	Write(parts []calls.Part, text string) []calls.Part
	// Close appends the parts that are left at the end of the answer.
	Close(parts []calls.Part) []calls.Part
	// Reasoning reports whether what was read last is reasoning.
	Reasoning() bool
}

// partReader makes the parts of one choice. The zero value is for answers whose text is all content.
type partReader struct {
	parser parser
	short  bool                // identifiers of calls are nine letters and digits
	held   []runtime.TokenText // read, and in no part yet
	found  []calls.Part        // kept for its memory
	called bool                // there was a call
	thinks *atomic.Int64       // counts the tokens of reasoning, with its marks
	doubt  int                 // tokens that may still be those of a mark
}

// read appends the parts that an event brings.
func (p *partReader) read(parts []part, ev runtime.Event) []part {
	if p.parser == nil {
		if ev.Text != "" || len(ev.Tokens) > 0 {
			parts = append(parts, part{Part: calls.Part{Kind: calls.Text, Text: ev.Text}, tokens: ev.Tokens})
		}
	} else {
		parts = p.parse(parts, ev)
	}
	if ev.Finish != "" {
		finish := openapi.FinishReason(ev.Finish)
		if p.called && ev.Finish == runtime.FinishStop && ev.Stop == "" {
			finish = openapi.ToolCalls
		}
		parts = append(parts, part{Part: calls.Part{Kind: calls.End}, finish: finish, stop: ev.Stop})
	}
	return parts
}

// parse is read with a parser. Tokens go with the first part that is certain after them.
func (p *partReader) parse(parts []part, ev runtime.Event) []part {
	p.held = append(p.held, ev.Tokens...)
	thinks := p.parser.Reasoning()
	p.found = p.parser.Write(p.found[:0], ev.Text)
	switch p.doubt += len(ev.Tokens); {
	case thinks || p.parser.Reasoning():
		p.thinks.Add(int64(p.doubt))
		p.doubt = 0
	case len(p.found) > 0:
		p.doubt = 0
	}
	if ev.Finish != "" {
		p.found = p.parser.Close(p.found)
	}
	for _, found := range p.found {
		made := part{Part: found, tokens: p.held}
		p.held = nil
		if found.Kind == calls.Call {
			p.called = true
			if made.id = newID("call_"); p.short {
				made.id = calls.Identifier(made.id)
			}
		}
		parts = append(parts, made)
	}
	return parts
}

// choice is one answer that has come to its end.
type choice struct {
	text      string
	reasoning string
	calls     []call
	tokens    []runtime.TokenText // of the text; with logprobs alone
	prompt    []runtime.TokenText // the prompt's from the second on, where they are scored
	finish    openapi.FinishReason
	stop      string // the stop string that ended it, where one did
}

// call is one that an answer makes.
type call struct {
	id, name  string
	arguments string // JSON text
}

// collect reads a stream to its end.
func collect(ctx context.Context, s *runtime.Stream, reader *partReader, tokens bool) (choice, error) {
	var c choice
	var text, reasoning, arguments strings.Builder
	var parts []part
	for {
		ev, err := s.Next(ctx)
		if errors.Is(err, io.EOF) {
			c.text, c.reasoning = text.String(), reasoning.String()
			return c, nil
		}
		if err != nil {
			return c, err
		}
		if ev.Prompt != nil {
			c.prompt = ev.Prompt
		}
		parts = reader.read(parts[:0], ev)
		for _, p := range parts {
			switch p.Kind {
			case calls.Text:
				text.WriteString(p.Text)
				if tokens {
					c.tokens = append(c.tokens, p.tokens...)
				}
			case calls.Reasoning:
				reasoning.WriteString(p.Text)
			case calls.Call:
				c.calls = append(c.calls, call{id: p.id, name: p.Name})
			case calls.Arguments:
				arguments.WriteString(p.Text)
			case calls.Done:
				c.calls[len(c.calls)-1].arguments = arguments.String()
				arguments.Reset()
			case calls.End:
				c.finish, c.stop = p.finish, p.stop
			}
		}
	}
}

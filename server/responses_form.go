package server

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/lorikeet-ai/lorikeet/chat/calls"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// responseForm writes the answer to a request of the Responses API, whose only choice is a list of items. A stream has an
// event for everything that happens to an item, and every event a number.
type responseForm struct {
	sse
	server  *Server
	reply   *reply
	asked   *openapi.ResponseRequest
	owner   string
	input   []json.RawMessage
	kept    bool // the response is to be kept
	summary bool // reasoning is shown as a summary

	sequence int
	items    []openapi.ResponseItem // those that have begun; the last one may not have ended
	text     []byte                 // of the last one so far
	logprobs []json.RawMessage      // of its tokens, where they are asked for
	opened   bool                   // the last one has not ended
	last     part                   // the End of the choice
}

// Types of items.
const (
	messageItem   = "message"
	reasoningItem = "reasoning"
	callItem      = "function_call"
)

// response is the answer in its present state.
func (f *responseForm) response(status string) *openapi.Response {
	q, r := f.asked, f.reply
	out := &openapi.Response{
		Id: r.id, Object: "response", CreatedAt: r.created, Status: status, Model: r.model.name, Output: f.items, Adapter: r.label(),
		Instructions: q.Instructions, MaxOutputTokens: q.MaxOutputTokens, ParallelToolCalls: flag(q.ParallelToolCalls, true),
		PreviousResponseId: q.PreviousResponseId, Store: f.kept, Temperature: r.sampling.Temperature, TopP: 1, Truncation: "disabled",
		Text: rawOr(q.Text, `{"format":{"type":"text"}}`), ToolChoice: rawOr(q.ToolChoice, `"auto"`), Tools: q.Tools,
		Reasoning: rawOr(q.Reasoning, `{"effort":null,"summary":null}`), Metadata: map[string]string{},
	}
	if q.TopP != nil {
		out.TopP = *q.TopP
	}
	if out.Output == nil {
		out.Output = []openapi.ResponseItem{}
	}
	if out.Tools == nil {
		out.Tools = []json.RawMessage{}
	}
	if q.Metadata != nil {
		out.Metadata = *q.Metadata
	}
	return out
}

// ended is the answer at its end, kept where it is to be.
func (f *responseForm) ended(finish openapi.FinishReason) *openapi.Response {
	status := "completed"
	var why *openapi.ResponseIncomplete
	if string(finish) == string(runtime.FinishLength) {
		status, why = "incomplete", &openapi.ResponseIncomplete{Reason: "max_output_tokens"}
	}
	out := f.response(status)
	out.IncompleteDetails = why
	now := time.Now().Unix()
	out.CompletedAt = &now
	u := f.reply.usage()
	out.Usage = &openapi.ResponseUsage{
		InputTokens: u.PromptTokens, InputTokensDetails: openapi.ResponseInputDetails{CachedTokens: u.PromptTokensDetails.CachedTokens},
		OutputTokens: u.CompletionTokens, TotalTokens: u.TotalTokens,
		OutputTokensDetails: openapi.ResponseOutputDetails{ReasoningTokens: u.CompletionTokensDetails.ReasoningTokens},
	}
	if f.kept && !f.server.keep(f, out) {
		out.Store = false
	}
	return out
}

// item makes item i of the answer.
func (f *responseForm) item(kind, text string, logprobs []json.RawMessage, c call, status string) openapi.ResponseItem {
	prefix := map[string]string{messageItem: "msg", reasoningItem: "rs", callItem: "fc"}[kind]
	it := openapi.ResponseItem{Id: itemName(prefix, f.reply.id, "o", len(f.items)), Type: kind, Status: &status}
	switch kind {
	case messageItem:
		role := "assistant"
		it.Role, it.Content = &role, &[]openapi.ResponsePart{}
		if status != "in_progress" {
			it.Content = &[]openapi.ResponsePart{textPart(text, logprobs)}
		}
	case reasoningItem:
		it.Summary, it.Content = &[]openapi.ResponsePart{}, &[]openapi.ResponsePart{}
		if parts := []openapi.ResponsePart{f.thoughtPart(text)}; status == "in_progress" {
		} else if f.summary {
			it.Summary = &parts
		} else {
			it.Content = &parts
		}
	case callItem:
		it.CallId, it.Name, it.Arguments = &c.id, &c.name, &c.arguments
	}
	return it
}

func textPart(text string, logprobs []json.RawMessage) openapi.ResponsePart {
	return openapi.ResponsePart{Type: "output_text", Text: text, Annotations: &[]json.RawMessage{}, Logprobs: &logprobs}
}

// logprobsOf are the log-probabilities of tokens, none where they are not asked for.
func (f *responseForm) logprobsOf(tokens []runtime.TokenText) []json.RawMessage {
	list := []json.RawMessage{}
	if f.reply.top >= 0 && len(tokens) > 0 {
		for _, one := range f.server.chatLogprobs(tokens).Content {
			list = append(list, asJSON(one))
		}
	}
	return list
}

func (f *responseForm) thoughtPart(text string) openapi.ResponsePart {
	kind := "reasoning_text"
	if f.summary {
		kind = "summary_text"
	}
	return openapi.ResponsePart{Type: kind, Text: text}
}

func (f *responseForm) whole(_ *reply, choices []choice) any {
	c, status := choices[0], "completed"
	if string(c.finish) == string(runtime.FinishLength) {
		status = "incomplete"
	}
	logprobs := f.logprobsOf(c.tokens)
	add := func(kind, text string, one call) {
		f.items = append(f.items, f.item(kind, text, logprobs, one, status))
	}
	if c.reasoning != "" {
		add(reasoningItem, c.reasoning, call{})
	}
	if c.text != "" || len(c.calls) == 0 {
		add(messageItem, c.text, call{})
	}
	for _, one := range c.calls {
		add(callItem, "", one)
	}
	return f.ended(c.finish)
}

// event appends an event with its number.
func (f *responseForm) event(b []byte, e openapi.ResponseEvent) []byte {
	e.SequenceNumber = f.sequence
	f.sequence++
	return appendEvent(b, e.Type, e)
}

// about is an event about the last item.
func (f *responseForm) about(kind string) openapi.ResponseEvent {
	i := len(f.items) - 1
	return openapi.ResponseEvent{Type: kind, OutputIndex: &i, ItemId: &f.items[i].Id}
}

// aboutPart is an event about the only part of the last item.
func (f *responseForm) aboutPart(kind string) openapi.ResponseEvent {
	e, zero := f.about(kind), 0
	if f.summary && f.items[len(f.items)-1].Type == reasoningItem {
		e.SummaryIndex = &zero
	} else {
		e.ContentIndex = &zero
	}
	return e
}

func (f *responseForm) begin(b []byte, _ *reply) []byte {
	b = f.event(b, openapi.ResponseEvent{Type: "response.created", Response: f.response("in_progress")})
	return f.event(b, openapi.ResponseEvent{Type: "response.in_progress", Response: f.response("in_progress")})
}

func (f *responseForm) open(b []byte, _ int) []byte { return b }

// names are the events of a kind of item that has a part: of the part's begin and end, and of its text.
func (f *responseForm) names(kind string) (added, done, text string) {
	switch {
	case kind == messageItem:
		return "response.content_part.added", "response.content_part.done", "response.output_text"
	case f.summary:
		return "response.reasoning_summary_part.added", "response.reasoning_summary_part.done", "response.reasoning_summary_text"
	}
	return "response.content_part.added", "response.content_part.done", "response.reasoning_text"
}

// partOf is the part of the last item with a text.
func (f *responseForm) partOf(text string) *openapi.ResponsePart {
	p := f.thoughtPart(text)
	if f.items[len(f.items)-1].Type == messageItem {
		p = textPart(text, slices.Clone(f.logprobs))
	}
	return &p
}

// openItem begins an item, after the one before.
func (f *responseForm) openItem(b []byte, kind string, c call) []byte {
	b = f.closeItem(b, "completed")
	f.items = append(f.items, f.item(kind, "", nil, c, "in_progress"))
	f.opened, f.text, f.logprobs = true, f.text[:0], []json.RawMessage{}
	e := f.about("response.output_item.added")
	e.Item, e.ItemId = &f.items[len(f.items)-1], nil
	if b = f.event(b, e); kind == callItem {
		return b
	}
	added, _, _ := f.names(kind)
	e = f.aboutPart(added)
	e.Part = f.partOf("")
	return f.event(b, e)
}

// closeItem ends the item that is open.
func (f *responseForm) closeItem(b []byte, status string) []byte {
	if !f.opened {
		return b
	}
	f.opened = false
	i, text := len(f.items)-1, string(f.text)
	old := f.items[i]
	if old.Type == callItem {
		e := f.about("response.function_call_arguments.done")
		e.Arguments, e.Name = &text, old.Name
		b = f.event(b, e)
		old.Arguments = &text
	} else {
		_, done, kind := f.names(old.Type)
		e := f.aboutPart(kind + ".done")
		if e.Text = &text; old.Type == messageItem {
			e.Logprobs = &f.logprobs
		}
		b = f.event(b, e)
		e = f.aboutPart(done)
		e.Part = f.partOf(text)
		b = f.event(b, e)
	}
	f.items = f.items[:i]
	one := call{}
	if old.Type == callItem {
		one = call{*old.CallId, *old.Name, text}
	}
	f.items = append(f.items, f.item(old.Type, text, f.logprobs, one, status))
	e := f.about("response.output_item.done")
	e.Item, e.ItemId = &f.items[i], nil
	return f.event(b, e)
}

// delta appends a piece of the item that is open.
func (f *responseForm) delta(b []byte, e openapi.ResponseEvent, piece string) []byte {
	f.text = append(f.text, piece...)
	e.Delta = &piece
	return f.event(b, e)
}

// say appends a piece of text, which tokens make, to an item of a kind.
func (f *responseForm) say(b []byte, kind, piece string, tokens []runtime.TokenText) []byte {
	if piece == "" && (f.reply.top < 0 || len(tokens) == 0) {
		return b
	}
	if !f.opened || f.items[len(f.items)-1].Type != kind {
		b = f.openItem(b, kind, call{})
	}
	_, _, text := f.names(kind)
	e := f.aboutPart(text + ".delta")
	if kind == messageItem {
		list := f.logprobsOf(tokens)
		f.logprobs = append(f.logprobs, list...)
		e.Logprobs = &list
	}
	return f.delta(b, e, piece)
}

func (f *responseForm) part(b []byte, _ int, p part) []byte {
	switch p.Kind {
	case calls.Text:
		return f.say(b, messageItem, p.Text, p.tokens)
	case calls.Reasoning:
		return f.say(b, reasoningItem, p.Text, nil)
	case calls.Call:
		return f.openItem(b, callItem, call{id: p.id, name: p.Name})
	case calls.Arguments:
		return f.delta(b, f.about("response.function_call_arguments.delta"), p.Text)
	case calls.Done:
		return f.closeItem(b, "completed")
	case calls.End:
		f.last = p
		if len(f.items) == 0 { // an answer without text is a message without text, as it is without stream
			b = f.openItem(b, messageItem, call{})
		}
		if string(p.finish) == string(runtime.FinishLength) {
			return f.closeItem(b, "incomplete")
		}
		return f.closeItem(b, "completed")
	}
	return b
}

func (f *responseForm) finish(b []byte, _ *reply) []byte {
	answer := f.ended(f.last.finish)
	return f.event(b, openapi.ResponseEvent{Type: "response." + answer.Status, Response: answer})
}

func (f *responseForm) fail(b []byte, e openapi.Error) []byte {
	b = f.event(b, openapi.ResponseEvent{Type: "error", Code: e.Code, Message: &e.Message, Param: e.Param})
	answer := f.response("failed")
	code := e.Type
	if e.Code != nil {
		code = *e.Code
	}
	answer.Error = &openapi.ResponseFailure{Code: code, Message: e.Message}
	return f.event(b, openapi.ResponseEvent{Type: "response.failed", Response: answer})
}

package server

import (
	"github.com/lorikeet-ai/lorikeet/chat/calls"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// messageForm writes the answer to a request of the Messages API, whose only choice is a list of content blocks.
type messageForm struct {
	sse
	reply *reply
	block blockKind // the block of the stream that has begun and not ended
	count int       // blocks that have begun
	end   part      // of the choice
}

// blockKind is the kind of a content block.
type blockKind string

const (
	noBlock       blockKind = ""
	textBlock     blockKind = "text"
	thinkingBlock blockKind = "thinking"
	toolBlock     blockKind = "tool_use"
)

// messageEvent is an event of the stream.
type messageEvent struct {
	Type    string                `json:"type"`
	Message *openapi.Message      `json:"message,omitempty"`
	Index   *int                  `json:"index,omitempty"`
	Block   *openapi.MessageBlock `json:"content_block,omitempty"`
	Delta   any                   `json:"delta,omitempty"`
	Usage   *openapi.MessageUsage `json:"usage,omitempty"`
}

type blockDelta struct {
	Type        string  `json:"type"`
	Text        *string `json:"text,omitempty"`
	Thinking    *string `json:"thinking,omitempty"`
	PartialJSON *string `json:"partial_json,omitempty"`
}

type endDelta struct {
	StopReason   *string `json:"stop_reason"`
	StopSequence *string `json:"stop_sequence"`
}

func (f *messageForm) event(b []byte, e messageEvent) []byte { return appendEvent(b, e.Type, e) }

// usage counts as Anthropic does: input_tokens are those that were not in the cache.
func (f *messageForm) usage() openapi.MessageUsage {
	u := f.reply.usage()
	return openapi.MessageUsage{
		InputTokens:          u.PromptTokens - u.PromptTokensDetails.CachedTokens,
		CacheReadInputTokens: u.PromptTokensDetails.CachedTokens, OutputTokens: u.CompletionTokens,
	}
}

// message is the answer without content.
func (f *messageForm) message() openapi.Message {
	return openapi.Message{
		Id: f.reply.id, Type: "message", Role: "assistant", Model: f.reply.model.name, Content: []openapi.MessageBlock{},
		Usage: f.usage(), Adapter: f.reply.label(),
	}
}

// stopReason says why a choice ended, in Anthropic's words, and by which of the stop sequences.
func stopReason(finish openapi.FinishReason, stop string) (reason, sequence *string) {
	word := "end_turn"
	switch {
	case finish == openapi.ToolCalls:
		word = "tool_use"
	case string(finish) == string(runtime.FinishLength):
		word = "max_tokens"
	case stop != "":
		word, sequence = "stop_sequence", &stop
	}
	return &word, sequence
}

func (f *messageForm) whole(_ *reply, choices []choice) any {
	c, m := choices[0], f.message()
	if c.reasoning != "" {
		m.Content = append(m.Content, thinkingOf(c.reasoning))
	}
	if c.text != "" {
		m.Content = append(m.Content, openapi.MessageBlock{Type: string(textBlock), Text: &c.text})
	}
	for i := range c.calls {
		call := &c.calls[i]
		m.Content = append(m.Content, openapi.MessageBlock{
			Type: string(toolBlock), Id: &call.id, Name: &call.name, Input: argumentsObject(call.arguments),
		})
	}
	m.StopReason, m.StopSequence = stopReason(c.finish, c.stop)
	return m
}

func thinkingOf(text string) openapi.MessageBlock {
	signature := ""
	return openapi.MessageBlock{Type: string(thinkingBlock), Thinking: &text, Signature: &signature}
}

func (f *messageForm) begin(b []byte, _ *reply) []byte {
	m := f.message()
	m.Usage.InputTokens = len(f.reply.prompts[0].tokens) // the engine has not begun to count
	return f.event(b, messageEvent{Type: "message_start", Message: &m})
}

func (f *messageForm) open(b []byte, _ int) []byte { return b }

// openBlock begins a block, after the one before.
func (f *messageForm) openBlock(b []byte, kind blockKind, block openapi.MessageBlock) []byte {
	b = f.close(b)
	f.block = kind
	i := f.count
	f.count++
	return f.event(b, messageEvent{Type: "content_block_start", Index: &i, Block: &block})
}

// close ends the block that is open.
func (f *messageForm) close(b []byte) []byte {
	if f.block == noBlock {
		return b
	}
	f.block = noBlock
	i := f.count - 1
	return f.event(b, messageEvent{Type: "content_block_stop", Index: &i})
}

func (f *messageForm) delta(b []byte, d blockDelta) []byte {
	i := f.count - 1
	return f.event(b, messageEvent{Type: "content_block_delta", Index: &i, Delta: d})
}

func (f *messageForm) part(b []byte, _ int, p part) []byte {
	switch p.Kind {
	case calls.Text:
		if p.Text == "" {
			return b
		}
		if f.block != textBlock {
			empty := ""
			b = f.openBlock(b, textBlock, openapi.MessageBlock{Type: string(textBlock), Text: &empty})
		}
		return f.delta(b, blockDelta{Type: "text_delta", Text: &p.Text})
	case calls.Reasoning:
		if f.block != thinkingBlock {
			b = f.openBlock(b, thinkingBlock, thinkingOf(""))
		}
		return f.delta(b, blockDelta{Type: "thinking_delta", Thinking: &p.Text})
	case calls.Call:
		return f.openBlock(b, toolBlock, openapi.MessageBlock{
			Type: string(toolBlock), Id: &p.id, Name: &p.Name, Input: argumentsObject(""),
		})
	case calls.Arguments:
		return f.delta(b, blockDelta{Type: "input_json_delta", PartialJSON: &p.Text})
	case calls.Done:
		return f.close(b)
	case calls.End:
		f.end = p
		return f.close(b)
	}
	return b
}

func (f *messageForm) finish(b []byte, _ *reply) []byte {
	var d endDelta
	d.StopReason, d.StopSequence = stopReason(f.end.finish, f.end.stop)
	u := f.usage()
	b = f.event(b, messageEvent{Type: "message_delta", Delta: d, Usage: &u})
	return f.event(b, messageEvent{Type: "message_stop"})
}

func (f *messageForm) wait(b []byte) []byte { return f.event(b, messageEvent{Type: "ping"}) }

func (f *messageForm) fail(b []byte, e openapi.Error) []byte {
	status := map[string]int{requestFault: 400, rateFault: 429, serverFault: 500}[e.Type]
	return appendEvent(b, "error", messagesError(status, e, ""))
}

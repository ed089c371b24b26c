package server

import (
	"encoding/json"
	"time"

	"github.com/lorikeet-ai/lorikeet/chat/calls"
	"github.com/lorikeet-ai/lorikeet/openapi"
)

// ollamaForm writes answers in Ollama's shape. A stream has an object on each line; calls come whole.
type ollamaForm struct {
	reply *reply // nil where there is no answer to make
	chat  bool   // of /api/chat, else of /api/generate
	model string // as the request named it
	asked time.Time
	call  call   // that has begun
	args  []byte // of call so far
	last  part   // the End of the choice
}

func (f *ollamaForm) contentType() string { return "application/x-ndjson" }

// line is an object without what it says.
func (f *ollamaForm) line() openapi.OllamaAnswer {
	return openapi.OllamaAnswer{Model: f.model, CreatedAt: time.Now().UTC().Format(time.RFC3339Nano)}
}

// message returns the line's message, of /api/chat.
func message(line *openapi.OllamaAnswer) *openapi.OllamaMessage {
	if line.Message == nil {
		line.Message = &openapi.OllamaMessage{Role: "assistant"}
	}
	return line.Message
}

func (f *ollamaForm) say(line *openapi.OllamaAnswer, text string) {
	if f.chat {
		message(line).Content = text
		return
	}
	line.Response = &text
}

func (f *ollamaForm) think(line *openapi.OllamaAnswer, text string) {
	f.say(line, "")
	if f.chat {
		message(line).Thinking = &text
		return
	}
	line.Thinking = &text
}

func (f *ollamaForm) addCall(line *openapi.OllamaAnswer, c call) {
	f.say(line, "")
	out := openapi.OllamaCall{Id: c.id, Function: openapi.OllamaFunction{Name: c.name, Arguments: argumentsObject(c.arguments)}}
	var list []openapi.OllamaCall
	if f.chat {
		m := message(line)
		if m.ToolCalls != nil {
			list = *m.ToolCalls
		}
		list = append(list, out)
		m.ToolCalls = &list
	}
}

// end says that the answer has ended, and what it took.
func (f *ollamaForm) end(line *openapi.OllamaAnswer, finish openapi.FinishReason) {
	reason := "stop"
	if string(finish) == "length" {
		reason = "length"
	}
	u, t := f.reply.usage(), f.reply.timings()
	nanoseconds := func(ms float64) *int64 {
		n := int64(ms * float64(time.Millisecond))
		return &n
	}
	total, load := time.Since(f.asked).Nanoseconds(), int64(0)
	line.Done, line.DoneReason, line.Adapter = true, &reason, f.reply.label()
	line.TotalDuration, line.LoadDuration = &total, &load
	line.PromptEvalCount, line.PromptEvalDuration = &u.PromptTokens, nanoseconds(t.PromptMs)
	line.EvalCount, line.EvalDuration = &u.CompletionTokens, nanoseconds(t.PredictedMs)
}

func (f *ollamaForm) whole(_ *reply, choices []choice) any {
	c, line := choices[0], f.line()
	if c.reasoning != "" {
		f.think(&line, c.reasoning)
	}
	for _, one := range c.calls {
		f.addCall(&line, one)
	}
	f.say(&line, c.text)
	f.end(&line, c.finish)
	return line
}

func (f *ollamaForm) begin(b []byte, _ *reply) []byte { return b }

func (f *ollamaForm) open(b []byte, _ int) []byte { return b }

func (f *ollamaForm) put(b []byte, line openapi.OllamaAnswer) []byte {
	return append(appendJSON(b, line), '\n')
}

func (f *ollamaForm) part(b []byte, _ int, p part) []byte {
	line := f.line()
	switch p.Kind {
	case calls.Text:
		if p.Text == "" {
			return b
		}
		f.say(&line, p.Text)
	case calls.Reasoning:
		f.think(&line, p.Text)
	case calls.Call:
		f.call, f.args = call{id: p.id, name: p.Name}, f.args[:0]
		return b
	case calls.Arguments:
		f.args = append(f.args, p.Text...)
		return b
	case calls.Done:
		f.call.arguments = string(f.args)
		f.addCall(&line, f.call)
	default:
		f.last = p
		return b
	}
	return f.put(b, line)
}

func (f *ollamaForm) finish(b []byte, _ *reply) []byte {
	line := f.line()
	f.say(&line, "")
	f.end(&line, f.last.finish)
	return f.put(b, line)
}

// wait appends nothing: a line that is no object would break clients.
func (f *ollamaForm) wait(b []byte) []byte { return b }

func (f *ollamaForm) fail(b []byte, e openapi.Error) []byte {
	return append(appendJSON(b, ollamaError(e)), '\n')
}

// ollamaError is an error in Ollama's shape.
func ollamaError(e openapi.Error) json.RawMessage {
	return asJSON(openapi.OllamaErrorResponse{Error: e.Message})
}

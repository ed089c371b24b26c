package training

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/lorikeet-ai/lorikeet/chat/calls"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/training/dataset"
)

// This file finds in what was sampled what is graded: the text and the calls of tools, not what the model thought before them.

// readAnswer returns an answer's text without reasoning and without calls, and the calls in the shape of OpenAI's tool_calls, as
// far as the chat template says how the base writes these.
func (q *Queue) readAnswer(ask *question, text string) (content string, list []any) {
	format := q.o.Template.Format(ask.tools != nil)
	var tools calls.Tools
	if ask.tools != nil {
		tools = ask.tools
	} else if format.Think.Open == "" && !format.Always() {
		return text, nil
	}
	thinking := format.Think.Open != "" && strings.HasSuffix(strings.TrimSpace(q.tail(ask.prompt)), strings.TrimSpace(format.Think.Open))
	p := calls.NewParser(format, tools, thinking)
	var said, arguments strings.Builder
	var function map[string]any // of the last call
	parts := p.Close(p.Write(nil, text))
	for _, part := range append(parts, calls.Part{Kind: calls.Call}) { // which ends the last call
		if part.Kind == calls.Call && function != nil {
			function["arguments"] = arguments.String()
			arguments.Reset()
		}
		switch {
		case part.Kind == calls.Text:
			said.WriteString(part.Text)
		case part.Kind == calls.Arguments:
			arguments.WriteString(part.Text)
		case part.Kind == calls.Call && part.Name != "":
			function = map[string]any{"name": part.Name}
			list = append(list, map[string]any{"id": fmt.Sprintf("call_%d", part.Index), "type": "function", "function": function})
		}
	}
	return said.String(), list
}

// tail is how the text of a prompt ends.
func (q *Queue) tail(prompt []runtime.Token) string {
	const most = 16 // tokens: more than the mark of reasoning has
	var b strings.Builder
	for _, t := range prompt[max(0, len(prompt)-most):] {
		b.Write(q.o.Model.Piece(t, true))
	}
	return b.String()
}

// toolsOf returns the tools that a prompt's line has, nil where it has none.
func toolsOf(line json.RawMessage) (*calls.Set, error) {
	raw, err := dataset.ToolsOf(line)
	if err != nil || raw == nil {
		return nil, err
	}
	var list []struct {
		Function struct {
			Name       string          `json:"name"`
			Parameters json.RawMessage `json:"parameters"`
		} `json:"function"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	tools := make([]calls.Tool, len(list))
	for i, t := range list {
		tools[i] = calls.Tool{Name: t.Function.Name, Parameters: t.Function.Parameters}
	}
	return calls.NewSet(tools), nil
}

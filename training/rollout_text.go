package training

import (
	"strings"

	"github.com/lorikeet-ai/lorikeet/chat/calls"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file finds in what was sampled the text that is graded: not what the model thought before it.

// content returns the answer's text without reasoning, where the chat template says how the base writes that.
func (q *Queue) content(prompt []runtime.Token, text string) string {
	format := q.o.Template.Format(false)
	if format.Think.Open == "" && !format.Always() {
		return text
	}
	thinking := format.Think.Open != "" && strings.HasSuffix(strings.TrimSpace(q.tail(prompt)), strings.TrimSpace(format.Think.Open))
	p := calls.NewParser(format, nil, thinking)
	var b strings.Builder
	for _, part := range p.Close(p.Write(nil, text)) {
		if part.Kind == calls.Text {
			b.WriteString(part.Text)
		}
	}
	return b.String()
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

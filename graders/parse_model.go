package graders

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
)

// This file reads score_model.

// inputMessage is a turn of score_model's input. Content is a text, or parts of which each is a text.
type inputMessage struct {
	Role    string          `json:"role"`
	Content json.RawMessage `json:"content"`
	Type    string          `json:"type"` // "message"
}

func (r *reader) scoreModel(raw json.RawMessage) (grader, error) {
	var d struct {
		common
		Model    *string        `json:"model"`
		Input    []inputMessage `json:"input"`
		Range    []float64      `json:"range"`
		Sampling struct {
			MaxCompletionsTokens int      `json:"max_completions_tokens"` // OpenAI's spelling
			MaxCompletionTokens  int      `json:"max_completion_tokens"`
			Temperature          *float64 `json:"temperature"`
			TopP                 *float64 `json:"top_p"`
			Seed                 *int64   `json:"seed"`
			ReasoningEffort      *string  `json:"reasoning_effort"`
		} `json:"sampling_params"`
	}
	if err := r.decode(raw, &d); err != nil {
		return nil, err
	}
	g := &scoreModel{ask: r.tools.Ask, low: 0, high: 1}
	switch n := len(d.Input); {
	case d.Model == nil:
		return nil, r.fault("model", "is missing")
	case r.tools.Ask == nil:
		return nil, r.unsupported("type", "is score_model: there is no model to ask here")
	case n == 0:
		return nil, r.fault("input", "is missing: a list of messages")
	case n > maxMessages:
		return nil, r.fault("input", "has %d messages, at most %d are asked", n, maxMessages)
	case d.Range != nil && (len(d.Range) != 2 || !(d.Range[0] < d.Range[1]) || math.IsInf(d.Range[1]-d.Range[0], 0)):
		return nil, r.fault("range", "must be two numbers, the smaller one first")
	case d.Sampling.MaxCompletionTokens < 0 || d.Sampling.MaxCompletionsTokens < 0:
		return nil, r.fault("sampling_params.max_completions_tokens", "is below 0")
	}
	if err := r.tools.CheckModel(*d.Model); err != nil {
		return nil, r.fault("model", "%v", err)
	}
	if d.Range != nil {
		g.low, g.high = d.Range[0], d.Range[1]
	}
	s := &d.Sampling
	g.question = Question{
		Model: *d.Model, Schema: scoreSchema, MaxTokens: max(s.MaxCompletionTokens, s.MaxCompletionsTokens),
		Temperature: s.Temperature, TopP: s.TopP, Seed: s.Seed,
	}
	if s.ReasoningEffort != nil {
		g.question.ReasoningEffort = *s.ReasoningEffort
	}
	for i := range d.Input {
		m, err := r.message(fmt.Sprintf("input[%d]", i), &d.Input[i])
		if err != nil {
			return nil, err
		}
		g.messages = append(g.messages, m)
	}
	return g, nil
}

// message reads a turn of score_model's input.
func (r *reader) message(field string, in *inputMessage) (m messageTemplate, err error) {
	if !slices.Contains([]string{"system", "developer", "user", "assistant"}, in.Role) {
		return m, r.fault(field+".role", "is %q, it must be system, developer, user or assistant", clip(in.Role))
	}
	m.role = in.Role
	text, ok := contentText(in.Content)
	if !ok {
		return m, r.unsupported(field+".content", "must be a text, or parts of type input_text or text")
	}
	m.content, err = r.template(field+".content", &text)
	return m, err
}

// contentText joins the texts of a content.
func contentText(raw json.RawMessage) (string, bool) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text, len(raw) > 0 && !bytes.Equal(raw, []byte("null"))
	}
	type part struct {
		Type string  `json:"type"`
		Text *string `json:"text"`
	}
	var list []part
	if json.Unmarshal(raw, &list) != nil {
		var one part
		if json.Unmarshal(raw, &one) != nil {
			return "", false
		}
		list = []part{one}
	}
	var b strings.Builder
	for _, p := range list {
		if p.Text == nil || !slices.Contains([]string{"input_text", "output_text", "text"}, p.Type) {
			return "", false
		}
		b.WriteString(*p.Text)
	}
	return b.String(), len(list) > 0
}

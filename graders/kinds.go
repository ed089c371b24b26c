package graders

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

// This file has the kinds of graders, but multi.

// stringCheck compares two texts: 1 where the operation holds, else 0.
type stringCheck struct {
	input, reference *template
	operation        string
}

func (g *stringCheck) grade(_ context.Context, s *Sample) (Result, error) {
	input, reference, err := renderBoth(s, g.input, g.reference)
	if err != nil {
		return Result{}, err
	}
	ok := false
	switch g.operation {
	case "eq":
		ok = input == reference
	case "ne", "neq":
		ok = input != reference
	case "like":
		ok = contains(input, reference, false)
	case "ilike":
		ok = contains(input, reference, true)
	}
	if ok {
		return Result{Reward: 1}, nil
	}
	return Result{}, nil
}

func renderBoth(s *Sample, a, b *template) (x, y string, err error) {
	if x, err = a.render(s); err == nil {
		y, err = b.render(s)
	}
	return x, y, err
}

// textSimilarity measures how near two texts are.
type textSimilarity struct {
	input, reference *template
	metric           func(ctx context.Context, input, reference string) (float64, error)
}

func (g *textSimilarity) grade(ctx context.Context, s *Sample) (Result, error) {
	input, reference, err := renderBoth(s, g.input, g.reference)
	if err != nil {
		return Result{}, err
	}
	if tooLong(input) || tooLong(reference) {
		return Result{}, &Failure{Fault: TruncatedFault, Reason: fmt.Sprintf("texts of more than %d characters are not compared", maxCompared)}
	}
	x, err := g.metric(ctx, input, reference)
	return Result{Reward: x}, err
}

// pure is a metric that needs nothing but the texts.
func pure(f func(a, b string) float64) func(Tools) func(context.Context, string, string) (float64, error) {
	return func(Tools) func(context.Context, string, string) (float64, error) {
		return func(_ context.Context, a, b string) (float64, error) { return f(a, b), nil }
	}
}

func rouge(n int) func(Tools) func(context.Context, string, string) (float64, error) {
	return pure(func(a, b string) float64 { return rougeN(a, b, n) })
}

// metrics are the evaluation_metrics there are.
var metrics = map[string]func(Tools) func(context.Context, string, string) (float64, error){
	"fuzzy_match": pure(fuzzyMatch), "bleu": pure(bleu), "gleu": pure(googleBLEU), "rouge_l": pure(rougeL),
	"rouge_1": rouge(1), "rouge_2": rouge(2), "rouge_3": rouge(3), "rouge_4": rouge(4), "rouge_5": rouge(5),
	"cosine": cosine,
}

// refusedMetrics are others that OpenAI has, with the reason.
var refusedMetrics = map[string]string{
	"meteor": "needs the synonyms of WordNet, which this server does not have; gleu and rouge_l are near it",
}

// cosine is the cosine of the angle between the texts' embeddings, in [-1, 1]; nil without embeddings.
func cosine(t Tools) func(context.Context, string, string) (float64, error) {
	if t.Embed == nil {
		return nil
	}
	return func(ctx context.Context, a, b string) (float64, error) {
		if strings.TrimSpace(a) == "" || strings.TrimSpace(b) == "" {
			return 0, nil // nothing has no direction
		}
		v, err := t.Embed(ctx, []string{a, b})
		if err != nil {
			return 0, &Failure{Fault: OtherFault, Reason: "the texts' embeddings: " + err.Error(), Err: err}
		}
		if len(v) != 2 || len(v[0]) != len(v[1]) {
			return 0, &Failure{Fault: OtherFault, Reason: "the texts' embeddings have different sizes"}
		}
		sum := 0.0
		for i := range v[0] {
			sum += float64(v[0][i]) * float64(v[1][i])
		}
		return sum, nil
	}
}

// scoreModel lets a model score.
type scoreModel struct {
	ask       func(context.Context, Question) (Reply, error)
	question  Question // without the messages
	messages  []messageTemplate
	low, high float64
}

type messageTemplate struct {
	role    string
	content *template
}

// scoreSchema is what the model's answer is held to: the field is that of OpenAI's graders.
var scoreSchema = json.RawMessage(`{"type":"object","properties":{"result":{"type":"number"}},"required":["result"],"additionalProperties":false}`)

func (g *scoreModel) grade(ctx context.Context, s *Sample) (Result, error) {
	q := g.question
	for _, m := range g.messages {
		text, err := m.content.render(s)
		if err != nil {
			return Result{}, err
		}
		q.Messages = append(q.Messages, Message{m.role, text})
	}
	reply, err := g.ask(ctx, q)
	if err != nil {
		return Result{}, &Failure{Fault: ModelFault, Reason: fmt.Sprintf("the model %q: %v", q.Model, err), Err: err}
	}
	if reply.Refusal != "" {
		return Result{}, &Failure{Fault: RefusalFault, Reason: fmt.Sprintf("the model %q refused: %s", q.Model, clip(reply.Refusal))}
	}
	score, ok := modelScore(reply.Text)
	if !ok {
		return Result{}, &Failure{Fault: ModelParseFault, Reason: fmt.Sprintf(`the model %q answered %q, which is not {"result": number}`, q.Model, clip(reply.Text))}
	}
	return Result{
		Reward: min(max(score, g.low), g.high), Model: q.Model, Tokens: map[string]int{q.Model: reply.Tokens},
	}, nil
}

// modelScore reads the score that a model answers. A model elsewhere that does not follow the schema may answer with the number alone.
func modelScore(text string) (score float64, ok bool) {
	var answer struct {
		Result *float64 `json:"result"`
	}
	if json.Unmarshal([]byte(text), &answer) == nil && answer.Result != nil {
		return *answer.Result, true
	}
	text = strings.TrimSpace(text)
	err := json.Unmarshal([]byte(text), &score)
	return score, err == nil && text != "null"
}

// endpoint lets a service score: it gets the sample and the item, and answers {"score": number}.
type endpoint struct {
	post   func(ctx context.Context, url string, header map[string]string, body []byte) ([]byte, error)
	url    string
	header map[string]string
}

func (g *endpoint) grade(ctx context.Context, s *Sample) (Result, error) {
	body, err := json.Marshal(map[string]any{"sample": s.wire(), "item": s.Item})
	if err != nil {
		return Result{}, err
	}
	answer, err := g.post(ctx, g.url, g.header, body)
	if err != nil {
		return Result{}, &Failure{Fault: OtherFault, Reason: fmt.Sprintf("the endpoint %s: %v", g.url, err), Err: err}
	}
	x, ok := scoreOf(answer)
	if !ok {
		return Result{}, &Failure{Fault: OtherFault, Reason: fmt.Sprintf(`the endpoint %s answered %q, which is not {"score": number}`, g.url, clip(string(answer)))}
	}
	return Result{Reward: x}, nil
}

// python lets the operator's sandbox run a function grade(sample, item).
type python struct {
	run    func(ctx context.Context, input []byte) ([]byte, error)
	source string
}

func (g *python) grade(ctx context.Context, s *Sample) (Result, error) {
	input, err := json.Marshal(map[string]any{"source": g.source, "sample": s.wire(), "item": s.Item})
	if err != nil {
		return Result{}, err
	}
	out, err := g.run(ctx, input)
	if err != nil {
		return Result{}, &Failure{Fault: PythonFault, Reason: "the sandbox: " + err.Error(), Err: err}
	}
	x, ok := scoreOf(out)
	if !ok {
		return Result{}, &Failure{Fault: PythonRuntimeFault, Reason: fmt.Sprintf("the source's result is %q, which is no number", clip(string(out)))}
	}
	return Result{Reward: x}, nil
}

// wire is the sample as endpoints and Python sources see it. output_json is null where the answer is none.
func (s *Sample) wire() map[string]any {
	value, err := decode([]byte(s.Text))
	if err != nil {
		value = nil
	}
	return map[string]any{"output_text": s.Text, "output_json": value, "output_tools": s.calls(), "choices": s.choices()}
}

// choices are the sample as the answer of a chat completion.
func (s *Sample) choices() []any {
	message := map[string]any{"role": "assistant", "content": s.Text}
	finish := "stop"
	if len(s.Calls) > 0 {
		message["tool_calls"], finish = s.Calls, "tool_calls"
	}
	if s.Cut {
		finish = "length"
	}
	return []any{map[string]any{"index": 0, "message": message, "finish_reason": finish}}
}

// calls are the sample's, an empty list where there are none.
func (s *Sample) calls() []any {
	if s.Calls == nil {
		return []any{}
	}
	return s.Calls
}

// scoreOf reads a number, or the score of an object.
func scoreOf(raw []byte) (float64, bool) {
	var x float64
	raw = bytes.TrimSpace(raw)
	if json.Unmarshal(raw, &x) == nil && string(raw) != "null" {
		return x, true
	}
	var object struct {
		Score  *float64 `json:"score"`
		Reward *float64 `json:"reward"`
	}
	if json.Unmarshal(raw, &object) != nil {
		return 0, false
	}
	for _, v := range []*float64{object.Score, object.Reward} {
		if v != nil && !math.IsNaN(*v) {
			return *v, true
		}
	}
	return 0, false
}

// decode reads one JSON value, with numbers as they are written.
func decode(raw []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, fmt.Errorf("there is more behind the value")
	}
	return value, nil
}

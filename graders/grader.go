package graders

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"
)

// Sample is an answer to grade.
type Sample struct {
	Item  map[string]any // the line's fields, as encoding/json has them with UseNumber
	Text  string         // the answer
	Calls []any          // the tools that it calls, in OpenAI's shape
	Cut   bool           // it is longer than answers may be, and ends in the middle
}

// Result is what a grader gave.
type Result struct {
	Reward float64
	Parts  map[string]float64 // the rewards of a multi grader's graders, by name; nil for others
	Tokens map[string]int     // used by models that scored, by model
	Model  string             // the model that scored, of a score_model grader
}

// Message is a turn of what a model that scores is asked.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Question is what a model that scores is asked. It answers with JSON of the schema.
type Question struct {
	Model           string
	Messages        []Message
	Schema          json.RawMessage
	MaxTokens       int // 0: no bound
	Temperature     *float64
	TopP            *float64
	Seed            *int64
	ReasoningEffort string
}

// Reply is its answer.
type Reply struct {
	Text    string
	Refusal string // why it does not answer; "": it does
	Tokens  int    // that question and answer took
}

// Tools are what graders use besides themselves. A function that is nil makes Parse refuse the graders that need it. All of
// them may be called from any goroutine, and return when their context ends.
type Tools struct {
	// CheckModel returns an error, which continues "model", where a model may not be asked.
	CheckModel func(model string) error
	Ask        func(context.Context, Question) (Reply, error)

	// CheckURL returns an error, which continues "url", where an endpoint may not be asked. Post returns the body of its
	// answer, of a bounded size.
	CheckURL func(url string) error
	Post     func(ctx context.Context, url string, header map[string]string, body []byte) ([]byte, error)

	// Run runs Python source in the operator's sandbox: input goes to its standard input, its standard output comes back.
	Run func(ctx context.Context, input []byte) ([]byte, error)

	// Embed returns the embeddings of texts, each of length 1.
	Embed func(ctx context.Context, texts []string) ([][]float32, error)
}

// Grader gives answers rewards. It is immutable; its methods may be called from any goroutine.
type Grader struct {
	name string
	kind string
	raw  json.RawMessage
	grader
}

// grader is one kind of grader.
type grader interface {
	// grade returns the reward. An error is a *Failure, whose name the caller sets, or ctx's.
	grade(ctx context.Context, s *Sample) (Result, error)
}

// Name returns the grader's name.
func (g *Grader) Name() string { return g.name }

// Type returns its kind: "string_check", ...
func (g *Grader) Type() string { return g.kind }

// Definition returns the JSON it was made of.
func (g *Grader) Definition() json.RawMessage { return g.raw }

// Grade returns the reward of an answer. The error is a *Failure; where ctx has ended, its fault is TimeFault.
func (g *Grader) Grade(ctx context.Context, s *Sample) (Result, error) {
	r, err := g.grade(ctx, s)
	if err == nil {
		return r, nil
	}
	f := new(Failure)
	if !errors.As(err, &f) {
		f = &Failure{Fault: OtherFault, Reason: err.Error(), Err: err}
	}
	if ctx.Err() != nil {
		f = &Failure{Fault: TimeFault, Reason: "the time for grading was over: " + f.Reason, Err: ctx.Err()}
	}
	if f.Grader == "" {
		f.Grader = g.name
	}
	return Result{}, f
}

// multi calculates a reward out of those of other graders.
type multi struct {
	graders map[string]*Grader
	output  *expression
}

// grade runs the graders, all at once: each waits for the slowest at most.
func (m *multi) grade(ctx context.Context, s *Sample) (Result, error) {
	type one struct {
		name   string
		result Result
		err    error
	}
	done := make(chan one, len(m.graders))
	for name, g := range m.graders {
		go func() {
			r, err := g.Grade(ctx, s)
			done <- one{name, r, err}
		}()
	}
	out := Result{Parts: make(map[string]float64, len(m.graders)), Tokens: make(map[string]int)}
	failed := make(map[string]error)
	for range m.graders {
		x := <-done
		if x.err != nil {
			failed[x.name] = x.err
			continue
		}
		out.Parts[x.name] = x.result.Reward
		for model, n := range x.result.Tokens {
			out.Tokens[model] += n
		}
	}
	for _, name := range slices.Sorted(maps.Keys(failed)) {
		return Result{}, failed[name] // of several the same one each time
	}
	var err error
	if out.Reward, err = m.output.value(out.Parts); err != nil {
		return Result{}, &Failure{Fault: FormulaFault, Reason: "calculate_output: " + err.Error()}
	}
	return out, nil
}

// Timed is Grade, and how long it took.
func (g *Grader) Timed(ctx context.Context, s *Sample) (Result, time.Duration, error) {
	began := time.Now()
	r, err := g.Grade(ctx, s)
	return r, time.Since(began), err
}

// ReadItem reads the fields of a line, with numbers as they are written.
func ReadItem(raw []byte) (map[string]any, error) {
	value, err := decode(raw)
	if err != nil {
		return nil, err
	}
	item, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("it is no object")
	}
	return item, nil
}

package training

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lorikeet-ai/lorikeet/chat/calls"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file samples answers from weights as they stand, by the running engine.

// rolloutPriority is the priority of what training samples: below that of every client.
const rolloutPriority = -1 << 40

// sampler has answers made by the running engine, beside those of clients.
type sampler struct {
	submit func(context.Context, runtime.Request) (*runtime.Stream, error)
	atOnce int             // requests that the engine has at once, so that there is room for those of clients
	common runtime.Request // what all requests have in common
	// shown are the control tokens that answers have as text, those of questions with tools or without.
	shown func(tools bool) []runtime.Token
	// read finds what of a text is graded.
	read func(q *question, text string) (content string, calls []any)
}

// question is one answer to sample.
type question struct {
	prompt []runtime.Token
	seed   uint64
	tools  *calls.Set // that the answer may call; nil: none
}

// answer is what was sampled.
type answer struct {
	tokens   []runtime.Token // with the one that ends it, where the model ended it
	logprobs []float32       // of tokens, as the engine had them
	text     string          // that is graded
	calls    []any           // of tools, in OpenAI's shape, that are graded
	cut      bool            // it reached MaxTokens
}

// sample returns the answers of adapters to questions, in their order. The error is ctx's, or why the engine could not
// answer: runtime.ErrClosed and runtime.ErrDraining say that the server ends.
func (s *sampler) sample(ctx context.Context, list []question, adapters runtime.Adapters) ([]answer, error) {
	answers := make([]answer, len(list))
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(max(1, s.atOnce))
	for i := range list {
		work.Go(func() (err error) {
			answers[i], err = s.one(ctx, list[i], adapters)
			return err
		})
	}
	return answers, work.Wait()
}

// queueRetry is how long a sample waits where the engine's queue is full: clients go first.
const queueRetry = 20 * time.Millisecond

// one samples one answer.
func (s *sampler) one(ctx context.Context, q question, adapters runtime.Adapters) (answer, error) {
	r := s.common
	r.Prompt, r.Adapters, r.Priority, r.KeepEnd, r.Top = q.prompt, adapters, rolloutPriority, true, 0
	r.Sampling.Seed, r.Shown = q.seed, s.shown(q.tools != nil)
	for {
		stream, err := s.submit(ctx, r)
		if errors.Is(err, runtime.ErrQueueFull) {
			select {
			case <-time.After(queueRetry):
				continue
			case <-ctx.Done():
				return answer{}, ctx.Err()
			}
		}
		if err != nil {
			return answer{}, err
		}
		a, err := collect(ctx, stream)
		a.text, a.calls = s.read(&q, a.text)
		_ = stream.Close() // it returns no error that matters here
		if errors.Is(err, runtime.ErrNoRoom) && ctx.Err() == nil {
			continue // clients have taken the KV cache
		}
		return a, err
	}
}

// collect reads an answer to its end.
func collect(ctx context.Context, stream *runtime.Stream) (a answer, err error) {
	var text strings.Builder
	for {
		ev, err := stream.Next(ctx)
		if errors.Is(err, io.EOF) {
			a.text = text.String()
			return a, nil
		}
		if err != nil {
			return answer{}, fmt.Errorf("sampling an answer: %w", err)
		}
		text.WriteString(ev.Text)
		for i := range ev.Tokens {
			a.tokens = append(a.tokens, ev.Tokens[i].Token)
			a.logprobs = append(a.logprobs, ev.Tokens[i].Logprob)
		}
		a.cut = ev.Finish == runtime.FinishLength
	}
}

// seedOf makes the seed of an answer out of the job's and where the answer stands, so that a run that goes on samples the
// same. Source: Steele et al. 2014, SplitMix64.
func seedOf(seed int64, places ...int) uint64 {
	h := uint64(seed)
	for _, p := range places {
		h += 0x9e3779b97f4a7c15 * (uint64(p) + 1)
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		h ^= h >> 31
	}
	return h
}

// sequence is the prompt and the answer as a trainer has them: each token of the answer is the label of the one before it.
func (a *answer) sequence(prompt []runtime.Token) (tokens, labels []runtime.Token) {
	tokens = slices.Concat(prompt, a.tokens[:max(0, len(a.tokens)-1)])
	labels = make([]runtime.Token, len(tokens))
	for i := range labels {
		if labels[i] = -1; i >= len(prompt)-1 && i-len(prompt)+1 < len(a.tokens) {
			labels[i] = a.tokens[i-len(prompt)+1]
		}
	}
	return tokens, labels
}

package dataset

import (
	"context"
	"maps"
	"slices"

	"github.com/lorikeet-ai/lorikeet/chat"
)

// This file encodes what other methods than supervised training learn from.

// pair returns the example of a pair, none where nothing of either of its answers is left to learn.
func (e *Encoder) pair(ctx context.Context, c *Conversation) ([]Example, error) {
	chosen, err := e.answered(ctx, c)
	if err != nil {
		return nil, err
	}
	rejected, err := e.answered(ctx, c.Rejected)
	if err != nil {
		return nil, err
	}
	if slices.Equal(chosen.tokens, rejected.tokens) && len(chosen.tokens) > 0 {
		e.Dropped++
		e.Identical++
		return nil, nil
	}
	better, ok := e.limit(chosen)
	worse, okToo := e.limit(rejected)
	if !ok || !okToo {
		e.Dropped++
		if len(chosen.tokens) == 0 || len(rejected.tokens) == 0 {
			e.Excluded++
		}
		return nil, nil
	}
	if len(better.Tokens)+len(worse.Tokens) < chosen.length()+rejected.length() {
		e.Truncated++
	}
	prompt := min(firstLearned(chosen.learn), firstLearned(rejected.learn))
	return []Example{{Sequence: better, Rejected: worse, Prompt: prompt}}, nil
}

// unpaired returns the example of an answer with a label; of a pair those of both answers.
func (e *Encoder) unpaired(ctx context.Context, c *Conversation) (out []Example, err error) {
	type labelled struct {
		c         *Conversation
		desirable bool
	}
	list := []labelled{{c, c.Desirable}}
	if c.Rejected != nil {
		list = []labelled{{c, true}, {c.Rejected, false}}
	}
	for _, l := range list {
		s, err := e.answered(ctx, l.c)
		if err != nil {
			return nil, err
		}
		sequence, ok := e.limit(s)
		if !ok {
			e.Dropped++
			if len(s.tokens) == 0 {
				e.Excluded++
			}
			continue
		}
		if len(sequence.Tokens) < s.length() {
			e.Truncated++
		}
		out = append(out, Example{Sequence: sequence, Prompt: firstLearned(s.learn), Desirable: l.desirable})
	}
	return out, nil
}

// prompt returns the tokens that the server would be asked with, none where they leave no room for an answer.
func (e *Encoder) prompt(ctx context.Context, c *Conversation) ([]Example, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := e.check(c); err != nil {
		return nil, err
	}
	o := c.options(true)
	if e.o.Effort != "" {
		variables := chat.Effort(e.o.Effort)
		maps.Copy(variables, o.Kwargs)
		o.Kwargs = variables
	}
	text, err := e.renderText(c.messages(), o)
	if err != nil {
		return nil, badLine("cannot be rendered: %v", err)
	}
	tokens, err := e.template.Encode(text)
	if err != nil {
		return nil, err
	}
	if len(tokens) == 0 || len(tokens) >= e.o.MaxLength {
		e.Dropped++
		return nil, nil
	}
	var s script
	s.add(tokens, false)
	s.add(tokens[:1], false) // sequence ends before the last token, which is a label alone
	return []Example{{Sequence: s.sequence(len(tokens)), Prompt: len(tokens), Line: c.Line}}, nil
}

// answered tokenizes a prompt and its answer as one script, an empty one where nothing of the answer is to be learned.
func (e *Encoder) answered(ctx context.Context, c *Conversation) (script, error) {
	if err := e.check(c); err != nil {
		return script{}, err
	}
	list, err := e.scripts(ctx, c)
	switch {
	case err != nil:
		return script{}, err
	case len(list) == 0:
		return script{}, nil
	case len(list) > 1:
		return script{}, badLine("has an answer of several turns, of which the base's chat template renders the earlier ones anew before each " +
			"later one: the answer is not one sequence that can be compared with another")
	}
	return list[0], nil
}

// length is how many tokens the script's sequence has before it is cut.
func (s *script) length() int { return lastLearned(s.learn) }

// limit makes a sequence of at most MaxLength tokens of a script. It reports false where nothing is left to learn, or the
// script is longer and longer ones are left out.
func (e *Encoder) limit(s script) (Sequence, bool) {
	n := s.length()
	if n > e.o.MaxLength {
		if e.o.Drop {
			return Sequence{}, false
		}
		n = lastLearned(s.learn[:e.o.MaxLength+1])
	}
	if n < 1 {
		return Sequence{}, false
	}
	return s.sequence(n), true
}

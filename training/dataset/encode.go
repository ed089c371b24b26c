package dataset

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// EncoderOptions say what becomes of a conversation.
type EncoderOptions struct {
	Kind          Kind // what is made of conversations
	MaxLength     int  // tokens of a sequence
	Drop          bool // longer examples are left out; otherwise they are cut
	TrainOnInputs bool // Supervised: every token is learned, not the assistant's alone

	Effort string // PromptOnly: that the template is asked for, as chat.Effort has it; "": none. A line's own variables come before it

	Invocation []runtime.Token // of an activated LoRA, which learns what follows their last occurrence
}

// Encoder turns conversations into examples with the template that serves. It belongs to one goroutine.
type Encoder struct {
	model    runtime.Model
	template *chat.Template
	o        EncoderOptions
	printed  *PrintChecker
	rendered int // bytes of text that conversations were rendered to

	// What has become of the conversations encoded so far.
	Truncated int // examples cut to MaxLength
	Dropped   int // examples left out: too long, or with nothing left to learn
	Excluded  int // of those, the ones of which the line says that nothing is to be learned
	Identical int // of those, the pairs of two equal answers
}

// NewEncoder returns an Encoder for a base and the template that it is served with.
func NewEncoder(m runtime.Model, t *chat.Template, o EncoderOptions) *Encoder {
	o.TrainOnInputs = o.TrainOnInputs && o.Kind == Supervised
	return &Encoder{model: m, template: t, o: o, printed: NewPrintChecker(t)}
}

// Encode returns the examples of a conversation. A template that renders every turn as the continuation of the
// turns before it gives one; where it does not, because it drops what was thought before, say, every turn that
// changes what came before begins another. What an example trains is then always what serving will see. The
// error is a LineError, ctx's, or one of the tokenizer.
func (e *Encoder) Encode(ctx context.Context, c Conversation) ([]Example, error) {
	list, err := e.encode(ctx, c)
	if err == nil && len(e.o.Invocation) > 0 {
		err = e.activate(list)
	}
	if err != nil {
		return nil, err
	}
	return list, nil
}

func (e *Encoder) encode(ctx context.Context, c Conversation) ([]Example, error) {
	if c.Skip {
		e.Dropped++
		e.Excluded++
		return nil, nil
	}
	switch e.o.Kind {
	case Preference:
		return e.pair(ctx, &c)
	case UnpairedPreference:
		return e.unpaired(ctx, &c)
	case PromptOnly:
		return e.prompt(ctx, &c)
	}
	if len(c.Turns) == 0 {
		s, err := e.plainText(c.Text, !c.Continues)
		if err != nil {
			return nil, err
		}
		if c.Split {
			return e.split(s), nil
		}
		return e.cut([]script{s}), nil
	}
	if err := e.check(&c); err != nil {
		return nil, err
	}
	list, err := e.scripts(ctx, &c)
	if err != nil {
		return nil, err
	}
	return e.cut(list), nil
}

// check returns a LineError where the template would render something else than the conversation says.
func (e *Encoder) check(c *Conversation) error {
	if err := CheckRoles(e.template, c); err != nil {
		return err
	}
	return e.printed.Check(c)
}

// scripts tokenizes a conversation: in time that is linear in its length where its template allows it.
func (e *Encoder) scripts(ctx context.Context, c *Conversation) ([]script, error) {
	messages := c.messages()
	if e.countMarked(c) >= minMarked {
		list, ok, err := e.scriptsOnce(ctx, c, messages)
		if ok || err != nil {
			return list, err
		}
	}
	return e.scriptsByTurn(ctx, c, messages)
}

// plainText marks all of a text, and at its end the EOS after it, as learned.
func (e *Encoder) plainText(text string, end bool) (script, error) {
	var s script
	tokens, err := e.template.EncodeText(text)
	if err != nil {
		return s, err
	}
	s.add(tokens, true)
	if end {
		e.end(&s)
	}
	return s, nil
}

// split makes examples of all of a script, each of MaxLength tokens or, at the end, fewer. The last label of one is the first
// token of the next.
func (e *Encoder) split(s script) (out []Example) {
	for at := 0; at+1 < len(s.tokens); at += e.o.MaxLength {
		part := script{s.tokens[at:], s.learn[at:]}
		out = append(out, Example{Sequence: part.sequence(min(e.o.MaxLength, len(part.tokens)-1))})
	}
	if len(out) == 0 {
		e.Dropped++
	}
	return out
}

// end appends the model's EOS where the script does not end with a token that ends an answer.
func (e *Encoder) end(s *script) {
	n := len(s.tokens)
	if eos := e.model.Facts().EOS; eos >= 0 && (n == 0 || !e.model.EndOfGeneration(s.tokens[n-1])) {
		s.add([]runtime.Token{eos}, true)
	}
}

// extend continues the last script with what tokens has beyond it, or begins another where tokens is no
// continuation. learn says whether that is learned. Tokens that two scripts have in common at the beginning are learned in the first one alone.
func (e *Encoder) extend(list []script, tokens []runtime.Token, learn bool) []script {
	same := 0
	if len(list) > 0 {
		s := &list[len(list)-1]
		same = commonPrefix(s.tokens, tokens)
		if same == len(s.tokens) {
			s.add(tokens[same:], learn)
			return list
		}
	}
	var s script
	s.add(tokens[:same], false)
	s.add(tokens[same:], learn)
	return append(list, s)
}

func commonPrefix(a, b []runtime.Token) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// markAnswer marks the last n tokens as learned, up to the token at which the server stops. A template that ends no turn with
// such a token leaves the end to the model's EOS, which follows the conversation's last turn.
func (e *Encoder) markAnswer(s *script, n int, last bool) {
	at := len(s.tokens) - n
	end := len(s.tokens)
	for i := len(s.tokens) - 1; i >= at; i-- {
		if e.model.EndOfGeneration(s.tokens[i]) {
			end = i + 1
			break
		}
	}
	for i := at; i < end; i++ {
		s.learn[i] = true
	}
	if last && (end == at || !e.model.EndOfGeneration(s.tokens[end-1])) {
		e.end(s)
	}
}

// alone tokenizes an answer by itself, where the tokenizer would join its beginning with the end of the prompt. A tokenizer may
// put a space before a text; behind another text, with which it does not join, it does not.
func (e *Encoder) alone(text string) ([]runtime.Token, error) {
	for _, before := range []string{"", "\n", "a"} {
		head, err := e.template.EncodePart(before)
		if err != nil {
			return nil, err
		}
		whole, err := e.template.EncodePart(before + text)
		if err != nil {
			return nil, err
		}
		if len(whole) < len(head) || !slices.Equal(whole[:len(head)], head) {
			continue
		}
		var b strings.Builder
		for _, t := range whole[len(head):] {
			b.Write(e.model.Piece(t, true))
		}
		if b.String() == e.template.Show(text) {
			return whole[len(head):], nil
		}
	}
	return nil, badLine("cannot be learned: the tokenizer joins the answer %s with what stands before it", jsonvalue.Clip([]byte(fmt.Sprintf("%q", text))))
}

// cut makes examples of scripts: at most MaxLength long, and ending with the last token that is learned. Every script
// is counted once at most: as truncated where a part of it is left to learn, else as dropped.
func (e *Encoder) cut(list []script) []Example {
	if len(list) == 0 {
		e.Dropped++ // every turn of the assistant has the weight 0
		e.Excluded++
	}
	var out []Example
	for _, s := range list {
		n := lastLearned(s.learn)
		long := n > e.o.MaxLength
		if long {
			n = lastLearned(s.learn[:e.o.MaxLength+1])
		}
		if n < 1 || long && e.o.Drop { // n < 1: nothing is left, or a single token, which nothing predicts
			e.Dropped++
			continue
		}
		if long {
			e.Truncated++
		}
		out = append(out, Example{Sequence: s.sequence(n)})
	}
	return out
}

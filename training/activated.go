package training

import (
	"fmt"
	"slices"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file reads the two fields that make an activated LoRA: its invocation tokens, by PEFT's name, or their text.

// fitInvocation makes tokens of the text, and checks them against the base.
func (c *Config) fitInvocation(m runtime.Model) error {
	if c.InvocationString != "" {
		tokens, err := m.Tokenize(c.InvocationString, false, true)
		if err != nil {
			return fmt.Errorf("%w: invocation_string: %w", ErrConfig, err)
		}
		if len(tokens) == 0 {
			return &FieldError{Field: "invocation_string", Reason: "has no tokens"}
		}
		if c.Invocation != nil && !slices.Equal(c.Invocation, tokens) {
			return &FieldError{Field: "invocation_string", Reason: fmt.Sprintf("has the tokens %v, and alora_invocation_tokens is %v: give one of the two", tokens, c.Invocation)}
		}
		c.Invocation = tokens
	}
	vocabulary := m.Facts().VocabSize
	for _, t := range c.Invocation {
		if t < 0 || int(t) >= vocabulary {
			return &FieldError{Field: "alora_invocation_tokens", Reason: fmt.Sprintf("has %d, which is not one of the base's %d tokens", t, vocabulary)}
		}
	}
	if most := min(peft.MaxInvocation, c.MaxLength-1); len(c.Invocation) > most {
		return &FieldError{Field: "alora_invocation_tokens", Reason: fmt.Sprintf("has %d tokens: at most %d can be learned from", len(c.Invocation), most)}
	}
	return nil
}

package peft

import (
	"encoding/json"
	"fmt"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file reads and checks the invocation tokens of activated LoRAs (aLoRA, Greenewald et al. 2025): such an adapter acts
// from their last occurrence in the prompt on.
// Source of the meaning: github.com/huggingface/peft 0.21.2, src/peft/tuners/lora/variants.py (calculate_alora_offsets).

// invocationField is PEFT's name for them, and invocationKey llama.cpp's.
const (
	invocationField = "alora_invocation_tokens"
	invocationKey   = "adapter.alora.invocation_tokens"
)

// MaxInvocation is how many invocation tokens an adapter may have.
const MaxInvocation = 1024

// parseInvocation reads the field: null where the adapter acts on every token. PEFT takes an empty list for null; here it
// is refused, since who writes it may mean either.
func parseInvocation(v json.RawMessage) ([]runtime.Token, error) {
	const want = "a list of tokens"
	if string(v) == "null" {
		return nil, nil
	}
	list, err := parseAs[[]*runtime.Token](v, want)
	if err != nil {
		return nil, err
	}
	out := make([]runtime.Token, len(list))
	for i, t := range list {
		if t == nil {
			return nil, &wrongValue{want}
		}
		out[i] = *t
	}
	return out, checkInvocation(out)
}

// checkInvocation checks what needs no base. Errors continue the field's name.
func checkInvocation(list []runtime.Token) error {
	switch {
	case len(list) == 0:
		return &wrongValue{"a list of at least one token; null is written for an adapter that acts on every token"}
	case len(list) > MaxInvocation:
		return &wrongValue{fmt.Sprintf("a list of at most %d tokens: it has %d", MaxInvocation, len(list))}
	}
	for _, t := range list {
		if t < 0 {
			return &wrongValue{fmt.Sprintf("a list of tokens: it has %d", t)}
		}
	}
	return nil
}

// checkActivated refuses what PEFT applies to every token, whatever the invocation.
func (c *config) checkActivated() error {
	if c.invocation == nil {
		return nil
	}
	for _, x := range []struct {
		field string
		given bool
	}{{"bias", c.bias}, {"modules_to_save", len(c.saved)+len(c.savedNorms) > 0}, {"trainable_token_indices", len(c.tokens) > 0}} {
		if x.given {
			return fmt.Errorf("%w: %s: %s is given beside %s, and PEFT applies it to the tokens before the invocation too, which is not supported",
				ErrUnsupported, ConfigFile, x.field, invocationField)
		}
	}
	return nil
}

// fitInvocation checks the tokens against the base.
func (c *config) fitInvocation(f *runtime.Facts) error {
	vocabulary := max(f.VocabSize, f.Targets["token_embd.weight"].Out, f.Targets["output.weight"].Out)
	for _, t := range c.invocation {
		if vocabulary > 0 && int(t) >= vocabulary {
			return fmt.Errorf("%w: %s: %s has %d, which is not one of the base's %d tokens", runtime.ErrAdapter, ConfigFile, invocationField, t, vocabulary)
		}
	}
	if n := len(c.invocation); f.ContextLength > 0 && n > f.ContextLength {
		return fmt.Errorf("%w: %s: %s has %d tokens, the base's context has %d", runtime.ErrAdapter, ConfigFile, invocationField, n, f.ContextLength)
	}
	return nil
}

// ggufInvocation reads llama.cpp's key.
func ggufInvocation(m *quant.Metadata) ([]runtime.Token, error) {
	v, ok := m.Get(invocationKey)
	if !ok {
		return nil, nil
	}
	list, ok := v.([]uint32)
	if !ok {
		return nil, fmt.Errorf("%w: %s is not a list of 32-bit unsigned numbers", ErrFormat, invocationKey)
	}
	out := make([]runtime.Token, len(list))
	for i, t := range list {
		out[i] = runtime.Token(min(t, 1<<31-1)) // one that no vocabulary has stays one
	}
	if err := checkInvocation(out); err != nil {
		return nil, fmt.Errorf("%w: %s %w", ErrFormat, invocationKey, err)
	}
	return out, nil
}

// setInvocation writes llama.cpp's key.
func setInvocation(m *quant.Metadata, list []runtime.Token) {
	if len(list) == 0 {
		return
	}
	out := make([]uint32, len(list))
	for i, t := range list {
		out[i] = uint32(t)
	}
	m.Set(invocationKey, out)
}

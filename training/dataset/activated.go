package dataset

import "github.com/lorikeet-ai/lorikeet/runtime"

// This file is what an activated LoRA learns from: it acts from the last occurrence of its invocation tokens in a sequence on,
// as in PEFT, and what comes before is the base's.

// Activate says in a batch where an adapter with these invocation tokens acts; without any it acts everywhere.
func Activate(b *runtime.TrainBatch, invocation []runtime.Token) {
	if len(invocation) == 0 {
		return
	}
	begin := 0
	b.Active = make([]int, len(b.Ends))
	for i, end := range b.Ends {
		b.Active[i] = ActiveIn(begin, end, b.Tokens[begin:end], invocation)
		begin = end
	}
}

// ActiveIn returns where the adapter begins to act in the sequence [begin, end) of a batch; searched are the first tokens of
// the sequence, in which the invocation is looked for.
func ActiveIn(begin, end int, searched, invocation []runtime.Token) int {
	if at := runtime.ActiveFrom(searched, invocation); at >= 0 {
		return begin + at
	}
	return end
}

// activate takes from examples the labels that do not depend on the adapter, because they are predicted before it acts. The
// error is a LineError where a sequence lacks the invocation, or nothing that is learned follows it: nothing would be learned.
func (e *Encoder) activate(list []Example) error {
	for i := range list {
		for _, s := range list[i].sequences() {
			at := runtime.ActiveFrom(s.Tokens, e.o.Invocation)
			if at < 0 {
				return badLine("does not have the tokens %v of alora_invocation_tokens in the %d tokens that are learned from (max_length is %d)",
					e.o.Invocation, len(s.Tokens), e.o.MaxLength)
			}
			for k := range at {
				s.Labels[k] = unlabelled
			}
			if e.o.Kind != PromptOnly && !s.learns() {
				return badLine("has nothing to learn behind the last of the tokens %v of alora_invocation_tokens", e.o.Invocation)
			}
		}
	}
	return nil
}

// learns reports whether the sequence has a label.
func (s *Sequence) learns() bool {
	for _, l := range s.Labels {
		if l != unlabelled {
			return true
		}
	}
	return false
}

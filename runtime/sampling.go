package runtime

import "github.com/lorikeet-ai/lorikeet/grammar"

// Sampling says how the next token is drawn. The zero value of a field switches it off, but Seed.
type Sampling struct {
	Temperature      float32 // <= 0: greedy
	TopK             int     // <= 0: off
	TopP             float32 // 0 or >= 1: off
	MinP             float32 // <= 0: off
	TypicalP         float32 // 0 or >= 1: off
	RepeatPenalty    float32 // 0 or 1: off; looks back on prompt and answer
	RepeatLastN      int     // how far the repeat penalty looks back; 0: 64
	PresencePenalty  float32 // of the answer's tokens
	FrequencyPenalty float32 // of the answer's tokens
	LogitBias        map[Token]float32
	Seed             uint64              // the caller draws one where the user gave none
	Grammar          string              // GBNF with a rule named root; "" for none
	Constraint       *grammar.Constraint // what the answer has to be; nil for anything. Not beside Grammar
	IgnoreEOS        bool                // end-of-generation tokens are never drawn
}

// Constrained reports whether the answer is held to a grammar or a constraint.
func (s *Sampling) Constrained() bool { return s.Grammar != "" || s.Constraint != nil }

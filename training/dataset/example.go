package dataset

import (
	"encoding/json"
	"slices"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Sequence is a run of tokens and what each must predict, as runtime.TrainBatch has it: after Tokens[i] comes Labels[i],
// or what comes is not learned and Labels[i] is -1. It ends before the last token that is learned, which is only a label.
type Sequence struct {
	Tokens []runtime.Token
	Labels []runtime.Token
}

const unlabelled runtime.Token = -1

// Example is what one element of a batch learns from.
//
//   - Supervised: the sequence.
//   - Preference: the sequence is the chosen one; Rejected begins with the same Prompt tokens.
//   - UnpairedPreference: the sequence is an answer behind its prompt, and Desirable is its label.
//   - PromptOnly: Tokens is the prompt as the server would be asked, no label is set, and Line is the whole line.
type Example struct {
	Sequence
	Rejected  Sequence        // empty for other kinds than Preference
	Prompt    int             // tokens at the beginning, of which none is learned; 0 for Supervised
	Desirable bool            // of UnpairedPreference
	Line      json.RawMessage // of PromptOnly: the object that the line is, for graders
}

// Length is the number of tokens of all of the example's sequences.
func (x *Example) Length() int { return len(x.Tokens) + len(x.Rejected.Tokens) }

// sequences are those of the example that have tokens, the chosen one first.
func (x *Example) sequences() []*Sequence {
	if len(x.Rejected.Tokens) == 0 {
		return []*Sequence{&x.Sequence}
	}
	return []*Sequence{&x.Sequence, &x.Rejected}
}

// Batch puts the sequences of examples in a row, as block-diagonal sequences, whose losses are divided by norm. A pair
// gives two, the chosen one first.
func Batch(list []Example, norm float64) runtime.TrainBatch {
	b := runtime.TrainBatch{Norm: norm}
	for i := range list {
		for _, s := range list[i].sequences() {
			b.Tokens = append(b.Tokens, s.Tokens...)
			b.Labels = append(b.Labels, s.Labels...)
			b.Ends = append(b.Ends, len(b.Tokens))
		}
	}
	return b
}

// Labelled counts the tokens of examples that are learned.
func Labelled(list []Example) int {
	n := 0
	for i := range list {
		for _, s := range list[i].sequences() {
			for _, l := range s.Labels {
				if l != unlabelled {
					n++
				}
			}
		}
	}
	return n
}

// script is a sequence of tokens and which of them are to be learned.
type script struct {
	tokens []runtime.Token
	learn  []bool // of the same length
}

// add appends tokens.
func (s *script) add(tokens []runtime.Token, learn bool) {
	for _, t := range tokens {
		s.tokens = append(s.tokens, t)
		s.learn = append(s.learn, learn)
	}
}

// sequence makes a Sequence of the first n tokens and the labels after each.
func (s *script) sequence(n int) Sequence {
	x := Sequence{Tokens: slices.Clip(slices.Clone(s.tokens[:n])), Labels: make([]runtime.Token, n)}
	for i := range x.Labels {
		x.Labels[i] = unlabelled
		if s.learn[i+1] {
			x.Labels[i] = s.tokens[i+1]
		}
	}
	return x
}

// firstLearned returns the position of the first token that is learned, the number of tokens where there is none.
func firstLearned(learn []bool) int {
	if i := slices.Index(learn, true); i >= 0 {
		return i
	}
	return len(learn)
}

// lastLearned returns the position of the last token that is learned, 0 where there is none.
func lastLearned(learn []bool) int {
	for i := len(learn) - 1; i > 0; i-- {
		if learn[i] {
			return i
		}
	}
	return 0
}

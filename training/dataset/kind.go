package dataset

// Kind says what the lines of a dataset must be for the method that trains on them. The names are TRL's.
type Kind int

// The kinds.
const (
	Supervised         Kind = iota // answers to learn
	Preference                     // for every prompt an answer that is better than another one
	UnpairedPreference             // answers, each with a label that says whether it is good
	PromptOnly                     // questions, whose answers are sampled while training
)

// String names the kind as messages do.
func (k Kind) String() string {
	switch k {
	case Preference:
		return "pairs of answers"
	case UnpairedPreference:
		return "answers with labels"
	case PromptOnly:
		return "prompts"
	}
	return "answers to learn"
}

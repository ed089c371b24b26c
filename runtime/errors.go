package runtime

import (
	"errors"
	"fmt"
)

// The errors of this package; others are wrapped around them with the details a user may see.
var (
	ErrQueueFull     = errors.New("the request queue is full")
	ErrPrompt        = errors.New("invalid prompt")
	ErrContextLength = errors.New("the prompt does not fit the context")
	ErrSampling      = errors.New("invalid sampling parameter")
	ErrAdapter       = errors.New("the adapter does not fit the base model")
	ErrTemplate      = errors.New("the chat template cannot be rendered")
	ErrDeadline      = errors.New("the request took longer than its deadline")
	ErrDraining      = errors.New("the server is shutting down")
	ErrNoRoom        = errors.New("the KV cache has no room")
	ErrDecode        = errors.New("decoding failed")
	ErrLogits        = errors.New("the model's logits are not numbers: a weight of the base or of an adapter is damaged or too large")
	ErrNoToken       = errors.New("the answer cannot go on")
	ErrGrammarCost   = errors.New("the grammar takes too much work to follow")
	ErrSampler       = errors.New("the sampler failed")
	ErrTrain         = errors.New("this adapter cannot be trained")
	ErrTrainMemory   = errors.New("the training does not fit into the memory that it may take")
	ErrTrainBusy     = errors.New("the memory for training is in use")
	ErrDiverged      = errors.New("the training diverged")
	ErrMemory        = errors.New("not enough memory")
	ErrClosed        = errors.New("closed")
)

// ContextError is the ErrContextLength of one prompt.
type ContextError struct {
	Prompt  int  // tokens of the prompt
	Context int  // tokens that prompt and answer may have together
	AtLeast bool // Prompt is the least that a text of its length can have: it was not tokenized
}

// Error names both numbers.
func (e *ContextError) Error() string {
	least := ""
	if e.AtLeast {
		least = "at least "
	}
	return fmt.Sprintf("%v: the prompt has %s%d tokens, the context holds %d with the answer",
		ErrContextLength, least, e.Prompt, e.Context)
}

// Unwrap makes it an ErrContextLength.
func (e *ContextError) Unwrap() error { return ErrContextLength }

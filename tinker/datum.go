package tinker

import (
	"math"
	"slices"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/training/loss"
)

// Bounds of one call of ForwardBackward.
const (
	maxData   = 4096
	maxTokens = 4 << 20 // of all its data
)

// Array is a one-dimensional input of a loss. One of the two is set.
type Array struct {
	Floats []float32
	Ints   []int64
}

// Datum is a sequence and what the loss needs of it. Inputs have as many values as there are tokens: target_tokens says what
// each token must predict.
type Datum struct {
	Tokens []runtime.Token
	Inputs map[string]Array
}

// ForwardBackward is a call that adds the gradients of a loss, summed over all data, to those of the model; or that
// computes the loss alone.
type ForwardBackward struct {
	Data        []Datum
	Loss        string
	Settings    map[string]float64 // of the loss
	ForwardOnly bool

	compute loss.TokenLoss // set by check
}

// ForwardBackwardResult is the result of ForwardBackward.
type ForwardBackwardResult struct {
	LogProbs [][]float32 // of each datum's target tokens, before the next step
	Metrics  map[string]float64
}

// bytes returns how many bytes the call holds.
func (r *ForwardBackward) bytes() (n int64) {
	for i := range r.Data {
		n += 4 * int64(len(r.Data[i].Tokens))
		for _, a := range r.Data[i].Inputs {
			n += 4*int64(len(a.Floats)) + 8*int64(len(a.Ints))
		}
	}
	return n
}

// bytes returns how many bytes the result holds.
func (r *ForwardBackwardResult) bytes() (n int64) {
	for _, l := range r.LogProbs {
		n += 4 * int64(len(l))
	}
	return n
}

// check returns a FieldError for the first thing that is wrong with a call, before it waits for its turn.
func (r *ForwardBackward) check(vocabulary int) error {
	var err error
	if r.compute, err = loss.NewToken(r.Loss, r.Settings); err != nil {
		return invalid("loss_fn", "cannot be computed: %v", err)
	}
	if len(r.Data) == 0 || len(r.Data) > maxData {
		return invalid("data", "has %d sequences, it must have 1 to %d", len(r.Data), maxData)
	}
	tokens := 0
	for i := range r.Data {
		tokens += len(r.Data[i].Tokens)
		if err := r.Data[i].check(r.Loss, vocabulary); err != nil {
			return err
		}
	}
	if tokens > maxTokens {
		return invalid("data", "has %d tokens, one call may have %d", tokens, maxTokens)
	}
	return nil
}

// Names of inputs.
const (
	targets    = "target_tokens"
	weights    = "weights"    // of cross_entropy: factors of the losses; 1 where there are none
	sampled    = "logprobs"   // of the others: under the weights that the targets were sampled from
	advantages = "advantages" // of the others
)

// crossEntropy is the loss whose gradient does not depend on the log-probabilities.
const crossEntropy = "cross_entropy"

// inputsOf returns which inputs a loss needs besides target_tokens, and which it takes.
func inputsOf(name string) (needs, takes []string) {
	if name == crossEntropy {
		return nil, []string{weights}
	}
	return []string{sampled, advantages}, nil
}

// check checks the inputs that a loss needs.
func (d *Datum) check(lossName string, vocabulary int) error {
	needs, takes := inputsOf(lossName)
	n := len(d.Tokens)
	if n == 0 {
		return invalid("model_input", "is empty")
	}
	for _, t := range d.Tokens {
		if t < 0 || int(t) >= vocabulary {
			return invalid("model_input", "has the token %d, the vocabulary has %d", t, vocabulary)
		}
	}
	for name, a := range d.Inputs {
		field := "loss_fn_inputs." + name
		if name != targets && !slices.Contains(needs, name) && !slices.Contains(takes, name) {
			return invalid(field, "is not an input of %s: it takes %v", lossName, slices.Concat([]string{targets}, needs, takes))
		}
		if len(a.Floats)+len(a.Ints) != n {
			return invalid(field, "has %d values for %d tokens", len(a.Floats)+len(a.Ints), n)
		}
		if (name == targets) != (a.Ints != nil) {
			return invalid(field, "has the wrong type: %s are int64 and all others float32", targets)
		}
		for _, v := range a.Floats {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				return invalid(field, "has the value %v", v)
			}
		}
	}
	for _, t := range d.Inputs[targets].Ints {
		if t < 0 || t >= int64(vocabulary) {
			return invalid("loss_fn_inputs."+targets, "has the token %d, the vocabulary has %d", t, vocabulary)
		}
	}
	for _, name := range append([]string{targets}, needs...) {
		if _, there := d.Inputs[name]; !there {
			return invalid("loss_fn_inputs", "has no %s, which %s needs", name, lossName)
		}
	}
	return nil
}

// microBatches divides data into runs of at most so many tokens. It returns where each begins, and the end.
func microBatches(data []Datum, most int) []int {
	starts, tokens := []int{0}, 0
	for i := range data {
		if n := len(data[i].Tokens); i > 0 && tokens+n > most {
			starts, tokens = append(starts, i), n
		} else {
			tokens += n
		}
	}
	return append(starts, len(data))
}

// batch puts data together to a micro-batch whose every token is labelled.
func batch(data []Datum) runtime.TrainBatch {
	b := runtime.TrainBatch{Norm: 1}
	for i := range data {
		b.Tokens = append(b.Tokens, data[i].Tokens...)
		for _, t := range data[i].Inputs[targets].Ints {
			b.Labels = append(b.Labels, runtime.Token(t))
		}
		b.Ends = append(b.Ends, len(b.Tokens))
	}
	return b
}

// values puts one input of all data together, with 1 for each token of those that have none.
func values(data []Datum, name string) []float32 {
	var list []float32
	for i := range data {
		if a, there := data[i].Inputs[name]; there {
			list = append(list, a.Floats...)
		} else {
			list = append(list, slices.Repeat([]float32{1}, len(data[i].Tokens))...)
		}
	}
	return list
}

package dataset

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// MaxSteps bounds the steps of a run.
const MaxSteps = 10_000_000

// ScheduleOptions are what a Schedule depends on besides the lengths of the examples.
type ScheduleOptions struct {
	Packing          bool    // a unit is as many examples as fit into MaxLength, not one
	MaxLength        int     // tokens of a unit, with packing
	Batch            int     // units of a step: Batch * Accumulation
	Accumulation     int     //
	Epochs           float64 // passes over all examples; the run has at least one step
	MaxSteps         int     // above 0: the number of steps, whatever Epochs says
	MicroBatchTokens int     // tokens that a micro-batch is filled up to, at most Batch * MaxLength
	Seed             uint64
}

// Schedule says which examples every step of a run learns from. It is a pure function of the lengths of the examples
// and its options: the number of a step is all that a checkpoint keeps of it. It belongs to one goroutine.
type Schedule struct {
	lengths    []int
	packed     []int // with packing: all examples, unit by unit
	ends       []int // with packing: where in packed each unit ends
	perStep    int   // units
	perEpoch   int   // steps; the last of an epoch may have fewer units
	steps      int   // of the run
	microBatch int   // tokens of a micro-batch, unless one example has more
	seed       uint64

	order   []int // of the units, in the epoch ordered
	ordered int
}

// NewSchedule plans a run on examples of the given lengths in tokens, at least one.
func NewSchedule(lengths []int, o ScheduleOptions) *Schedule {
	s := &Schedule{lengths: lengths, perStep: o.Batch * o.Accumulation, seed: o.Seed}
	if o.Packing {
		s.pack(o.MaxLength)
	}
	s.perEpoch = (s.units() + s.perStep - 1) / s.perStep
	s.steps = int(min(MaxSteps, max(1, math.Ceil(o.Epochs*float64(s.perEpoch)-1e-9))))
	if o.MaxSteps > 0 {
		s.steps = o.MaxSteps
	}
	s.microBatch = max(slices.Max(lengths), min(o.MicroBatchTokens, o.Batch*o.MaxLength))
	return s
}

// pack makes units of as many examples in a row, once shuffled, as fit into maxLength.
func (s *Schedule) pack(maxLength int) {
	s.packed = Shuffled(len(s.lengths), s.seed, packOrder)
	room := maxLength
	for at, i := range s.packed {
		if s.lengths[i] > room && at > 0 {
			s.ends = append(s.ends, at)
			room = maxLength
		}
		room -= s.lengths[i]
	}
	s.ends = append(s.ends, len(s.packed))
}

// units returns how many units there are.
func (s *Schedule) units() int {
	if s.ends == nil {
		return len(s.lengths)
	}
	return len(s.ends)
}

// appendUnit appends the examples of a unit to list.
func (s *Schedule) appendUnit(list []int, unit int) []int {
	if s.ends == nil {
		return append(list, unit)
	}
	first := 0
	if unit > 0 {
		first = s.ends[unit-1]
	}
	return append(list, s.packed[first:s.ends[unit]]...)
}

// Steps returns the number of steps of the run.
func (s *Schedule) Steps() int { return s.steps }

// StepsPerEpoch returns after how many steps every example has been learned from once.
func (s *Schedule) StepsPerEpoch() int { return s.perEpoch }

// Epoch returns how many epochs have passed after a number of steps.
func (s *Schedule) Epoch(steps int) float64 { return float64(steps) / float64(s.perEpoch) }

// Step returns the examples of a step, counted from 0, by micro-batches.
func (s *Schedule) Step(n int) [][]int {
	if epoch := n / s.perEpoch; s.order == nil || s.ordered != epoch {
		s.order, s.ordered = Shuffled(s.units(), s.seed, uint64(epoch)), epoch
	}
	first := n % s.perEpoch * s.perStep
	var list []int
	for _, unit := range s.order[first:min(first+s.perStep, len(s.order))] {
		list = s.appendUnit(list, unit)
	}
	return Split(s.lengths, list, s.microBatch)
}

// LargestMicroBatch returns a bound of the tokens in one micro-batch of any step.
func (s *Schedule) LargestMicroBatch() int {
	sizes := make([]int, s.units())
	for unit := range sizes {
		for _, i := range s.appendUnit(nil, unit) {
			sizes[unit] += s.lengths[i]
		}
	}
	slices.Sort(sizes)
	all := 0
	for _, n := range sizes[max(0, len(sizes)-s.perStep):] {
		all += n
	}
	return min(all, s.microBatch)
}

// Split cuts a list of examples, in their order, into micro-batches of at most tokens tokens, or of one example that
// is longer. lengths has the tokens of all examples.
func Split(lengths, list []int, tokens int) [][]int {
	var out [][]int
	room := 0
	for _, i := range list {
		if len(out) == 0 || lengths[i] > room {
			out = append(out, nil)
			room = tokens
		}
		out[len(out)-1] = append(out[len(out)-1], i)
		room -= lengths[i]
	}
	return out
}

// The streams of random numbers for Shuffled, besides those of the epochs, which are numbered from 0.
const (
	packOrder  uint64 = math.MaxUint64 - iota // the order in which examples are packed
	SplitOrder                                // which lines are held back for validation
	ProbeOrder                                // which training examples the base and the adapter are compared on
)

// Shuffled returns 0 to n-1 in an order drawn from a seed and a stream (Fisher & Yates). It is written out here
// because it must stay what it is: a run that goes on with another version of Go is the same run.
func Shuffled(n int, seed, stream uint64) []int {
	rng := rand.NewPCG(seed, stream)
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	for i := n - 1; i > 0; i-- {
		j, _ := bits.Mul64(rng.Uint64(), uint64(i)+1) // the bias is below n / 2^64
		list[i], list[j] = list[j], list[i]
	}
	return list
}

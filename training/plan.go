package training

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// plan says which examples every step of a run learns from. It is a pure function of the lengths of the examples
// and the configuration: the number of a step is all that a checkpoint keeps of it.
type plan struct {
	lengths  []int
	units    [][]int // examples that are shuffled together
	perStep  int     // units
	perEpoch int     // steps; the last of an epoch may have fewer units
	steps    int     // of the run
	pass     int     // tokens of a micro-batch, unless one example has more
	seed     uint64

	order   []int // of the units, in the epoch ordered
	ordered int
}

// newPlan plans a run on examples of the given lengths, at least one. pass is how many tokens a micro-batch is
// filled up to.
func newPlan(lengths []int, c *Config, pass int) *plan {
	p := &plan{lengths: lengths, perStep: c.Batch * c.Accumulation, seed: uint64(c.Seed)}
	p.units = p.pack(c)
	p.perEpoch = (len(p.units) + p.perStep - 1) / p.perStep
	p.steps = int(min(maxSteps, max(1, math.Ceil(c.Epochs*float64(p.perEpoch)-1e-9))))
	if c.MaxSteps > 0 {
		p.steps = c.MaxSteps
	}
	p.pass = max(slices.Max(lengths), min(pass, c.Batch*c.MaxLength))
	return p
}

// pack returns the units: single examples, or with packing as many in a row, once shuffled, as fit into max_length.
func (p *plan) pack(c *Config) [][]int {
	units := make([][]int, 0, len(p.lengths))
	if !c.Packing {
		for i := range p.lengths {
			units = append(units, []int{i})
		}
		return units
	}
	room := 0
	for _, i := range shuffled(len(p.lengths), p.seed, packOrder) {
		if p.lengths[i] > room {
			units = append(units, nil)
			room = c.MaxLength
		}
		last := len(units) - 1
		units[last] = append(units[last], i)
		room -= p.lengths[i]
	}
	return units
}

// step returns the examples of a step, counted from 0, by micro-batches.
func (p *plan) step(n int) [][]int {
	if epoch := n / p.perEpoch; p.order == nil || p.ordered != epoch {
		p.order, p.ordered = shuffled(len(p.units), p.seed, uint64(epoch)), epoch
	}
	first := n % p.perEpoch * p.perStep
	var list []int
	for _, u := range p.order[first:min(first+p.perStep, len(p.order))] {
		list = append(list, p.units[u]...)
	}
	return split(p.lengths, list, p.pass)
}

// split cuts a list of examples, in their order, into micro-batches of pass tokens at most, or one example.
func split(lengths, list []int, pass int) [][]int {
	var out [][]int
	room := 0
	for _, i := range list {
		if len(out) == 0 || lengths[i] > room {
			out = append(out, nil)
			room = pass
		}
		out[len(out)-1] = append(out[len(out)-1], i)
		room -= lengths[i]
	}
	return out
}

// largest returns a bound of the tokens in one micro-batch of any step.
func (p *plan) largest() int {
	sizes := make([]int, len(p.units))
	for u, examples := range p.units {
		for _, i := range examples {
			sizes[u] += p.lengths[i]
		}
	}
	slices.Sort(sizes)
	all := 0
	for _, n := range sizes[max(0, len(sizes)-p.perStep):] {
		all += n
	}
	return min(all, p.pass)
}

// epoch returns how many epochs have passed after a number of steps.
func (p *plan) epoch(steps int) float64 { return float64(steps) / float64(p.perEpoch) }

// batch puts examples in a row, as block-diagonal sequences.
func batch(all []Example, list []int, norm float64) runtime.TrainBatch {
	b := runtime.TrainBatch{Norm: norm}
	for _, i := range list {
		b.Tokens = append(b.Tokens, all[i].Tokens...)
		b.Labels = append(b.Labels, all[i].Labels...)
		b.Ends = append(b.Ends, len(b.Tokens))
	}
	return b
}

// labelled counts the tokens of examples that are learned.
func labelled(all []Example, list []int) int {
	n := 0
	for _, i := range list {
		for _, l := range all[i].Labels {
			if l != unlabelled {
				n++
			}
		}
	}
	return n
}

// The streams of random numbers besides those of the epochs, which are numbered from 0.
const (
	packOrder  uint64 = math.MaxUint64 - iota // the order in which examples are packed
	splitOrder                                // which lines are held back for validation
	probeOrder                                // which examples the base and the adapter are compared on
)

// shuffled returns 0 to n-1 in an order drawn from a seed and a stream (Fisher & Yates). It is written out here
// because it must stay what it is: a run that goes on with another version of Go is the same run.
func shuffled(n int, seed, stream uint64) []int {
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

package main

import (
	"cmp"
	"container/heap"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"time"
)

// options are what all cells of the table have in common.
type options struct {
	requests    int     // for each node, and leastRequests of all; half of them are measured
	utilization float64 // of what the nodes could do if nothing were cached, 0 to 1

	slots, resident, cached int // of each node: answers at once, adapters in memory, prefixes in the KV cache
	step, row               time.Duration
	chunk                   int // rows of a step at most
	load                    time.Duration

	prompt, shared, prefixes, answer int
	publish                          time.Duration
	seed                             uint64
}

// leastRequests are simulated of all nodes together, so that percentiles of a few nodes are not left to chance.
const leastRequests = 10000

// cell is one line of the table.
type cell struct {
	nodes, adapters int
	zipf            float64
}

// result is what a policy came to.
type result struct {
	requests, loads int
	ttft            []time.Duration // sorted
	imbalance       float64         // rows that the busiest node computed, over the mean
}

func (r result) coldLoads() float64 { return float64(r.loads) / float64(r.requests) }

// p95 is the 95th percentile of the time to the first token, by the nearest rank.
func (r result) p95() time.Duration {
	return r.ttft[int(math.Ceil(.95*float64(len(r.ttft))))-1]
}

// event is something that happens at a time; of two at the same time the one that was planned first happens first.
type event struct {
	at     time.Duration
	number int
	do     func()
}

type events []event

func (e events) Len() int      { return len(e) }
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e events) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(e[i].at, e[j].at), cmp.Compare(e[i].number, e[j].number)) < 0
}
func (e *events) Push(x any) { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// world is a simulation under way.
type world struct {
	o       options
	c       cell
	now     time.Duration
	events  events
	planned int
	nodes   []*node
	front   *front
	result  result
	arrived int
	total   int
	random  *rand.Rand
	popular []float64 // popular[i] is the share of the adapters 0..i
	err     error
}

// simulate runs one policy on one line of the table. It depends on its arguments alone.
func simulate(o options, c cell, policy string) (result, error) {
	w := &world{o: o, c: c, total: max(leastRequests, o.requests*c.nodes), random: rand.New(rand.NewPCG(o.seed, 1)), popular: popularity(c)}
	var err error
	if w.front, err = newFront(w, policy); err != nil {
		return result{}, err
	}
	for i := range c.nodes {
		n, err := newNode(i, w)
		if err != nil {
			return result{}, err
		}
		w.nodes = append(w.nodes, n)
		w.at(o.publish*time.Duration(i)/time.Duration(c.nodes), func() { w.publish(n) })
	}
	w.at(0, w.arrive)
	w.run()
	if w.err != nil {
		return result{}, w.err
	}
	return w.finish(), nil
}

// run lets happen what is planned, and what that plans, until nothing is left.
func (w *world) run() {
	for len(w.events) > 0 && w.err == nil {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
}

func (w *world) at(t time.Duration, do func()) {
	w.planned++
	heap.Push(&w.events, event{t, w.planned, do})
}

// arrive sends the next request to the front and plans the one after it: arrivals are a Poisson process.
func (w *world) arrive() {
	r := &request{
		adapter: sort.SearchFloat64s(w.popular, w.random.Float64()*w.popular[len(w.popular)-1]),
		prefix:  w.random.IntN(w.o.prefixes), answer: 1 + int(w.random.ExpFloat64()*float64(w.o.answer-1)),
		arrived: w.now, measured: w.measuring(),
	}
	if r.measured {
		w.result.requests++
	}
	w.arrived++
	if w.err = w.front.send(r); w.err == nil && w.arrived < w.total {
		w.at(w.now+time.Duration(w.random.ExpFloat64()*float64(w.between())), w.arrive)
	}
}

// between is the mean time between two requests: the time that a node with all slots busy takes for one, over the load.
func (w *world) between() time.Duration {
	prompt := float64(w.o.prompt) * (float64(w.o.row) + float64(w.o.step)/float64(w.o.chunk))
	answer := float64(w.o.answer) * (float64(w.o.row) + float64(w.o.step)/float64(w.o.slots))
	return time.Duration((prompt + answer) / w.o.utilization / float64(w.c.nodes))
}

// measuring says whether the first half is over, in which caches fill, and requests arrive yet.
func (w *world) measuring() bool { return w.arrived >= w.total/2 && w.arrived < w.total }

// publish lets a node tell the front about itself, again and again until no more requests come.
func (w *world) publish(n *node) {
	w.front.publish(n)
	if w.arrived < w.total {
		w.at(w.now+w.o.publish, func() { w.publish(n) })
	}
}

func (w *world) finish() result {
	slices.Sort(w.result.ttft)
	most, sum := 0, 0
	for _, n := range w.nodes {
		most, sum = max(most, n.rows), sum+n.rows
	}
	if sum > 0 {
		w.result.imbalance = float64(most) * float64(len(w.nodes)) / float64(sum)
	}
	return w.result
}

// popularity returns the sums of Zipf's law: the adapter of rank i is asked for in proportion to 1/i^s.
func popularity(c cell) []float64 {
	sums, sum := make([]float64, c.adapters), 0.
	for i := range sums {
		sum += math.Pow(float64(i+1), -c.zipf)
		sums[i] = sum
	}
	return sums
}

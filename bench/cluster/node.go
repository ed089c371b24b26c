package main

import (
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// request is one request of the simulation.
type request struct {
	adapter, prefix int
	arrived         time.Duration
	prompt          int // tokens of the prompt that are yet to be computed; set when it is admitted
	answer          int // tokens that are yet to be drawn
	measured        bool
	rows            int // of its prompt in the step that is being computed
}

func (r *request) prefixKey() [2]int { return [2]int{r.adapter, r.prefix} }

// node is a server: it has slots, adapters in memory, prefixes in its KV cache, and computes one step after the other.
type node struct {
	index     int
	w         *world
	waiting   []*request // no slot is free, first come first served
	admitted  int        // requests that have a slot
	prompts   []*request // their prompts are computed, one after the other
	decoding  []*request
	loading   map[int][]*request // by adapter: who waits for it
	resident  *simplelru.LRU[int, struct{}]
	prefixes  *simplelru.LRU[[2]int, struct{}]
	computing bool
	rows      int // computed while it was measured
}

func newNode(index int, w *world) (*node, error) {
	resident, err := simplelru.NewLRU[int, struct{}](w.o.resident, nil)
	if err != nil {
		return nil, err
	}
	prefixes, err := simplelru.NewLRU[[2]int, struct{}](w.o.cached, nil)
	if err != nil {
		return nil, err
	}
	return &node{index: index, w: w, loading: map[int][]*request{}, resident: resident, prefixes: prefixes}, nil
}

// take is given a request by the front.
func (n *node) take(r *request) {
	n.waiting = append(n.waiting, r)
	n.admit()
	n.compute()
}

// admit gives free slots to those that wait. An adapter that is not in memory is loaded once for all of them, while the
// node goes on computing.
func (n *node) admit() {
	for len(n.waiting) > 0 && n.admitted < n.w.o.slots {
		r := n.waiting[0]
		n.waiting = n.waiting[1:]
		n.admitted++
		if _, ok := n.resident.Get(r.adapter); ok {
			n.begin(r)
			continue
		}
		if n.loading[r.adapter] == nil {
			if r.measured {
				n.w.result.loads++
			}
			adapter := r.adapter
			n.w.at(n.w.now+n.w.o.load, func() { n.loaded(adapter) })
		}
		n.loading[r.adapter] = append(n.loading[r.adapter], r)
	}
}

func (n *node) loaded(adapter int) {
	n.resident.Add(adapter, struct{}{})
	for _, r := range n.loading[adapter] {
		n.begin(r)
	}
	delete(n.loading, adapter)
	n.compute()
}

// begin lets the prompt of a request be computed, without the beginning that is in the KV cache.
func (n *node) begin(r *request) {
	r.prompt = n.w.o.prompt
	if _, ok := n.prefixes.Get(r.prefixKey()); ok {
		r.prompt -= n.w.o.shared
	}
	n.prompts = append(n.prompts, r)
}

// compute begins a step, if there is anything to compute and none is under way: a row for each answer, and of prompts as many
// rows as fit, in the order in which they came.
func (n *node) compute() {
	if n.computing || len(n.decoding)+len(n.prompts) == 0 {
		return
	}
	rows := len(n.decoding)
	for _, r := range n.prompts {
		r.rows = min(r.prompt, max(0, n.w.o.chunk-rows))
		rows += r.rows
	}
	n.computing = true
	if n.w.measuring() {
		n.rows += rows
	}
	n.w.at(n.w.now+n.w.o.step+time.Duration(rows)*n.w.o.row, n.computed)
}

// computed ends a step: each answer has one token more, and prompts that are computed have their first.
func (n *node) computed() {
	n.computing = false
	decoding := n.decoding[:0]
	for _, r := range n.decoding {
		if !n.drawn(r) {
			decoding = append(decoding, r)
		}
	}
	prompts := n.prompts[:0]
	for _, r := range n.prompts {
		r.prompt -= r.rows
		if r.prompt > 0 {
			prompts = append(prompts, r)
			continue
		}
		n.prefixes.Add(r.prefixKey(), struct{}{})
		if r.measured {
			n.w.result.ttft = append(n.w.result.ttft, n.w.now-r.arrived)
		}
		if !n.drawn(r) {
			decoding = append(decoding, r)
		}
	}
	n.decoding, n.prompts = decoding, prompts
	n.admit()
	n.compute()
}

// drawn notes a token of an answer, and says whether it was the last.
func (n *node) drawn(r *request) bool {
	r.answer--
	if r.answer > 0 {
		return false
	}
	n.admitted--
	n.w.front.ended(n.index)
	return true
}

package engine

import "cmp"

// demand is how many rows one running task could use in a turn.
type demand struct {
	tenant    string
	flow      string
	priority  int
	rows      int   // tokens of it that are not in the KV cache
	answering bool  // its one row makes the next token of an answer
	outputs   bool  // it asks for something of every row of its prompt
	served    int64 // when it last had rows of prefill, by the clock below: its place in the round robin
}

// chunkParts is into how many parts a chunk is divided: up to that many prompts are prefilled in the same turn.
const chunkParts = 4

// plan returns how many rows each of the demands gets in this turn. Answers come first, with one row each. The rest of
// the batch, up to chunk rows, goes to prompts, those of a higher priority first. Prompts of one priority have equal parts,
// round robin over the tenants, within a tenant over its flows, and within a flow over its prompts, so that a short prompt
// does not wait for a long one and a flow with many prompts does not slow another flow down. Of prompts that ask for
// something of every row, no more than outputs rows come into one batch. clock counts the parts given out; plan advances it
// and the demands' place in the round robin.
func plan(demands []demand, chunk, batch, outputs int, clock *int64) (rows []int) {
	rows = make([]int, len(demands))
	for i, d := range demands {
		if d.answering && batch > 0 {
			rows[i] = 1
			batch--
		}
	}
	type flowOf struct{ tenant, flow string }
	tenants, flows := map[string]int64{}, map[flowOf]int64{} // when each was last served
	for _, d := range demands {
		if !d.answering {
			key := flowOf{d.tenant, d.flow}
			tenants[d.tenant], flows[key] = max(tenants[d.tenant], d.served), max(flows[key], d.served)
		}
	}
	before := func(a, b demand) bool {
		return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(tenants[a.tenant], tenants[b.tenant]),
			cmp.Compare(flows[flowOf{a.tenant, a.flow}], flows[flowOf{b.tenant, b.flow}]), cmp.Compare(a.served, b.served)) < 0
	}
	quantum := max(1, chunk/chunkParts)
	for left := min(chunk, batch); left > 0; {
		next := -1
		for i, d := range demands {
			if d.answering || rows[i] == d.rows || d.outputs && outputs == 0 {
				continue
			}
			if next < 0 || before(d, demands[next]) {
				next = i
			}
		}
		if next < 0 {
			break
		}
		d := &demands[next]
		n := min(quantum, left, d.rows-rows[next])
		if d.outputs {
			n = min(n, outputs)
			outputs -= n
		}
		rows[next] += n
		left -= n
		*clock++
		d.served, tenants[d.tenant], flows[flowOf{d.tenant, d.flow}] = *clock, *clock, *clock
	}
	return rows
}

package engine

// demand is what one running task could use of a turn.
type demand struct {
	flow      string
	rows      int   // rows that its history lacks in the KV
	answering bool  // its one row makes the next token of an answer that others may be waiting to read
	served    int64 // when it last had rows of prefill: its place in the round
}

// quanta is into how many parts a chunk is dealt out: that many prompts are prefilled side by side.
const quanta = 4

// plan says how many rows each of the demands has in this turn. Answers come first, with a row each. What
// is left of the batch, up to chunk rows, is dealt out to prompts in quanta, round robin over the flows
// and within a flow over its prompts, so that a short prompt passes a long one and a flow with many prompts
// does not slow another's. clock counts the quanta dealt out; plan moves it and the demands' place in the
// round on.
func plan(demands []demand, chunk, batch int, clock *int64) (rows []int) {
	rows = make([]int, len(demands))
	for i, d := range demands {
		if d.answering && batch > 0 {
			rows[i] = 1
			batch--
		}
	}
	turn := map[string]int64{} // when each flow was last served
	for _, d := range demands {
		if !d.answering {
			turn[d.flow] = max(turn[d.flow], d.served)
		}
	}
	quantum := max(1, chunk/quanta)
	for left := min(chunk, batch); left > 0; {
		next := -1
		for i, d := range demands {
			if d.answering || rows[i] == d.rows {
				continue
			}
			if next < 0 || turn[d.flow] < turn[demands[next].flow] ||
				d.flow == demands[next].flow && d.served < demands[next].served {
				next = i
			}
		}
		if next < 0 {
			break
		}
		d := &demands[next]
		n := min(quantum, left, d.rows-rows[next])
		rows[next] += n
		left -= n
		*clock++
		d.served, turn[d.flow] = *clock, *clock
	}
	return rows
}

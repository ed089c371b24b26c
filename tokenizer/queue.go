package tokenizer

import (
	"cmp"
	"slices"
)

// rankQueue gives positions rank by rank, the lowest rank first. The zero value is empty and ready.
type rankQueue struct {
	ranks  minHeap[uint32]  // those that have positions
	newest map[uint32]int32 // of each rank, its newest entry
	all    []queued
	free   int32   // the first unused entry + 1, 0 where there is none
	out    []int32 // what pop returned
}

// queued is an entry: a position, and the entry before it of the same rank, or -1.
type queued struct{ at, before int32 }

func (q *rankQueue) empty() bool { return len(q.ranks) == 0 }

func (q *rankQueue) push(rank uint32, at int32) {
	if q.newest == nil {
		q.newest = map[uint32]int32{}
	}
	before, known := q.newest[rank]
	if !known {
		before = -1
		q.ranks.push(rank)
	}
	i := q.free - 1
	if i >= 0 {
		q.free = q.all[i].before + 1
		q.all[i] = queued{at, before}
	} else {
		i = int32(len(q.all))
		q.all = append(q.all, queued{at, before})
	}
	q.newest[rank] = i
}

// pop takes the lowest rank and its positions, in order. They are good until the next call.
func (q *rankQueue) pop() (rank uint32, positions []int32) {
	rank = q.ranks.pop()
	q.out = q.out[:0]
	for i := q.newest[rank]; i >= 0; {
		x := &q.all[i]
		next := x.before
		q.out = append(q.out, x.at)
		x.before, q.free = q.free-1, i+1
		i = next
	}
	delete(q.newest, rank)
	slices.Reverse(q.out)
	slices.Sort(q.out)
	return rank, q.out
}

// minHeap is a heap whose first element is the least.
type minHeap[T cmp.Ordered] []T

func (h *minHeap[T]) push(x T) {
	*h = append(*h, x)
	a := *h
	i := len(a) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if a[parent] <= x {
			break
		}
		a[i] = a[parent]
		i = parent
	}
	a[i] = x
}

func (h *minHeap[T]) pop() T {
	a := *h
	top, x := a[0], a[len(a)-1]
	a = a[:len(a)-1]
	*h = a
	i := 0
	for {
		child := 2*i + 1
		if child >= len(a) {
			break
		}
		if child+1 < len(a) && a[child+1] < a[child] {
			child++
		}
		if a[child] >= x {
			break
		}
		a[i] = a[child]
		i = child
	}
	if len(a) > 0 {
		a[i] = x
	}
	return top
}

package tokenizer

import (
	"math"
	"slices"
)

// A pair of neighbouring tokens is merged into one, the pair of the lowest rank first and, of equals, the leftmost:
// that is BPE. Byte-level BPE ranks pairs by the order of the file's merges, SentencePiece by the score of the result.

// merge is what becomes of a pair.
type merge struct {
	rank uint32
	into int32
}

// merges maps pairs of tokens to what they become.
type merges struct {
	pairs map[uint64]merge
}

func newMerges(n int) *merges { return &merges{make(map[uint64]merge, n)} }

func pairKey(left, right int32) uint64 { return uint64(uint32(left))<<32 | uint64(uint32(right)) }

func (m *merges) set(left, right int32, x merge) { m.pairs[pairKey(left, right)] = x }

// noMerge is the rank of a pair that stays a pair.
const noMerge = math.MaxUint32

func (m *merges) get(left, right int32) merge {
	if x, ok := m.pairs[pairKey(left, right)]; ok {
		return x
	}
	return merge{rank: noMerge}
}

// linked is a token of a word that is being merged, in a list of positions.
type linked struct {
	token      int32
	prev, next int32 // positions, or -1
	pair       merge // of this token and the next one
}

// shortWord is the length up to which looking at all pairs for the best is faster than a heap.
const shortWord = 24

// merger merges words. It is not safe for use by several goroutines.
type merger struct {
	merges *merges
	check  func() error // asked every few thousand merges
	list   []linked
	queue  rankQueue
	now    uint32          // the rank being merged
	early  minHeap[uint64] // rank<<32 | position, of pairs that a merge of rank now made though their rank is not higher
	err    error
}

// merge merges word in place and returns what is left of it.
func (m *merger) merge(word []int32) []int32 {
	if len(word) < 2 || m.err != nil {
		return word
	}
	if len(word) <= shortWord {
		return m.mergeShort(word)
	}
	return m.mergeLong(word)
}

// mergeShort looks for the best pair again after each merge.
func (m *merger) mergeShort(word []int32) []int32 {
	var pairs [shortWord]merge
	for i := range len(word) - 1 {
		pairs[i] = m.merges.get(word[i], word[i+1])
	}
	for {
		best, rank := -1, uint32(noMerge)
		for i := range len(word) - 1 {
			if pairs[i].rank < rank {
				best, rank = i, pairs[i].rank
			}
		}
		if best < 0 {
			return word
		}
		word[best] = pairs[best].into
		copy(pairs[best:], pairs[best+1:len(word)-1])
		word = append(word[:best+1], word[best+2:]...)
		if best > 0 {
			pairs[best-1] = m.merges.get(word[best-1], word[best])
		}
		if best+1 < len(word) {
			pairs[best] = m.merges.get(word[best], word[best+1])
		}
	}
}

// mergeLong merges rank by rank and, within one, from left to right. In a vocabulary that was learned the pairs that a
// merge makes have higher ranks than its own; in any other they wait in a heap, which is asked before each merge. So
// the time for a word of n tokens is n log n.
func (m *merger) mergeLong(word []int32) []int32 {
	list := slices.Grow(m.list[:0], len(word))
	for i, t := range word {
		list = append(list, linked{token: t, prev: int32(i - 1), next: int32(i + 1), pair: merge{rank: noMerge}})
	}
	list[len(list)-1].next = -1
	m.list = list
	for i := range len(list) - 1 {
		if list[i].pair = m.merges.get(list[i].token, list[i+1].token); list[i].pair.rank != noMerge {
			m.queue.push(list[i].pair.rank, int32(i))
		}
	}
	for steps := 0; !m.queue.empty(); {
		rank, positions := m.queue.pop()
		m.now = rank
		for len(positions) > 0 || len(m.early) > 0 {
			if steps++; steps%4096 == 0 {
				if m.err = m.check(); m.err != nil {
					return word[:0]
				}
			}
			if len(m.early) > 0 && (len(positions) == 0 || m.early[0] < uint64(rank)<<32|uint64(positions[0])) {
				x := m.early.pop()
				m.mergeAt(int32(x&math.MaxUint32), uint32(x>>32))
				continue
			}
			m.mergeAt(positions[0], rank)
			positions = positions[1:]
		}
	}
	out := word[:0]
	for i := int32(0); i >= 0; i = list[i].next {
		out = append(out, list[i].token)
	}
	return out
}

// mergeAt merges the pair at a position if it still has the rank.
func (m *merger) mergeAt(at int32, rank uint32) {
	left := &m.list[at]
	if left.pair.rank != rank {
		return
	}
	right := &m.list[left.next]
	left.token, left.next = left.pair.into, right.next
	right.pair.rank = noMerge
	if right.next >= 0 {
		m.list[right.next].prev = at
	}
	m.renew(at)
	if left.prev >= 0 {
		m.renew(left.prev)
	}
}

// renew looks up the pair at a position, one of whose tokens is new.
func (m *merger) renew(at int32) {
	x := &m.list[at]
	if x.next < 0 {
		x.pair.rank = noMerge
		return
	}
	x.pair = m.merges.get(x.token, m.list[x.next].token)
	switch rank := x.pair.rank; {
	case rank == noMerge:
	case rank <= m.now:
		m.early.push(uint64(rank)<<32 | uint64(at))
	default:
		m.queue.push(rank, at)
	}
}

package route

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// This file ranks nodes by rendezvous hashing.

// Score is what a node scores for a key: the node of the highest score is the key's home. It depends on the two alone, so
// that all processes agree, and a node's leaving changes no other's score.
func Score(node, key string) uint64 { return mix(xxhash.Sum64String(node), xxhash.Sum64String(key)) }

func mix(node, key uint64) uint64 {
	var both [16]byte
	binary.LittleEndian.PutUint64(both[:8], node)
	binary.LittleEndian.PutUint64(both[8:], key)
	return xxhash.Sum64(both[:])
}

// score notes what nodes score for a key.
func score(nodes []candidate, key string) {
	hash := xxhash.Sum64String(key)
	for i := range nodes {
		n := &nodes[i]
		n.hash = xxhash.Sum64String(n.Name)
		n.score = mix(n.hash, hash)
	}
}

// before says whether a comes before b in the ranking: by score, and by name where the scores are equal.
func before(a, b *candidate) bool { return compare(a, b) < 0 }

func compare(a, b *candidate) int {
	return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.Name, b.Name))
}

// highestFirst brings the first count nodes of the ranking to the front, in its order; that of the others is left open.
func highestFirst(nodes []candidate, count int) {
	if count > 2 {
		slices.SortFunc(nodes, func(a, b candidate) int { return compare(&a, &b) })
		return
	}
	for at := range min(count, len(nodes)) {
		first := at
		for i := at; i < len(nodes); i++ {
			if before(&nodes[i], &nodes[first]) {
				first = i
			}
		}
		nodes[at], nodes[first] = nodes[first], nodes[at]
	}
}

// highest returns the node that scores highest for a key. There is at least one node.
func highest(nodes []candidate, key string) *Node {
	hash := xxhash.Sum64String(key)
	found := slices.MinFunc(nodes, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(mix(b.hash, hash), mix(a.hash, hash)), cmp.Compare(a.Name, b.Name))
	})
	return found.Node
}

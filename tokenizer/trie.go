package tokenizer

import (
	"slices"
	"strings"
)

// trie finds the tokens that begin at a place of a text, byte by byte. Node 0 is the root. The children of node k are the
// nodes from first[k] to first[k+1], in the order of their bytes: nodes are numbered by their depth.
type trie struct {
	root   [256]int32 // children of the root, 0 where there is none
	first  []int32    // one more than there are nodes
	labels []byte     // of each node, the byte that leads to it
	tokens []Token    // of each node, the token that ends there, or none
}

// newTrie makes the trie of some of the vocabulary's tokens, whose texts are neither empty nor equal.
func newTrie(texts []string, tokens []Token) *trie {
	tokens = slices.Clone(tokens)
	slices.SortFunc(tokens, func(a, b Token) int { return strings.Compare(texts[a], texts[b]) })
	type part struct{ from, to, depth int } // the tokens that begin with a node's bytes
	t := &trie{labels: []byte{0}, tokens: []Token{none}}
	for parts := []part{{0, len(tokens), 0}}; len(parts) > 0; parts = parts[1:] {
		p := parts[0]
		t.first = append(t.first, int32(len(t.labels)))
		for i := p.from; i < p.to; {
			text := texts[tokens[i]]
			if len(text) == p.depth {
				t.tokens[len(t.first)-1] = tokens[i]
				i++
				continue
			}
			j := i + 1
			for j < p.to && texts[tokens[j]][p.depth] == text[p.depth] {
				j++
			}
			if p.depth == 0 {
				t.root[text[0]] = int32(len(t.labels))
			}
			t.labels, t.tokens = append(t.labels, text[p.depth]), append(t.tokens, none)
			parts = append(parts, part{i, j, p.depth + 1})
			i = j
		}
	}
	t.first = append(t.first, int32(len(t.labels)))
	return t
}

// step returns the child of a node that a byte leads to, or 0.
func (t *trie) step(node int32, b byte) int32 {
	if node == 0 {
		return t.root[b]
	}
	low, high := t.first[node], t.first[node+1]
	for low < high {
		middle := (low + high) / 2
		switch label := t.labels[middle]; {
		case label == b:
			return middle
		case label < b:
			low = middle + 1
		default:
			high = middle
		}
	}
	return 0
}

package grammar

import (
	"cmp"
	"slices"

	"github.com/lorikeet-ai/lorikeet/grammar/automaton"
)

// Tokens is a model's vocabulary as matchers need it: a tree of the tokens' bytes, and the masks that answers share. Any
// goroutine.
type Tokens struct {
	pieces    [][]byte
	isControl []bool
	ends      []int32 // the tokens that end an answer
	plain     *tree   // of the tokens that have bytes and are no control tokens
	control   *tree   // of the control tokens that end no answer
	longest   int32   // bytes of a token
	masks     *sizedCache[maskKey, *lexicalMask]
	states    *states
}

// The masks of texts that are kept, each of a bit for every token and some more. One keeps its lexer in memory: a part of
// what that takes, 1/lexerShare, counts as its own, for a lexer has some masks.
const (
	maxMasks            = 512
	maxLexicalMaskBytes = 64 << 20
	lexerShare          = 4
)

// NewTokens reads a vocabulary of n tokens. piece returns the bytes of one, for a control token its text; ends says which
// tokens end an answer.
func NewTokens(n int, piece func(t int32) (bytes []byte, control bool), ends func(t int32) bool) *Tokens {
	t := &Tokens{pieces: make([][]byte, n), isControl: make([]bool, n)}
	var plain, control []int32
	for i := range int32(n) {
		bytes, isControl := piece(i)
		t.pieces[i], t.isControl[i] = bytes, isControl
		switch {
		case ends(i):
			t.ends = append(t.ends, i)
		case len(bytes) == 0:
		case isControl:
			control = append(control, i)
		default:
			plain = append(plain, i)
		}
		t.longest = max(t.longest, int32(len(bytes)))
	}
	t.plain, t.control = newTree(plain, t.pieces), newTree(control, t.pieces)
	t.states = newStates()
	t.masks = newSizedCache[maskKey, *lexicalMask](maxMasks, maxLexicalMaskBytes)
	return t
}

// Words returns how many 64-bit words a mask has.
func (t *Tokens) Words() int { return (len(t.pieces) + 63) / 64 }

// tree has the beginnings of tokens, each before those that it is the beginning of.
type tree struct {
	nodes  []treeNode
	tokens []int32
}

type treeNode struct {
	end      int32 // the node after the last that begins with this one
	from, to int32 // its tokens
	byte     byte
}

// newTree makes the tree of some tokens, of which texts[token] are the bytes.
func newTree(tokens []int32, texts [][]byte) *tree {
	t := &tree{tokens: tokens}
	slices.SortFunc(t.tokens, func(a, b int32) int {
		return cmp.Or(slices.Compare(texts[a], texts[b]), cmp.Compare(a, b))
	})
	var open []int32 // the nodes on the way to the last token
	var last []byte
	for i, token := range t.tokens {
		text := texts[token]
		shared := 0
		for shared < len(text) && shared < len(last) && text[shared] == last[shared] {
			shared++
		}
		for len(open) > shared {
			t.nodes[open[len(open)-1]].end = int32(len(t.nodes))
			open = open[:len(open)-1]
		}
		for _, b := range text[shared:] {
			open = append(open, int32(len(t.nodes)))
			t.nodes = append(t.nodes, treeNode{byte: b, from: int32(i), to: int32(i)})
		}
		t.nodes[open[len(open)-1]].to = int32(i + 1)
		last = text
	}
	for _, n := range open {
		t.nodes[n].end = int32(len(t.nodes))
	}
	return t
}

// maskKey is a place in a JSON string or another text whose tokens do not depend on what stands around it. slack and need
// are how many characters may and must still come, as far as one token can tell; slack is -1 where they are not counted.
type maskKey struct {
	lexer       *automaton.Lexer
	state       int32
	slack, need int32
}

// lexicalMask has the tokens that are possible in one state of a lexer.
type lexicalMask struct {
	within []uint64 // those that stay in it
	after  []*after // those with bytes after its end
}

// size is about how many bytes the mask of a place keeps in memory.
func (m *lexicalMask) size(key maskKey) int {
	const nodeBytes = 16
	n := 8*len(m.within) + key.lexer.Size()/lexerShare
	for _, a := range m.after {
		n += nodeBytes*len(a.rest.nodes) + 4*len(a.rest.tokens) + 4*len(a.several)
	}
	return n
}

// after are tokens that go on after a text has ended in a state with a label.
type after struct {
	label int32 // -1 for none
	rest  *tree // of the bytes that follow

	several []int32 // those in which another text of its kind can end too
}

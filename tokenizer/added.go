package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// The keys of lists of token ids by which an import says how added tokens are matched. llama.cpp does not read them.
const (
	leftStripKey  = "lorikeet.tokenizer.lstrip"      // the white space before the token belongs to it
	rightStripKey = "lorikeet.tokenizer.rstrip"      // so does that behind it
	singleWordKey = "lorikeet.tokenizer.single_word" // it is matched as a whole word only
	normalizedKey = "lorikeet.tokenizer.normalized"  // it is looked for in the normalized text, not in the raw one
)

// rule is how an added token is matched.
type rule struct {
	lstrip, rstrip, singleWord bool
}

// found is a place in a text where an added token stands, with the white space it takes.
type found struct {
	start, end int
	token      Token
}

// finder finds added tokens in a text, the leftmost first and, of those that begin together, the longest. It walks
// over the text from its end with an Aho-Corasick automaton of the reversed tokens, which knows at every place the
// longest token that begins there. The time is linear in the text, whatever the number and length of tokens.
type finder struct {
	nodes   []node
	root    [256]int32 // children of the root, 0 where there is none
	rules   map[Token]rule
	longest []int32 // of each node, the token that begins where the walk stands, or none
	sizes   []int32 // of each node, that token's length
}

// node is a reversed beginning of reversed tokens: an end of tokens.
type node struct {
	children map[byte]int32
	fail     int32 // the longest other node that is a suffix of this one, as read; 0 is the root
}

func newFinder(texts []string, tokens []Token, rules map[Token]rule) *finder {
	f := &finder{nodes: make([]node, 1), rules: rules, longest: []int32{none}, sizes: []int32{0}}
	for i, text := range texts {
		at := int32(0)
		for j := len(text) - 1; j >= 0; j-- {
			next := f.child(at, text[j])
			if next == 0 {
				next = int32(len(f.nodes))
				f.nodes = append(f.nodes, node{})
				f.longest, f.sizes = append(f.longest, none), append(f.sizes, 0)
				f.addChild(at, text[j], next)
			}
			at = next
		}
		if at != 0 && f.longest[at] == none {
			f.longest[at], f.sizes[at] = tokens[i], int32(len(text))
		}
	}
	f.link()
	return f
}

func (f *finder) child(at int32, b byte) int32 {
	if at == 0 {
		return f.root[b]
	}
	return f.nodes[at].children[b]
}

func (f *finder) addChild(at int32, b byte, next int32) {
	if at == 0 {
		f.root[b] = next
		return
	}
	if f.nodes[at].children == nil {
		f.nodes[at].children = make(map[byte]int32, 1)
	}
	f.nodes[at].children[b] = next
}

// link sets the fail links, nodes nearer to the root first. A node without a token of its own has its link's: the
// link is a shorter end of the same text, so that a node's own token is the longest.
func (f *finder) link() {
	var queue []int32
	for _, next := range f.root {
		if next != 0 {
			queue = append(queue, next)
		}
	}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for b, next := range f.nodes[at].children {
			fail := f.step(f.nodes[at].fail, b)
			f.nodes[next].fail = fail
			if f.longest[next] == none {
				f.longest[next], f.sizes[next] = f.longest[fail], f.sizes[fail]
			}
			queue = append(queue, next)
		}
	}
}

// step reads one more byte.
func (f *finder) step(at int32, b byte) int32 {
	for {
		if next := f.child(at, b); next != 0 {
			return next
		}
		if at == 0 {
			return 0
		}
		at = f.nodes[at].fail
	}
}

// find returns the places of the added tokens of s in their order.
func (f *finder) find(s string) []found {
	if f == nil {
		return nil
	}
	var candidates []found
	at := int32(0)
	for i := len(s) - 1; i >= 0; i-- {
		at = f.step(at, s[i])
		if t := f.longest[at]; t != none {
			candidates = append(candidates, found{i, i + int(f.sizes[at]), t})
		}
	}
	slices.Reverse(candidates)
	var out []found
	free, done := 0, 0 // a token may begin at free; what is before done is some token's
	for _, c := range candidates {
		if c.start < free {
			continue
		}
		free = c.end
		rule := f.rules[c.token]
		if rule.singleWord && (wordBefore(s, c.start) || wordAfter(s, c.end)) {
			continue
		}
		if rule.lstrip {
			c.start = max(spaceBefore(s, c.start, done), done)
		}
		if rule.rstrip {
			c.end = len(s) - len(strings.TrimLeftFunc(s[c.end:], isSpace))
		}
		c.start = max(c.start, done)
		done = max(c.end, done)
		c.end = done
		out = append(out, c)
	}
	return out
}

// spaceBefore returns where the white space before s[at:] begins, no earlier than least.
func spaceBefore(s string, at, least int) int {
	for at > least {
		r, n := utf8.DecodeLastRuneInString(s[least:at])
		if !isSpace(r) {
			break
		}
		at -= n
	}
	return at
}

func isSpace(r rune) bool { return newClassifier().of(r)&space != 0 }

// wordBefore and wordAfter report whether a word touches a place: \w is a letter, mark, digit or connector.
func wordBefore(s string, at int) bool {
	r, n := utf8.DecodeLastRuneInString(s[:at])
	return n > 0 && isWord(r)
}

func wordAfter(s string, at int) bool {
	r, n := utf8.DecodeRuneInString(s[at:])
	return n > 0 && isWord(r)
}

// addedTokens are the tokens that are found in a text before it is tokenized.
type addedTokens struct {
	// Of raw texts and of normalized ones, with and without the control tokens.
	raw, rawUser, normalized, normalizedUser *finder
}

// newAddedTokens collects a vocabulary's added tokens. normalize is what the kind of tokenizer does to a text.
func newAddedTokens(m *quant.Metadata, v *vocabulary, normalize func(string) string) (*addedTokens, error) {
	flags := map[string]map[Token]bool{}
	for _, key := range []string{leftStripKey, rightStripKey, singleWordKey, normalizedKey} {
		flags[key] = map[Token]bool{}
		ids, _ := m.Ints(key)
		for _, id := range ids {
			if id < 0 || id >= int64(len(v.texts)) {
				return nil, fmt.Errorf("%w: %s has the token %d of %d", ErrFormat, key, id, len(v.texts))
			}
			flags[key][Token(id)] = true
		}
	}
	_, pieces := m.Get(spacePrefixKey)
	_, bytes := m.Get(normalizerKey)
	if !pieces && !bytes { // an import says everything; other files leave it to be known
		phi3Strips(m, v, flags[rightStripKey])
	}
	rules := map[Token]rule{}
	collect := func(normalized, special bool) *finder {
		var texts []string
		var tokens []Token
		for i, k := range v.kinds {
			id := Token(i)
			if k != userDefined && !(special && (k == control || k == unknown)) || flags[normalizedKey][id] != normalized {
				continue
			}
			text := v.texts[i]
			if normalized {
				text = normalize(text)
			}
			texts, tokens = append(texts, text), append(tokens, id)
			rules[id] = rule{flags[leftStripKey][id], flags[rightStripKey][id], flags[singleWordKey][id]}
		}
		if len(texts) == 0 {
			return nil
		}
		return newFinder(texts, tokens, rules)
	}
	return &addedTokens{
		raw: collect(false, true), rawUser: collect(false, false),
		normalized: collect(true, true), normalizedUser: collect(true, false),
	}, nil
}

// phi3Strips sets what llama.cpp knows of Phi-3 by the model's name: its special tokens take the spaces behind them.
func phi3Strips(m *quant.Metadata, v *vocabulary, rstrip map[Token]bool) {
	name, _ := m.String("general.name")
	name = strings.ToLower(name)
	if !strings.Contains(name, "phi-3") && !strings.Contains(name, "phi3") {
		return
	}
	for i, k := range v.kinds {
		if k == control || k == userDefined || k == unknown {
			rstrip[Token(i)] = true
		}
	}
	for _, text := range []string{"<unk>", "<s>", "<|endoftext|>"} {
		if id, ok := v.ids[text]; ok {
			delete(rstrip, id)
		}
	}
}

func isWord(r rune) bool {
	return unicode.In(r, unicode.L, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic, unicode.Join_Control)
}

package tokenizer

import (
	"fmt"
	"strings"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// The keys by which an import says what GGUF has no keys for. llama.cpp does not read them.
const (
	normalizerKey   = "lorikeet.tokenizer.normalizer"    // "nfc" or "none"
	ignoreMergesKey = "lorikeet.tokenizer.ignore_merges" // of byte-level BPE: a word that is a token is not merged
)

// bytePairs is byte-level BPE ("gpt2").
type bytePairs struct {
	family  *family
	byteIDs [256]Token // the token of each byte, or none
	words   map[string]Token
	merges  *merges
	nfc     bool
}

func newBytePairs(m *quant.Metadata, v *vocabulary, f *family) (*bytePairs, error) {
	b := &bytePairs{family: f, nfc: f.nfc}
	switch name, _ := m.String(normalizerKey); name {
	case "":
	case "nfc", "none":
		b.nfc = name == "nfc"
	default:
		return nil, fmt.Errorf("%w: %s %q is neither nfc nor none", ErrUnsupported, normalizerKey, name)
	}
	for i, r := range byteLetters {
		b.byteIDs[i] = none
		if id, ok := v.ids[string(r)]; ok && v.kinds[id] == normal {
			b.byteIDs[i] = id
		}
	}
	ignore := f.ignoreMerges
	if said, ok := m.Bool(ignoreMergesKey); ok {
		ignore = said
	}
	if ignore {
		b.words = make(map[string]Token, len(v.texts))
		for id, text := range v.texts {
			if bytes, ok := decodeLetters(text); ok && v.kinds[id] == normal {
				b.words[string(bytes)] = Token(id)
			}
		}
	}
	list, ok := m.Strings("tokenizer.ggml.merges")
	if !ok {
		return nil, fmt.Errorf("%w: tokenizer.ggml.merges is missing", ErrFormat)
	}
	var err error
	b.merges, err = readMerges(v, list)
	return b, err
}

// readMerges reads the pairs "a b" in the order of their ranks. A pair of which a part or the result is no token can
// never be merged and is left out.
func readMerges(v *vocabulary, list []string) (*merges, error) {
	m := newMerges(len(list))
	for rank, text := range list {
		if text == "" {
			return nil, fmt.Errorf("%w: merge %d of tokenizer.ggml.merges is empty", ErrFormat, rank)
		}
		cut := strings.IndexByte(text[1:], ' ') + 1 // a part may begin with a space
		if cut == 0 || cut == len(text)-1 {
			return nil, fmt.Errorf("%w: merge %d of tokenizer.ggml.merges, %q, is not a pair", ErrFormat, rank, text)
		}
		left, right := text[:cut], text[cut+1:]
		l, okLeft := v.ids[left]
		r, okRight := v.ids[right]
		into, okInto := v.ids[left+right]
		if !okLeft || !okRight || !okInto || v.kinds[into] == control || v.kinds[into] == unknown {
			continue
		}
		if _, listed := m.pairs[pairKey(l, r)]; !listed {
			m.set(l, r, merge{uint32(rank), into})
		}
	}
	return m, nil
}

// encode appends the tokens of a normalized text.
func (b *bytePairs) encode(s string, _ bool, r *run) {
	r.merger.merges = b.merges
	chain(b.family.splitters, func(word string) { b.word(word, r) })(s)
}

func (b *bytePairs) normalize(s string) string {
	if b.nfc {
		return nfc(s)
	}
	return s
}

// word appends the tokens of one word.
func (b *bytePairs) word(word string, r *run) {
	if r.stopped(len(word)) {
		return
	}
	if id, ok := b.words[word]; ok {
		r.out = append(r.out, id)
		return
	}
	start := len(r.out)
	for i := range len(word) {
		if id := b.byteIDs[word[i]]; id != none {
			r.out = append(r.out, id)
		}
	}
	r.out = r.out[:start+len(r.merger.merge(r.out[start:]))]
}

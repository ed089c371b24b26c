package tokenizer

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// unknownPenalty is how much less than the lowest score of a token a character without a token scores.
const unknownPenalty = 10

// scoresKey has the scores in 64 bits, of an import whose scores do not fit in GGUF's 32. llama.cpp does not read them.
const scoresKey = "lorikeet.tokenizer.scores"

// unreached is the token of a place in a text where no token ends yet.
const unreached Token = -2

// unigram is SentencePiece's unigram model ("t5"): a text is cut into the tokens whose scores have the greatest sum. Only
// normal tokens are looked for. (tokenizers also finds control and byte tokens where their texts stand in a text;
// SentencePiece, which it follows, does not.)
type unigram struct {
	unigramText
	trie     *trie
	scores   []float64
	lengths  []int32    // of each token, in bytes
	longest  int        // of them, at least the 4 of a character
	missing  float64    // the score of a character without a token
	byteIDs  [256]Token // the tokens that stand for bytes, or none
	fallBack bool       // there are some
	unknown  Token      // for characters that have no token and no bytes, or none
}

func newUnigram(m *quant.Metadata, v *vocabulary) (*unigram, error) {
	if v.scores == nil {
		return nil, fmt.Errorf("%w: tokenizer.ggml.scores is missing", ErrFormat)
	}
	u := &unigram{lengths: make([]int32, len(v.texts)), longest: utf8.UTFMax, unknown: v.token(m, "unknown_token_id", 2)}
	if err := u.readScores(m, v); err != nil {
		return nil, err
	}
	for b := range u.byteIDs {
		u.byteIDs[b] = none
		if id, ok := v.ids[byteText(byte(b))]; ok && v.kinds[id] == byteToken {
			u.byteIDs[b], u.fallBack = id, true
		}
	}
	var tokens []Token
	least := math.Inf(1)
	for i, text := range v.texts {
		if v.kinds[i] != normal {
			continue
		}
		tokens = append(tokens, Token(i))
		u.lengths[i] = int32(len(text))
		u.longest = max(u.longest, len(text))
		least = min(least, u.scores[i])
	}
	if len(tokens) == 0 {
		return nil, fmt.Errorf("%w: tokenizer.ggml.token_type has no normal token", ErrFormat)
	}
	u.missing = least - unknownPenalty
	u.trie = newTrie(v.texts, tokens)
	var err error
	if u.unigramText, err = readUnigramText(m); !u.imported {
		u.missing = float64(float32(u.missing))
	}
	return u, err
}

// readScores takes the scores of 64 bits where the file has them.
func (u *unigram) readScores(m *quant.Metadata, v *vocabulary) error {
	u.scores = make([]float64, len(v.scores))
	for i, s := range v.scores {
		u.scores[i] = float64(s)
	}
	value, ok := m.Get(scoresKey)
	if !ok {
		return nil
	}
	scores, ok := value.([]float64)
	if !ok || len(scores) != len(v.texts) || slices.ContainsFunc(scores, math.IsNaN) {
		return fmt.Errorf("%w: %s must be %d numbers of 64 bits", ErrFormat, scoresKey, len(v.texts))
	}
	copy(u.scores, scores)
	return nil
}

// encode appends the tokens of a normalized text; first says that it is the beginning of the whole text.
func (u *unigram) encode(s string, first bool, r *run) {
	u.each(s, first, func(word string) { u.best(word, r) })
}

// best appends the tokens of a word whose scores have the greatest sum. It goes over the places between characters from
// the first to the last, and keeps for each the last token of the best way there; of two equal ways the one found first
// stays. SentencePiece keeps sums in 32 bits, tokenizers in 64, which decides between nearly equal ways. Sums are kept only
// as far as the longest token reaches. The time is linear in the text, times at most the length of the longest token.
func (u *unigram) best(s string, r *run) {
	r.ends = slices.Grow(r.ends[:0], len(s)+1)[:len(s)+1] // of each place, the token that ends there
	for i := range r.ends {
		r.ends[i] = unreached
	}
	size := min(u.longest, len(s)) + 1
	r.sums = slices.Grow(r.sums[:0], size)[:size]
	r.sums[0] = 0
	for at := 0; at < len(s); {
		here := r.sums[at%size]
		reach := func(end int, token Token, score float64) {
			sum := here + score
			if r.ends[end] != unreached && sum <= r.sums[end%size] {
				return
			}
			if !u.imported {
				sum = float64(float32(sum))
			}
			r.ends[end], r.sums[end%size] = token, sum
		}
		_, n := utf8.DecodeRuneInString(s[at:])
		single, end := false, at
		for node := int32(0); end < len(s); {
			if node = u.trie.step(node, s[end]); node == 0 {
				break
			}
			end++
			if token := u.trie.tokens[node]; token != none {
				reach(end, token, u.scores[token])
				single = single || end-at == n
			}
		}
		if !single {
			reach(at+n, none, u.missing)
		}
		if r.stopped(max(n, end-at)) {
			return
		}
		at += n
	}
	u.trace(s, r)
}

// trace appends the tokens of the best way to the end of s. Characters without a token that stand together become their
// bytes, or one unknown token.
func (u *unigram) trace(s string, r *run) {
	begin, runEnd := len(r.out), len(s)
	for at := len(s); at > 0; {
		if id := r.ends[at]; id >= 0 {
			r.out = append(r.out, id)
			at -= int(u.lengths[id])
			runEnd = at
			continue
		}
		_, n := utf8.DecodeLastRuneInString(s[:at])
		if at -= n; at > 0 && r.ends[at] == none {
			continue
		}
		u.appendUnknown(s[at:runEnd], r)
		runEnd = at
	}
	slices.Reverse(r.out[begin:])
}

// appendUnknown appends the tokens of characters without a token, the last one first.
func (u *unigram) appendUnknown(s string, r *run) {
	bytes := u.fallBack
	for i := 0; bytes && i < len(s); i++ {
		bytes = u.byteIDs[s[i]] != none
	}
	if !bytes {
		if u.unknown != none {
			r.out = append(r.out, u.unknown)
		}
		return
	}
	for i := len(s) - 1; i >= 0; i-- {
		r.out = append(r.out, u.byteIDs[s[i]])
	}
}

// keepsBytes reports whether every byte of a text is in some token, but that space marks of three bytes become spaces.
func (u *unigram) keepsBytes() bool { return !u.loses && !slices.Contains(u.byteIDs[:], none) }

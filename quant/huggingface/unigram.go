package huggingface

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/ollama/ollama/convert/sentencepiece"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// The keys beside GGUF's own that say how a unigram tokenizer changes and cuts a text; llama.cpp reads only the charsmap.
const (
	wordsKey    = "lorikeet.tokenizer.words"  // string: one of the words below
	scoresKey   = "lorikeet.tokenizer.scores" // []float64: scores that do not fit in GGUF's 32 bits
	charsmapKey = "tokenizer.ggml.precompiled_charsmap"
	extraKey    = "tokenizer.ggml.remove_extra_whitespaces"
)

// Where a unigram tokenizer cuts a text into words that tokens do not cross.
const (
	wordsWhole   = "whole"  // nowhere
	wordsByMark  = "marks"  // before each space
	wordsBySpace = "spaces" // at white space, which is lost
)

// unigram is what a unigram tokenizer has beside tokens and scores.
type unigram struct {
	imported bool      // from tokenizer.json, which says more than GGUF's own keys can
	scores   []float64 // of an import
	words    string
	charsmap []byte
	trims    bool // the spaces around a text are removed, those in a row are one
}

// scoredText is an entry of a unigram vocabulary: [text, score].
type scoredText struct {
	text  string
	score float64
}

func (s *scoredText) UnmarshalJSON(data []byte) error {
	var pair []json.RawMessage
	if err := json.Unmarshal(data, &pair); err != nil {
		return err
	}
	if len(pair) != 2 {
		return fmt.Errorf("%s is no pair of a text and a score", clip(data))
	}
	if err := errors.Join(json.Unmarshal(pair[0], &s.text), json.Unmarshal(pair[1], &s.score)); err != nil {
		return err
	}
	s.score = decimal(string(pair[1]))
	return nil
}

// decimal reads a JSON number as tokenizers does: its digits as an integer, rounded to 53 bits, times or by a power of
// ten. That may be another number than the nearest, by the last bit, and so decide between ways that are nearly equal.
func decimal(number string) float64 {
	mantissa, power, _ := strings.Cut(strings.ToLower(number), "e")
	digits, negative := strings.CutPrefix(mantissa, "-")
	exponent, _ := strconv.Atoi(power) // "" is 0
	value, full, fraction := uint64(0), false, false
	for _, c := range digits {
		switch digit := uint64(c - '0'); {
		case c == '.':
			fraction = true
		case full || value > (math.MaxUint64-digit)/10: // further digits do not count
			full = true
			if !fraction {
				exponent++
			}
		default:
			value = 10*value + digit
			if fraction {
				exponent--
			}
		}
	}
	x := float64(value)
	for ; exponent < -308 && x != 0; exponent += 308 {
		x /= 1e308
	}
	if ten, err := strconv.ParseFloat(fmt.Sprintf("1e%d", max(exponent, -exponent)), 64); err == nil && exponent >= 0 {
		x *= ten
	} else if err == nil {
		x /= ten
	}
	if negative {
		return -x
	}
	return x
}

// readUnigram reads the list of texts and scores, whose places are the ids.
func (m *tokenizerModel) readUnigram() error {
	var list []scoredText
	if err := json.Unmarshal(m.Vocab, &list); err != nil {
		return formatError(tokenizerFile, "vocab: %w", err)
	}
	if m.UnknownID == nil || *m.UnknownID < 0 || *m.UnknownID >= int64(len(list)) {
		return formatError(tokenizerFile, "unk_id is missing or not in the vocabulary of %d tokens", len(list))
	}
	m.ids, m.scores = make(map[string]int64, len(list)), make(map[string]float64, len(list))
	for i, s := range list {
		if other, twice := m.ids[s.text]; twice {
			return formatError(tokenizerFile, "tokens %d and %d are both %q", other, i, clip([]byte(s.text)))
		}
		if math.Abs(s.score) > math.MaxFloat32 {
			return formatError(tokenizerFile, "token %d, %q, has the score %g", i, clip([]byte(s.text)), s.score)
		}
		m.ids[s.text], m.scores[s.text] = int64(i), s.score
	}
	m.Unknown = list[*m.UnknownID].text
	return nil
}

// unigramVocabulary is the vocabulary of a tokenizer.json whose model is a unigram one.
func (t *tokenizerJSON) unigramVocabulary(vocabSize int64) (*vocabulary, error) {
	steps, charsmap, err := t.unigramNormalizer()
	if err != nil {
		return nil, err
	}
	prefix, words, err := t.unigramWords(steps)
	if err != nil {
		return nil, err
	}
	bytes := make(map[string]bool, 256)
	for b := range 256 {
		bytes[byteText(b)] = t.Model.ByteFallback
	}
	entries := t.entries(func(text string) int32 {
		switch {
		case bytes[text]:
			return byteToken
		case text == t.Model.Unknown:
			return unknownToken
		}
		return normalToken
	})
	for i := range entries {
		entries[i].token.score = float32(t.Model.scores[entries[i].token.text])
	}
	v, err := newVocabulary(tokenizerFile, entries, vocabSize)
	if err != nil {
		return nil, err
	}
	v.model, v.normalizer, v.spacePrefix = "t5", strings.Join(steps, " "), prefix
	v.unigram = unigram{imported: true, words: words, charsmap: charsmap, scores: make([]float64, len(v.tokens))}
	for id, token := range v.tokens {
		score, ok := t.Model.scores[token.text]
		if !ok {
			score = float64(token.score)
		}
		v.unigram.scores[id] = score
	}
	v.special["unknown"] = *t.Model.UnknownID
	return v, nil
}

// unigramNormalizer returns the steps that are done to a text, by the names that package tokenizer has for them.
func (t *tokenizerJSON) unigramNormalizer() (steps []string, charsmap []byte, err error) {
	for _, n := range t.Normalizer.parts() {
		switch {
		case n.Type == "Precompiled" && charsmap == nil:
			if charsmap = n.Charsmap; len(charsmap) > 0 {
				steps = append(steps, "charsmap")
			}
		case n.Type == "Strip":
			if n.StripLeft {
				steps = append(steps, "strip_left")
			}
			if n.StripRight {
				steps = append(steps, "strip_right")
			}
		case n.Type == "Prepend" && n.Prepend == space:
			steps = append(steps, "prepend")
		case n.Type == "Replace" && n.Pattern.String == " " && n.Content == space:
			steps = append(steps, "mark")
		case n.Type == "Replace" && n.Pattern.Regex == " {2,}" && n.Content == space:
			steps = append(steps, "spaces_to_mark")
		case n.Type == "Replace" && n.Pattern.Regex == " {2,}" && n.Content == " ":
			steps = append(steps, "spaces_to_space")
		default:
			return nil, nil, unsupported(tokenizerFile, "normalizer %q is not supported beside a Unigram model", n.Type)
		}
	}
	return steps, charsmap, nil
}

// unigramWords returns where a text gets a space in front, and where it is cut.
func (t *tokenizerJSON) unigramWords(steps []string) (prefix, words string, err error) {
	prefix, words = prefixNever, wordsWhole
	marked := false
	for _, step := range steps {
		marked = marked || step == "mark"
	}
	for i, p := range t.PreTokenizer.parts() {
		switch {
		case p.Type == "WhitespaceSplit" && i == 0:
			words = wordsBySpace
			continue
		case p.Type != "Metaspace" || p.Replacement != space || marked && i > 0:
			return "", "", unsupported(tokenizerFile, "pre_tokenizer %q is not supported beside a Unigram model", p.Type)
		case p.Split != nil && !*p.Split && words == wordsBySpace:
			return "", "", unsupported(tokenizerFile, "a Metaspace that does not split is not supported behind a WhitespaceSplit")
		case (p.Split == nil || *p.Split) && words == wordsWhole:
			words = wordsByMark
		}
		marked = true
		switch {
		case p.PrependScheme == "first":
			prefix = prefixFirst
		case p.PrependScheme == "always", p.PrependScheme == "" && (p.AddPrefixSpace == nil || *p.AddPrefixSpace):
			prefix = prefixAlways
		}
	}
	if !marked {
		return "", "", unsupported(tokenizerFile, "spaces are not written as %q", space)
	}
	return prefix, words, nil
}

// setUnigram makes v the vocabulary of a tokenizer.model whose model is a unigram one.
func (v *vocabulary) setUnigram(m *sentencepiece.ModelProto, s *special) error {
	n := m.GetNormalizerSpec()
	switch {
	case m.GetTrainerSpec().GetTreatWhitespaceAsSuffix():
		return unsupported(sentencePieceFile, "treat_whitespace_as_suffix is not supported")
	case !n.GetEscapeWhitespaces():
		return unsupported(sentencePieceFile, "spaces are not written as %q", space)
	}
	v.model, v.spacePrefix = "t5", prefixNever
	if n.GetAddDummyPrefix() && (s.addPrefixSpace == nil || *s.addPrefixSpace) {
		v.spacePrefix = prefixSegment
	}
	v.unigram = unigram{charsmap: n.GetPrecompiledCharsmap(), trims: n.GetRemoveExtraWhitespaces()}
	for id, t := range v.tokens {
		if t.kind == unknownToken {
			v.special["unknown"] = int64(id)
		}
	}
	return nil
}

// setUnigramKeys writes what a unigram tokenizer has beside tokens and scores.
func (v *vocabulary) setUnigramKeys(m *quant.Metadata) {
	u := v.unigram
	m.Set(extraKey, u.trims)
	if len(u.charsmap) > 0 {
		m.Set(charsmapKey, u.charsmap)
	}
	if u.imported {
		m.Set(normalizerKey, v.normalizer)
		m.Set(spacePrefixKey, v.spacePrefix)
		m.Set(wordsKey, u.words)
		if slices.ContainsFunc(u.scores, func(s float64) bool { return float64(float32(s)) != s }) {
			m.Set(scoresKey, u.scores)
		}
	}
}

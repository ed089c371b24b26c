package huggingface

import (
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// The types of tokens, by GGUF's numbers (tokenizer.ggml.token_type).
const (
	normalToken  = 1
	unknownToken = 2
	controlToken = 3 // special: matched in a text only where special tokens are asked for, and not shown
	userToken    = 4 // added, not special: always matched
	unusedToken  = 5
	byteToken    = 6
)

// token is one entry of the vocabulary.
type token struct {
	text  string
	kind  int32
	score float32 // SentencePiece and Unigram only
	match matching
}

// matching is how an added token is found in a text. GGUF has no keys for it, and llama.cpp knows no such rules; the keys
// are those that package tokenizer reads.
type matching struct {
	lstrip     bool // the white space before it belongs to it
	rstrip     bool // so does that behind it
	singleWord bool // it is found as a whole word only
	normalized bool // it is looked for in the normalized text
}

// The keys beside GGUF's own.
const (
	leftStripKey    = "lorikeet.tokenizer.lstrip"        // []int32: ids, as in the next three
	rightStripKey   = "lorikeet.tokenizer.rstrip"        //
	singleWordKey   = "lorikeet.tokenizer.single_word"   //
	normalizedKey   = "lorikeet.tokenizer.normalized"    //
	spacePrefixKey  = "lorikeet.tokenizer.space_prefix"  // string: one of the prefixes below
	normalizerKey   = "lorikeet.tokenizer.normalizer"    // string: "nfc" or "none", of a unigram tokenizer a list of steps
	ignoreMergesKey = "lorikeet.tokenizer.ignore_merges" // bool: a word that is a token is not merged from its parts
)

// Where a SentencePiece tokenizer puts a space that the text does not have.
const (
	prefixNever   = "never"
	prefixSegment = "segment" // before each text between added tokens
	prefixAlways  = "always"  // the same, unless the text begins with a space
	prefixFirst   = "first"   // before the beginning of the whole text, unless it begins with a space
)

// vocabulary is a tokenizer in GGUF's terms.
type vocabulary struct {
	model        string // tokenizer.ggml.model: "gpt2" is byte-level BPE, "llama" SentencePiece's BPE, "t5" its unigram
	pre          string // tokenizer.ggml.pre, of gpt2
	tokens       []token
	merges       []string
	spacePrefix  string // of llama and t5: where a space is put before a text, one of the prefixes
	normalizer   string // of gpt2: "nfc" or "none"; of t5: steps
	ignoreMerges bool   // of gpt2
	unigram      unigram
	byText       map[string]int64
	addBOS       bool
	addEOS       bool
	special      map[string]int64 // "bos", "eos", "unknown", "padding", where there is one
	ends         []int64          // tokens that end an answer, beside eos
	notes        []string
}

func (v *vocabulary) note(format string, args ...any) {
	v.notes = append(v.notes, fmt.Sprintf(format, args...))
}

// entry is a token as a file lists it.
type entry struct {
	id    int64
	token token
	added bool
}

// newVocabulary puts the entries of file in their places, of which there are as many as the embedding has lines.
// Places that no entry has are unused tokens. An added token beyond the embedding, which the model could not even
// read, is left out with a note.
func newVocabulary(file string, entries []entry, vocabSize int64) (*vocabulary, error) {
	v := &vocabulary{tokens: make([]token, vocabSize), byText: make(map[string]int64, len(entries)), special: map[string]int64{}}
	for _, e := range entries {
		switch {
		case e.id < 0:
			return nil, formatError(file, "token %q has the id %d", clip([]byte(e.token.text)), e.id)
		case e.id >= vocabSize && e.added:
			v.note("%s: token %q is left out: its id %d is beyond the embedding's %d rows", file, e.token.text, e.id, vocabSize)
			continue
		case e.id >= vocabSize:
			return nil, formatError(file, "token %q has the id %d, the embedding has %d rows", clip([]byte(e.token.text)), e.id, vocabSize)
		case e.token.text == "":
			continue // an unused place
		case !utf8.ValidString(e.token.text):
			return nil, formatError(file, "token %d is no UTF-8", e.id)
		}
		if other := v.tokens[e.id]; other.text != "" && (!e.added || other.text != e.token.text) {
			return nil, formatError(file, "tokens %q and %q have the id %d", clip([]byte(other.text)), clip([]byte(e.token.text)), e.id)
		}
		if other, twice := v.byText[e.token.text]; twice && other != e.id {
			return nil, formatError(file, "tokens %d and %d are both %q", other, e.id, clip([]byte(e.token.text)))
		}
		v.tokens[e.id], v.byText[e.token.text] = e.token, e.id
	}
	v.fill()
	return v, nil
}

// fill gives the places without a token texts of their own: two equal ones would end llama.cpp.
func (v *vocabulary) fill() {
	for id := range v.tokens {
		if v.tokens[id].text != "" {
			continue
		}
		text := fmt.Sprintf("[PAD%d]", id)
		for v.has(text) {
			text = "[" + text + "]"
		}
		v.tokens[id], v.byText[text] = token{text: text, kind: unusedToken, score: -math.MaxFloat32 / 2}, int64(id)
	}
}

func (v *vocabulary) has(text string) bool {
	_, ok := v.byText[text]
	return ok
}

// readVocabulary reads the tokenizer: tokenizer.json, which is what transformers itself uses first, or
// tokenizer.model. Where both describe the same SentencePiece tokenizer the scores come from the latter. pre names
// the pre-tokenizer where the file's own is not known; vocabSize is the number of lines of the embedding.
func readVocabulary(f *folder, c *config, pre string, vocabSize int64) (v *vocabulary, err error) {
	data, hasJSON, err := f.read(tokenizerFile, maxTokenizer)
	if err != nil {
		return nil, err
	}
	pieces, hasPieces, err := f.read(sentencePieceFile, maxTokenizer)
	if err != nil {
		return nil, err
	}
	s, err := readSpecial(f)
	if err != nil {
		return nil, err
	}
	var file *tokenizerJSON
	switch {
	case hasJSON:
		if file, err = parseTokenizer(data); err == nil {
			err = file.addTokens(s)
		}
		if err != nil {
			return nil, err
		}
		switch {
		case file.Model.Type == "Unigram":
			v, err = file.unigramVocabulary(vocabSize)
		case file.byteLevel():
			v, err = file.byteLevelVocabulary(pre, vocabSize)
		default:
			v, err = file.sentencePieceVocabulary(pieces, vocabSize)
		}
	case hasPieces:
		v, err = pieceVocabulary(pieces, s, vocabSize)
	default:
		return nil, fmt.Errorf("%w: neither %s nor %s is there", ErrFormat, tokenizerFile, sentencePieceFile)
	}
	if err != nil {
		return nil, err
	}
	return v, v.setSpecial(c, s, file)
}

// set writes the vocabulary's keys.
func (v *vocabulary) set(m *quant.Metadata) {
	texts, kinds, scores := make([]string, len(v.tokens)), make([]int32, len(v.tokens)), make([]float32, len(v.tokens))
	for i, t := range v.tokens {
		texts[i], kinds[i], scores[i] = t.text, t.kind, t.score
	}
	m.Set("tokenizer.ggml.model", v.model)
	if v.pre != "" {
		m.Set("tokenizer.ggml.pre", v.pre)
	}
	m.Set("tokenizer.ggml.tokens", texts)
	m.Set("tokenizer.ggml.token_type", kinds)
	switch v.model {
	case "llama", "t5":
		m.Set("tokenizer.ggml.scores", scores)
		m.Set("tokenizer.ggml.add_space_prefix", v.spacePrefix != prefixNever)
		if v.model == "llama" {
			m.Set(spacePrefixKey, v.spacePrefix)
		} else {
			v.setUnigramKeys(m)
		}
	default:
		m.Set("tokenizer.ggml.merges", v.merges)
		m.Set(normalizerKey, v.normalizer)
		m.Set(ignoreMergesKey, v.ignoreMerges)
	}
	v.setMatching(m)
	for _, name := range []string{"bos", "eos", "unknown", "padding"} {
		if id, ok := v.special[name]; ok {
			m.Set("tokenizer.ggml."+name+"_token_id", uint32(id))
		}
	}
	m.Set("tokenizer.ggml.add_bos_token", v.addBOS)
	m.Set("tokenizer.ggml.add_eos_token", v.addEOS)
	if len(v.ends) > 0 {
		ends := make([]int32, len(v.ends))
		for i, id := range v.ends {
			ends[i] = int32(id)
		}
		m.Set(quant.EndTokensKey, ends)
	}
}

// setMatching writes the ids of the added tokens that are not found simply where their text stands.
func (v *vocabulary) setMatching(m *quant.Metadata) {
	for _, rule := range []struct {
		key string
		has func(matching) bool
	}{
		{leftStripKey, func(x matching) bool { return x.lstrip }},
		{rightStripKey, func(x matching) bool { return x.rstrip }},
		{singleWordKey, func(x matching) bool { return x.singleWord }},
		{normalizedKey, func(x matching) bool { return x.normalized }},
	} {
		var ids []int32
		for id, t := range v.tokens {
			if rule.has(t.match) {
				ids = append(ids, int32(id))
			}
		}
		if len(ids) > 0 {
			m.Set(rule.key, ids)
		}
	}
}

package tokenizer

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// ErrUnsupported is the error of a file whose tokenizer is of a kind that this package does not have.
var ErrUnsupported = errors.New("tokenizer is not supported")

// ErrFormat is the error of a file whose tokenizer metadata contradict themselves.
var ErrFormat = errors.New("tokenizer metadata are not valid")

// Token is an index into the vocabulary.
type Token = int32

// none stands for a special token that the vocabulary does not have.
const none Token = -1

// kind is what a token is, by GGUF's numbers (tokenizer.ggml.token_type).
type kind int32

const (
	normal      kind = 1
	unknown     kind = 2
	control     kind = 3 // matched in a text where special tokens are asked for, and has no bytes where they are not
	userDefined kind = 4 // always matched in a text before everything else
	unused      kind = 5
	byteToken   kind = 6
)

// The limits of a vocabulary. The longest published token has some 300 bytes, the largest vocabulary 262,400 tokens.
const (
	maxTokens     = 1 << 22
	maxTokenBytes = 1 << 16
	maxTextBytes  = 1 << 30 // of all tokens together
)

// vocabulary is what a file says of its tokens.
type vocabulary struct {
	texts  []string
	kinds  []kind
	scores []float32 // nil where the file has none
	ids    map[string]Token
}

// readVocabulary reads the tokens. The strings stay the metadata's.
func readVocabulary(m *quant.Metadata) (*vocabulary, error) {
	texts, ok := m.Strings("tokenizer.ggml.tokens")
	if !ok || len(texts) == 0 {
		return nil, fmt.Errorf("%w: tokenizer.ggml.tokens is missing", ErrFormat)
	}
	if len(texts) > maxTokens {
		return nil, fmt.Errorf("%w: tokenizer.ggml.tokens has %d entries, at most %d are read", ErrFormat, len(texts), maxTokens)
	}
	total := 0
	v := &vocabulary{texts: texts, kinds: make([]kind, len(texts)), ids: make(map[string]Token, len(texts))}
	for i, text := range texts {
		if len(text) > maxTokenBytes {
			return nil, fmt.Errorf("%w: token %d has %d bytes, at most %d are read", ErrFormat, i, len(text), maxTokenBytes)
		}
		if total += len(text); total > maxTextBytes {
			return nil, fmt.Errorf("%w: the texts of tokenizer.ggml.tokens have more than %d bytes", ErrFormat, maxTextBytes)
		}
		v.kinds[i] = normal
		if text == "" {
			v.kinds[i] = unused // llama.cpp gives it a text of its own
			continue
		}
		if other, twice := v.ids[text]; twice {
			return nil, fmt.Errorf("%w: tokens %d and %d are both %q", ErrFormat, other, i, text)
		}
		v.ids[text] = Token(i)
	}
	if kinds, ok := m.Ints("tokenizer.ggml.token_type"); ok {
		if len(kinds) != len(texts) {
			return nil, fmt.Errorf("%w: tokenizer.ggml.token_type has %d entries for %d tokens", ErrFormat, len(kinds), len(texts))
		}
		for i, k := range kinds {
			v.kinds[i] = kind(k)
			if k < int64(normal) || k > int64(byteToken) || texts[i] == "" {
				v.kinds[i] = unused
			}
		}
	}
	if err := v.readScores(m); err != nil {
		return nil, err
	}
	v.overrideKinds()
	return v, nil
}

func (v *vocabulary) readScores(m *quant.Metadata) error {
	value, ok := m.Get("tokenizer.ggml.scores")
	if !ok {
		return nil
	}
	scores, ok := value.([]float32)
	if !ok || len(scores) != len(v.texts) {
		return fmt.Errorf("%w: tokenizer.ggml.scores must be %d numbers of 32 bits", ErrFormat, len(v.texts))
	}
	for i, s := range scores {
		if math.IsNaN(float64(s)) {
			return fmt.Errorf("%w: the score of token %d, %q, is not a number", ErrFormat, i, v.texts[i])
		}
	}
	v.scores = scores
	return nil
}

// controlTexts are texts that llama.cpp takes for control tokens whatever type the file gives them: the ends of
// answers and turns, and the marks of code infilling. A text that a user wrote must not be able to contain them.
var controlTexts = strings.Fields(`<|eot_id|> <|im_end|> <|end|> <end_of_turn> <|endoftext|> <|end_of_text|> <EOT> _<EOT>
	<｜end▁of▁sentence｜> <end_of_utterance> <|eom_id|> <|return|> <|call|>
	<|fim_prefix|> <fim-prefix> <fim_prefix> <｜fim▁begin｜> <PRE> ▁<PRE> <|code_prefix|>
	<|fim_suffix|> <fim-suffix> <fim_suffix> <｜fim▁hole｜> <SUF> ▁<SUF> <|code_suffix|>
	<|fim_middle|> <fim-middle> <fim_middle> <｜fim▁end｜> <MID> ▁<MID> <|code_middle|>
	<|fim_pad|> <fim-pad> <fim_pad> <PAD> <|fim_repo|> <|repo_name|> <fim-repo> <REPO> <reponame> <|file_sep|>`)

// shownTexts are those that llama.cpp always shows: the parts of the format of gpt-oss.
var shownTexts = []string{"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"}

// overrideKinds does what llama.cpp does, so that both agree on which tokens have bytes.
func (v *vocabulary) overrideKinds() {
	set := func(text string, k kind) {
		if id, ok := v.ids[text]; ok {
			v.kinds[id] = k
		}
	}
	for _, text := range controlTexts {
		set(text, control)
	}
	for _, text := range shownTexts {
		set(text, userDefined)
	}
	_, returns := v.ids["<|return|>"]
	_, calls := v.ids["<|call|>"]
	if returns && calls {
		set("<|end|>", userDefined)
	}
}

// token reads the key of a special token. Where the file has none or one beyond the vocabulary, it is missing.
func (v *vocabulary) token(m *quant.Metadata, key string, missing Token) Token {
	if id, ok := m.Uint("tokenizer.ggml." + key); ok && id < uint64(len(v.texts)) {
		return Token(id)
	}
	if int(missing) >= len(v.texts) {
		return none
	}
	return missing
}

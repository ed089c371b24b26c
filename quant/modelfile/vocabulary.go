package modelfile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	maxTokens      = 1 << 24
	maxTokenLength = 64 << 10 // bytes

	typeByte = 6 // LLAMA_TOKEN_TYPE_BYTE
)

// special are the ids that llama.cpp takes where the file gives none, by tokenizer.ggml.model; -1: none.
type special struct{ bos, eos, unk, sep, pad, mask int }

var specials = map[string]special{
	"llama":  {1, 2, 0, -1, -1, -1},
	"gpt2":   {11, 11, -1, -1, -1, -1},
	"bert":   {101, -1, 100, 102, 0, 103},
	"t5":     {-1, 1, 2, -1, 0, -1},
	"rwkv":   {-1, -1, -1, -1, -1, -1},
	"plamo2": {1, 2, 0, -1, 3, -1},
}

// checkVocabulary checks the tokenizer.ggml keys.
func (c *checker) checkVocabulary() error {
	v, _ := c.metadata.Get("tokenizer.ggml.model")
	model, ok := v.(string)
	if !ok {
		return errors.New(`key "tokenizer.ggml.model" is missing or no string`)
	}
	if model == "none" || model == "no_vocab" {
		n, _, err := c.uint32("vocab_size")
		if err != nil {
			return err
		}
		return c.checkEmbeddings(int(n), c.key("vocab_size"))
	}
	defaults, ok := specials[model]
	if !ok {
		return fmt.Errorf("tokenizer.ggml.model is %q, which is unknown", model)
	}
	tokens, ok := c.metadata.Strings("tokenizer.ggml.tokens")
	switch {
	case !ok:
		return errors.New(`key "tokenizer.ggml.tokens" is missing or no array of strings`)
	case len(tokens) == 0 || len(tokens) > maxTokens:
		return fmt.Errorf("tokenizer.ggml.tokens has %d tokens, it must have from 1 to %d", len(tokens), maxTokens)
	}
	if err := checkTokens(tokens); err != nil {
		return err
	}
	return errors.Join(
		c.checkScoresAndTypes(model, tokens), c.checkMerges(model), c.checkSpecial(defaults, len(tokens)),
		c.checkCharsmap(), c.checkEmbeddings(len(tokens), "tokenizer.ggml.tokens"))
}

// checkTokens checks that no two texts are equal. llama.cpp ends a text at its first zero byte, gives an empty one a
// name, and asserts that all are different then.
func checkTokens(tokens []string) error {
	ids := make(map[string]int, len(tokens))
	for i, text := range tokens {
		if len(text) > maxTokenLength {
			return fmt.Errorf("tokenizer.ggml.tokens: token %d has %d bytes, more than %d", i, len(text), maxTokenLength)
		}
		text, _, _ = strings.Cut(text, "\x00")
		if text == "" {
			text = fmt.Sprintf("[EMPTY_%d]", i)
		}
		if first, ok := ids[text]; ok {
			return fmt.Errorf("tokenizer.ggml.tokens: tokens %d and %d are both %q", first, i, text)
		}
		ids[text] = i
	}
	return nil
}

// checkScoresAndTypes checks the arrays that have a value for each token. llama.cpp reads them without looking at
// their length or type.
func (c *checker) checkScoresAndTypes(model string, tokens []string) error {
	if v, ok := c.metadata.Get("tokenizer.ggml.scores"); ok {
		scores, ok := v.([]float32)
		if !ok || len(scores) < len(tokens) {
			return fmt.Errorf("tokenizer.ggml.scores is not an array of %d float32, one for each token", len(tokens))
		}
		for i, x := range scores {
			if x != x { //nolint:staticcheck // only NaN differs from itself
				return fmt.Errorf("tokenizer.ggml.scores: the score of token %d is no number", i)
			}
		}
	}
	v, ok := c.metadata.Get("tokenizer.ggml.token_type")
	if !ok {
		return nil
	}
	kinds, _ := c.metadata.Ints("tokenizer.ggml.token_type")
	if !isInt32Array(v) || len(kinds) < len(tokens) {
		return fmt.Errorf("tokenizer.ggml.token_type is not an array of %d 32-bit integers, one for each token", len(tokens))
	}
	for i, text := range tokens {
		if kinds[i] == typeByte && model != "gpt2" && model != "rwkv" && !isByteToken(text) {
			return fmt.Errorf("tokenizer.ggml.tokens: token %d is %q, but its type says that it is a byte such as <0x0A>", i, text)
		}
	}
	return nil
}

// isByteToken reports whether text is "<0x", two hexadecimal digits and ">".
func isByteToken(text string) bool {
	digits, ok := strings.CutPrefix(text, "<0x")
	digits, ok2 := strings.CutSuffix(digits, ">")
	return ok && ok2 && len(digits) == 2 && strings.Trim(digits, "0123456789abcdefABCDEF") == ""
}

// checkMerges checks that each merge has two texts. They and what they make need not be tokens: published models have
// merges whose result is an added token of another spelling, and llama.cpp then takes the bytes.
func (c *checker) checkMerges(model string) error {
	v, ok := c.metadata.Get("tokenizer.ggml.merges")
	if !ok {
		if model == "gpt2" {
			return errors.New(`key "tokenizer.ggml.merges" is missing`)
		}
		return nil
	}
	merges, ok := v.([]string)
	if !ok {
		return fmt.Errorf("tokenizer.ggml.merges is of type %T, it must be an array of strings", v)
	}
	if model != "gpt2" {
		return nil // nothing reads them
	}
	for i, m := range merges {
		at := -1
		if m != "" {
			at = strings.IndexByte(m[1:], ' ')
		}
		if at < 0 {
			return fmt.Errorf("tokenizer.ggml.merges: merge %d is %q, which is not two texts with a space between them", i, m)
		}
	}
	return nil
}

// checkSpecial checks the ids of the special tokens as llama.cpp will have them: its defaults may lie outside a small
// vocabulary, and it reads the texts of these tokens without looking.
func (c *checker) checkSpecial(s special, tokens int) error {
	if pre, _ := c.metadata.String("tokenizer.ggml.pre"); pre == "glm4" || pre == "chatglm-bpe" {
		s.bos = -1
	}
	ids := map[string]*int{
		"bos_token_id": &s.bos, "eos_token_id": &s.eos, "unknown_token_id": &s.unk, "seperator_token_id": &s.sep, //nolint:misspell // GGUF spells the key so
		"padding_token_id": &s.pad, "mask_token_id": &s.mask, "eot_token_id": new(int), "eom_token_id": new(int),
	}
	required := []string{"bos_token_id", "eos_token_id", "eot_token_id", "eom_token_id"}
	for name, id := range ids {
		key := "tokenizer.ggml." + name
		v, ok := c.metadata.Get(key)
		given, isUint32 := v.(uint32)
		switch {
		case !ok && *id >= tokens:
			return fmt.Errorf("key %q is missing, and its default %d lies outside the %d tokens", key, *id, tokens)
		case !ok:
		case !isUint32:
			return fmt.Errorf("%s is of type %T, it must be uint32", key, v)
		case int64(given) < int64(tokens):
			*id = int(given)
		case *id >= tokens || slices.Contains(required, name): // for the others llama.cpp warns and takes the default
			return fmt.Errorf("%s is %d, the vocabulary has %d tokens", key, given, tokens)
		}
	}
	for name, id := range map[string]int{"add_bos_token": s.bos, "add_eos_token": s.eos, "add_sep_token": s.sep} {
		key := "tokenizer.ggml." + name
		v, ok := c.metadata.Get(key)
		add, isBool := v.(bool)
		switch {
		case ok && !isBool:
			return fmt.Errorf("%s is of type %T, it must be bool", key, v)
		case add && id < 0:
			return fmt.Errorf("%s is true, but the file names no such token", key)
		}
	}
	return nil
}

// checkCharsmap checks the normalizer of Unigram tokenizers: its length, its two parts and its last zero byte.
func (c *checker) checkCharsmap() error {
	const key = "tokenizer.ggml.precompiled_charsmap"
	v, ok := c.metadata.Get(key)
	if !ok {
		return nil
	}
	var data []byte
	switch v := v.(type) {
	case []uint8:
		data = v
	case []int8:
		for _, b := range v {
			data = append(data, byte(b))
		}
	default:
		return fmt.Errorf("%s is of type %T, it must be an array of bytes", key, v)
	}
	if len(data) == 0 {
		return nil
	}
	if len(data) < 5 || data[len(data)-1] != 0 {
		return fmt.Errorf("%s has %d bytes and no table that ends in a zero byte", key, len(data))
	}
	table := int64(data[0]) | int64(data[1])<<8 | int64(data[2])<<16 | int64(data[3])<<24
	if table%4 != 0 || table+4 >= int64(len(data)) {
		return fmt.Errorf("%s states a table of %d bytes, it has %d bytes in all", key, table, len(data))
	}
	return nil
}

// checkEmbeddings checks that the vocabulary has as many tokens as the embedding matrix has lines.
func (c *checker) checkEmbeddings(tokens int, key string) error {
	for _, name := range []string{"token_embd.weight", "output.weight"} {
		t, ok := c.byName[name]
		switch {
		case !ok && name == "token_embd.weight":
			return fmt.Errorf("tensor %q is missing", name)
		case ok && len(t.Dims) != 2:
			return fmt.Errorf("tensor %q has dimensions %v, it must have two", name, t.Dims)
		case ok && t.Dims[0] != c.embedding:
			return fmt.Errorf("tensor %q has dimensions %v, but %s is %d", name, t.Dims, c.key("embedding_length"), c.embedding)
		case ok && t.Dims[1] != int64(tokens):
			return fmt.Errorf("tensor %q has embeddings for %d tokens, but %s gives %d", name, t.Dims[1], key, tokens)
		}
	}
	return nil
}

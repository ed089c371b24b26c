package huggingface

import (
	"fmt"
	"strings"
)

// The expressions that tokenizer.json files split texts by, with the names llama.cpp has for them. Its own copies
// are written for another engine; these are the files'.
const (
	contractions = `(?i:'s|'t|'re|'ve|'m|'ll|'d)`
	words        = `|[^\r\n\p{L}\p{N}]?\p{L}+|`
	others       = `| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

	llama3Split = contractions + words + `\p{N}{1,3}` + others
	qwen2Split  = contractions + words + `\p{N}` + others

	upper       = `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`
	lower       = `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`
	one         = `[^\r\n\p{L}\p{N}]?`
	slashed     = `| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	tekkenSplit = one + upper + `*` + lower + `+|` + one + upper + `+` + lower + `*|\p{N}` + slashed
	gpt4oSplit  = one + upper + `*` + lower + `+` + contractions + `?|` + one + upper + `+` + lower + `*` + contractions + `?|\p{N}{1,3}` + slashed
)

// preTokenizers maps what a tokenizer.json does before its merges to tokenizer.ggml.pre.
var preTokenizers = map[string]string{
	"bytes(split)":                     "gpt-2",
	"digits, bytes(split)":             "smollm",
	"split " + qwen2Split + ", bytes":  "qwen2",
	"split " + tekkenSplit + ", bytes": "tekken",
	"split " + gpt4oSplit + ", bytes":  "gpt-4o",
}

// preTokenizer returns the name that llama.cpp has for the file's pre-tokenizer. A wrong one would give other
// tokens without a word, so that an unknown one is an error.
func (t *tokenizerJSON) preTokenizer() (string, error) {
	var steps []string
	for _, p := range t.PreTokenizer.parts() {
		step, err := p.step()
		if err != nil {
			return "", err
		}
		steps = append(steps, step)
	}
	signature := strings.Join(steps, ", ")
	if signature == "split "+llama3Split+", bytes" {
		// The same expression has two names: with the first a word that is a token is not merged from its parts.
		if t.Model.IgnoreMerges {
			return "llama-bpe", nil
		}
		return "dbrx", nil
	}
	if name, ok := preTokenizers[signature]; ok {
		return name, nil
	}
	return "", unsupported(tokenizerFile, "pre_tokenizer (%s) is none that llama.cpp is known to have; if you know its name there, give it with --pre-tokenizer", signature)
}

// step is one part of a pre-tokenizer in a few words.
func (c *component) step() (string, error) {
	switch c.Type {
	case "ByteLevel":
		if c.AddPrefixSpace != nil && *c.AddPrefixSpace {
			return "", unsupported(tokenizerFile, "pre_tokenizer: add_prefix_space is true")
		}
		if c.UseRegex == nil || *c.UseRegex {
			return "bytes(split)", nil
		}
		return "bytes", nil
	case "Digits":
		if c.Individual {
			return "digits", nil
		}
	case "Split":
		if c.Pattern.Regex != "" && (c.Behavior == "Isolated" || c.Behavior == "Removed" && c.Invert) {
			return "split " + c.Pattern.Regex, nil
		}
		return fmt.Sprintf("split(%s, invert %t) %s%s", c.Behavior, c.Invert, c.Pattern.Regex, c.Pattern.String), nil
	}
	return c.Type, nil
}

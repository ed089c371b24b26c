package tokenizer

import (
	"fmt"
	"slices"
)

// family is how the tokenizers of one family of byte-level BPE models treat a text before the merges.
type family struct {
	name         string
	splitters    []splitter
	ignoreMerges bool // a word that is a token is that token, whatever the merges say
	nfc          bool // the text is put into Unicode's form NFC first
	addBOS       bool // where the file does not say
	original     bool // the published tokenizer.json files of the family are known, and ours is tested to equal them
}

// families maps tokenizer.ggml.pre to a family. The names are those that llama.cpp knows; which expression belongs to
// a name is a published fact where original is true, and llama.cpp's word for it where it is false.
func families() map[string]*family {
	c := newClassifier()
	gpt2 := isolate(c.gpt2Words)
	digits := isolate(c.each(numeric))
	gpt4 := func(r wordRule) []splitter { return []splitter{isolate(c.words(r))} }
	llama3 := gpt4(wordRule{digits: 3, tail: "\r\n"})
	qwen2 := gpt4(wordRule{digits: 1, tail: "\r\n"})
	tekken := gpt4(wordRule{digits: 1, tail: "\r\n/", cased: true})
	gpt4o := gpt4(wordRule{digits: 3, tail: "\r\n/", cased: true, suffix: true})
	deepseek3 := []splitter{isolate(c.upTo(number, 3)), isolate(among(deepseek3CJK)), isolate(c.deepseekWords)}
	bloom := []splitter{isolate(c.bloomWords)}

	all := map[string]*family{}
	add := func(f family, names ...string) {
		for _, name := range names {
			all[name] = &f
		}
	}
	add(family{name: "gpt-2", splitters: []splitter{gpt2}, original: true}, "gpt-2", "phi-2", "jais")
	add(family{name: "gpt-2 with NFC", splitters: []splitter{gpt2}, nfc: true, original: true}, "olmo", "mpt")
	add(family{name: "gpt-2", splitters: []splitter{gpt2}}, "jina-es", "jina-de", "jina-v1-en", "jina-v2-es", "jina-v2-de",
		"jina-v2-code", "roberta-bpe", "gigachat", "a.x-4.0", "mellum", "exaone4", "trillion", "granite-docling")
	add(family{name: "llama-3", splitters: llama3, ignoreMerges: true, addBOS: true, original: true}, "llama3", "llama-v3", "llama-bpe")
	add(family{name: "llama-3", splitters: llama3, ignoreMerges: true, addBOS: true}, "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2")
	add(family{name: "gpt-4", splitters: llama3, original: true}, "dbrx", "smaug-bpe", "glm4", "chatglm-bpe")
	add(family{name: "qwen-2", splitters: qwen2, nfc: true, original: true}, "qwen2")
	add(family{name: "qwen-2", splitters: qwen2, nfc: true}, "deepseek-r1-qwen", "megrez", "kormo")
	add(family{name: "qwen-2 without NFC", splitters: qwen2}, "stablelm2", "hunyuan", "grok-2", "bailingmoe", "bailingmoe2", "llada-moe")
	add(family{name: "seed-coder", splitters: gpt4(wordRule{digits: 1})}, "seed-coder")
	add(family{name: "tekken", splitters: tekken, ignoreMerges: true, addBOS: true, original: true}, "tekken")
	add(family{name: "gpt-4o", splitters: gpt4o, original: true}, "gpt-4o", "llama4")
	add(family{name: "gpt-4o", splitters: gpt4o}, "minimax-m2")
	add(family{name: "kimi-k2", splitters: gpt4(wordRule{digits: 3, tail: "\r\n", cased: true, suffix: true, noHan: true})}, "kimi-k2")
	add(family{name: "starcoder", splitters: []splitter{digits, gpt2}, original: true}, "starcoder", "smollm", "refact")
	add(family{name: "starcoder", splitters: []splitter{digits, gpt2}}, "codeshell", "exaone", "minerva-7b")
	add(family{name: "starcoder with NFC", splitters: []splitter{digits, gpt2}, nfc: true, original: true}, "command-r")
	add(family{name: "falcon", splitters: []splitter{isolate(c.all(pointed)), gpt2, mappedDigits, isolate(threeDigits)}, original: true}, "falcon")
	add(family{name: "deepseek-llm", splitters: []splitter{isolate(c.each(lineBreak)), isolate(c.spacedAmong(deepseekLetters)),
		isolate(c.spacedAmong(deepseekMarks)), c.trailingSpace, isolate(among(deepseekCJK)), digits}, original: true}, "deepseek-llm")
	add(family{name: "deepseek-coder", splitters: []splitter{isolate(c.each(lineBreak)), isolate(c.spaced(letter)),
		isolate(c.spaced(punctuation)), isolate(among(deepseekCJK)), digits}, original: true}, "deepseek-coder")
	add(family{name: "deepseek-v3", splitters: deepseek3, original: true}, "deepseek-v3")
	add(family{name: "deepseek-v3", splitters: deepseek3}, "hunyuan-dense")
	add(family{name: "afmoe", splitters: []splitter{c.threesFromRight(number, false), isolate(among(afmoeCJK)), isolate(c.deepseekWords)}}, "afmoe")
	add(family{name: "bloom", splitters: bloom, original: true}, "bloom")
	add(family{name: "bloom", splitters: bloom}, "poro-chat", "gpt3-finnish")
	add(family{name: "viking", splitters: append(slices.Clone(bloom), isolate(c.each(number)))}, "viking")
	add(family{name: "superbpe", splitters: []splitter{isolate(c.all(number)), c.threesFromRight(digit, true)}}, "superbpe")
	add(family{name: "chameleon", splitters: []splitter{isolate(sentinel), isolate(imageToken), isolate(indent), isolate(c.each(number)),
		isolate(oneOf(c.punctuationOr("$+<=>^`|~"))), gpt2}, addBOS: true}, "chameleon")
	add(family{name: "default", splitters: []splitter{isolate(among(c.punctuationOr("$+<=>^|~"))), gpt2, isolate(c.all(number)), isolate(threeDigits)}}, "default")
	return all
}

// familyOf returns the family that tokenizer.ggml.pre names; a file without one has llama.cpp's default.
func familyOf(pre string) (*family, error) {
	if pre == "" {
		pre = "default"
	}
	all := families()
	if f, ok := all[pre]; ok {
		return f, nil
	}
	return nil, fmt.Errorf("%w: tokenizer.ggml.pre %q is not a known pre-tokenizer", ErrUnsupported, pre)
}

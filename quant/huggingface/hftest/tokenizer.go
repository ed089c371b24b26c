package hftest

import "fmt"

// Tokenizer is a byte-level BPE: 256 bytes in GPT-2's order, the results of the merges, and special tokens.
type Tokenizer struct {
	Vocab        map[string]int
	Merges       [][2]string
	Special      []string // added tokens, the first behind the vocabulary
	PreTokenizer any      // nil: GPT-2's
	Template     string
	EOS          string
}

// Alphabet returns GPT-2's characters of the bytes 0 to 255: printable ones stand for themselves.
func Alphabet() []string {
	out := make([]string, 256)
	next := 256
	for b := range 256 {
		if b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae {
			out[b] = string(rune(b))
			continue
		}
		out[b] = string(rune(next))
		next++
	}
	return out
}

// Bytes is a tokenizer of the random models: bytes, one merge and three special tokens.
func Bytes() *Tokenizer {
	t := &Tokenizer{Vocab: map[string]int{}, Special: []string{"<|begin|>", "<|end|>", "<|user|>"}, EOS: "<|end|>"}
	for b, text := range Alphabet() {
		t.Vocab[text] = b
	}
	t.Merges = [][2]string{{"h", "e"}}
	t.Vocab["he"] = 256
	return t
}

// Files returns tokenizer.json and tokenizer_config.json.
func (t *Tokenizer) Files() map[string][]byte {
	merges := make([]string, len(t.Merges))
	for i, m := range t.Merges {
		merges[i] = m[0] + " " + m[1]
	}
	added := make([]map[string]any, len(t.Special))
	for i, text := range t.Special {
		added[i] = map[string]any{"id": len(t.Vocab) + i, "content": text, "special": true, "lstrip": false, "rstrip": false, "single_word": false, "normalized": false}
	}
	pre := t.PreTokenizer
	if pre == nil {
		pre = map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
	}
	config := map[string]any{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": t.EOS, "bos_token": nil}
	if t.Template != "" {
		config["chat_template"] = t.Template
	}
	return map[string][]byte{
		"tokenizer.json": JSON(map[string]any{
			"version": "1.0", "added_tokens": added, "normalizer": nil, "pre_tokenizer": pre, "post_processor": nil,
			"decoder": map[string]any{"type": "ByteLevel"},
			"model":   map[string]any{"type": "BPE", "vocab": t.Vocab, "merges": merges, "byte_fallback": false},
		}),
		"tokenizer_config.json": JSON(config),
	}
}

// checkVocab errs where the ids are not 0 to n-1.
func checkVocab(v map[string]int) error {
	seen := make([]bool, len(v))
	for text, id := range v {
		if id < 0 || id >= len(v) || seen[id] {
			return fmt.Errorf("token %q has the id %d", text, id)
		}
		seen[id] = true
	}
	return nil
}

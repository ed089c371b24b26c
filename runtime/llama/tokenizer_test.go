//go:build cgo && linux

package llama

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/demo"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime/llama/llamatest"
	"github.com/lorikeet-ai/lorikeet/tokenizer"
)

// openVocab writes a file of metadata alone and opens it with llama.cpp and with package tokenizer.
func openVocab(t *testing.T, m *quant.Metadata) (*llamatest.Vocab, *tokenizer.Tokenizer) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vocabulary.gguf")
	if err := quant.WriteFile(path, m, nil, nil); err != nil {
		t.Fatal(err)
	}
	theirs, err := llamatest.OpenVocab(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(theirs.Close)
	ours, err := tokenizer.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return theirs, ours
}

// plainTexts are texts of what llama.cpp's own expressions read as the original ones do: no combining marks, cased
// letters of ASCII alone, no invalid bytes, and no characters that only one of the two knows. They are short.
func plainTexts(n int) []string {
	rnd := rand.New(rand.NewPCG(21, 21))
	parts := []string{
		"the", " and", "Hello", " World", "don't", "'s", "I'LL", "it's", "x", "y", "Ab", "aBC", "HTTP", "123", "7", " 42", "1234567", "3.14",
		" ", "  ", "   ", "\n", "\n\n", "\r\n", " \n", "\t", "!", "?!", "...", " --", "(a)", "[b]", "{}", "<|x|>", "<|x|", "<think>", "<th",
		"http://", "/*", "*/\n", "日本語", "你好", "한국어", "カタカナ", "é", "ñandú", "über", "привет", "мир", "😀", "👍", "€", "©", "½", "²",
	}
	texts := make([]string, n)
	for i := range texts {
		for range rnd.IntN(10) {
			texts[i] += parts[rnd.IntN(len(parts))]
		}
	}
	return texts
}

// byteLevelFile is a byte-level BPE that merges common pairs of the texts.
func byteLevelFile(pre string, texts []string) *quant.Metadata {
	letter := func(b byte) string {
		switch r := rune(b); {
		case b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae:
			return string(r)
		case b <= ' ':
			return string(0x100 + r)
		case b <= 0xa0:
			return string(0x121 + r - 0x7f)
		}
		return string(rune(0x143))
	}
	var tokens, merges []string
	for b := range 256 {
		tokens = append(tokens, letter(byte(b)))
	}
	words := make([][]string, len(texts))
	for i, text := range texts {
		for _, b := range []byte(text) {
			words[i] = append(words[i], letter(b))
		}
	}
	for range 400 { // plain BPE training
		counts := map[[2]string]int{}
		for _, w := range words {
			for i := range len(w) - 1 {
				counts[[2]string{w[i], w[i+1]}]++
			}
		}
		var best [2]string
		for pair, n := range counts {
			if c := counts[best]; n > c || n == c && (pair[0]+pair[1] < best[0]+best[1] || best[0] == "") {
				best = pair
			}
		}
		merged := best[0] + best[1]
		if slices.Contains(tokens, merged) || strings.Contains(merged, "<") {
			for i := range words { // never merged again
				for j := 0; j+1 < len(words[i]); j++ {
					if words[i][j] == best[0] && words[i][j+1] == best[1] {
						words[i] = words[i][:j]
						break
					}
				}
			}
			continue
		}
		tokens, merges = append(tokens, merged), append(merges, best[0]+" "+best[1])
		for i, w := range words {
			out := w[:0]
			for j := 0; j < len(w); j++ {
				if j+1 < len(w) && w[j] == best[0] && w[j+1] == best[1] {
					out = append(out, merged)
					j++
					continue
				}
				out = append(out, w[j])
			}
			words[i] = out
		}
	}
	kinds := slices.Repeat([]int32{1}, len(tokens))
	tokens, kinds = append(tokens, "<|x|>", "<think>", "[PAD9]"), append(kinds, 3, 4, 5)
	m := &quant.Metadata{}
	m.Set("general.architecture", "llama")
	m.Set("tokenizer.ggml.model", "gpt2")
	m.Set("tokenizer.ggml.pre", pre)
	m.Set("tokenizer.ggml.tokens", tokens)
	m.Set("tokenizer.ggml.token_type", kinds)
	m.Set("tokenizer.ggml.merges", merges)
	m.Set("tokenizer.ggml.bos_token_id", uint32(len(tokens)-3))
	m.Set("tokenizer.ggml.eos_token_id", uint32(len(tokens)-3))
	return m
}

// TestTokenizerAgainstLlamaCPP compares package tokenizer with llama.cpp's own tokenizer where that does what the
// original library does. Two families are missing: in falcon's original, digits are looked for in the letters of bytes, so
// that the ü of über is cut (C3 BC, and BC is ¼); and llama.cpp takes a kimi-k2 word of mixed case for one.
func TestTokenizerAgainstLlamaCPP(t *testing.T) {
	texts := plainTexts(2000)
	for _, pre := range []string{"gpt-2", "olmo", "llama-bpe", "dbrx", "qwen2", "tekken", "gpt-4o", "smollm", "starcoder", "command-r", "bloom",
		"deepseek-coder", "deepseek-v3", "default", "chatglm-bpe", "hunyuan", "seed-coder", "viking", "bailingmoe"} {
		t.Run(pre, func(t *testing.T) {
			theirs, ours := openVocab(t, byteLevelFile(pre, texts[:400]))
			sameTokens(t, theirs, ours, texts)
		})
	}
}

// TestDemoTokenizer compares them on the embedded base.
func TestDemoTokenizer(t *testing.T) {
	file, err := quant.Read(strings.NewReader(string(demo.Base())), int64(len(demo.Base())))
	if err != nil {
		t.Fatal(err)
	}
	m := file.Metadata.Clone()
	m.Set("general.architecture", "llama")
	theirs, ours := openVocab(t, &m)
	sameTokens(t, theirs, ours, plainTexts(5000))
}

func sameTokens(t *testing.T, theirs *llamatest.Vocab, ours *tokenizer.Tokenizer, texts []string) {
	t.Helper()
	wrong := 0
	for _, text := range texts {
		for _, special := range []bool{false, true} {
			want := theirs.Tokenize(text, true, special)
			got, err := ours.Tokenize(context.Background(), text, true, special)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, want) {
				if wrong++; wrong <= 3 {
					t.Errorf("%+q (special %t): got %d, want %d", text, special, got, want)
				}
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d texts have other tokens", wrong, 2*len(texts))
	}
	for id := range int32(ours.Size()) {
		for _, special := range []bool{false, true} {
			if got, want := string(ours.Piece(id, special)), theirs.Piece(id, special); got != want {
				t.Errorf("token %d (special %t) is %q, want %q", id, special, got, want)
			}
		}
	}
}

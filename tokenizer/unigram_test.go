package tokenizer_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/tokenizer"
)

// unigramVocabulary has parts of texts with scores as logarithms of probabilities are, some of them equal. The unknown
// token is the first, and has as do bytes a score of 0.
type unigramVocabulary struct {
	texts  []string
	kinds  []int32
	scores []float32
}

func newUnigramVocabulary(corpus []string, size int, bytes bool) *unigramVocabulary {
	rnd := rand.New(rand.NewPCG(31, 31))
	v := &unigramVocabulary{}
	p := newPieceVocabulary(corpus, size)
	for i, text := range p.texts {
		score := float32(0)
		switch {
		case p.kinds[i] == 6 && !bytes:
			continue
		case p.kinds[i] == 1:
			score = -float32(2048+rnd.IntN(9000)) / 1024 // tokenizers reads numbers of more digits with an error in the last
			if i%3 == 0 {
				score = -float32(2 + i%9)
			}
		}
		v.texts, v.kinds, v.scores = append(v.texts, text), append(v.kinds, p.kinds[i]), append(v.scores, score)
	}
	return v
}

// file is the vocabulary as a GGUF file has it, with added tokens behind it.
func (v *unigramVocabulary) file(added []object) *quant.Metadata {
	p := &pieceVocabulary{texts: v.texts, kinds: v.kinds, scores: v.scores}
	m := p.file(added, false)
	m.Set("tokenizer.ggml.model", "t5")
	m.Set("tokenizer.ggml.unknown_token_id", uint32(0))
	return m
}

// request is the vocabulary as tokenizer.json has it.
func (v *unigramVocabulary) request(normalizer, preTokenizer object, bytes bool, texts []string) *request {
	vocab := make([][]any, len(v.texts))
	for i, text := range v.texts {
		vocab[i] = []any{text, float64(v.scores[i])}
	}
	return &request{
		Tokenizer: object{"version": "1.0", "normalizer": normalizer, "pre_tokenizer": preTokenizer,
			"model": object{"type": "Unigram", "unk_id": 0, "byte_fallback": bytes}},
		Vocab: vocab, Added: addedTokens(), Texts: texts,
	}
}

func metaspace(scheme string, split bool) object {
	return object{"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}
}

func normalizers(parts ...object) object { return object{"type": "Sequence", "normalizers": parts} }

// TestUnigram compares unigram models with what tokenizers makes of them: with and without bytes, with and without a
// charsmap, and for each way to cut a text and to put a space mark before it.
func TestUnigram(t *testing.T) {
	mapped := textCount() * 3 / 20
	texts := append(randomTexts(textCount()-mapped, 33), charsmapTexts(mapped)...)
	corpus := withoutAdded(append(randomTexts(3000, 34), charsmapTexts(500)...))
	charsmap, published := buildCharsmap(replacements()), publishedCharsmap(t, corpus)
	precompile := func(charsmap []byte) object {
		return object{"type": "Precompiled", "precompiled_charsmap": base64.StdEncoding.EncodeToString(charsmap)}
	}
	precompiled := precompile(charsmap)
	strip := object{"type": "Strip", "strip_left": false, "strip_right": true}
	merge := func(by string) object {
		return object{"type": "Replace", "pattern": object{"Regex": " {2,}"}, "content": by}
	}
	replace := object{"type": "Replace", "pattern": object{"String": " "}, "content": "▁"}
	for _, c := range []struct {
		bytes                bool
		steps, prefix, words string
		normalizer           object
		preTokenizer         object
		charsmap             []byte
	}{
		{true, "charsmap strip_right spaces_to_mark", "first", "marks", normalizers(precompile(published), strip, merge("▁")), metaspace("first", true), published},
		{true, "", "first", "marks", nil, metaspace("first", true), charsmap},
		{false, "", "always", "whole", nil, metaspace("always", false), charsmap},
		{true, "", "never", "marks", nil, metaspace("never", true), charsmap},
		{false, "charsmap strip_right spaces_to_mark", "always", "marks", normalizers(precompiled, strip, merge("▁")), metaspace("always", true), charsmap},
		{true, "charsmap strip_right spaces_to_space", "first", "whole", normalizers(precompiled, strip, merge(" ")), metaspace("first", false), charsmap},
		{false, "charsmap", "always", "spaces", precompiled, sequence(object{"type": "WhitespaceSplit"}, metaspace("always", true)), charsmap},
		{true, "charsmap", "first", "spaces", precompiled, sequence(object{"type": "WhitespaceSplit"}, metaspace("first", true)), charsmap},
		{true, "prepend mark", "never", "whole", normalizers(object{"type": "Prepend", "prepend": "▁"}, replace), nil, charsmap},
		{true, "strip_left mark", "never", "whole", normalizers(object{"type": "Strip", "strip_left": true, "strip_right": false}, replace), nil, charsmap},
	} {
		t.Run(fmt.Sprintf("bytes %t, %s, %s, %s, charsmap of %d bytes", c.bytes, c.steps, c.prefix, c.words, len(c.charsmap)), func(t *testing.T) {
			v := newUnigramVocabulary(corpus, 3000, c.bytes)
			m := v.file(addedTokens())
			m.Set("lorikeet.tokenizer.normalizer", c.steps)
			m.Set("lorikeet.tokenizer.space_prefix", c.prefix)
			m.Set("lorikeet.tokenizer.words", c.words)
			m.Set("tokenizer.ggml.precompiled_charsmap", c.charsmap)
			k, r := open(t, m), v.request(c.normalizer, c.preTokenizer, c.bytes, texts)
			if name, proven := k.Family(); name != "SentencePiece unigram" || !proven {
				t.Errorf("family %q, proven %t", name, proven)
			}
			compare(t, k, texts, true, reference(t, r).IDs)
			r.Plain, r.Texts = true, texts[:min(len(texts), 2000)]
			compare(t, k, r.Texts, false, reference(t, r).IDs)
		})
	}
}

// charsmapTexts are texts of what the charsmap replaces and of what stands beside it.
func charsmapTexts(n int) []string {
	parts := []string{" ", "  ", "▁", "▁▁", "a", "b", "e", "e\u0301", "\u0301", "\u0308", "o", "u", "<|x|>", "<th", "\u200d", "👩", "👩\u200d💻", "ーーー", "カ", "\u3099", "한국어"}
	parts = append(parts, slices.Sorted(maps.Keys(replacements()))...)
	rnd := rand.New(rand.NewPCG(41, 41))
	texts := make([]string, n)
	for i := range texts {
		for range rnd.IntN(12) {
			texts[i] += parts[rnd.IntN(len(parts))]
		}
	}
	return texts
}

// TestUnigramRefused: what cannot be used is refused with the name of its key.
func TestUnigramRefused(t *testing.T) {
	set := func(key string, value any) *quant.Metadata {
		m := charsmapFile([]byte{})
		m.Set("lorikeet.tokenizer.normalizer", "")
		m.Set("lorikeet.tokenizer.space_prefix", "never")
		m.Set("lorikeet.tokenizer.words", "whole")
		m.Set(key, value)
		return m
	}
	without := func(key string) *quant.Metadata {
		m := charsmapFile([]byte{})
		m.Delete(key)
		return m
	}
	for _, c := range []struct {
		m    *quant.Metadata
		is   error
		want string
	}{
		{without("tokenizer.ggml.scores"), tokenizer.ErrFormat, "tokenizer.ggml.scores is missing"},
		{set("tokenizer.ggml.scores", make([]float32, 8)), nil, ""},
		{set("tokenizer.ggml.token_type", []int32{3, 3, 3, 3, 3, 3, 3, 3}), tokenizer.ErrFormat, "no normal token"},
		{set("lorikeet.tokenizer.scores", make([]float64, 8)), nil, ""},
		{set("lorikeet.tokenizer.scores", make([]float64, 7)), tokenizer.ErrFormat, "lorikeet.tokenizer.scores must be 8 numbers"},
		{set("lorikeet.tokenizer.scores", []float64{0, 0, 0, 0, 0, 0, 0, math.NaN()}), tokenizer.ErrFormat, "lorikeet.tokenizer.scores"},
		{set("lorikeet.tokenizer.normalizer", "lowercase"), tokenizer.ErrUnsupported, `the step "lowercase"`},
		{set("lorikeet.tokenizer.normalizer", "charsmap"), tokenizer.ErrUnsupported, "precompiled_charsmap"},
		{set("lorikeet.tokenizer.space_prefix", "segment"), tokenizer.ErrUnsupported, "lorikeet.tokenizer.space_prefix"},
		{set("lorikeet.tokenizer.words", "letters"), tokenizer.ErrUnsupported, "lorikeet.tokenizer.words"},
	} {
		if _, err := tokenizer.New(c.m); !errors.Is(err, c.is) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %v with %q", err, c.is, c.want)
		}
	}
}

// TestUnigramCancel: a context that ends, ends the work inside one word.
func TestUnigramCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if tokens, err := open(t, charsmapFile([]byte{})).Tokenize(ctx, strings.Repeat("ab", 500_000), false, true); !errors.Is(err, context.Canceled) || tokens != nil {
		t.Errorf("%d tokens, %v", len(tokens), err)
	}
}

// TestUnigramDecodes: the pieces of a text's tokens, joined, are the text again, with the space put in front.
func TestUnigramDecodes(t *testing.T) {
	m := newUnigramVocabulary(withoutAdded(randomTexts(1000, 34)), 1000, true).file(addedTokens())
	m.Set("tokenizer.ggml.add_space_prefix", true)
	k := open(t, m)
	if k.BytesPerToken() == 0 {
		t.Error("a model that keeps every byte has no bound of bytes for each token")
	}
	for _, text := range withoutAdded(randomTexts(2000, 35)) {
		want := ""
		if text != "" {
			want = " " + strings.ReplaceAll(text, "▁", " ")
		}
		if got := strings.Join(pieces(t, k, text, false), ""); got != want {
			t.Errorf("%q became %q", text, got)
		}
	}
}

// longUnigram has runs as tokens, and all that an import may do to a text.
func longUnigram() *quant.Metadata {
	v := newUnigramVocabulary(withoutAdded(randomTexts(2000, 4)), 3000, true)
	for _, unit := range []string{"▁", "q", "W"} {
		for s := unit; len([]rune(s)) < 32; s += s {
			v.texts, v.kinds, v.scores = append(v.texts, s+s), append(v.kinds, 1), append(v.scores, -1)
		}
	}
	m := v.file(addedTokens())
	m.Set("lorikeet.tokenizer.normalizer", "charsmap strip_left strip_right spaces_to_mark")
	m.Set("lorikeet.tokenizer.space_prefix", "first")
	m.Set("lorikeet.tokenizer.words", "whole")
	m.Set("tokenizer.ggml.precompiled_charsmap", buildCharsmap(replacements()))
	return m
}

// TestUnigramAddedTokens compares added tokens that are looked for in the normalized text, and those that take spaces beside
// them.
func TestUnigramAddedTokens(t *testing.T) {
	added := addedTokens()[:5]
	for i, flag := range []string{"normalized", "normalized", "lstrip", "rstrip", "single_word"} {
		token := object{"content": []string{"ＡＢ", "①ﬁ", "<l>", "<r>", "word"}[i], "special": i%2 == 0, "normalized": false, "lstrip": false, "rstrip": false, "single_word": false}
		token[flag] = true
		added = append(added, token)
	}
	rnd := rand.New(rand.NewPCG(61, 61))
	parts := []string{"ＡＢ", "AB", "A", "Ｂ", "1fi", "①ﬁ", "<l>", "<r>", "word", "sword", " ", "  ", "\u3000", "\t", "a", "<|x|>", "日本", "▁", "\u200b"}
	texts := make([]string, 5000)
	for i := range texts {
		for range rnd.IntN(10) {
			texts[i] += parts[rnd.IntN(len(parts))]
		}
	}
	charsmap := buildCharsmap(replacements())
	precompiled := object{"type": "Precompiled", "precompiled_charsmap": base64.StdEncoding.EncodeToString(charsmap)}
	v := newUnigramVocabulary(withoutAdded(randomTexts(500, 4)), 300, true)
	m := v.file(added)
	m.Set("lorikeet.tokenizer.normalizer", "charsmap")
	m.Set("lorikeet.tokenizer.space_prefix", "first")
	m.Set("lorikeet.tokenizer.words", "marks")
	m.Set("tokenizer.ggml.precompiled_charsmap", charsmap)
	r := v.request(precompiled, metaspace("first", true), true, texts)
	r.Added = added
	compare(t, open(t, m), texts, true, reference(t, r).IDs)
}

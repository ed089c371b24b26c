package tokenizer_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/tokenizer"
)

// byteLetters writes bytes in GPT-2's alphabet.
func byteLetters(bytes ...byte) string {
	var b strings.Builder
	for _, x := range bytes {
		switch {
		case x >= '!' && x <= '~' || x >= 0xa1 && x <= 0xac || x >= 0xae:
			b.WriteRune(rune(x))
		case x <= ' ':
			b.WriteRune(0x100 + rune(x))
		case x <= 0xa0:
			b.WriteRune(0x121 + rune(x) - 0x7f)
		default:
			b.WriteRune(0x143)
		}
	}
	return b.String()
}

// byteTokens is a byte-level BPE of the bytes, the merges "a b" and added tokens by their type.
func byteTokens(pre string, merges []string, added map[string]int32) *quant.Metadata {
	var texts []string
	var kinds []int32
	for b := range 256 {
		texts, kinds = append(texts, byteLetters(byte(b))), append(kinds, 1)
	}
	for _, m := range merges {
		texts, kinds = append(texts, strings.Replace(m, " ", "", 1)), append(kinds, 1)
	}
	for _, text := range slices.Sorted(mapKeys(added)) {
		texts, kinds = append(texts, text), append(kinds, added[text])
	}
	m := &quant.Metadata{}
	m.Set("tokenizer.ggml.model", "gpt2")
	m.Set("tokenizer.ggml.pre", pre)
	m.Set("tokenizer.ggml.tokens", texts)
	m.Set("tokenizer.ggml.token_type", kinds)
	m.Set("tokenizer.ggml.merges", merges)
	return m
}

func mapKeys(m map[string]int32) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// pieces tokenizes and returns the pieces.
func pieces(t *testing.T, k *tokenizer.Tokenizer, text string, special bool) []string {
	t.Helper()
	tokens, err := k.Tokenize(context.Background(), text, false, special)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, x := range tokens {
		out = append(out, string(k.Piece(x, true)))
	}
	return out
}

// TestAddedTokens: the leftmost, then the longest; control tokens only where special tokens are asked for.
func TestAddedTokens(t *testing.T) {
	k := open(t, byteTokens("gpt-2", nil, map[string]int32{"<a>": 3, "<a>b": 3, "<c": 4, "a>b<c>": 4, "[UNK]": 2}))
	for _, c := range []struct {
		text    string
		special bool
		want    string
	}{
		{"<a>", true, "<a>"}, {"<a>b", true, "<a>b"}, {"<a>b<c>", true, "<a>b|<c|>"}, {"<a", true, "<|a"}, {"x<a>x", true, "x|<a>|x"},
		{"<a>b<c>", false, "<|a>b<c>"}, {"<a>", false, "<|a|>"}, {"[UNK]", true, "[UNK]"}, {"[UNK]", false, "[|U|N|K|]"}, {"", true, ""},
	} {
		if got := strings.Join(pieces(t, k, c.text, c.special), "|"); got != c.want {
			t.Errorf("%q, special %t: %q, want %q", c.text, c.special, got, c.want)
		}
	}
	for _, x := range []struct {
		text    string
		shown   bool
		special string
	}{{"<a>", false, "<a>"}, {"<c", true, "<c"}, {"[UNK]", false, "[UNK]"}} {
		tokens, err := k.Tokenize(context.Background(), x.text, false, true)
		if err != nil || len(tokens) != 1 || string(k.Piece(tokens[0], true)) != x.special || (len(k.Piece(tokens[0], false)) > 0) != x.shown {
			t.Errorf("%q: %v, %v", x.text, tokens, err)
		}
	}
}

// TestFraming: what is put before and behind a text.
func TestFraming(t *testing.T) {
	for _, c := range []struct {
		keys map[string]any
		pre  string
		want string
	}{
		{map[string]any{}, "gpt-2", "x"},
		{map[string]any{"bos_token_id": uint32(256)}, "gpt-2", "x"},
		{map[string]any{"bos_token_id": uint32(256)}, "llama-bpe", "<s>x"},
		{map[string]any{"bos_token_id": uint32(256), "add_bos_token": false}, "llama-bpe", "x"},
		{map[string]any{"add_bos_token": true, "add_eos_token": true}, "gpt-2", "x"},
		{map[string]any{"bos_token_id": uint32(256), "eos_token_id": uint32(257), "add_bos_token": true, "add_eos_token": true}, "gpt-2", "<s>x</s>"},
		{map[string]any{"bos_token_id": uint32(9999), "add_bos_token": true}, "gpt-2", "x"},
	} {
		m := byteTokens(c.pre, nil, map[string]int32{"<s>": 3, "</s>": 3})
		texts, _ := m.Strings("tokenizer.ggml.tokens")
		texts[256], texts[257] = "<s>", "</s>"
		for key, value := range c.keys {
			m.Set("tokenizer.ggml."+key, value)
		}
		k := open(t, m)
		tokens, err := k.Tokenize(context.Background(), "x", true, false)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, x := range tokens {
			got += string(k.Piece(x, true))
		}
		if got != c.want {
			t.Errorf("%v: %q, want %q", c.keys, got, c.want)
		}
	}
}

// TestRefused: what cannot be used is refused with the name of its key.
func TestRefused(t *testing.T) {
	set := func(key string, value any) *quant.Metadata {
		m := byteTokens("gpt-2", []string{"a b"}, nil)
		m.Set(key, value)
		return m
	}
	for _, c := range []struct {
		m    *quant.Metadata
		is   error
		want string
	}{
		{set("tokenizer.ggml.model", "plamo2"), tokenizer.ErrUnsupported, "plamo2"},
		{set("tokenizer.ggml.pre", "no-such"), tokenizer.ErrUnsupported, "no-such"},
		{set("lorikeet.tokenizer.normalizer", "lowercase"), tokenizer.ErrUnsupported, "lowercase"},
		{set("tokenizer.ggml.merges", []string{"ab"}), tokenizer.ErrFormat, "merge 0"},
		{set("tokenizer.ggml.merges", []string{"a b", ""}), tokenizer.ErrFormat, "merge 1"},
		{set("tokenizer.ggml.merges", uint32(1)), tokenizer.ErrFormat, "tokenizer.ggml.merges"},
		{set("tokenizer.ggml.tokens", []string{"a", "b", "a"}), tokenizer.ErrFormat, `tokens 0 and 2 are both "a"`},
		{set("tokenizer.ggml.tokens", []string{}), tokenizer.ErrFormat, "tokenizer.ggml.tokens"},
		{set("tokenizer.ggml.token_type", []int32{1}), tokenizer.ErrFormat, "tokenizer.ggml.token_type"},
		{set("tokenizer.ggml.scores", []float32{1}), tokenizer.ErrFormat, "tokenizer.ggml.scores"},
		{set("lorikeet.tokenizer.lstrip", []int32{1000}), tokenizer.ErrFormat, "lorikeet.tokenizer.lstrip"},
	} {
		if _, err := tokenizer.New(c.m); !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %v with %q", err, c.is, c.want)
		}
	}
	for _, model := range []string{"none", "no_vocab", ""} {
		if k, err := tokenizer.New(set("tokenizer.ggml.model", model)); k != nil || err != nil {
			t.Errorf("model %q: %v, %v", model, k, err)
		}
	}
}

// longTexts are a million characters each of what makes other tokenizers slow.
func longTexts() map[string]string {
	repeat := func(s string) string { return strings.Repeat(s, 1_000_000/len([]rune(s))) }
	rnd := rand.New(rand.NewPCG(5, 5))
	texts := map[string]string{
		"letters": repeat("a"), "upper case": repeat("A"), "spaces": repeat(" "), "line breaks": repeat("\n"), "tabs": repeat("\t"),
		"digits": repeat("1"), "marks": repeat("!"), "ab": repeat("ab"), "openers": repeat("<|"), "half tokens": repeat("<|x|"),
		"tokens": repeat("<|x|>a"), "combining": "e" + repeat("\u0301\u0323"), "new marks": repeat("a\u1ace\u0323"), "accents": repeat("e\u0301"),
		"han": repeat("一"), "mixed case": repeat("aA"), "letters of both cases": repeat("あA"), "kana": repeat("ー"),
		"space and break": repeat(" \n "), "space before end": repeat("a   "), "sentinels": repeat("<sentinel:1"), "emoji": repeat("👩\u200d"),
		"invalid": strings.Repeat("\xff\xe4", 500_000), "quotes": repeat("'"), "prose": "",
	}
	var b strings.Builder
	for b.Len() < 1_000_000 {
		b.WriteString(randomTexts(1, rnd.Uint64())[0])
	}
	texts["prose"] = b.String()
	return texts
}

// manyMerges is a vocabulary in which runs merge again and again, with many added tokens.
func manyMerges(pre string) *quant.Metadata {
	var merges []string
	for _, unit := range []string{"a", "A", "1", "!", "'", byteLetters(' '), byteLetters('\n'), byteLetters('\t')} {
		for s := unit; len([]rune(s)) < 64; s += s {
			merges = append(merges, s+" "+s)
		}
	}
	merges = append(merges, "a b", "ab ab", "b a", "< |")
	added := map[string]int32{"<|x|>": 3, "<|<|<|<|y": 3, strings.Repeat("a", 200) + "z": 3, "<|im_start|>": 3}
	for i := range 2000 {
		added["<|reserved_"+strings.Repeat("x", i%50)+string(rune('0'+i%10))+string(rune(0x4e00+i))+"|>"] = 3
	}
	return byteTokens(pre, merges, added)
}

// longTokenizers are tokenizers that long texts are tried on, by the name of a pre-tokenizer or of the model.
func longTokenizers(t testing.TB, names ...string) map[string]*tokenizer.Tokenizer {
	all := map[string]*tokenizer.Tokenizer{}
	for _, name := range names {
		m := manyMerges(name)
		if name == "llama" {
			v := newPieceVocabulary(withoutAdded(randomTexts(2000, 4)), 3000)
			for s := "▁"; len([]rune(s)) < 32; s += s {
				v.texts, v.kinds, v.scores = append(v.texts, s+s), append(v.kinds, 1), append(v.scores, -1)
			}
			m = v.file(addedTokens(), false)
		}
		if name == "t5" {
			m = longUnigram()
		}
		all[name] = open(t, m)
	}
	return all
}

// TestLongTexts guards against a time that is not linear: each text takes some tens of milliseconds.
func TestLongTexts(t *testing.T) {
	texts := longTexts()
	for pre, k := range longTokenizers(t, "llama", "t5", "gpt-2", "qwen2", "tekken", "gpt-4o", "kimi-k2", "deepseek-llm", "deepseek-coder", "deepseek-v3",
		"falcon", "bloom", "superbpe", "afmoe", "chameleon", "default") {
		for name, text := range texts {
			switch {
			case testing.Short():
				text = text[:len(text)/20]
			case pre != "qwen2" && pre != "gpt-4o" && pre != "llama" && pre != "t5":
				text = text[:len(text)/5]
			}
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			if _, err := k.Tokenize(ctx, text, false, true); err != nil {
				t.Errorf("%s, %s: %v", pre, name, err)
			}
			cancel()
		}
	}
}

// TestCancel: a context that ends, ends the work, inside one word and between words.
func TestCancel(t *testing.T) {
	k := open(t, manyMerges("gpt-2"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, text := range []string{strings.Repeat("a", 1_000_000), strings.Repeat("a b", 300_000)} {
		if tokens, err := k.Tokenize(ctx, text, false, true); !errors.Is(err, context.Canceled) || tokens != nil {
			t.Errorf("%d tokens, %v", len(tokens), err)
		}
	}
}

// TestBytesPerToken: a text that is longer than so many bytes for each of a number of tokens has more tokens.
func TestBytesPerToken(t *testing.T) {
	for _, pre := range []string{"gpt-2", "qwen2"} {
		k := open(t, manyMerges(pre))
		for _, unit := range []string{"a", "x", "e\u0301", "\u1100\u1161\u11a8", "<|im_start|>", strings.Repeat("a", 200) + "z"} {
			const limit = 10
			text := strings.Repeat(unit, limit*k.BytesPerToken()/len(unit)+1)
			tokens, err := k.Tokenize(context.Background(), text, false, true)
			if err != nil || len(tokens) <= limit {
				t.Errorf("%s, %q: %d tokens of %d bytes, %v", pre, unit, len(tokens), len(text), err)
			}
		}
	}
}

func BenchmarkTokenize(b *testing.B) {
	texts := longTexts()
	for pre, k := range longTokenizers(b, "llama", "t5", "gpt-2", "qwen2", "tekken", "deepseek-llm", "falcon") {
		for _, name := range slices.Sorted(func(yield func(string) bool) {
			for name := range texts {
				if !yield(name) {
					return
				}
			}
		}) {
			b.Run(pre+"/"+strings.ReplaceAll(name, " ", "_"), func(b *testing.B) {
				b.SetBytes(int64(len(texts[name])))
				for b.Loop() {
					if _, err := k.Tokenize(context.Background(), texts[name], false, true); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// FuzzTokenize: no text is a crash, and the pieces of a byte-level tokenizer that normalizes nothing are the text.
func FuzzTokenize(f *testing.F) {
	var all []*tokenizer.Tokenizer
	var names []string
	for _, pre := range []string{"gpt-2", "llama-bpe", "qwen2", "tekken", "gpt-4o", "kimi-k2", "deepseek-llm", "deepseek-coder", "deepseek-v3",
		"falcon", "starcoder", "bloom", "viking", "superbpe", "afmoe", "chameleon", "seed-coder", "default"} {
		all, names = append(all, open(f, byteTokens(pre, []string{"a b", "ab a", "< |"}, map[string]int32{"<|x|>": 3, "<|x": 4, "ab c": 4}))), append(names, pre)
	}
	for i, text := range randomTexts(200, 9) {
		f.Add(text, uint8(i), i%2 == 0)
	}
	f.Add("\xff\xfe a\xe4\xb8", uint8(0), true)
	f.Fuzz(func(t *testing.T, text string, which uint8, special bool) {
		i := int(which) % len(all)
		tokens, err := all[i].Tokenize(context.Background(), text, false, special)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, x := range tokens {
			b.Write(all[i].Piece(x, true))
		}
		if names[i] != "qwen2" && b.String() != text {
			t.Errorf("%s: %+q became %+q", names[i], text, b.String())
		}
	})
}

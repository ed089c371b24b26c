package tokenizer_test

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/internal/testtools"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/tokenizer"
)

// tokenizersPackage is the library that ours is compared with.
const tokenizersPackage = "tokenizers==0.23.3"

//go:embed testdata/reference.py
var referenceScript string

// object is a JSON object.
type object = map[string]any

// request is what reference.py reads.
type request struct {
	Tokenizer object   `json:"tokenizer"`
	Train     []string `json:"train,omitempty"`
	Size      int      `json:"size,omitempty"`
	Vocab     any      `json:"vocab,omitempty"`
	Merges    any      `json:"merges,omitempty"`
	Added     []object `json:"added"`
	Texts     []string `json:"texts"`
	Plain     bool     `json:"plain"`
}

// answer is what it writes.
type answer struct {
	Vocab  json.RawMessage     `json:"vocab"`
	Merges [][]string          `json:"merges"`
	IDs    [][]tokenizer.Token `json:"ids"`
}

// reference asks tokenizers.
func reference(t *testing.T, r *request) *answer {
	t.Helper()
	python := testtools.Python(t, tokenizersPackage)
	in, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(python, "-c", referenceScript)
	var out, problem bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(in), &out, &problem
	if err := command.Run(); err != nil {
		t.Fatalf("reference.py: %v\n%s", err, problem.String())
	}
	a := &answer{}
	if err := json.Unmarshal(out.Bytes(), a); err != nil {
		t.Fatal(err)
	}
	return a
}

// byteLevelFile is the metadata of a byte-level BPE with an answer's vocabulary and the added tokens of a request.
func byteLevelFile(t *testing.T, pre string, r *request, a *answer) *quant.Metadata {
	t.Helper()
	var vocab map[string]int
	if err := json.Unmarshal(a.Vocab, &vocab); err != nil {
		t.Fatal(err)
	}
	texts := make([]string, len(vocab)+len(r.Added))
	kinds := slices.Repeat([]int32{1}, len(texts))
	for text, id := range vocab {
		texts[id] = text
	}
	for i, token := range r.Added {
		id := len(vocab) + i
		texts[id], kinds[id] = token["content"].(string), 4
		if token["special"] == true {
			kinds[id] = 3
		}
	}
	merges := make([]string, len(a.Merges))
	for i, pair := range a.Merges {
		merges[i] = strings.Join(pair, " ")
	}
	m := &quant.Metadata{}
	m.Set("tokenizer.ggml.model", "gpt2")
	m.Set("tokenizer.ggml.pre", pre)
	m.Set("tokenizer.ggml.tokens", texts)
	m.Set("tokenizer.ggml.token_type", kinds)
	m.Set("tokenizer.ggml.merges", merges)
	return m
}

func open(t testing.TB, m *quant.Metadata) *tokenizer.Tokenizer {
	t.Helper()
	k, err := tokenizer.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// compare holds our tokens against the reference's, and shows the first few differences.
func compare(t *testing.T, k *tokenizer.Tokenizer, texts []string, special bool, want [][]tokenizer.Token) {
	t.Helper()
	wrong := 0
	for i, text := range texts {
		got, err := k.Tokenize(context.Background(), text, false, special)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Equal(got, want[i]) {
			continue
		}
		if wrong++; wrong <= 5 {
			t.Errorf("%+q (special %t):\n got %s\nwant %s", text, special, show(k, got), show(k, want[i]))
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d texts have other tokens", wrong, len(texts))
	}
}

// show prints tokens with their pieces.
func show(k *tokenizer.Tokenizer, tokens []tokenizer.Token) string {
	var b strings.Builder
	for _, x := range tokens {
		b.WriteString(" ")
		piece, _ := json.Marshal(string(k.Piece(x, true)))
		b.Write(piece)
	}
	return b.String()
}

func split(expression, behavior string) object {
	return object{"type": "Split", "pattern": object{"Regex": expression}, "behavior": behavior, "invert": false}
}

func byteLevel(useRegex bool) object {
	return object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": useRegex}
}

func sequence(parts ...object) object { return object{"type": "Sequence", "pretokenizers": parts} }

// isolated is a sequence of isolating splits, then the bytes.
func isolated(expressions ...string) object {
	var parts []object
	for _, e := range expressions {
		parts = append(parts, split(e, "Isolated"))
	}
	return sequence(append(parts, byteLevel(false))...)
}

var nfc = object{"type": "NFC"}

var digits = object{"type": "Digits", "individual_digits": true}

// The expressions of the published tokenizer.json files.
const (
	contractions = `(?i:'s|'t|'re|'ve|'m|'ll|'d)`
	spaces       = `\s*[\r\n]+|\s+(?!\S)|\s+`
	llama3Words  = contractions + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|` + spaces
	qwen2Words   = contractions + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|` + spaces
	upper        = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`
	lower        = `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`
	tekkenWords  = upper + `*` + lower + `+|` + upper + `+` + lower + `*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|` + spaces
	gpt4oWords   = upper + `*` + lower + `+` + contractions + `?|` + upper + `+` + lower + `*` + contractions +
		`?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|` + spaces
	upperNoHan = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]`
	lowerNoHan = `[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]`
	kimiWords  = `[\p{Han}]+|` + upperNoHan + `*` + lowerNoHan + `+` + contractions + `?|` + upperNoHan + `+` + lowerNoHan + `*` +
		contractions + `?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|` + spaces
	deepseek3Words = `[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_` + "`" + `{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|` + spaces
	gpt2Words      = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	bloomWords     = ` ?[^(\s|[.,!?…。，、।۔،])]+`
	bailingWords   = `'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`
	seedWords      = contractions + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|` + spaces

	deepseekLetters = `\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\x{1f7d}ᾀ-ᾴᾶ-ᾼ\x{1fbe}ῂ-ῄῆ-ῌῐ-\x{1fd3}ῖ-\x{1fdb}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\x{2126}ℨ\x{212a}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+`
	deepseekMarks   = `\s?[!-/:-~！-／：-～‘-‟　-。]+`
	deepseekCJK     = `[一-龥ࠀ-一가-퟿]+`
	afmoeCJK        = `[一-鿿㐀-䶿\x{f900}-﫿぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]+`
)

// byteLevelCase is a family of byte-level BPE tokenizers as tokenizer.json has it.
type byteLevelCase struct {
	pre          string // tokenizer.ggml.pre
	proven       bool   // the published files are known to have this; else it is what llama.cpp has
	normalizer   object
	preTokenizer object
	ignoreMerges bool
}

func byteLevelCases() []byteLevelCase {
	return []byteLevelCase{
		{"gpt-2", true, nil, byteLevel(true), false},
		{"olmo", true, nfc, byteLevel(true), false},
		{"llama-bpe", true, nil, isolated(llama3Words), true},
		{"dbrx", true, nil, isolated(llama3Words), false},
		{"qwen2", true, nfc, isolated(qwen2Words), false},
		{"hunyuan", false, nil, isolated(qwen2Words), false},
		{"bailingmoe", false, nil, isolated(bailingWords), false},
		{"seed-coder", false, nil, isolated(seedWords), false},
		{"tekken", true, nil, isolated(tekkenWords), true},
		{"gpt-4o", true, nil, isolated(gpt4oWords), false},
		{"kimi-k2", false, nil, isolated(kimiWords), false},
		{"starcoder", true, nil, sequence(digits, byteLevel(true)), false},
		{"command-r", true, nfc, sequence(digits, byteLevel(true)), false},
		{"falcon", true, nil, sequence(object{"type": "Punctuation", "behavior": "Contiguous"}, byteLevel(true),
			object{"type": "Digits", "individual_digits": false}, split("[0-9][0-9][0-9]", "Isolated")), false},
		{"deepseek-llm", true, nil, sequence(split("[\r\n]", "Isolated"), split(deepseekLetters, "Isolated"),
			split(deepseekMarks, "Isolated"), split(`\s+$`, "Isolated"), split(deepseekCJK, "Isolated"), digits, byteLevel(false)), false},
		{"deepseek-coder", true, nil, sequence(split("[\r\n]", "Isolated"), split(`\s?\p{L}+`, "Isolated"),
			split(`\s?\p{P}+`, "Isolated"), split(deepseekCJK, "Isolated"), digits, byteLevel(false)), false},
		{"deepseek-v3", true, nil, isolated(`\p{N}{1,3}`, `[一-龥぀-ゟ゠-ヿ]+`, deepseek3Words), false},
		{"afmoe", false, nil, isolated(`\p{N}{1,3}(?=(\p{N}{3})*(?!\p{N}))`, afmoeCJK, deepseek3Words), false},
		{"bloom", true, nil, isolated(bloomWords), false},
		{"viking", false, nil, isolated(bloomWords, `\p{N}`), false},
		{"superbpe", false, nil, isolated(`\p{N}+`, `(?=(\d{3})+(?!\d))`), false},
		{"chameleon", false, nil, isolated(`<sentinel:[0-9]+>`, `(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z`, `([\t\n]|    |  )`, `\p{N}`,
			"[\\p{P}!-/:-@\\[-`{-~]", gpt2Words), false},
		{"default", false, nil, isolated(`[\p{P}\$\+<=>\^~\|]+`, gpt2Words, `\p{N}+`, `[0-9][0-9][0-9]`), false},
	}
}

// addedTokens are those of every comparison: some are the beginning of others.
func addedTokens() []object {
	token := func(content string, special bool) object {
		return object{"content": content, "special": special, "normalized": false, "lstrip": false, "rstrip": false, "single_word": false}
	}
	return []object{
		token("<|x|>", true), token("<|x|>y", true), token("<|", true), token("[INST]", true), token("日本", true),
		token("<think>", false), token("<th", false), token("    ", false), token("ab cd", false),
	}
}

// withoutAdded takes out of the texts what could become a token with an added token's text.
func withoutAdded(texts []string) []string {
	out := slices.Clone(texts)
	for _, token := range addedTokens() {
		for i, text := range out {
			out[i] = strings.ReplaceAll(text, token["content"].(string), "_")
		}
	}
	return out
}

// textCount is the number of texts that each family is compared on.
func textCount() int {
	if testing.Short() {
		return 2000
	}
	return 20000
}

// TestByteLevel compares every family of byte-level BPE with tokenizers.
func TestByteLevel(t *testing.T) {
	texts := randomTexts(textCount(), 1)
	corpus := withoutAdded(randomTexts(3000, 2))
	for _, c := range byteLevelCases() {
		t.Run(c.pre, func(t *testing.T) {
			r := &request{
				Tokenizer: object{"version": "1.0", "normalizer": c.normalizer, "pre_tokenizer": c.preTokenizer,
					"model": object{"type": "BPE", "ignore_merges": c.ignoreMerges}},
				Train: corpus, Size: 2500, Added: addedTokens(), Texts: texts,
			}
			a := reference(t, r)
			k := open(t, byteLevelFile(t, c.pre, r, a))
			if name, proven := k.Family(); proven != c.proven {
				t.Errorf("family %q: proven is %t, the test has %t", name, proven, c.proven)
			}
			compare(t, k, texts, true, a.IDs)
			r.Plain = true
			r.Texts = texts[:min(len(texts), 2000)]
			compare(t, k, r.Texts, false, reference(t, r).IDs)
		})
	}
}

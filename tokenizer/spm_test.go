package tokenizer_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// pieceVocabulary is a SentencePiece BPE: the unknown token, the bytes, characters, and parts of texts by their score.
type pieceVocabulary struct {
	texts  []string
	kinds  []int32
	scores []float32
	merges [][]string // every pair that makes a piece, by the score of the piece and then by the parts' ids
}

// newPieceVocabulary takes parts of texts. Characters that are rare have no piece: their bytes stand for them.
func newPieceVocabulary(corpus []string, size int) *pieceVocabulary {
	v := &pieceVocabulary{}
	ids := map[string]int{}
	add := func(text string, kind int32) {
		if _, known := ids[text]; !known {
			ids[text] = len(v.texts)
			v.texts, v.kinds, v.scores = append(v.texts, text), append(v.kinds, kind), append(v.scores, -float32(len(v.texts)))
		}
	}
	add("<unk>", 2)
	for b := range 256 {
		add(fmt.Sprintf("<0x%02X>", b), 6)
	}
	counts, characters := map[string]int{}, map[string]int{}
	for _, text := range corpus {
		runes := []rune(strings.ReplaceAll(text, " ", "▁"))
		for i := range runes {
			characters[string(runes[i])]++
			for n := 2; n <= 6 && i+n <= len(runes); n++ {
				counts[string(runes[i:i+n])]++
			}
		}
	}
	parts := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		if counts[a] != counts[b] {
			return counts[b] - counts[a]
		}
		return strings.Compare(a, b)
	})
	for _, p := range parts[:min(size, len(parts))] {
		if !strings.Contains(p, "<") && !periodic(p) {
			add(p, 1)
		}
	}
	for _, c := range slices.Sorted(maps.Keys(characters)) {
		if characters[c] > 3 {
			add(c, 1)
		}
	}
	for id, text := range v.texts {
		var pairs [][]string
		for cut := range text {
			_, left := ids[text[:cut]]
			_, right := ids[text[cut:]]
			if v.kinds[id] == 1 && cut > 0 && left && right {
				pairs = append(pairs, []string{text[:cut], text[cut:]})
			}
		}
		slices.SortFunc(pairs, func(a, b []string) int { return 2*(ids[a[0]]-ids[b[0]]) + min(1, max(-1, ids[a[1]]-ids[b[1]])) })
		v.merges = append(v.merges, pairs...)
	}
	return v
}

// periodic reports whether two different pairs that make the text can overlap, as a+ba and ba+b... of "aba": then
// the order of the merges decides, which the scores do not say.
func periodic(text string) bool {
	for cut := range text {
		if cut > 0 && cut < len(text)-1 && strings.HasPrefix(text, text[cut:]) {
			return true
		}
	}
	return len([]rune(text)) > 2 && strings.Count(text, text[:1]) == len(text)
}

// file is the vocabulary as a GGUF file has it, with added tokens; listed gives the merges as well.
func (v *pieceVocabulary) file(added []object, listed bool) *quant.Metadata {
	texts, kinds, scores := slices.Clone(v.texts), slices.Clone(v.kinds), slices.Clone(v.scores)
	flags := map[string][]int32{}
	for _, a := range added {
		kind := int32(4)
		if a["special"] == true {
			kind = 3
		}
		for _, flag := range []string{"lstrip", "rstrip", "single_word", "normalized"} {
			if a[flag] == true {
				flags[flag] = append(flags[flag], int32(len(texts)))
			}
		}
		texts, kinds, scores = append(texts, a["content"].(string)), append(kinds, kind), append(scores, -1000)
	}
	m := &quant.Metadata{}
	m.Set("tokenizer.ggml.model", "llama")
	m.Set("tokenizer.ggml.tokens", texts)
	m.Set("tokenizer.ggml.token_type", kinds)
	m.Set("tokenizer.ggml.scores", scores)
	for flag, ids := range flags {
		m.Set("lorikeet.tokenizer."+flag, ids)
	}
	if listed {
		merges := make([]string, len(v.merges))
		for i, pair := range v.merges {
			merges[i] = strings.Join(pair, " ")
		}
		m.Set("tokenizer.ggml.merges", merges)
	}
	return m
}

// request is the vocabulary as tokenizer.json has it.
func (v *pieceVocabulary) request(normalizer, preTokenizer object, added []object, texts []string) *request {
	vocab := map[string]int{}
	for id, text := range v.texts {
		vocab[text] = id
	}
	return &request{
		Tokenizer: object{"version": "1.0", "normalizer": normalizer, "pre_tokenizer": preTokenizer,
			"model": object{"type": "BPE", "byte_fallback": true, "fuse_unk": true, "unk_token": "<unk>"}},
		Vocab: vocab, Merges: v.merges, Added: added, Texts: texts,
	}
}

// TestPieces compares SentencePiece's BPE with what tokenizers makes of it, for each place of the space mark.
func TestPieces(t *testing.T) {
	texts := randomTexts(textCount(), 3)
	v := newPieceVocabulary(withoutAdded(randomTexts(3000, 4)), 3000)
	replace := object{"type": "Replace", "pattern": object{"String": " "}, "content": "▁"}
	metaspace := func(scheme string) object {
		return object{"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false}
	}
	prepend := object{"type": "Sequence", "normalizers": []object{{"type": "Prepend", "prepend": "▁"}, replace}}
	for _, c := range []struct {
		prefix                   string // lorikeet.tokenizer.space_prefix, or add_space_prefix where it is one of these
		normalizer, preTokenizer object
		listed                   bool
	}{
		{"true", prepend, nil, false}, {"true", prepend, nil, true}, {"false", replace, nil, false},
		{"first", nil, metaspace("first"), true}, {"always", nil, metaspace("always"), true}, {"never", nil, metaspace("never"), false},
	} {
		t.Run(fmt.Sprintf("%s, merges listed %t", c.prefix, c.listed), func(t *testing.T) {
			m := v.file(addedTokens(), c.listed)
			switch c.prefix {
			case "true", "false":
				m.Set("tokenizer.ggml.add_space_prefix", c.prefix == "true")
			default:
				m.Set("lorikeet.tokenizer.space_prefix", c.prefix)
			}
			r := v.request(c.normalizer, c.preTokenizer, addedTokens(), texts)
			k := open(t, m)
			compare(t, k, texts, true, reference(t, r).IDs)
			r.Plain, r.Texts = true, texts[:min(len(texts), 2000)]
			compare(t, k, r.Texts, false, reference(t, r).IDs)
		})
	}
}

// TestAddedTokenFlags compares how added tokens take the spaces beside them, and match as whole words only.
func TestAddedTokenFlags(t *testing.T) {
	token := func(content string, special bool, flags ...string) object {
		o := object{"content": content, "special": special, "normalized": false, "lstrip": false, "rstrip": false, "single_word": false}
		for _, f := range flags {
			o[f] = true
		}
		return o
	}
	added := []object{
		token("<l>", true, "lstrip"), token("<r>", true, "rstrip"), token("<lr>", false, "lstrip", "rstrip"), token("word", true, "single_word"),
		token("<n>", false, "normalized"), token("wo", false, "single_word", "lstrip"), token(" <s>", true, "rstrip"),
	}
	rnd := rand.New(rand.NewPCG(11, 11))
	parts := []string{"<l>", "<r>", "<lr>", "word", "wo", "<n>", "▁<n>", " <s>", "<s>", " ", "  ", "\n", "\u3000", "a", "_", "1", "é", "-", "\u0301", "ब"}
	texts := make([]string, 5000)
	for i := range texts {
		for range rnd.IntN(10) {
			texts[i] += parts[rnd.IntN(len(parts))]
		}
	}
	v := newPieceVocabulary(randomTexts(500, 4), 200)
	replace := object{"type": "Replace", "pattern": object{"String": " "}, "content": "▁"}
	prepend := object{"type": "Sequence", "normalizers": []object{{"type": "Prepend", "prepend": "▁"}, replace}}
	for prefix, normalizer := range map[bool]object{false: replace, true: prepend} {
		m := v.file(added, true)
		m.Set("tokenizer.ggml.add_space_prefix", prefix)
		compare(t, open(t, m), texts, true, reference(t, v.request(normalizer, nil, added, texts)).IDs)
	}
}

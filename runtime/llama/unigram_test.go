//go:build cgo && linux

package llama

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/quant/huggingface/hftest"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// unigramFile is a unigram model of parts of the texts. Its charsmap makes a space of "!" and nothing of "?".
func unigramFile(texts []string, prefix, trims bool) *quant.Metadata {
	tokens, kinds, scores := []string{"<pad>", "</s>", "<unk>"}, []int32{3, 3, 2}, []float32{0, 0, 0}
	known := map[string]bool{}
	for _, text := range texts {
		runes := []rune(strings.ReplaceAll(text, " ", "▁"))
		for i := range runes {
			part := string(runes[i : i+1+min(i%4, len(runes)-i-1)])
			if !known[part] && !strings.ContainsAny(part, "<|日") {
				known[part] = true
				tokens, kinds, scores = append(tokens, part), append(kinds, 1), append(scores, -2-float32(len(tokens)*7%64)/16)
			}
		}
	}
	tokens, kinds, scores = append(tokens, "<|x|>", "<think>", "[PAD9]"), append(kinds, 3, 4, 5), append(scores, 0, 0, -1000)
	units := make([]uint32, 512) // the root leads to 256 and on
	units[0] = 256 << 10
	for i, b := range []byte("!?") {
		place, value := uint32(256)^uint32(b), uint32(1+i)
		units[place] = uint32(b) | 1<<8 | (place^value)<<10
		units[value] = 1<<31 | uint32(2*i)
	}
	charsmap := binary.LittleEndian.AppendUint32(nil, uint32(4*len(units)))
	for _, u := range units {
		charsmap = binary.LittleEndian.AppendUint32(charsmap, u)
	}
	m := &quant.Metadata{}
	m.Set("general.architecture", "llama")
	m.Set("tokenizer.ggml.model", "t5")
	m.Set("tokenizer.ggml.tokens", tokens)
	m.Set("tokenizer.ggml.token_type", kinds)
	m.Set("tokenizer.ggml.scores", scores)
	m.Set("tokenizer.ggml.add_space_prefix", prefix)
	m.Set("tokenizer.ggml.remove_extra_whitespaces", trims)
	m.Set("tokenizer.ggml.precompiled_charsmap", append(charsmap, " \x00\x00"...))
	return m
}

// TestUnigramAgainstLlamaCPP compares unigram models with llama.cpp's where that does as SentencePiece: it puts a space
// before a text that is to have none where extra spaces are removed, and none before a text of spaces alone.
func TestUnigramAgainstLlamaCPP(t *testing.T) {
	texts := plainTexts(2000)
	for _, is := range []bool{true, false} {
		t.Run(fmt.Sprintf("space before and extra spaces removed %t", is), func(t *testing.T) {
			theirs, ours := openVocab(t, unigramFile(texts[:400], is, is))
			sameTokens(t, theirs, ours, texts)
		})
	}
}

// TestImportedUnigram: a model with a unigram tokenizer is loaded and run, whichever file the tokenizer was read from.
func TestImportedUnigram(t *testing.T) {
	p := hftest.Unigram{Pieces: hftest.LearnPieces("the bird sings in the tree and the other birds sing along in the morning", 40)}
	for name, tokenizer := range map[string][]byte{"tokenizer.model": p.Model(), "tokenizer.json": p.JSON()} {
		t.Run(name, func(t *testing.T) {
			model := hftest.Random("llama", 1)
			model.Config["bos_token_id"], model.Config["eos_token_id"] = 1, 2
			model.Config["vocab_size"] = p.Len() + 5
			model.Put("model.embed_tokens.weight", make([]float32, (p.Len()+5)*hftest.Hidden), int64(p.Len()+5), hftest.Hidden)
			model.Put("lm_head.weight", make([]float32, (p.Len()+5)*hftest.Hidden), int64(p.Len()+5), hftest.Hidden)
			files := model.Files()
			delete(files, "tokenizer.json")
			files[name], files["tokenizer_config.json"] = tokenizer, p.Config()
			dir := t.TempDir()
			hftest.WriteFiles(t, dir, files)
			m := importFolder(t, dir, "keep")
			if f := m.Facts(); f.Tokenizer != "SentencePiece unigram" || !f.TokenizerProven {
				t.Errorf("the facts are %+v", f)
			}
			got, err := m.Tokenize("the birds sing 日<end>in", true, true)
			if err != nil {
				t.Fatal(err)
			}
			if got[0] != 1 || !slices.Contains(got, runtime.Token(p.Len()-1)) || !slices.Contains(got, runtime.Token(3+0xe6)) {
				t.Errorf("tokens %v", got)
			}
			text := ""
			for _, token := range got[1:] {
				text += string(m.Piece(token, true))
			}
			if want := " the birds sing 日<end> in"; text != want {
				t.Errorf("the tokens' texts are %q, want %q", text, want)
			}
			if rows := stockOf(t, m, got); len(rows) != len(got) {
				t.Errorf("%d rows of logits for %d tokens", len(rows), len(got))
			}
		})
	}
}

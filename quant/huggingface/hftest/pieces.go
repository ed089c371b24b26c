package hftest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ollama/ollama/convert/sentencepiece"
	"google.golang.org/protobuf/proto"
)

// Pieces is a SentencePiece BPE: <unk>, <s>, </s>, 256 bytes, then texts by falling score.
type Pieces struct {
	Texts []string // of the normal pieces
	Ends  []string // added tokens behind them
}

// normal is the id of the first normal piece.
const normal = 3 + 256

// LearnPieces merges the most frequent neighbours in the words of text, n times, and adds its characters.
func LearnPieces(text string, n int) *Pieces {
	var words [][]string
	for _, w := range strings.Fields(text) {
		words = append(words, strings.Split("▁"+w, ""))
	}
	var chars []string
	for _, w := range words {
		chars = append(chars, w...)
	}
	slices.Sort(chars)
	p := &Pieces{Ends: []string{"<end>"}}
	for range n {
		counts := map[string]int{}
		for _, w := range words {
			for i := 1; i < len(w); i++ {
				counts[w[i-1]+w[i]]++
			}
		}
		best := ""
		for pair, c := range counts {
			if best == "" || c > counts[best] || c == counts[best] && pair < best {
				best = pair
			}
		}
		if best == "" {
			break // every word is one piece
		}
		if !slices.Contains(p.Texts, best) {
			p.Texts = append(p.Texts, best)
		}
		for k, w := range words {
			var out []string
			for _, s := range w {
				if last := len(out) - 1; last >= 0 && out[last]+s == best {
					out[last] = best
				} else {
					out = append(out, s)
				}
			}
			words[k] = out
		}
	}
	p.Texts = append(p.Texts, slices.Compact(chars)...)
	return p
}

// Score is the score of normal piece i.
func (p *Pieces) Score(i int) float32 { return -float32(i) }

// ID returns the id of a text.
func (p *Pieces) ID(text string) (int, bool) {
	i := slices.Index(p.Texts, text)
	return normal + i, i >= 0
}

// Len is how many tokens there are.
func (p *Pieces) Len() int { return normal + len(p.Texts) + len(p.Ends) }

// Byte is the text of a byte's piece.
func Byte(b int) string { return fmt.Sprintf("<0x%02X>", b) }

// Model returns tokenizer.model.
func (p *Pieces) Model() []byte {
	m := &sentencepiece.ModelProto{
		TrainerSpec:    &sentencepiece.TrainerSpec{ModelType: sentencepiece.TrainerSpec_BPE.Enum(), ByteFallback: proto.Bool(true)},
		NormalizerSpec: &sentencepiece.NormalizerSpec{Name: proto.String("identity"), AddDummyPrefix: proto.Bool(true), RemoveExtraWhitespaces: proto.Bool(false)},
	}
	add := func(text string, score float32, kind sentencepiece.ModelProto_SentencePiece_Type) {
		m.Pieces = append(m.Pieces, &sentencepiece.ModelProto_SentencePiece{Piece: &text, Score: &score, Type: &kind})
	}
	add("<unk>", 0, sentencepiece.ModelProto_SentencePiece_UNKNOWN)
	add("<s>", 0, sentencepiece.ModelProto_SentencePiece_CONTROL)
	add("</s>", 0, sentencepiece.ModelProto_SentencePiece_CONTROL)
	for b := range 256 {
		add(Byte(b), 0, sentencepiece.ModelProto_SentencePiece_BYTE)
	}
	for i, text := range p.Texts {
		add(text, p.Score(i), sentencepiece.ModelProto_SentencePiece_NORMAL)
	}
	data, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return data
}

// JSON returns the tokenizer.json that transformers makes of it: every pair of pieces that makes a piece is a merge,
// in the order of the results' scores.
func (p *Pieces) JSON() []byte {
	vocab := map[string]int{"<unk>": 0, "<s>": 1, "</s>": 2}
	for b := range 256 {
		vocab[Byte(b)] = 3 + b
	}
	for i, text := range p.Texts {
		vocab[text] = normal + i
	}
	var merges [][]string
	for _, text := range p.Texts {
		for at := range text {
			_, left := p.ID(text[:at])
			_, right := p.ID(text[at:])
			if left && right {
				merges = append(merges, []string{text[:at], text[at:]})
			}
		}
	}
	var added []map[string]any
	for _, text := range []string{"<unk>", "<s>", "</s>"} {
		added = append(added, map[string]any{"id": vocab[text], "content": text, "special": true})
	}
	for i, text := range p.Ends {
		added = append(added, map[string]any{"id": normal + len(p.Texts) + i, "content": text, "special": true})
	}
	return JSON(map[string]any{
		"added_tokens": added,
		"normalizer": map[string]any{"type": "Sequence", "normalizers": []any{
			map[string]any{"type": "Prepend", "prepend": "▁"}, map[string]any{"type": "Replace", "pattern": map[string]any{"String": " "}, "content": "▁"}}},
		"pre_tokenizer": nil,
		"post_processor": map[string]any{"type": "TemplateProcessing", "single": []any{
			map[string]any{"SpecialToken": map[string]any{"id": "<s>", "type_id": 0}}, map[string]any{"Sequence": map[string]any{"id": "A", "type_id": 0}}}},
		"decoder": map[string]any{"type": "Sequence", "decoders": []any{map[string]any{"type": "ByteFallback"}}},
		"model":   map[string]any{"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true, "vocab": vocab, "merges": merges},
	})
}

// Config returns tokenizer_config.json, which knows the added tokens too.
func (p *Pieces) Config() []byte {
	added := map[string]any{}
	for i, text := range p.Ends {
		added[fmt.Sprint(normal+len(p.Texts)+i)] = map[string]any{"content": text, "special": true}
	}
	return JSON(map[string]any{
		"tokenizer_class": "LlamaTokenizer", "added_tokens_decoder": added, "bos_token": map[string]any{"content": "<s>"},
		"eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": true, "add_eos_token": false,
	})
}

package hftest

import (
	"github.com/ollama/ollama/convert/sentencepiece"
	"google.golang.org/protobuf/proto"
)

// Unigram is a SentencePiece unigram model: the pieces of a BPE, with scores that fall with the length of the list.
type Unigram struct{ *Pieces }

// Model returns tokenizer.model.
func (u Unigram) Model() []byte {
	m := &sentencepiece.ModelProto{}
	if err := proto.Unmarshal(u.Pieces.Model(), m); err != nil {
		panic(err)
	}
	m.TrainerSpec.ModelType = sentencepiece.TrainerSpec_UNIGRAM.Enum()
	for i, p := range m.Pieces {
		if i >= normal {
			p.Score = proto.Float32(u.Score(i - normal))
		}
	}
	data, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return data
}

// Score is the score of normal piece i: a logarithm, in steps that numbers of 32 bits have exactly.
func (u Unigram) Score(i int) float32 { return -3 - float32(i)/16 }

// JSON returns the tokenizer.json that transformers makes of it.
func (u Unigram) JSON() []byte {
	vocab := [][]any{{"<unk>", 0}, {"<s>", 0}, {"</s>", 0}}
	for b := range 256 {
		vocab = append(vocab, []any{Byte(b), 0})
	}
	for i, text := range u.Texts {
		vocab = append(vocab, []any{text, u.Score(i)})
	}
	var added []map[string]any
	for id, text := range []string{"<unk>", "<s>", "</s>"} {
		added = append(added, map[string]any{"id": id, "content": text, "special": true})
	}
	for i, text := range u.Ends {
		added = append(added, map[string]any{"id": normal + len(u.Texts) + i, "content": text, "special": true})
	}
	strip := map[string]any{"type": "Strip", "strip_left": false, "strip_right": true}
	merge := map[string]any{"type": "Replace", "pattern": map[string]any{"Regex": " {2,}"}, "content": "▁"}
	return JSON(map[string]any{
		"added_tokens":  added,
		"normalizer":    map[string]any{"type": "Sequence", "normalizers": []any{strip, merge}},
		"pre_tokenizer": map[string]any{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
		"post_processor": map[string]any{"type": "TemplateProcessing", "single": []any{
			map[string]any{"SpecialToken": map[string]any{"id": "<s>", "type_id": 0}}, map[string]any{"Sequence": map[string]any{"id": "A", "type_id": 0}}}},
		"decoder": map[string]any{"type": "Metaspace", "replacement": "▁"},
		"model":   map[string]any{"type": "Unigram", "unk_id": 0, "byte_fallback": true, "vocab": vocab},
	})
}

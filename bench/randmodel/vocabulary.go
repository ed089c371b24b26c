package randmodel

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// WriteVocabulary writes the model of a file to another one with a vocabulary of as many tokens that can write any text:
// SentencePiece's, with a token for each byte and for each of the pieces that is text, as long as there is room. The words of
// WriteModel are the rest.
func WriteVocabulary(to, from string, pieces []string) error {
	f, err := quant.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	old, ok := f.Metadata.Strings("tokenizer.ggml.tokens")
	if !ok {
		return fmt.Errorf("%s has no vocabulary", from)
	}
	size := len(old)
	const unknown, control, plain, single = 2, 3, 1, 6 // the types of tokens
	texts, types := []string{"<unk>", "<s>", "</s>"}, []int32{unknown, control, control}
	for b := range 256 {
		texts, types = append(texts, fmt.Sprintf("<0x%02X>", b)), append(types, single)
	}
	for _, p := range pieces {
		if utf8.ValidString(p) && len(texts) < size {
			texts, types = append(texts, strings.ReplaceAll(p, " ", "▁")), append(types, plain)
		}
	}
	for i := 0; len(texts) < size; i++ {
		texts, types = append(texts, fmt.Sprintf("w%d_", i)), append(types, plain)
	}
	m := f.Metadata.Clone()
	for _, key := range []string{"tokenizer.ggml.merges", "tokenizer.ggml.pre"} {
		m.Delete(key)
	}
	m.Set("tokenizer.ggml.model", "llama")
	m.Set("tokenizer.ggml.tokens", texts)
	m.Set("tokenizer.ggml.token_type", types)
	m.Set("tokenizer.ggml.scores", make([]float32, size))
	m.Set("tokenizer.ggml.bos_token_id", uint32(1))
	m.Set("tokenizer.ggml.eos_token_id", uint32(2))
	return quant.WriteFile(to, &m, f.Tensors, func(i int, w io.Writer) error {
		r, err := f.TensorReader(f.Tensors[i].Name)
		if err == nil {
			_, err = io.Copy(w, r)
		}
		return err
	})
}

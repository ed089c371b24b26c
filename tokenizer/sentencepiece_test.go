package tokenizer_test

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/ollama/ollama/convert/sentencepiece"
	"google.golang.org/protobuf/proto"

	"github.com/lorikeet-ai/lorikeet/internal/testtools"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/tokenizer"
)

//go:embed testdata/sentencepiece.py
var sentencePieceScript string

// sentencePieceAnswer is what sentencepiece.py writes.
type sentencePieceAnswer struct {
	Model []byte              `json:"model"`
	IDs   [][]tokenizer.Token `json:"ids"`
}

// sentencePiece learns a unigram model from a corpus, and tokenizes texts with it.
func sentencePiece(t *testing.T, corpus, texts []string, options object) *sentencePieceAnswer {
	t.Helper()
	python := testtools.Python(t, "sentencepiece==0.2.1")
	in, err := json.Marshal(object{"corpus": corpus, "texts": texts, "options": options})
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(python, "-c", sentencePieceScript)
	var out, problem bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(in), &out, &problem
	if err := command.Run(); err != nil {
		t.Fatalf("sentencepiece.py: %v\n%s", err, problem.String())
	}
	a := &sentencePieceAnswer{}
	if err := json.Unmarshal(out.Bytes(), a); err != nil {
		t.Fatal(err)
	}
	return a
}

// file is the answer's model as a GGUF file has it.
func (a *sentencePieceAnswer) file(t *testing.T) *quant.Metadata {
	t.Helper()
	p := &sentencepiece.ModelProto{}
	if err := proto.Unmarshal(a.Model, p); err != nil {
		t.Fatal(err)
	}
	var texts []string
	var kinds []int32
	var scores []float32
	for _, piece := range p.GetPieces() {
		texts, kinds, scores = append(texts, piece.GetPiece()), append(kinds, int32(piece.GetType())), append(scores, piece.GetScore())
	}
	n := p.GetNormalizerSpec()
	m := &quant.Metadata{}
	m.Set("general.architecture", "llama")
	m.Set("tokenizer.ggml.model", "t5")
	m.Set("tokenizer.ggml.tokens", texts)
	m.Set("tokenizer.ggml.token_type", kinds)
	m.Set("tokenizer.ggml.scores", scores)
	m.Set("tokenizer.ggml.unknown_token_id", uint32(p.GetTrainerSpec().GetUnkId()))
	m.Set("tokenizer.ggml.add_space_prefix", n.GetAddDummyPrefix())
	m.Set("tokenizer.ggml.remove_extra_whitespaces", n.GetRemoveExtraWhitespaces())
	m.Set("tokenizer.ggml.precompiled_charsmap", n.GetPrecompiledCharsmap())
	return m
}

// publishedCharsmap is SentencePiece's own charsmap nmt_nfkc, of its default models.
func publishedCharsmap(t *testing.T, corpus []string) []byte {
	t.Helper()
	a := sentencePiece(t, trainable(corpus), []string{}, object{"vocab_size": 1500, "hard_vocab_limit": false, "character_coverage": 0.98})
	data, _ := a.file(t).Get("tokenizer.ggml.precompiled_charsmap")
	return data.([]byte)
}

// trainable leaves out texts that SentencePiece does not learn from.
func trainable(texts []string) []string {
	var out []string
	for _, text := range texts {
		if text = strings.ReplaceAll(text, "\x00", ""); strings.TrimSpace(text) != "" {
			out = append(out, text)
		}
	}
	return out
}

// TestUnigramAgainstSentencePiece compares a model that SentencePiece learned, with the charsmaps that it brings, with what
// it does itself, where a file has GGUF's keys alone.
func TestUnigramAgainstSentencePiece(t *testing.T) {
	corpus := trainable(randomTexts(6000, 51))
	mapped := textCount() * 3 / 20
	texts := append(randomTexts(textCount()-mapped, 52), charsmapTexts(mapped)...)
	for _, c := range []struct {
		rule                 string
		bytes, prefix, trims bool
	}{
		{"nmt_nfkc", false, true, true}, {"nmt_nfkc", true, true, false}, {"nfkc_cf", false, false, true}, {"identity", true, true, true},
	} {
		t.Run(fmt.Sprintf("%s, bytes %t, prefix %t, trims %t", c.rule, c.bytes, c.prefix, c.trims), func(t *testing.T) {
			a := sentencePiece(t, corpus, texts, object{
				"vocab_size": 2500, "hard_vocab_limit": false, "character_coverage": 0.98, "normalization_rule_name": c.rule,
				"byte_fallback": c.bytes, "add_dummy_prefix": c.prefix, "remove_extra_whitespaces": c.trims,
			})
			compare(t, open(t, a.file(t)), texts, false, a.IDs)
		})
	}
}

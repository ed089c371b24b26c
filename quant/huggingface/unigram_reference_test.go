package huggingface

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/internal/testtools"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/quant/huggingface/hftest"
	"github.com/lorikeet-ai/lorikeet/tokenizer"
)

//go:embed testdata/unigram.py
var unigramScript string

// learnUnigram learns a tokenizer.json from a corpus with tokenizers, and returns what it makes of texts.
func learnUnigram(t *testing.T, corpus, texts []string, fallBack bool) (file string, ids [][]int32) {
	t.Helper()
	python := testtools.Python(t, "tokenizers==0.23.3")
	in, err := json.Marshal(map[string]any{"corpus": corpus, "texts": texts, "bytes": fallBack})
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(python, "-c", unigramScript)
	var out, problem bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(in), &out, &problem
	if err := command.Run(); err != nil {
		t.Fatalf("unigram.py: %v\n%s", err, problem.String())
	}
	var answer struct {
		File string    `json:"file"`
		IDs  [][]int32 `json:"ids"`
	}
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	return answer.File, answer.IDs
}

// unigramTexts are texts of words, runs of one character, spaces and characters that are in no corpus.
func unigramTexts(n int, seed uint64) []string {
	rnd := rand.New(rand.NewPCG(seed, 1))
	parts := []string{"the", "bird", "birds", "sing", "singing", "in", "tree", "morning", "light", "there", " ", " ", " ", "  ", "   ", "\n", "\n\n",
		"a", "aa", "aaa", "e", "ee", "日", "本", "語", "日本語", "é", "ñ", "привет", "😀", ".", "...", "!", ", ", "1", "23", "▁", "</s>", "<un", "\u3000"}
	texts := make([]string, n)
	for i := range texts {
		for range rnd.IntN(14) {
			part := parts[rnd.IntN(len(parts))]
			for range 1 + rnd.IntN(3)*rnd.IntN(4) {
				texts[i] += part
			}
		}
		if i%10 == 0 {
			texts[i] += string(rune(0x4e00 + rnd.IntN(20000)))
		}
	}
	return texts
}

// TestLearnedUnigram: a tokenizer.json that tokenizers learned, whose scores have 64 bits, gives after its import the
// tokens that tokenizers gives.
func TestLearnedUnigram(t *testing.T) {
	corpus, texts := unigramTexts(3000, 1), unigramTexts(20000, 2)
	for i, text := range corpus {
		corpus[i] = strings.ReplaceAll(text, "</s>", " ") // else it is learned as a second token of this text
	}
	for _, fallBack := range []bool{false, true} {
		t.Run(fmt.Sprintf("bytes %t", fallBack), func(t *testing.T) {
			json, want := learnUnigram(t, corpus, texts, fallBack)
			dir := t.TempDir()
			hftest.WriteFiles(t, dir, map[string][]byte{"tokenizer.json": []byte(json)})
			f, err := openFolder(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer f.close()
			v, err := readVocabulary(f, &config{}, "", 1600)
			if err != nil {
				t.Fatal(err)
			}
			m := &quant.Metadata{}
			v.set(m)
			k, err := tokenizer.New(m)
			if err != nil {
				t.Fatal(err)
			}
			wrong := 0
			for i, text := range texts {
				got, err := k.Tokenize(context.Background(), text, false, true)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got, want[i]) {
					if wrong++; wrong <= 3 {
						t.Errorf("%q: tokens %v, want %v", text, got, want[i])
					}
				}
			}
			if wrong > 0 {
				t.Errorf("%d of %d texts have other tokens", wrong, len(texts))
			}
		})
	}
}

// TestDecimal: numbers are read as tokenizers reads them, which is not always the nearest number.
func TestDecimal(t *testing.T) {
	for number, want := range map[string]float64{
		"0": 0, "-3": -3, "1.5e3": 1500, "-2.5E-1": -0.25, "1e-320": 1e-320, "123456789012345678901234": 1.2345678901234567e23,
		"-8.123000144958496": -8.123000144958496, "1e22": 1e22,
	} {
		if got := decimal(number); got != want && (number != "1e-320" || got > 2e-320 || got <= 0) {
			t.Errorf("%s is read as %g, want %g", number, got, want)
		}
	}
}

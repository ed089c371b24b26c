package huggingface

import (
	"encoding/base64"
	"fmt"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/quant/huggingface/hftest"
)

// TestUnigramsAreReadAlike: tokenizer.model and tokenizer.json give the same tokens, and each the keys of what it does to
// a text.
func TestUnigramsAreReadAlike(t *testing.T) {
	p := hftest.Unigram{Pieces: hftest.LearnPieces(birds, 40)}
	var list []*vocabulary
	for _, files := range []map[string][]byte{
		{"tokenizer.model": p.Model(), "tokenizer_config.json": p.Config()},
		{"tokenizer.json": p.JSON(), "tokenizer.model": p.Model(), "tokenizer_config.json": p.Config()},
	} {
		dir := t.TempDir()
		hftest.WriteFiles(t, dir, files)
		f, err := openFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer f.close()
		v, err := readVocabulary(f, &config{}, "", int64(p.Len()+3))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, v)
	}
	for i, v := range list {
		if v.model != "t5" || !v.addBOS || v.addEOS || v.special["bos"] != 1 || v.special["eos"] != 2 || v.special["unknown"] != 0 || len(v.notes) > 0 {
			t.Errorf("%d: %+v", i, v)
		}
		for id, token := range v.tokens {
			if want := list[0].tokens[id]; token.text != want.text || token.kind != want.kind || token.kind == normalToken && token.score != want.score {
				t.Errorf("%d: token %d is %+v, not %+v", i, id, token, want)
			}
		}
		m := &quant.Metadata{}
		v.set(m)
		got := []any{}
		for _, key := range []string{"tokenizer.ggml.add_space_prefix", extraKey, normalizerKey, spacePrefixKey, wordsKey} {
			value, _ := m.Get(key)
			got = append(got, value)
		}
		if want := [][]any{{true, false, nil, nil, nil}, {true, false, "strip_right spaces_to_mark", "always", "marks"}}[i]; !slices.Equal(got, want) {
			t.Errorf("%d: keys %v, want %v", i, got, want)
		}
	}
}

// TestUnigramTexts: what tokenizer.json says of a text's changes and words, in our terms.
func TestUnigramTexts(t *testing.T) {
	const (
		precompiled = `{"type":"Precompiled","precompiled_charsmap":"AQID"}`
		metaspace   = `"type":"Metaspace","replacement":"▁"`
		split       = `{"type":"WhitespaceSplit"}`
	)
	sequence := func(kind, parts string) string { return `{"type":"Sequence","` + kind + `":[` + parts + `]}` }
	for _, c := range []struct{ normalizer, pre, steps, prefix, words string }{
		{`null`, `{` + metaspace + `}`, "", "always", "marks"},
		{`null`, `{` + metaspace + `,"add_prefix_space":false}`, "", "never", "marks"},
		{`null`, `{` + metaspace + `,"prepend_scheme":"first","split":false}`, "", "first", "whole"},
		{precompiled, sequence("pretokenizers", split+`,{`+metaspace+`,"add_prefix_space":true}`), "charsmap", "always", "spaces"},
		{sequence("normalizers", precompiled+`,{"type":"Strip","strip_left":true,"strip_right":true},{"type":"Replace","pattern":{"Regex":" {2,}"},"content":" "}`),
			`{` + metaspace + `,"prepend_scheme":"never"}`, "charsmap strip_left strip_right spaces_to_space", "never", "marks"},
		{sequence("normalizers", `{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}`), `null`, "prepend mark", "never", "whole"},
		{`{"type":"Precompiled","precompiled_charsmap":null}`, `{` + metaspace + `}`, "", "always", "marks"},
		{sequence("normalizers", precompiled+","+precompiled), `{` + metaspace + `}`, "refused", "", ""},
		{`null`, split, "refused", "", ""},
		{`null`, sequence("pretokenizers", split+`,{`+metaspace+`,"split":false}`), "refused", "", ""},
		{`null`, `{"type":"Metaspace","replacement":"_"}`, "refused", "", ""},
	} {
		file, err := parseTokenizer([]byte(fmt.Sprintf(`{"normalizer":%s,"pre_tokenizer":%s,"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],["a",-0.1]]}}`, c.normalizer, c.pre)))
		if err != nil {
			t.Fatal(err)
		}
		v, err := file.unigramVocabulary(4)
		if c.steps == "refused" {
			if err == nil {
				t.Errorf("%s, %s: no error", c.normalizer, c.pre)
			}
			continue
		}
		if err != nil || v.normalizer != c.steps || v.spacePrefix != c.prefix || v.unigram.words != c.words {
			t.Errorf("%s, %s: got %+v, %v, want %+v", c.normalizer, c.pre, v, err, c)
			continue
		}
		if c.steps == "charsmap" && base64.StdEncoding.EncodeToString(v.unigram.charsmap) != "AQID" {
			t.Errorf("the charsmap is %v", v.unigram.charsmap)
		}
		m := &quant.Metadata{}
		v.set(m)
		if scores, _ := m.Get(scoresKey); !slices.Equal(scores.([]float64)[:2], []float64{0, -0.1}) {
			t.Errorf("scores that 32 bits do not hold are kept as %v", scores)
		}
	}
}

package huggingface

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant/huggingface/hftest"
)

// folderWith writes the random llama model with these files in place of its own; an empty one is left out.
func folderWith(t *testing.T, change map[string]string) string {
	t.Helper()
	files := hftest.Random("llama", 1).Files()
	for name, data := range change {
		files[name] = []byte(data)
		if data == "" {
			delete(files, name)
		}
	}
	dir := t.TempDir()
	hftest.WriteFiles(t, dir, files)
	return dir
}

// TestBeginningToken: whether there is one is said by the tokenizer's files alone, as in transformers; config.json's id
// counts only where there are none. (The random models have bos_token_id 257, "<|begin|>".)
func TestBeginningToken(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  any
	}{
		"null":             {map[string]string{"tokenizer_config.json": `{"bos_token":null,"eos_token":"<|end|>"}`}, nil},
		"not given":        {map[string]string{"tokenizer_config.json": `{"eos_token":"<|end|>"}`}, nil},
		"given":            {map[string]string{"tokenizer_config.json": `{"bos_token":"<|user|>"}`}, uint32(259)},
		"in the other map": {map[string]string{"tokenizer_config.json": "", "special_tokens_map.json": `{"bos_token":{"content":"<|user|>"}}`}, uint32(259)},
		"no files":         {map[string]string{"tokenizer_config.json": ""}, uint32(257)},
	} {
		f, _ := imported(t, folderWith(t, c.files), Options{Type: "keep"})
		if got, _ := f.Metadata.Get("tokenizer.ggml.bos_token_id"); got != c.want {
			t.Errorf("%s: BOS is %v, not %v", name, got, c.want)
		}
	}
}

// TestClassDefaults: the special tokens that a class of transformers has where the files do not speak of them.
func TestClassDefaults(t *testing.T) {
	for text, want := range map[string]map[string]string{
		`{"tokenizer_class":"LlamaTokenizerFast"}`:                      {"bos": "<s>", "eos": "</s>", "unknown": "<unk>", "padding": ""},
		`{"tokenizer_class":"LlamaTokenizer","bos_token":null}`:         {"bos": "", "eos": "</s>", "unknown": "<unk>", "padding": ""},
		`{"tokenizer_class":"Qwen2Tokenizer","pad_token":"<|pad|>"}`:    {"bos": "", "eos": "<|endoftext|>", "unknown": "", "padding": "<|pad|>"},
		`{"tokenizer_class":"PreTrainedTokenizerFast"}`:                 {"bos": "", "eos": "", "unknown": "", "padding": ""},
		`{"tokenizer_class":"GPT2TokenizerFast","eos_token":"<|end|>"}`: {"bos": "<|endoftext|>", "eos": "<|end|>", "unknown": "<|endoftext|>", "padding": ""},
	} {
		dir := t.TempDir()
		hftest.WriteFiles(t, dir, map[string][]byte{"tokenizer_config.json": []byte(text)})
		f, err := openFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		s, err := readSpecial(f)
		f.close()
		if err != nil || !maps.Equal(s.texts, want) {
			t.Errorf("%s: %v, %v", text, s.texts, err)
		}
	}
}

// TestTokensBesideTokenizerJSON: transformers adds what only the other files have, and so do we.
func TestTokensBesideTokenizerJSON(t *testing.T) {
	dir := folderWith(t, map[string]string{"tokenizer_config.json": `{
		"added_tokens_decoder":{
			"261":{"content":"<b>","special":false,"lstrip":true,"normalized":true},
			"260":{"content":"<a>","special":true,"rstrip":true,"single_word":true},
			"256":{"content":"he","special":true}},
		"eos_token":"<end>","pad_token":"<a>","additional_special_tokens":["<x>","<b>"]}`})
	f, r := imported(t, dir, Options{Type: "keep"})
	tokens, _ := f.Metadata.Strings("tokenizer.ggml.tokens")
	kinds, _ := f.Metadata.Ints("tokenizer.ggml.token_type")
	want := []string{"<a>", "<b>", "<end>", "<x>"}
	if !slices.Equal(tokens[260:264], want) || !slices.Equal(kinds[260:264], []int64{controlToken, userToken, controlToken, controlToken}) {
		t.Errorf("the tokens are %q of types %v", tokens[256:266], kinds[256:266])
	}
	if tokens[256] != "he" || kinds[256] != controlToken {
		t.Errorf("a word of the vocabulary that is named as a special token is %q of type %d", tokens[256], kinds[256])
	}
	if eos, _ := f.Metadata.Uint("tokenizer.ggml.eos_token_id"); eos != 262 {
		t.Errorf("EOS is %d", eos)
	}
	for key, ids := range map[string][]int64{leftStripKey: {261}, rightStripKey: {260}, singleWordKey: {260}, normalizedKey: {261}} {
		if got, _ := f.Metadata.Ints(key); !slices.Equal(got, ids) {
			t.Errorf("%s is %v, not %v", key, got, ids)
		}
	}
	if len(r.Notes) > 0 {
		t.Errorf("notes: %q", r.Notes)
	}
}

// TestSpacePrefixes: where the parts of a tokenizer.json, or the flags beside a tokenizer.model, put a space.
func TestSpacePrefixes(t *testing.T) {
	const replace = `{"type":"Replace","pattern":{"String":" "},"content":"▁"}`
	for _, c := range []struct{ normalizer, pre, want string }{
		{`{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},` + replace + `]}`, `null`, prefixSegment},
		{replace, `null`, prefixNever},
		{`null`, `{"type":"Metaspace","prepend_scheme":"always","split":false}`, prefixAlways},
		{`null`, `{"type":"Metaspace","prepend_scheme":"first","split":false}`, prefixFirst},
		{`null`, `{"type":"Metaspace","prepend_scheme":"never","split":false}`, prefixNever},
		{`null`, `{"type":"Metaspace","add_prefix_space":true,"split":false}`, prefixAlways},
		{`null`, `{"type":"Metaspace","add_prefix_space":false,"split":false}`, prefixNever},
		{`{"type":"Prepend","prepend":"▁"}`, `{"type":"Metaspace","prepend_scheme":"first","split":false}`, ""},
	} {
		file := &tokenizerJSON{}
		if err := json.Unmarshal([]byte(`{"normalizer":`+c.normalizer+`,"pre_tokenizer":`+c.pre+`}`), file); err != nil {
			t.Fatal(err)
		}
		got, err := file.spacePrefix()
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s, %s: %q, %v, want %q", c.normalizer, c.pre, got, err, c.want)
		}
	}
	yes, no := true, false
	p := hftest.LearnPieces(birds, 40)
	for _, c := range []struct {
		s    special
		want string
	}{
		{special{}, prefixSegment}, {special{legacy: &yes}, prefixSegment}, {special{legacy: &no}, prefixFirst},
		{special{addPrefixSpace: &no}, prefixNever}, {special{legacy: &no, addPrefixSpace: &yes}, prefixFirst},
	} {
		v, err := pieceVocabulary(p.Model(), &c.s, int64(p.Len()))
		if err != nil || v.spacePrefix != c.want {
			t.Errorf("%+v: %v, want %q", c.s, err, c.want)
		}
	}
}

// TestByteLevelKeys: what GGUF has no keys for is in keys of our own.
func TestByteLevelKeys(t *testing.T) {
	tokenizer := string(hftest.Bytes().Files()["tokenizer.json"])
	for from, want := range map[string][2]any{
		``:                  {"none", false},
		`"normalizer":null`: {"nfc", false},
		`"byte_fallback"`:   {"none", true},
	} {
		to := map[string]string{`"normalizer":null`: `"normalizer":{"type":"NFC"}`, `"byte_fallback"`: `"ignore_merges":true,"byte_fallback"`}[from]
		changed := strings.Replace(tokenizer, from, to, 1)
		if from != "" && changed == tokenizer {
			t.Fatalf("%s is not in %s", from, tokenizer)
		}
		f, _ := imported(t, folderWith(t, map[string]string{"tokenizer.json": changed}), Options{Type: "keep"})
		normalizer, _ := f.Metadata.String(normalizerKey)
		ignore, ok := f.Metadata.Bool(ignoreMergesKey)
		if normalizer != want[0] || ignore != want[1] || !ok {
			t.Errorf("%s: %q and %t, want %v", from, normalizer, ignore, want)
		}
	}
}

// TestNotesOnWeights: matrices of zeros, and matrices that q8_0 has no blocks for, are named.
func TestNotesOnWeights(t *testing.T) {
	m := hftest.Random("llama", 1)
	clear(m.Tensors["model.layers.1.mlp.down_proj.weight"])
	_, r := imported(t, m.Write(t), Options{Type: "q8_0"})
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], `all weights of "model.layers.1.mlp.down_proj.weight" are 0`) {
		t.Errorf("notes: %q", r.Notes)
	}
	odd := hftest.Random("llama", 1)
	odd.Config["intermediate_size"] = 100
	for n := range hftest.Layers {
		p := "model.layers." + string(rune('0'+n)) + ".mlp."
		odd.Put(p+"gate_proj.weight", odd.Tensors[p+"gate_proj.weight"][:100*hftest.Hidden], 100, hftest.Hidden)
		odd.Put(p+"up_proj.weight", odd.Tensors[p+"up_proj.weight"][:100*hftest.Hidden], 100, hftest.Hidden)
		odd.Put(p+"down_proj.weight", odd.Tensors[p+"down_proj.weight"][:100*hftest.Hidden], hftest.Hidden, 100)
	}
	_, r = imported(t, odd.Write(t), Options{Type: "q8_0"})
	want := `"blk.0.ffn_down.weight", "blk.1.ffn_down.weight" kept the type of the folder: q8_0 has blocks of 32 weights, and 100 is no multiple of 32`
	if len(r.Notes) != 1 || r.Notes[0] != want {
		t.Errorf("notes: %q", r.Notes)
	}
}

// TestRopeByLayerType: transformers 5 may give an object for each type of layer.
func TestRopeByLayerType(t *testing.T) {
	const base = `{"architectures":["Qwen3ForCausalLM"],"hidden_size":64,"intermediate_size":64,"num_hidden_layers":2,"num_attention_heads":4,"max_position_embeddings":1000%s}`
	for more, theta := range map[string]float64{
		`,"rope_parameters":{"full_attention":{"rope_type":"default","rope_theta":1e6}}`:                                                                       1e6,
		`,"rope_parameters":{"full_attention":{"rope_theta":1e6},"sliding_attention":{"rope_theta":1e4}}`:                                                      1e6,
		`,"layer_types":["sliding_attention","full_attention"],"rope_parameters":{"full_attention":{"rope_theta":5e5},"sliding_attention":{"rope_theta":5e5}}`: 5e5,
		`,"rope_parameters":{"rope_type":"default","rope_theta":1e6}`:                                                                                          1e6,
		`,"rope_theta":1e6,"rope_parameters":{"rope_theta":1e6}`:                                                                                               1e6,
	} {
		c, err := parseConfig([]byte(strings.Replace(base, "%s", more, 1)))
		if err != nil || c.rope.theta != theta {
			t.Errorf("%s: %v", more, err)
		}
	}
	const different = `,"layer_types":["full_attention","sliding_attention"],"rope_parameters":{"full_attention":{"rope_theta":1e6},"sliding_attention":{"rope_theta":1e4}}`
	if _, err := parseConfig([]byte(strings.Replace(base, "%s", different, 1))); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "have different parameters") {
		t.Errorf("layers with different parameters: %v", err)
	}
}

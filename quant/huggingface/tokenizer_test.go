package huggingface

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant/huggingface/hftest"
	"github.com/lorikeet-ai/lorikeet/quant/safetensors"
)

// split is a pre-tokenizer of one expression, as Llama 3 and Qwen have it.
func split(regex string) string {
	return `{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":` + string(hftest.JSON(regex)) +
		`},"behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]}`
}

// TestPreTokenizers: the parts of published tokenizer.json files, and llama.cpp's name for each.
func TestPreTokenizers(t *testing.T) {
	level := `{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}`
	for _, c := range []struct{ pre, more, want string }{
		{split(llama3Split), `,"ignore_merges":true`, "llama-bpe"},
		{split(llama3Split), ``, "dbrx"},
		{split(qwen2Split), ``, "qwen2"},
		{split(tekkenSplit), ``, "tekken"},
		{split(gpt4oSplit), ``, "gpt-4o"},
		{level, ``, "gpt-2"},
		{`{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},` + level + `]}`, ``, "smollm"},
		{`{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":false},` + level + `]}`, ``, ""},
		{split(`\p{L}+`), ``, ""},
		{`{"type":"ByteLevel","add_prefix_space":true}`, ``, ""},
	} {
		file, err := parseTokenizer([]byte(`{"pre_tokenizer":` + c.pre + `,"model":{"type":"BPE","vocab":{"a":0},"merges":[]` + c.more + `}}`))
		if err != nil {
			t.Fatal(err)
		}
		v, err := file.byteLevelVocabulary("", 4)
		if c.want == "" {
			if err == nil {
				t.Errorf("%s: no error", c.pre)
			}
			if v, err = file.byteLevelVocabulary("given", 4); err != nil || v.pre != "given" {
				t.Errorf("%s: a given name is not taken: %v", c.pre, err)
			}
			continue
		}
		if err != nil || v.pre != c.want {
			t.Errorf("%s: got %v, %v, want %s", c.pre, v, err, c.want)
		}
	}
}

// TestExpressions holds the two most used expressions against the digests that ollama's converter has of the
// published files (convert/tokenizer.go).
func TestExpressions(t *testing.T) {
	for regex, want := range map[string]string{
		llama3Split: "d98f9631be1e9607a9848c26c1f9eac1aa9fc21ac6ba82a2fc0741af9780a48f",
		qwen2Split:  "1ff7f41064896984db5d1bb6ff64fa4bc29007d08c1b439e505b7392777a319e",
	} {
		if sum := sha256.Sum256([]byte(regex)); hex.EncodeToString(sum[:]) != want {
			t.Errorf("%s has the digest %x", regex, sum)
		}
	}
}

const birds = "the bird sings in the tree and the other birds sing along in the morning while there is light there"

// TestPiecesAreReadAlike: tokenizer.model, and tokenizer.json with and without it, give the same vocabulary, and
// scores of the same order.
func TestPiecesAreReadAlike(t *testing.T) {
	p := hftest.LearnPieces(birds, 40)
	rows := int64(p.Len() + 3)
	var list []*vocabulary
	for _, files := range []map[string][]byte{
		{"tokenizer.model": p.Model(), "tokenizer_config.json": p.Config()},
		{"tokenizer.json": p.JSON(), "tokenizer_config.json": p.Config()},
		{"tokenizer.json": p.JSON(), "tokenizer.model": p.Model(), "tokenizer_config.json": p.Config()},
	} {
		dir := t.TempDir()
		hftest.WriteFiles(t, dir, files)
		f, err := openFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer f.close()
		v, err := readVocabulary(f, &config{}, "", rows)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, v)
	}
	for i, v := range list {
		if v.model != "llama" || v.spacePrefix != prefixSegment || !v.addBOS || v.addEOS || v.special["bos"] != 1 || v.special["eos"] != 2 || v.special["unknown"] != 0 || len(v.notes) > 0 {
			t.Errorf("%d: %+v", i, v)
		}
		for id, token := range v.tokens {
			want := list[0].tokens[id]
			if token.text != want.text || token.kind != want.kind {
				t.Errorf("%d: token %d is %+v, not %+v", i, id, token, want)
			}
		}
		kinds := []int32{unknownToken, controlToken, controlToken, byteToken}
		for id, kind := range kinds {
			if v.tokens[id].kind != kind {
				t.Errorf("%d: token %d is of type %d, not %d", i, id, v.tokens[id].kind, kind)
			}
		}
		end := v.byText["<end>"]
		if v.tokens[end].kind != controlToken || v.tokens[end+1].kind != unusedToken || v.tokens[258+1].kind != normalToken {
			t.Errorf("%d: the types of the last tokens are wrong", i)
		}
		for k := 1; k < 40; k++ {
			if v.tokens[259+k].score >= v.tokens[258+k].score && k > 1 {
				t.Errorf("%d: the score of %q does not fall", i, v.tokens[259+k].text)
			}
		}
	}
}

// TestMergesThatAreNoScores: a BPE whose merges could not come from scores is refused.
func TestMergesThatAreNoScores(t *testing.T) {
	base := func(extra, merges string) string {
		var b strings.Builder
		for i := range 256 {
			fmt.Fprintf(&b, `"<0x%02X>":%d,`, i, i)
		}
		return `{"normalizer":{"type":"Replace","pattern":{"String":" "},"content":"▁"},"model":{"type":"BPE","byte_fallback":true,"vocab":{` +
			b.String() + extra + `},"merges":` + merges + `}}`
	}
	const vocab = `"a":256,"b":257,"c":258,"ab":259,"bc":260,"abc":261`
	for want, merges := range map[string]string{
		`do not stand together`:          `["a b","ab c","b c","a bc"]`,
		`no merge makes token "abc" of `: `["a b","b c","ab c"]`,
	} {
		file, err := parseTokenizer([]byte(base(vocab, merges)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.sentencePieceVocabulary(nil, 262); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	file, err := parseTokenizer([]byte(base(vocab, `["a b","b c","a bc","ab c"]`)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.sentencePieceVocabulary(nil, 262); err != nil {
		t.Error(err)
	}
}

// TestBeginAndEnd: what is put before and after a text, from flags or from the file's template.
func TestBeginAndEnd(t *testing.T) {
	yes, no := true, false
	both := `{"type":"Sequence","processors":[{"type":"ByteLevel"},{"type":"TemplateProcessing","single":[
		{"SpecialToken":{"id":"<s>"}},{"Sequence":{"id":"A"}},{"SpecialToken":{"id":"</s>"}}]}]}`
	for _, c := range []struct {
		class, processor string
		addBOS, addEOS   *bool
		bos, eos         bool
	}{
		{"PreTrainedTokenizerFast", both, nil, nil, true, true},
		{"PreTrainedTokenizerFast", `null`, nil, nil, false, false},
		{"PreTrainedTokenizerFast", `null`, &yes, nil, true, false},
		{"Qwen2Tokenizer", `{"type":"ByteLevel"}`, &no, nil, false, false},
		{"LlamaTokenizerFast", both, nil, nil, true, false},
		{"LlamaTokenizer", both, &no, &yes, false, true},
	} {
		file := &tokenizerJSON{}
		if err := json.Unmarshal([]byte(`{"post_processor":`+c.processor+`}`), file); err != nil {
			t.Fatal(err)
		}
		s := &special{class: c.class, addBOS: c.addBOS, addEOS: c.addEOS, texts: map[string]string{"bos": "<s>", "eos": "</s>"}}
		v := &vocabulary{special: map[string]int64{"bos": 1, "eos": 2}}
		if bos, eos := s.surround(file, v); bos != c.bos || eos != c.eos {
			t.Errorf("%s %s: %t, %t", c.class, c.processor, bos, eos)
		}
	}
}

// TestAddedTokensBeyondTheEmbedding are left out with a note.
func TestAddedTokensBeyondTheEmbedding(t *testing.T) {
	v, err := newVocabulary("f", []entry{{id: 0, token: token{text: "a"}}, {id: 9, token: token{text: "[PAD]"}, added: true}}, 3)
	if err != nil || len(v.notes) != 1 || !strings.Contains(v.notes[0], `token "[PAD]" is left out`) {
		t.Errorf("%v, %v", v, err)
	}
	var texts []string
	for _, x := range v.tokens {
		texts = append(texts, x.text)
	}
	if !slices.Equal(texts, []string{"a", "[PAD1]", "[PAD2]"}) {
		t.Errorf("%q", texts)
	}
}

// TestWindows: a sliding window cuts the context to where it does not matter yet.
func TestWindows(t *testing.T) {
	const base = `{"architectures":["%s"],"hidden_size":64,"intermediate_size":64,"num_hidden_layers":2,"num_attention_heads":4,"max_position_embeddings":1000%s}`
	for _, c := range []struct {
		arch, more string
		want       int64
	}{
		{"MistralForCausalLM", ``, 1000},
		{"MistralForCausalLM", `,"sliding_window":300`, 300},
		{"MistralForCausalLM", `,"sliding_window":null`, 1000},
		{"Qwen2ForCausalLM", `,"sliding_window":300`, 1000},
		{"Qwen2ForCausalLM", `,"sliding_window":300,"use_sliding_window":true`, 300},
		{"Qwen3ForCausalLM", `,"sliding_window":300,"use_sliding_window":true,"layer_types":["full_attention","full_attention"]`, 1000},
		{"Qwen3ForCausalLM", `,"sliding_window":300,"use_sliding_window":true,"layer_types":["full_attention","sliding_attention"]`, 300},
		{"LlamaForCausalLM", `,"rope_scaling":{"type":"dynamic","factor":4}`, 1000},
		{"LlamaForCausalLM", `,"rope_scaling":{"type":"yarn","factor":4}`, 4000},
	} {
		got, err := parseConfig([]byte(fmt.Sprintf(base, c.arch, c.more)))
		if err != nil || got.context != c.want {
			t.Errorf("%s%s: context %v, %v, want %d", c.arch, c.more, got, err, c.want)
		}
	}
}

func FuzzConfig(f *testing.F) {
	for _, kind := range hftest.Kinds {
		f.Add(hftest.JSON(hftest.Random(kind, 1).Config))
	}
	f.Add([]byte(`{"architectures":["LlamaForCausalLM"],"hidden_size":8,"num_attention_heads":2,"num_hidden_layers":1,"intermediate_size":1,"max_position_embeddings":1,"quantization_config":{"load_in_4bit":true,"bnb_4bit_quant_type":"nf4"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig(data)
		if err != nil {
			return
		}
		m := c.metadata("name", &card{})
		for _, key := range []string{"context_length", "embedding_length", "block_count", "attention.head_count", "attention.head_count_kv", "rope.dimension_count"} {
			if n, ok := m.Uint(c.arch + "." + key); !ok || n == 0 || n > math.MaxInt32 {
				t.Errorf("%s is %d", key, n)
			}
		}
		if n := len(c.rope.freqs); n > 0 && int64(n) != c.headDim/2 {
			t.Errorf("%d frequencies for heads of %d", n, c.headDim)
		}
	})
}

func FuzzTokenizer(f *testing.F) {
	// Short ones: the fuzzer spends its time on making long ones shorter.
	f.Add([]byte(`{"added_tokens":[{"id":3,"content":"x","special":true}],"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}`))
	f.Add([]byte(`{"normalizer":{"type":"Replace","pattern":{"String":" "},"content":"▁"},"model":{"type":"BPE","byte_fallback":true,"unk_token":"u","vocab":{"u":0,"a":1,"b":2,"ab":3},"merges":[["a","b"]]}}`))
	f.Add([]byte(`{"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},{"type":"ByteLevel"}]},"model":{"vocab":{},"merges":[]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		const rows = 600
		file, err := parseTokenizer(data)
		if err != nil {
			return
		}
		read := func() (*vocabulary, error) { return file.sentencePieceVocabulary(nil, rows) }
		if file.byteLevel() {
			read = func() (*vocabulary, error) { return file.byteLevelVocabulary("", rows) }
		}
		if v, err := read(); err == nil {
			whole(t, v, rows)
		}
	})
}

func FuzzPieces(f *testing.F) {
	f.Add([]byte("\x0a\x08\x0a\x01a\x15\x00\x00\x80\x3f" + "\x0a\x07\x0a\x03<s>\x18\x03" + "\x12\x02\x18\x02")) // two pieces; BPE
	f.Fuzz(func(t *testing.T, data []byte) {
		const rows = 600
		if m, err := parsePieces(data); err == nil && len(m.GetPieces()) > len(data)/2 {
			t.Errorf("%d pieces in %d bytes", len(m.GetPieces()), len(data))
		}
		if v, err := pieceVocabulary(data, &special{}, rows); err == nil {
			whole(t, v, rows)
		}
	})
}

// whole checks what llama.cpp takes for granted: as many tokens as rows, no two of them equal, none empty.
func whole(t *testing.T, v *vocabulary, rows int) {
	seen := map[string]bool{}
	for id, x := range v.tokens {
		if x.text == "" || seen[x.text] || x.kind < normalToken || x.kind > byteToken || math.IsNaN(float64(x.score)) {
			t.Fatalf("token %d is %+v", id, x)
		}
		seen[x.text] = true
	}
	if len(v.tokens) != rows {
		t.Fatalf("%d tokens for %d rows", len(v.tokens), rows)
	}
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"metadata":{},"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		index, names, err := parseIndex(data)
		if err != nil {
			return
		}
		for tensor, name := range index {
			if strings.ContainsAny(name, `/\`) || !slices.Contains(names, name) {
				t.Errorf("tensor %q is in %q of %q", tensor, name, names)
			}
		}
	})
}

// FuzzQuantState changes the JSON object of a quantized matrix; what is read must decode without an end.
func FuzzQuantState(f *testing.F) {
	c := quantizeNF4("w", make([]float32, 128), []int64{2, 64}, true)
	for _, x := range c.files {
		if strings.HasSuffix(x.Name, "nf4") {
			f.Add(x.Data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		files := slices.Clone(c.files)
		for i, x := range files {
			if strings.HasSuffix(x.Name, "nf4") {
				files[i] = hftest.U8(x.Name, data, int64(len(data)))
			}
		}
		s := inMemory(t, hftest.Safetensors(files))
		b, err := s.bitsandbytes(s.tensors["w"], []int64{2, 64}, map[string]bool{})
		if err == nil {
			_ = b.float32s(make([]float32, 128), 0)
			_ = b.blocks(make([]byte, 2*34), 0)
		}
	})
}

// inMemory is a shard that lies in memory.
func inMemory(t *testing.T, data []byte) *shards {
	r := bytes.NewReader(data)
	tensors, err := safetensors.Read(r, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	s := &shards{tensors: map[string]*stored{}}
	for _, x := range tensors {
		s.tensors[x.Name] = newStored(x, "memory", r)
	}
	return s
}

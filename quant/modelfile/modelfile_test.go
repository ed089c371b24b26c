package modelfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/demo"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/quant/modelfile"
)

// model is a small llama model that a test may change before it is written.
type model struct {
	quant.Metadata
	tensors []quant.Tensor
}

const layers, embedding, feedForward, heads, kvHeads, tokens = 2, 32, 64, 4, 2, 16

func newModel(architecture string) *model {
	m := &model{}
	m.Set("general.architecture", architecture)
	for key, value := range map[string]uint32{
		"context_length": 128, "embedding_length": embedding, "block_count": layers, "feed_forward_length": feedForward,
		"attention.head_count": heads, "attention.head_count_kv": kvHeads, "rope.dimension_count": embedding / heads,
	} {
		m.Set(architecture+"."+key, value)
	}
	m.Set(architecture+".attention.layer_norm_rms_epsilon", float32(1e-5))
	m.Set("tokenizer.ggml.model", "gpt2")
	m.Set("tokenizer.ggml.pre", "gpt-2")
	var texts []string
	var kinds []int32
	for i := range tokens {
		texts, kinds = append(texts, string(rune('a'+i))), append(kinds, 1)
	}
	texts[2] = "ab"
	m.Set("tokenizer.ggml.tokens", texts)
	m.Set("tokenizer.ggml.token_type", kinds)
	m.Set("tokenizer.ggml.scores", make([]float32, tokens))
	m.Set("tokenizer.ggml.merges", []string{"a b"})
	m.Set("tokenizer.ggml.bos_token_id", uint32(3))
	m.Set("tokenizer.ggml.eos_token_id", uint32(4))
	m.add("token_embd.weight", embedding, tokens)
	m.add("output_norm.weight", embedding)
	m.add("output.weight", embedding, tokens)
	for l := range layers {
		block := func(name string, dims ...int64) { m.add(fmt.Sprintf("blk.%d.%s.weight", l, name), dims...) }
		block("attn_norm", embedding)
		block("attn_q", embedding, embedding)
		block("attn_k", embedding, embedding/2)
		block("attn_v", embedding, embedding/2)
		block("attn_output", embedding, embedding)
		block("ffn_norm", embedding)
		block("ffn_gate", embedding, feedForward)
		block("ffn_up", embedding, feedForward)
		block("ffn_down", feedForward, embedding)
	}
	return m
}

func (m *model) add(name string, dims ...int64) {
	m.tensors = append(m.tensors, quant.Tensor{Name: name, Type: quant.F32, Dims: dims})
}

// tensor returns the tensor of that name.
func (m *model) tensor(name string) *quant.Tensor {
	for i := range m.tensors {
		if m.tensors[i].Name == name {
			return &m.tensors[i]
		}
	}
	panic("no tensor " + name)
}

func (m *model) encode(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	err := quant.Encode(&b, &m.Metadata, m.tensors, func(i int, w io.Writer) error {
		size, err := m.tensors[i].Type.Size(m.tensors[i].Dims)
		if err == nil {
			_, err = w.Write(make([]byte, size))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func check(data []byte) error {
	f, err := quant.Read(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return err
	}
	return modelfile.Check(f, "")
}

func TestCheckAcceptsGoodModels(t *testing.T) {
	for _, architecture := range []string{"llama", "qwen2", "qwen3", "gemma2"} {
		if err := check(newModel(architecture).encode(t)); err != nil {
			t.Errorf("%s: %v", architecture, err)
		}
	}
	if err := check(demo.Base()); err != nil {
		t.Errorf("the demo base: %v", err)
	}
}

// TestCheckAcceptsFiles checks the model files of a folder that the environment names: published ones, if you have them.
func TestCheckAcceptsFiles(t *testing.T) {
	dir := os.Getenv("LORIKEET_TEST_MODELS")
	if dir == "" {
		t.Skip("LORIKEET_TEST_MODELS names no folder of GGUF files")
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.gguf"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s holds no GGUF files: %v", dir, err)
	}
	for _, path := range paths {
		f, err := quant.Open(path)
		if err != nil {
			t.Error(err)
			continue
		}
		if err := modelfile.Check(f, path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		f.Close()
	}
}

// TestCheckRefuses damages one thing at a time; the message must name the key or tensor and the value.
func TestCheckRefuses(t *testing.T) {
	set := func(key string, value any) func(*model) { return func(m *model) { m.Set(key, value) } }
	remove := func(key string) func(*model) { return func(m *model) { m.Delete(key) } }
	texts := func(change func([]string) []string) func(*model) {
		return func(m *model) {
			old, _ := m.Strings("tokenizer.ggml.tokens")
			m.Set("tokenizer.ggml.tokens", change(append([]string(nil), old...)))
		}
	}
	nan := float32(math.NaN())
	for name, c := range map[string]struct {
		change func(*model)
		want   []string
	}{
		"no architecture":      {remove("general.architecture"), []string{"general.architecture"}},
		"encoder":              {set("general.architecture", "bert"), []string{"bert", "encoder"}},
		"not causal":           {set("llama.attention.causal", false), []string{"llama.attention.causal"}},
		"key with a zero byte": {set("tokenizer.ggml.tokens\x00", uint32(1)), []string{"zero byte"}},
		"no layers":            {set("llama.block_count", uint32(0)), []string{"llama.block_count is 0"}},
		"many layers":          {set("llama.block_count", uint32(513)), []string{"llama.block_count is 513"}},
		"layers as int32":      {set("llama.block_count", int32(2)), []string{"llama.block_count", "int32"}},
		"no layer count":       {remove("llama.block_count"), []string{"llama.block_count", "missing"}},
		"fewer layers":         {set("llama.block_count", uint32(1)), []string{"blk.1.", "llama.block_count is 1"}},
		"no context":           {set("llama.context_length", uint32(0)), []string{"llama.context_length is 0"}},

		"epsilon negative": {set("llama.attention.layer_norm_rms_epsilon", float32(-1)), []string{"epsilon is -1"}},
		"epsilon zero":     {set("llama.attention.layer_norm_rms_epsilon", float32(0)), []string{"epsilon is 0"}},
		"epsilon NaN":      {set("llama.attention.layer_norm_rms_epsilon", nan), []string{"epsilon is NaN"}},
		"theta negative":   {set("llama.rope.freq_base", float32(-1)), []string{"llama.rope.freq_base is -1"}},
		"theta infinite":   {set("llama.rope.freq_base", float32(math.Inf(1))), []string{"llama.rope.freq_base is +Inf"}},
		"factor negative":  {set("llama.rope.scaling.factor", float32(-2)), []string{"llama.rope.scaling.factor is -2"}},
		"scaling unknown":  {set("llama.rope.scaling.type", "su"), []string{"llama.rope.scaling.type is su"}},
		"scaling a number": {set("llama.rope.scaling.type", uint32(1)), []string{"llama.rope.scaling.type is 1"}},
		"rope odd":         {set("llama.rope.dimension_count", uint32(7)), []string{"llama.rope.dimension_count is 7"}},
		"rope too wide":    {set("llama.rope.dimension_count", uint32(64)), []string{"llama.rope.dimension_count is 64"}},
		"rope narrow":      {set("llama.rope.dimension_count", uint32(4)), []string{"llama.rope.dimension_count is 4"}},

		"heads do not divide":   {set("llama.attention.head_count_kv", uint32(3)), []string{"llama.attention.head_count is 4", "3"}},
		"no key heads":          {set("llama.attention.head_count_kv", uint32(0)), []string{"llama.attention.head_count_kv is 0"}},
		"heads of another type": {set("llama.attention.head_count", []float32{4, 4}), []string{"llama.attention.head_count", "float32"}},
		"heads for one layer":   {set("llama.attention.head_count", []int32{4}), []string{"llama.attention.head_count has 1 values"}},
		"heads negative":        {set("llama.attention.head_count", []int32{4, -4}), []string{"llama.attention.head_count", "-4"}},
		"values longer":         {set("llama.attention.value_length", uint32(16)), []string{"llama.attention.value_length is 16"}},
		"projection narrower":   {func(m *model) { m.tensor("blk.1.attn_q.weight").Dims[1] = 16 }, []string{"blk.1.attn_q.weight"}},
		"feed-forward strings":  {set("llama.feed_forward_length", []string{"a", "b"}), []string{"llama.feed_forward_length"}},
		"sections":              {set("llama.rope.dimension_sections", []float32{1, 2, 3, 4}), []string{"llama.rope.dimension_sections"}},
		"labels":                {set("llama.classifier.output_labels", []uint32{1}), []string{"llama.classifier.output_labels"}},

		"more experts used":   {set("llama.expert_used_count", uint32(2)), []string{"llama.expert_used_count is 2"}},
		"experts unused":      {set("llama.expert_count", uint32(8)), []string{"llama.expert_used_count is 0"}},
		"too many experts":    {set("llama.expert_count", uint32(513)), []string{"llama.expert_count is 513"}},
		"groups without any":  {set("llama.expert_group_count", uint32(2)), []string{"llama.expert_group_count is 2"}},
		"gating unknown":      {set("llama.expert_gating_func", uint32(9)), []string{"llama.expert_gating_func is 9"}},
		"step of zero layers": {set("llama.interleave_moe_layer_step", uint32(0)), []string{"llama.interleave_moe_layer_step is 0"}},

		"no tokenizer":        {remove("tokenizer.ggml.model"), []string{"tokenizer.ggml.model"}},
		"unknown tokenizer":   {set("tokenizer.ggml.model", "x"), []string{"tokenizer.ggml.model", "x"}},
		"no tokens":           {remove("tokenizer.ggml.tokens"), []string{"tokenizer.ggml.tokens"}},
		"tokens as numbers":   {set("tokenizer.ggml.tokens", make([]uint32, tokens)), []string{"tokenizer.ggml.tokens"}},
		"a token twice":       {texts(func(s []string) []string { s[5] = s[6]; return s }), []string{"tokens 5 and 6", `"g"`}},
		"a token twice in C":  {texts(func(s []string) []string { s[5] = s[6] + "\x00x"; return s }), []string{"tokens 5 and 6", `"g"`}},
		"an empty one's name": {texts(func(s []string) []string { s[5], s[6] = "", "[EMPTY_5]"; return s }), []string{"tokens 5 and 6"}},
		"a very long token":   {texts(func(s []string) []string { s[5] = strings.Repeat("x", 1<<17); return s }), []string{"token 5", "131072"}},
		"fewer tokens":        {texts(func(s []string) []string { return s[:15] }), []string{"token_embd.weight", "16", "15"}},
		"fewer scores":        {set("tokenizer.ggml.scores", make([]float32, 3)), []string{"tokenizer.ggml.scores"}},
		"scores of int8":      {set("tokenizer.ggml.scores", make([]int8, tokens)), []string{"tokenizer.ggml.scores"}},
		"fewer types":         {set("tokenizer.ggml.token_type", make([]int32, 3)), []string{"tokenizer.ggml.token_type"}},
		"types of int64":      {set("tokenizer.ggml.token_type", make([]int64, tokens)), []string{"tokenizer.ggml.token_type"}},
		"types as one number": {set("tokenizer.ggml.token_type", int32(1)), []string{"tokenizer.ggml.token_type"}},
		"no merges":           {remove("tokenizer.ggml.merges"), []string{"tokenizer.ggml.merges"}},
		"merges as numbers":   {set("tokenizer.ggml.merges", []int32{1}), []string{"tokenizer.ggml.merges"}},
		"a merge of one":      {set("tokenizer.ggml.merges", []string{"ab"}), []string{"tokenizer.ggml.merges", "merge 0"}},
		"end outside":         {set("tokenizer.ggml.eos_token_id", uint32(16)), []string{"tokenizer.ggml.eos_token_id is 16"}},
		"end negative":        {set("tokenizer.ggml.eos_token_id", int32(-1)), []string{"tokenizer.ggml.eos_token_id", "int32"}},
		"begin by no token": {func(m *model) {
			m.Set("tokenizer.ggml.pre", "glm4")
			m.Delete("tokenizer.ggml.bos_token_id")
			m.Set("tokenizer.ggml.add_bos_token", true)
		}, []string{"add_bos_token"}},
		"charsmap cut":    {set("tokenizer.ggml.precompiled_charsmap", []uint8{1, 2}), []string{"precompiled_charsmap"}},
		"charsmap's size": {set("tokenizer.ggml.precompiled_charsmap", []uint8{255, 255, 255, 127, 0, 0}), []string{"precompiled_charsmap"}},
		"bytes that are words": {func(m *model) {
			m.Set("tokenizer.ggml.model", "llama")
			k := make([]int32, tokens)
			k[0] = 6
			m.Set("tokenizer.ggml.token_type", k)
		}, []string{"token 0", "byte"}},

		"norm in half":      {func(m *model) { m.tensor("blk.0.attn_norm.weight").Type = quant.F16 }, []string{"blk.0.attn_norm.weight", "F16"}},
		"weight of bytes":   {func(m *model) { m.tensor("blk.0.attn_q.weight").Type = quant.I8 }, []string{"blk.0.attn_q.weight", "I8"}},
		"bias too short":    {func(m *model) { m.add("blk.0.attn_q.bias", 8) }, []string{"blk.0.attn_q.bias"}},
		"no embedding":      {func(m *model) { m.tensor("token_embd.weight").Name = "token_embed.weight" }, []string{"token_embd.weight"}},
		"a narrower one":    {func(m *model) { m.tensor("token_embd.weight").Dims[0] = 16 }, []string{"token_embd.weight", "llama.embedding_length"}},
		"a long name":       {func(m *model) { m.add(strings.Repeat("n", 64), 32) }, []string{"nnn", "64 bytes"}},
		"a part, in memory": {set("split.count", uint16(2)), []string{"split.count"}},
		"parts as uint32":   {set("split.count", uint32(2)), []string{"split.count", "uint32"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newModel("llama")
			c.change(m)
			err := check(m.encode(t))
			if !errors.Is(err, modelfile.ErrModel) {
				t.Fatalf("the error is %v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

// TestCheckRefusesDefaultsOutside: llama.cpp's default for a missing BOS is token 11, which a vocabulary of 8 lacks.
func TestCheckRefusesDefaultsOutside(t *testing.T) {
	m := newModel("llama")
	m.Delete("tokenizer.ggml.bos_token_id")
	texts, _ := m.Strings("tokenizer.ggml.tokens")
	m.Set("tokenizer.ggml.tokens", texts[:8])
	m.tensor("token_embd.weight").Dims[1], m.tensor("output.weight").Dims[1] = 8, 8
	if err := check(m.encode(t)); err == nil || !strings.Contains(err.Error(), "tokenizer.ggml.bos_token_id") {
		t.Errorf("the error is %v", err)
	}
}

func TestCheckReadsAllParts(t *testing.T) {
	dir := t.TempDir()
	write := func(i int, change func(*model)) {
		t.Helper()
		m := newModel("llama")
		half := len(m.tensors) / 2
		m.Set("split.count", uint16(2))
		m.Set("split.no", uint16(i))
		m.Set("split.tensors.count", int32(len(m.tensors)))
		m.tensors = [][]quant.Tensor{m.tensors[:half], m.tensors[half:]}[i]
		change(m)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("m-%05d-of-00002.gguf", i+1)), m.encode(t), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first := filepath.Join(dir, "m-00001-of-00002.gguf")
	checkFirst := func() error {
		f, err := quant.Open(first)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return modelfile.Check(f, first)
	}
	good := func(*model) {}
	write(0, good)
	if err := checkFirst(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the second part: %v", err)
	}
	write(1, good)
	if err := checkFirst(); err != nil {
		t.Errorf("both parts: %v", err)
	}
	write(1, func(m *model) { m.tensors[0].Name, m.tensors[0].Type = "blk.1.extra.weight", quant.I8 })
	if err := checkFirst(); err == nil || !strings.Contains(err.Error(), "I8") {
		t.Errorf("a bad tensor in the second part: %v", err)
	}
	write(1, func(m *model) { m.Set("split.no", uint16(0)) })
	if err := checkFirst(); err == nil || !strings.Contains(err.Error(), "split.no") {
		t.Errorf("the first part twice: %v", err)
	}
}

// FuzzCheck: whatever the bytes are, the check ends with a verdict.
func FuzzCheck(f *testing.F) {
	f.Add(newModel("llama").encode(f))
	f.Add(newModel("qwen3").encode(f))
	for _, at := range []int{100, 400, 900} {
		data := newModel("llama").encode(f)
		data[at] ^= 0x41
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		err := check(data)
		if err != nil && !errors.Is(err, modelfile.ErrModel) && !errors.Is(err, quant.ErrFormat) {
			t.Errorf("the error %v wraps neither ErrModel nor ErrFormat", err)
		}
	})
}

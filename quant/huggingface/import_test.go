package huggingface

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/quant/huggingface/hftest"
	"github.com/lorikeet-ai/lorikeet/quant/modelfile"
)

// imported imports the folder and opens the result.
func imported(t *testing.T, dir string, o Options) (*quant.File, Report) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out.gguf")
	report, err := Import(context.Background(), dir, out, o)
	if err != nil {
		t.Fatal(err)
	}
	f, err := quant.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := modelfile.Check(f, out); err != nil {
		t.Errorf("what was written could not be loaded: %v", err)
	}
	return f, report
}

// TestShardsAndTypesAgree imports the same weights from one file and from three, and in every type: what is read
// back is the F32 import, rounded.
func TestShardsAndTypesAgree(t *testing.T) {
	m := hftest.Random("llama3", 1)
	want, _ := imported(t, m.Write(t), Options{Type: "f32"})
	files := m.Files()
	delete(files, singleFile)
	for name, data := range hftest.Shards(m.Encode(hftest.F32), 3) {
		files[name] = data
	}
	sharded := t.TempDir()
	hftest.WriteFiles(t, sharded, files)
	for typ, tolerance := range map[string]float64{"f32": 0, "keep": 0, "f16": 0x1p-11, "bf16": 0x1p-8, "q8_0": 0.005, "nf4": 0.16, "nf4-dq": 0.2} {
		f, report := imported(t, sharded, Options{Type: typ, Threads: 2})
		if report.Architecture != "llama" || report.Tensors != len(f.Tensors) || report.Prequantized {
			t.Errorf("%s: %+v", typ, report)
		}
		for _, tensor := range want.Tensors {
			a, err := want.ReadF32(tensor.Name)
			b, err2 := f.ReadF32(tensor.Name)
			if err := errors.Join(err, err2); err != nil {
				t.Fatal(err)
			}
			largest := 0.0
			for _, x := range a {
				largest = max(largest, math.Abs(float64(x)))
			}
			limit := tolerance * largest
			if len(tensor.Dims) == 1 {
				limit = 0 // vectors are F32 in every file
			}
			for i := range a {
				if d := math.Abs(float64(a[i] - b[i])); d > limit {
					t.Fatalf("%s: tensor %s: weight %d is %g, not %g", typ, tensor.Name, i, b[i], a[i])
				}
			}
		}
	}
}

// TestRowsOfQAndK spells the order of rows out: llama.cpp rotates neighbours, transformers halves.
func TestRowsOfQAndK(t *testing.T) {
	for kind, permuted := range map[string]bool{"llama": true, "mistral": true, "qwen3": false} {
		m := hftest.Random(kind, 1)
		f, _ := imported(t, m.Write(t), Options{Type: "f32"})
		for hf, gguf := range map[string]string{"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v"} {
			name := "model.layers.1.self_attn." + hf + ".weight"
			from, shape := m.Tensors[name], m.Shapes[name]
			to, err := f.ReadF32("blk.1." + gguf + ".weight")
			if err != nil {
				t.Fatal(err)
			}
			heads := map[string]int{"q_proj": hftest.Heads, "k_proj": hftest.KVHeads}[hf]
			for row := range int(shape[0]) {
				at := row
				if permuted && heads > 0 {
					size := int(shape[0]) / heads
					head, in := row/size, row%size
					if in < size/2 { // the first half are the first of each pair
						at = head*size + 2*in
					} else {
						at = head*size + 2*(in-size/2) + 1
					}
				}
				if !slices.Equal(from[row*hftest.Hidden:][:hftest.Hidden], to[at*hftest.Hidden:][:hftest.Hidden]) {
					t.Fatalf("%s: row %d of %s is not row %d of %s", kind, row, hf, at, gguf)
				}
			}
		}
	}
}

// TestMetadata reads the keys of a folder that has every file.
func TestMetadata(t *testing.T) {
	m := hftest.Random("llama-yarn", 1)
	files := m.Files()
	files["README.md"] = []byte("---\nlicense: other\nlicense_name: birds\nlicense_link: https://example.com/birds\nbase_model: org/base\nlanguage:\n- en\n- mi\ntags: [a, b]\n---\nText\n")
	files["generation_config.json"] = []byte(`{"eos_token_id": [258, 259, 5]}`)
	files["chat_template.jinja"] = []byte("plain")
	files["additional_chat_templates/tool_use.jinja"] = []byte("tools")
	dir := filepath.Join(t.TempDir(), "Kaka-1B")
	hftest.WriteFiles(t, dir, files)
	f, _ := imported(t, dir, Options{Type: "keep"})
	for key, want := range map[string]any{
		"general.architecture": "llama", "general.name": "Kaka-1B", "general.type": "model",
		"general.license": "other", "general.license.name": "birds", "general.license.link": "https://example.com/birds",
		"general.base_model.0.name": "org/base", "general.languages": []string{"en", "mi"}, "general.tags": []string{"a", "b"},
		"llama.context_length": uint32(512), "llama.attention.head_count_kv": uint32(hftest.KVHeads),
		"llama.attention.key_length": uint32(16), "llama.rope.freq_base": float32(5000), "llama.rope.scaling.type": "yarn",
		"llama.rope.scaling.factor": float32(4), "llama.rope.scaling.original_context_length": uint32(128),
		"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.eos_token_id": uint32(258),
		"tokenizer.ggml.bos_token_id": nil, "tokenizer.ggml.add_bos_token": false, // tokenizer_config.json has null quant.EndTokensKey: []int32{259, 5},
		"tokenizer.chat_template": "plain", "tokenizer.chat_template.tool_use": "tools", "tokenizer.chat_templates": []string{"tool_use"},
	} {
		if got, _ := f.Metadata.Get(key); fmt.Sprintf("%T %v", got, got) != fmt.Sprintf("%T %v", want, want) {
			t.Errorf("%s is %v, not %v", key, got, want)
		}
	}
	tokens, _ := f.Metadata.Strings("tokenizer.ggml.tokens")
	kinds, _ := f.Metadata.Ints("tokenizer.ggml.token_type")
	if len(tokens) != hftest.Vocab || tokens[258] != "<|end|>" || kinds[258] != controlToken || kinds[300] != unusedToken || kinds[5] != normalToken {
		t.Errorf("the tokens are %q of types %v", tokens[255:], kinds[255:])
	}
}

// TestTemplates: a list of templates, and a file that wins over it.
func TestTemplates(t *testing.T) {
	files := hftest.Random("llama", 1).Files()
	files["tokenizer_config.json"] = []byte(`{"chat_template": [{"name": "default", "template": "one"}, {"name": "rag", "template": "two"}]}`)
	for _, want := range []string{"one", "three"} {
		dir := t.TempDir()
		hftest.WriteFiles(t, dir, files)
		f, _ := imported(t, dir, Options{Type: "keep"})
		got, _ := f.Metadata.String("tokenizer.chat_template")
		if rag, _ := f.Metadata.String("tokenizer.chat_template.rag"); got != want || rag != "two" {
			t.Errorf("the templates are %q and %q, want %q", got, rag, want)
		}
		files["chat_template.jinja"] = []byte("three")
	}
}

// TestHubCache: the hub's cache links a snapshot's files to blobs beside it, and names the repository.
func TestHubCache(t *testing.T) {
	repository := filepath.Join(t.TempDir(), "models--org--Kea-2B")
	files := hftest.Random("llama", 1).Files()
	hftest.WriteFiles(t, filepath.Join(repository, "blobs"), files)
	snapshot := filepath.Join(repository, "snapshots", "0123abcd")
	if err := os.MkdirAll(snapshot, 0o755); err != nil {
		t.Fatal(err)
	}
	for name := range files {
		if err := os.Symlink(filepath.Join("..", "..", "blobs", name), filepath.Join(snapshot, name)); err != nil {
			t.Fatal(err)
		}
	}
	f, _ := imported(t, snapshot, Options{Type: "keep"})
	if name, _ := f.Metadata.String("general.name"); name != "Kea-2B" {
		t.Errorf("the model is called %q", name)
	}
}

// TestDownloadedName: a folder that is called by its revision has the name of the repository it lies in.
func TestDownloadedName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "org", "Kakapo-1B", strings.Repeat("0a", 20))
	hftest.WriteFiles(t, dir, hftest.Random("llama", 1).Files())
	f, _ := imported(t, dir, Options{Type: "keep"})
	if name, _ := f.Metadata.String("general.name"); name != "Kakapo-1B" {
		t.Errorf("the model is called %q", name)
	}
}

// TestMemoryIsBounded imports a model of which each matrix of the feed-forward is larger than the memory that may be
// taken. The file of these is sparse: its zeros take no room on the disk.
func TestMemoryIsBounded(t *testing.T) {
	const wide, limit = 1 << 18, 24 << 20 // a matrix has 32 MiB of bfloat16
	m := hftest.Random("qwen2", 1)
	m.Config["intermediate_size"] = wide
	index, big, rest := map[string]string{}, map[string]any{}, []hftest.Tensor{}
	end := int64(0)
	for _, x := range m.Encode(hftest.BF16) {
		if !strings.Contains(x.Name, ".mlp.") {
			index[x.Name] = "rest.safetensors"
			rest = append(rest, x)
			continue
		}
		shape := []int64{wide, hftest.Hidden}
		if strings.Contains(x.Name, "down_proj") {
			slices.Reverse(shape)
		}
		index[x.Name] = "big.safetensors"
		big[x.Name] = map[string]any{"dtype": "BF16", "shape": shape, "data_offsets": []int64{end, end + 2*wide*hftest.Hidden}}
		end += 2 * wide * hftest.Hidden
	}
	header := hftest.JSON(big)
	files := m.Files()
	delete(files, singleFile)
	files[indexFile] = hftest.JSON(map[string]any{"weight_map": index})
	files["rest.safetensors"] = hftest.Safetensors(rest)
	files["big.safetensors"] = append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...)
	dir := t.TempDir()
	hftest.WriteFiles(t, dir, files)
	if err := os.Truncate(filepath.Join(dir, "big.safetensors"), 8+int64(len(header))+end); err != nil {
		t.Fatal(err)
	}
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak := uint64(0)
	_, err := Import(context.Background(), dir, filepath.Join(t.TempDir(), "out.gguf"), Options{Type: "nf4", Threads: 2, Progress: func(int64, int64) {
		runtime.ReadMemStats(&now)
		peak = max(peak, now.HeapAlloc)
	}})
	if err != nil {
		t.Fatal(err)
	}
	if grown := int64(peak) - int64(before.HeapAlloc); grown > limit {
		t.Errorf("the heap grew by %d MiB, want at most %d", grown>>20, limit>>20)
	}
}

// TestNothingIsLeftBehind: an error, and an end before the end, leave no file.
func TestNothingIsLeftBehind(t *testing.T) {
	m := hftest.Random("llama", 1)
	m.Tensors["model.layers.1.mlp.up_proj.weight"][70] = float32(math.NaN())
	dir, out := m.Write(t), t.TempDir()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, typ := range Types {
		_, err := Import(context.Background(), dir, filepath.Join(out, "a.gguf"), Options{Type: typ})
		want := `model.safetensors: tensor "model.layers.1.mlp.up_proj.weight": value 70 is`
		if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", typ, err, want)
		}
		if _, err := Import(ended, dir, filepath.Join(out, "a.gguf"), Options{Type: typ}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v", typ, err)
		}
	}
	if left, err := os.ReadDir(out); err != nil || len(left) > 0 {
		t.Errorf("%v is left (%v)", left, err)
	}
}

// TestFingerprint: it changes with every file that Import reads, and with nothing else.
func TestFingerprint(t *testing.T) {
	m := hftest.Random("llama", 1)
	files := m.Files()
	files["notes.txt"] = []byte("a")
	seen := map[string]string{}
	print := func() string {
		dir := filepath.Join(t.TempDir(), "model")
		hftest.WriteFiles(t, dir, files)
		s, err := Fingerprint(dir)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	seen[print()] = "as it is"
	files["notes.txt"] = []byte("b")
	if seen[print()] == "" {
		t.Error("a file that is not read changes the fingerprint")
	}
	for _, name := range []string{"config.json", "tokenizer.json", "tokenizer_config.json"} {
		files[name] = append(files[name], ' ')
		s := print()
		if seen[s] != "" {
			t.Errorf("a change of %s does not change the fingerprint", name)
		}
		seen[s] = name
	}
	m.Tensors["model.norm.weight"][3] = 7
	files["model.safetensors"] = hftest.Safetensors(m.Encode(hftest.F32))
	if s := print(); seen[s] != "" {
		t.Error("a change of a weight does not change the fingerprint")
	}
}

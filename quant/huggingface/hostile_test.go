package huggingface

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant/huggingface/hftest"
)

// refused imports dir, which must fail as the folder's fault with want in the message, in little memory.
func refused(t *testing.T, dir string, o Options, want string) {
	t.Helper()
	const limit = 64 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	out := t.TempDir()
	_, err := Import(context.Background(), dir, filepath.Join(out, "out.gguf"), o)
	runtime.ReadMemStats(&after)
	if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > limit {
		t.Errorf("%s: %d MiB were allocated", want, used>>20)
	}
	if left, err := os.ReadDir(out); err != nil || len(left) > 0 {
		t.Errorf("%s: %v is left (%v)", want, left, err)
	}
}

// files are the files of a small model that a case may change.
type files map[string][]byte

// with returns the files with a field of config.json changed; nil takes it away.
func (f files) with(field string, value any) files {
	m := hftest.Random("llama", 1)
	m.Config[field] = value
	if value == nil {
		delete(m.Config, field)
	}
	f["config.json"] = hftest.JSON(m.Config)
	return f
}

func (f files) set(name string, data string) files {
	f[name] = []byte(data)
	return f
}

func (f files) without(name string) files {
	delete(f, name)
	return f
}

// model returns the files of a model that change has changed.
func (f files) model(change func(m *hftest.Model)) files {
	m := hftest.Random("llama", 1)
	change(m)
	return m.Files()
}

// sharded returns the files in two shards that change has changed.
func (f files) sharded(change func(f files)) files {
	delete(f, singleFile)
	for name, data := range hftest.Shards(hftest.Random("llama", 1).Encode(hftest.BF16), 2) {
		f[name] = data
	}
	change(f)
	return f
}

const firstShard, secondShard = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"

// reindex replaces a text in the index.
func reindex(from, to string) func(files) {
	return func(f files) { f[indexFile] = []byte(strings.Replace(string(f[indexFile]), from, to, 1)) }
}

// lfsPointer is what a clone without Git LFS has in the place of a large file.
const lfsPointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n"

func TestHostileFolders(t *testing.T) {
	long := binary.LittleEndian.AppendUint64(nil, math.MaxUint64)
	for want, change := range map[string]func(f files) files{
		// config.json
		"config.json is missing":                        func(f files) files { return f.without("config.json") },
		"config.json: invalid character":                func(f files) files { return f.set("config.json", "{no") },
		`config.json: key "a" occurs twice`:             func(f files) files { return f.set("config.json", `{"a":1,"a":2}`) },
		`architecture "GPT2LMHeadModel" is none of`:     func(f files) files { return f.with("architectures", []string{"GPT2LMHeadModel"}) },
		"hidden_size is 0, not between":                 func(f files) files { return f.with("hidden_size", 0) },
		"num_hidden_layers is -3, not between":          func(f files) files { return f.with("num_hidden_layers", -3) },
		"num_key_value_heads is 9, not between 1 and 4": func(f files) files { return f.with("num_key_value_heads", 9) },
		"4 is no multiple of num_key_value_heads 3":     func(f files) files { return f.with("num_key_value_heads", 3) },
		"head_dim is 7, not even":                       func(f files) files { return f.with("head_dim", 7) },
		"intermediate_size of type int64":               func(f files) files { return f.with("intermediate_size", 1e300) },
		`hidden_act is "gelu", not silu`:                func(f files) files { return f.with("hidden_act", "gelu") },
		"partial_rotary_factor is 0.5, not 1":           func(f files) files { return f.with("partial_rotary_factor", 0.5) },
		"rms_norm_eps is -1":                            func(f files) files { return f.with("rms_norm_eps", -1) },
		"rope_theta is 0":                               func(f files) files { return f.with("rope_theta", 0) },
		`rope type "longrope" has one list of factors`:  func(f files) files { return f.with("rope_scaling", map[string]any{"type": "longrope", "factor": 2}) },
		`rope type "ntk" is none of`:                    func(f files) files { return f.with("rope_scaling", map[string]any{"type": "ntk", "factor": 2}) },
		"rope_scaling: factor is missing":               func(f files) files { return f.with("rope_scaling", map[string]any{"type": "linear"}) },
		"factor is 2, and rope_type is missing":         func(f files) files { return f.with("rope_scaling", map[string]any{"factor": 2}) },
		"are both there, and differ": func(f files) files {
			return f.model(func(m *hftest.Model) {
				m.Config["rope_scaling"], m.Config["rope_parameters"] = map[string]any{"rope_type": "default"}, map[string]any{"rope_theta": 1e4}
			})
		},
		"rope_scaling: factor is -2": func(f files) files { return f.with("rope_scaling", map[string]any{"type": "yarn", "factor": -2}) },
		"beta_fast and beta_slow are 64 and 1": func(f files) files {
			return f.with("rope_scaling", map[string]any{"type": "yarn", "factor": 2, "beta_fast": 64})
		},
		`it has no parameters for layers of the type "full_attention"`: func(f files) files {
			return f.with("rope_parameters", map[string]any{"sliding_attention": map[string]any{"rope_theta": 1e6}})
		},
		"for all layers stand beside parameters": func(f files) files {
			return f.with("rope_parameters", map[string]any{"full_attention": map[string]any{"rope_theta": 1e6}, "rope_theta": 1e4})
		},
		"rope_theta is 10000, and rope_parameters has 1e+06": func(f files) files { return f.with("rope_parameters", map[string]any{"rope_theta": 1e6}) },
		"low_freq_factor and high_freq_factor are both": func(f files) files {
			return f.with("rope_scaling", map[string]any{"rope_type": "llama3", "factor": 2, "low_freq_factor": 4})
		},
		`quant_method "gptq" is not supported`: func(f files) files {
			return f.with("quantization_config", map[string]any{"quant_method": "gptq", "bits": 4})
		},
		`quant_method "awq" is not supported`: func(f files) files { return f.with("quantization_config", map[string]any{"quant_method": "awq"}) },
		`quant_method "fp8" is not supported`: func(f files) files { return f.with("quantization_config", map[string]any{"quant_method": "fp8"}) },
		`quant_method "compressed-tensors"`: func(f files) files {
			return f.with("compression_config", map[string]any{"quant_method": "compressed-tensors"})
		},
		"LLM.int8 is not supported": func(f files) files {
			return f.with("quantization_config", map[string]any{"quant_method": "bitsandbytes", "load_in_8bit": true})
		},
		`bnb_4bit_quant_type "fp4" is not supported`:             func(f files) files { return f.with("quantization_config", map[string]any{"load_in_4bit": true}) },
		"vocab_size is 321, the embedding has 320 rows":          func(f files) files { return f.with("vocab_size", 321) },
		"eos_token_id is 320, the embedding has 320":             func(f files) files { return f.with("eos_token_id", 320) },
		"neither a token id nor a list":                          func(f files) files { return f.with("eos_token_id", "x") },
		`generation_config.json: eos_token_id is -1`:             func(f files) files { return f.set("generation_config.json", `{"eos_token_id":[-1]}`) },
		`"model.layers.2.input_layernorm.weight" is in no shard`: func(f files) files { return f.with("num_hidden_layers", 4000) },
		"its shape is [320 64], config.json calls for [320 128]": func(f files) files { return f.with("hidden_size", 128) },
		// Git LFS pointers in the place of files
		"config.json: this is a Git LFS pointer":                                            func(f files) files { return f.set("config.json", lfsPointer) },
		"tokenizer.json: this is a Git LFS pointer":                                         func(f files) files { return f.set("tokenizer.json", lfsPointer) },
		"model.safetensors: not a valid safetensors file: this is a Git LFS pointer, which": func(f files) files { return f.set(singleFile, lfsPointer) },
		// tokens beside tokenizer.json
		`token "<more>" has the id 300; with what tokenizer.json has, its id is 260`: func(f files) files {
			return f.set("tokenizer_config.json", `{"added_tokens_decoder":{"300":{"content":"<more>","special":true}}}`)
		},
		// shards
		"neither model.safetensors nor":                      func(f files) files { return f.without(singleFile) },
		"pytorch_model.bin: only model.safetensors":          func(f files) files { return f.without(singleFile).set("pytorch_model.bin", "pickle") },
		"model.safetensors: not a valid safetensors file: a": func(f files) files { return f.set(singleFile, "short") },
		"its header states 18446744073709551615 bytes":       func(f files) files { return f.set(singleFile, string(long)) },
		`model.safetensors: not a valid safetensors file: tensor "b" overlaps the one before it`: func(f files) files {
			header := `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`
			return f.set(singleFile, string(binary.LittleEndian.AppendUint64(nil, uint64(len(header))))+header+"12345678")
		},
		`lies outside the file, which is cut short`: func(f files) files { f[singleFile] = f[singleFile][:len(f[singleFile])-4]; return f },
		`tensor "lm_head.weight" is in no shard`: func(f files) files {
			return f.model(func(m *hftest.Model) { m.Names = m.Names[:len(m.Names)-1] })
		},
		`tensor "lora_A": it belongs to no part`: func(f files) files {
			return f.model(func(m *hftest.Model) { m.Put("lora_A", []float32{1}, 1) })
		},
		`tensor "model.norm.weight": its shape is [1 64]`: func(f files) files {
			return f.model(func(m *hftest.Model) { m.Shapes["model.norm.weight"] = []int64{1, 64} })
		},
		`"../x.safetensors" is no .safetensors file beside`:   func(f files) files { return f.sharded(reindex(firstShard, "../x.safetensors")) },
		`"/etc/x.safetensors" is no .safetensors file beside`: func(f files) files { return f.sharded(reindex(firstShard, "/etc/x.safetensors")) },
		`"secret.txt" is no .safetensors file`:                func(f files) files { return f.sharded(reindex(firstShard, "secret.txt")) },
		"model-9.safetensors is missing":                      func(f files) files { return f.sharded(reindex(firstShard, "model-9.safetensors")) },
		`weight_map: tensor "lm_head.weight": json`: func(f files) files {
			return f.set(indexFile, `{"weight_map":{"lm_head.weight":7}}`).without(singleFile)
		},
		"weight_map: a JSON object is expected": func(f files) files { return f.set(indexFile, `{"weight_map":[]}`).without(singleFile) },
		"is in " + firstShard + " too":          func(f files) files { return f.sharded(func(f files) { f[secondShard] = f[firstShard] }) },
		`tensor "ghost", which model.safetensors.index.json has`: func(f files) files {
			return f.sharded(reindex(`"weight_map":{`, `"weight_map":{"ghost":"`+firstShard+`",`))
		},
		`tensor "model.embed_tokens.weight" is in no shard`: func(f files) files { return f.set(singleFile, string(hftest.Safetensors(nil))) },
		`its dtype is I64, not F32, F16 or BF16`: func(f files) files {
			m := hftest.Random("llama", 1)
			list := m.Encode(hftest.F32)
			list[1] = hftest.Tensor{Name: list[1].Name, DType: "I64", Shape: list[1].Shape, Data: make([]byte, 8*hftest.Hidden)}
			return f.set(singleFile, string(hftest.Safetensors(list)))
		},
		`value 5 is +Inf`: func(f files) files {
			return f.model(func(m *hftest.Model) { m.Tensors["model.norm.weight"][5] = float32(math.Inf(1)) })
		},
		// the tokenizer
		"neither tokenizer.json nor tokenizer.model":     func(f files) files { return f.without("tokenizer.json") },
		"tokenizer.json: unexpected end":                 func(f files) files { return f.set("tokenizer.json", "{") },
		`model type "WordPiece" is neither BPE nor`:      func(f files) files { return f.set("tokenizer.json", `{"model":{"type":"WordPiece","vocab":{}}}`) },
		`unk_id is missing or not in the voc`:            unigramCase(`[["a",-1]]`, `null`, ``),
		`unk_id is missing or not in the vocabulary`:     unigramCase(`[["a",-1]]`, `1`, ``),
		`tokens 0 and 1 are both "a"`:                    unigramCase(`[["a",-1],["a",-2]]`, `0`, ``),
		`token 1, "b", has the score -1e+300`:            unigramCase(`[["a",-1],["b",-1e300]]`, `0`, ``),
		`["a"] is no pair of a text and a score`:         unigramCase(`[["a"]]`, `0`, ``),
		"vocab: json: cannot unmarshal string":           unigramCase(`[["a","b"]]`, `0`, ``),
		`normalizer "Lowercase" is not supported beside`: unigramCase(`[["a",-1]]`, `0`, `"normalizer":{"type":"Lowercase"},`),
		`pre_tokenizer "Whitespace" is not supported be`: unigramCase(`[["a",-1]]`, `0`, `"pre_tokenizer":{"type":"Whitespace"},`),
		`spaces are not written as "▁"`:                  unigramCase(`[["a",-1]]`, `0`, ``),
		`token "a" has the id -1`:                        tokenizerCase(`{"a":-1}`, `[]`),
		`token "a" has the id 320, the embedding has`:    tokenizerCase(`{"a":320}`, `[]`),
		"vocab: json: cannot unmarshal number 1e300":     tokenizerCase(`{"a":1e300}`, `[]`),
		`merge 0, "a", is no pair`:                       tokenizerCase(`{"a":1}`, `["a"]`),
		`merge 0, ["a" "b" "c"], is no pair`:             tokenizerCase(`{"a":1}`, `[["a","b","c"]]`),
		"tokenizer.model: it is no SentencePiece model":  func(f files) files { return f.without("tokenizer.json").set("tokenizer.model", "\xff\xff") },
		"pre_tokenizer (Whitespace) is none that llama.cpp is known": func(f files) files {
			return f.set("tokenizer.json", `{"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Whitespace"}]},"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{},"merges":[]}}`)
		},
		"chat_template is neither a text nor a list": func(f files) files { return f.set("tokenizer_config.json", `{"chat_template": 7}`) },
	} {
		t.Run(want, func(t *testing.T) {
			dir := t.TempDir()
			hftest.WriteFiles(t, dir, change(files(hftest.Random("llama", 1).Files())))
			refused(t, dir, Options{Type: "keep"}, want)
		})
	}
}

// tokenizerCase is a byte-level tokenizer of this vocabulary and these merges.
func tokenizerCase(vocab, merges string) func(f files) files {
	return func(f files) files {
		return f.set("tokenizer.json", fmt.Sprintf(`{"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"model":{"type":"BPE","vocab":%s,"merges":%s}}`, vocab, merges))
	}
}

// unigramCase is a unigram tokenizer of this vocabulary, unknown token and other parts.
func unigramCase(vocab, unknown, parts string) func(f files) files {
	return func(f files) files {
		return f.set("tokenizer.json", fmt.Sprintf(`{%s"model":{"type":"Unigram","vocab":%s,"unk_id":%s}}`, parts, vocab, unknown))
	}
}

// TestEqualTokens: two tokens of one id, and one token of two ids, which would end llama.cpp, are refused.
func TestEqualTokens(t *testing.T) {
	for want, added := range map[string]string{
		`have the id 3`: `{"id":3,"content":"x","special":true}`, `tokens 3 and 9 are both "a"`: `{"id":9,"content":"a","special":true}`,
	} {
		f := files(hftest.Random("llama", 1).Files())
		f.set("tokenizer.json", `{"added_tokens":[`+added+`],"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"model":{"type":"BPE","vocab":{"a":3},"merges":[]}}`)
		dir := t.TempDir()
		hftest.WriteFiles(t, dir, f)
		refused(t, dir, Options{Type: "keep"}, want)
	}
}

// TestLinksOutOfTheFolder: a link to a file outside is refused, one inside is followed, a pipe is not waited for.
func TestLinksOutOfTheFolder(t *testing.T) {
	for _, name := range []string{"config.json", "model.safetensors", "tokenizer.json"} {
		f := hftest.Random("llama", 1).Files()
		outside, dir := t.TempDir(), t.TempDir()
		hftest.WriteFiles(t, outside, map[string][]byte{"data": f[name]})
		delete(f, name)
		hftest.WriteFiles(t, dir, f)
		for _, target := range []string{filepath.Join(outside, "data"), "../" + filepath.Base(outside) + "/data"} {
			if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			refused(t, dir, Options{Type: "keep"}, name+": the link leads out of the folder")
			os.Remove(filepath.Join(dir, name))
		}
		hftest.WriteFiles(t, dir, map[string][]byte{"inside": func() []byte { b, _ := os.ReadFile(filepath.Join(outside, "data")); return b }()})
		if err := os.Symlink("inside", filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		imported(t, dir, Options{Type: "keep"})
	}
}

// FuzzFolder puts anything in the place of one of the small files beside a model's weights: the folder is imported, or
// refused as its own fault, and nothing is left of what is refused.
func FuzzFolder(f *testing.F) {
	names := []string{"generation_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer_config.json", "chat_template.jinja",
		"chat_template.json", "README.md", "config.json", indexFile, "tokenizer.json"}
	for i, text := range []string{`{"eos_token_id":[1,2],"bos_token_id":0}`, `{"eos_token":{"content":"</s>"}}`, `{"<x>":3}`,
		`{"chat_template":[{"name":"default","template":"{{ messages }}"}],"add_bos_token":true,"bos_token":"<s>"}`, "{{ messages[0] }}",
		`{"chat_template":"{{ x }}"}`, "---\nlicense: apache-2.0\nlanguage: [en, de]\nbase_model:\n- a/b\n---\n# x", `{}`, `{"weight_map":{}}`, `{}`} {
		f.Add(uint8(i), []byte(text))
	}
	whole := hftest.Random("llama", 1).Files()
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		files := maps.Clone(whole)
		files[names[int(which)%len(names)]] = data
		dir, out := t.TempDir(), t.TempDir()
		hftest.WriteFiles(t, dir, files)
		_, err := Import(t.Context(), dir, filepath.Join(out, "out.gguf"), Options{Type: "keep"})
		left, _ := os.ReadDir(out)
		if err != nil && (!errors.Is(err, ErrFormat) && !errors.Is(err, ErrUnsupported) || len(left) > 0) || err == nil && len(left) != 1 {
			t.Fatalf("%v, and %d files are left", err, len(left))
		}
	})
}
